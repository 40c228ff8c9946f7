"""A partial view with what is known of the object's placement in it."""

import os
from pathlib import Path

from shapeprior.errors import ScanError
from shapeprior.frames import Similarity
from shapeprior.observation import Observation
from shapeprior.placement import Freedom
from shapeprior.pose_io import read_pose
from shapeprior.scan_io import read_scan


def read_placed_scan(
    scan: str | os.PathLike[str],
    *,
    intrinsics: Path | None,
    mask: Path | None,
    sensor: tuple[float, float, float] | None,
    pose: Path | None,
    placement: Freedom | None = None,
) -> tuple[Observation, Similarity | None]:
    """A scan, and ``T_unit_scan`` if a file with the pose (scan from unit frame) is given.

    Raises ScanError if a file cannot be used, or a depth image comes without the pose: its axes are the camera's, and nothing
    says which way the object stands, unless `placement` leaves it "free".
    """
    if intrinsics is not None and pose is None and placement != "free":
        raise ScanError(
            f"{scan}: a depth image without a pose, so its axes are the camera's; expected to know which way the object "
            "stands; pass --pose with the map from the unit frame to the camera, or --placement free to have it found"
        )
    view = read_scan(scan, intrinsics=intrinsics, mask=mask, sensor=sensor)
    return view, None if pose is None else read_pose(pose).inverse()
