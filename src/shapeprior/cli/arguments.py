"""Arguments that several commands have, each with its type and its help text written once.

An argument that one command alone has is described in the docstring of that command.
"""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

PriorName = Annotated[
    str,
    arg(
        help="A run folder, a bundled prior (can, mug, bowl, camera, airplane), or the id owner/name of a downloaded "
        "one."
    ),
]
Seed = Annotated[int, arg(help="Seed of every random choice; the same seed gives the same result.")]
UnseenSeed = Annotated[
    int,
    arg(help="Seed that the shapes are generated from. Do not use 0: the bundled priors were trained on its shapes."),
]
Device = Annotated[str, arg(help="Device to compute on, as PyTorch names it: cpu, cuda, mps.")]
Resolution = Annotated[int, arg(help="Cells along each axis of the unit cube.")]
Up = Annotated[
    Literal["auto", "x", "y", "z"],
    arg(
        help="The axis that points up in meshes. auto takes what the file or its collection says, and y if neither "
        "does."
    ),
]

Files = tuple[Path, ...]
"""Files of several views, one a view."""
IntrinsicsFile = Annotated[
    Path | None, arg(help="JSON file with the camera's focal lengths and principal point, for a depth image.")
]
MaskFile = Annotated[Path | None, arg(help="Image that is nonzero where the depth image shows the object.")]
CameraPoseFile = Annotated[Path | None, arg(help="JSON file with the camera's pose, world from camera frame.")]
SensorPosition = Annotated[
    tuple[float, float, float] | None, arg(help="Position of the sensor in the frame of the point cloud.")
]
ObjectPoseFile = Annotated[Path | None, arg(help="JSON file with the object's pose in the scan, scan from unit frame.")]

Workers = Annotated[
    int | None, arg(help="Worker processes; all cores by default. 0 works in the command's own process, for debugging.")
]
Cluster = Annotated[
    str | None,
    arg(help="Address of a Dask scheduler, such as tcp://host:8786, whose workers do the work instead."),
]
Memory = Annotated[float, arg(help="Memory that one worker may use, in GiB.")]
