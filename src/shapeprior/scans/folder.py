"""The files of scans: those of one view, of several views of one object, and of a folder of scans."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shapeprior.errors import ConfigError, ScanError
from shapeprior.geometry.transforms import Similarity
from shapeprior.scans.observation import Observation
from shapeprior.scans.placement import PlacementMode, read_pose
from shapeprior.scans.read import SCAN_SUFFIXES, holds_depth, read_views


@dataclass(frozen=True, kw_only=True)
class ViewFiles:
    """The files of one view."""

    scan: Path
    intrinsics: Path | None = None
    mask: Path | None = None
    camera_pose: Path | None = None
    """``T_world_camera``, for `shapeprior.scans.placement.read_pose`."""

    @classmethod
    def each(
        cls,
        scans: Sequence[Path],
        *,
        intrinsics: Sequence[Path] = (),
        masks: Sequence[Path] = (),
        camera_poses: Sequence[Path] = (),
    ) -> "tuple[ViewFiles, ...]":
        """Group files as the command line states them: none of a kind, or one for each view.

        One intrinsics file can be for all views. Raises ConfigError if the numbers differ.
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
    placement: PlacementMode | None = None,
) -> tuple[Observation, Similarity | None]:
    """Read views of one object as one view, with ``T_unit_world`` if a file with the object's pose is given.

    `pose` maps the unit frame to the world. The world is the frame that the camera poses lead to, or without them the
    frame of the scan. Raises ScanError if a file cannot be used, or if a depth image comes without any pose and
    `placement` is not "free": its axes are the camera's, and nothing tells which way the object stands.
    """
    for view in views:
        if view.camera_pose is None and pose is None and placement != "free" and holds_depth(view.scan):
            raise ScanError(
                f"{view.scan}: a depth image without a pose, so its axes are the camera's; expected to know which way "
                "the object stands; pass --camera-pose with the map from the camera to a frame with +y up, --pose with "
                "the map from the unit frame to the camera, or --placement free to have it found"
            )
    seen = read_views(
        [view.scan for view in views],
        intrinsics=[view.intrinsics for view in views],
        masks=[view.mask for view in views],
        T_world_cameras=[None if view.camera_pose is None else read_pose(view.camera_pose) for view in views],
        sensor=sensor,
    )
    return seen, None if pose is None else read_pose(pose).inverse()


SUMMARY = "summary.csv"
"""File name of the table in a folder of results."""
_ALTERNATIVE = re.compile(r"(.+)\.other\d+")
"""Stem of the mesh of another answer: NAME.other1 for the mesh NAME."""
MASK_SUFFIXES = (".mask.png", ".mask.tif", ".mask.tiff", ".mask.npy")


@dataclass(frozen=True, kw_only=True)
class FoundScan:
    """The files of one object in a folder: a scan, or a sub-folder of views."""

    name: str
    """Name of the file or of the sub-folder."""
    views: tuple[ViewFiles, ...]
    pose: Path | None
    """File with the object's placement in the scan, or in the world of the views."""

    @property
    def stem(self) -> str:
        """Name of its results, without suffix."""
        return _stem(self.views[0].scan) if self.name == self.views[0].scan.name else self.name


def find_scans(
    folder: Path,
    *,
    out: Path,
    intrinsics: Path | None,
    mask: Path | None,
    camera_pose: Path | None,
    pose: Path | None,
) -> list[FoundScan]:
    """Find the scans of a folder, sorted by name. A sub-folder that holds scans is one object, and each of them a view
    of it.

    Beside a scan NAME.png, the files NAME.intrinsics.json, NAME.mask.png (or .tif, .npy), NAME.camera_pose.json and
    NAME.pose.json belong to it. The files that are given are for scans that have none of their own. For views in a
    sub-folder NAME, NAME.intrinsics.json and NAME.pose.json beside the sub-folder come first. A mask or camera pose
    that is given is never used for views of a sub-folder, because each view has another. Folders with a summary.csv
    hold results and are not searched.

    Raises ScanError if there is no scan, if two would have results of the same name, or if `out`, where results are
    written, is a sub-folder of scans.
    """
    files, folders = _contents(folder)
    found = []
    for path in files:
        found.append(
            FoundScan(
                name=path.name,
                views=(
                    _with_own_files(
                        path, ViewFiles(scan=path, intrinsics=intrinsics, mask=mask, camera_pose=camera_pose)
                    ),
                ),
                pose=_own_file(path, (".pose.json",)) or pose,
            )
        )
    for path in folders:
        if _holds_results(path):
            continue
        if path.resolve() == out.resolve() and _contents(path)[0]:
            raise ScanError(f"{out}: holds scans; expected another folder for the results, or a new one")
        shared = _own_file(path, (".intrinsics.json",)) or intrinsics
        views = tuple(_with_own_files(scan, ViewFiles(scan=scan, intrinsics=shared)) for scan in _contents(path)[0])
        if views:
            found.append(FoundScan(name=path.name, views=views, pose=_own_file(path, (".pose.json",)) or pose))
    if not found:
        raise ScanError(f"{folder}: no scan in it; expected {' '.join(SCAN_SUFFIXES)}, or folders of these")
    stems: dict[str, str] = {}
    for scan in sorted(found, key=lambda scan: scan.name):
        other = stems.setdefault(scan.stem, scan.name)
        if other != scan.name:
            raise ScanError(f"{folder}: {other} and {scan.name} would both become {scan.stem}.ply; rename one of them")
    for stem, name in stems.items():
        other = _ALTERNATIVE.fullmatch(stem)
        if other and other[1] in stems:
            raise ScanError(f"{folder}: {name} has the name of another answer to {stems[other[1]]}; rename one of them")
    return sorted(found, key=lambda scan: scan.name)


def alternative_path(mesh_path: Path, number: int) -> Path:
    """Return the file of another answer beside a mesh: NAME.other1.ply for NAME.ply."""
    return mesh_path.with_name(f"{mesh_path.stem}.other{number}{mesh_path.suffix}")


def is_alternative(path: Path, mesh_path: Path) -> bool:
    """Return whether a file has the name and place of another answer beside a mesh."""
    found = _ALTERNATIVE.fullmatch(path.stem)
    return (
        found is not None
        and found[1] == mesh_path.stem
        and path.suffix == mesh_path.suffix
        and path.parent == mesh_path.parent
    )


def _holds_results(folder: Path) -> bool:
    try:
        with open(folder / SUMMARY, "rb") as file:
            return file.read(12) == b"scan,status,"
    except OSError:
        return False


def _contents(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the scans and the folders in a folder, sorted by name."""
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise ScanError(f"{folder}: {error.strerror}; expected a folder of scans; check the name") from None
    scans = [
        path
        for path in paths
        if path.suffix.lower() in SCAN_SUFFIXES and not path.name.endswith(MASK_SUFFIXES) and path.is_file()
    ]
    return scans, [path for path in paths if path.is_dir()]


def _with_own_files(scan: Path, given: ViewFiles) -> ViewFiles:
    return ViewFiles(
        scan=scan,
        intrinsics=_own_file(scan, (".intrinsics.json",)) or given.intrinsics,
        mask=_own_file(scan, MASK_SUFFIXES) or given.mask,
        camera_pose=_own_file(scan, (".camera_pose.json",)) or given.camera_pose,
    )


def _own_file(scan: Path, tails: tuple[str, ...]) -> Path | None:
    stem = scan.name if scan.is_dir() else _stem(scan)
    return next((path for tail in tails if (path := scan.with_name(stem + tail)).is_file()), None)


def _stem(scan: Path) -> str:
    return scan.name.removesuffix(scan.suffix)
