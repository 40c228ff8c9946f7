"""Partial views with what is known of the object's placement in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shapeprior.errors import ConfigError, ScanError
from shapeprior.geometry.transforms import Similarity
from shapeprior.observation import Observation
from shapeprior.placement import Freedom
from shapeprior.pose_io import read_pose
from shapeprior.scan_io import holds_depth, read_views


@dataclass(frozen=True, kw_only=True)
class ViewFiles:
    """The files of one view."""

    scan: Path
    intrinsics: Path | None = None
    mask: Path | None = None
    camera_pose: Path | None = None
    """``T_world_camera``, for `shapeprior.pose_io.read_pose`."""

    @classmethod
    def each(
        cls,
        scans: Sequence[Path],
        *,
        intrinsics: Sequence[Path] = (),
        masks: Sequence[Path] = (),
        camera_poses: Sequence[Path] = (),
    ) -> "tuple[ViewFiles, ...]":
        """As the command line states them: no file of a kind, or one a view; one intrinsics file can be for all.

        Raises ConfigError if the numbers differ.
        """
        if len(intrinsics) == 1:
            intrinsics = list(intrinsics) * len(scans)
        for name, given in {"--intrinsics": intrinsics, "--mask": masks, "--camera-pose": camera_poses}.items():
            if given and len(given) != len(scans):
                raise ConfigError(
                    f"{name} with {len(given)} files for {len(scans)} scans; expected one a scan, in their order"
                )
        return tuple(
            cls(
                scan=scan,
                intrinsics=intrinsics[number] if intrinsics else None,
                mask=masks[number] if masks else None,
                camera_pose=camera_poses[number] if camera_poses else None,
            )
            for number, scan in enumerate(scans)
        )


def read_placed_scan(
    views: Sequence[ViewFiles],
    *,
    sensor: tuple[float, float, float] | None,
    pose: Path | None,
    placement: Freedom | None = None,
) -> tuple[Observation, Similarity | None]:
    """Views of one object as one, and ``T_unit_world`` if a file with the object's pose (world from unit frame) is given.

    The world is the frame that the camera poses lead to; without them, the frame of the scan.

    Raises ScanError if a file cannot be used, or a depth image comes without any pose: its axes are the camera's, and nothing
    says which way the object stands, unless `placement` leaves it "free".
    """
    for view in views:
        if view.camera_pose is None and pose is None and placement != "free" and holds_depth(view.scan):
            raise ScanError(
                f"{view.scan}: a depth image without a pose, so its axes are the camera's; expected to know which way the object "
                "stands; pass --camera-pose with the map from the camera to a frame with +y up, --pose with the map from the unit "
                "frame to the camera, or --placement free to have it found"
            )
    seen = read_views(
        [view.scan for view in views],
        intrinsics=[view.intrinsics for view in views],
        masks=[view.mask for view in views],
        T_world_cameras=[None if view.camera_pose is None else read_pose(view.camera_pose) for view in views],
        sensor=sensor,
    )
    return seen, None if pose is None else read_pose(pose).inverse()
