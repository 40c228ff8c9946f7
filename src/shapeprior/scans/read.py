"""Scans from files: one partial view, or several views of one object, become an `Observation`."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from shapeprior.errors import ConfigError, ScanError
from shapeprior.geometry.camera import PinholeCamera
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.depth_images import IMAGE_SUFFIXES, DepthImage, metric_depth, read_depth_image, read_mask
from shapeprior.io.files import SCAN_FILE, FilePath, read_array, refusal
from shapeprior.io.intrinsics import camera_from_json
from shapeprior.io.npz import read_scan_arrays
from shapeprior.io.point_cloud import PointCloud
from shapeprior.io.point_files import POINT_SUFFIXES, looks_like_points, read_cloud
from shapeprior.scans.observation import Observation, join_views

SCAN_SUFFIXES = (*POINT_SUFFIXES, ".npy", ".npz", *IMAGE_SUFFIXES)
"""Suffixes of files that may hold a scan."""


def read_scan(
    path: FilePath,
    *,
    intrinsics: FilePath | None = None,
    mask: FilePath | None = None,
    sensor: tuple[float, float, float] | None = None,
    depth_scale: float | None = None,
    background_is_free: bool = False,
    T_world_camera: Similarity | None = None,
) -> Observation:
    """Read one partial view; docs/formats.md lists the fields of each format.

    A depth image (PNG, TIFF, EXR, 2-D NPY, NPZ with depth) needs intrinsics, from a file or from the NPZ; its frame is
    the camera's, in metres. A point cloud (PLY, PCD, LAS, LAZ, XYZ, TXT, NPY of 3 or 6 columns, NPZ with points) keeps
    its own frame and unit, and brings the normals, the sensor's position and the confidences that its file states.

    Args:
        path: The scan.
        intrinsics: For a depth image: a file for `shapeprior.io.intrinsics.camera_from_json`.
        mask: For a depth image: a PNG, TIFF or NPY that is nonzero where a pixel shows the object.
        sensor: For a point cloud: where the sensor stood, in the frame of the points; it replaces what the file states.
            None keeps the file's position; without one, no space is known to be free.
        depth_scale: For a depth image: metres in one raw unit. None takes the intrinsics file's scale for integers, or
            else millimetres, and metres for floats.
        background_is_free: For a depth image: as for `Observation.from_depth`.
        T_world_camera: Pose of the camera, which moves the view to the world frame. A point cloud is taken to be in its
            camera's frame, with the sensor at the origin of that frame unless its position is stated.

    Raises:
        ScanError: a file is missing, damaged, too large, of another kind, or does not fit the others.
        ConfigError: the depth scale is not positive, or the format needs a library that is not installed.
    """
    path = Path(path)
    if holds_depth(path):
        if sensor is not None:
            raise refusal(path, "a depth image and a sensor position", "the camera as sensor: leave the position out")
        return _depth_view(
            path, None if intrinsics is None else Path(intrinsics), None if mask is None else Path(mask),
            depth_scale=depth_scale, background_is_free=background_is_free, T_world_camera=T_world_camera,
        )  # fmt: skip
    if not (intrinsics is mask is depth_scale is None):
        found = "a point cloud with intrinsics, mask or depth scale"
        raise refusal(path, found, "these with depth images only: leave them out")
    if sensor is not None and not np.isfinite(sensor).all():
        raise refusal(path, f"the sensor position {sensor}", "three finite coordinates")
    cloud = read_cloud(path)
    position = None if sensor is None else np.array(sensor, np.float64)
    if position is None and cloud.sensor is None and T_world_camera is not None:
        position = np.zeros(3)
    view = _cloud_view(cloud, position)
    return view if T_world_camera is None else view.transformed(T_world_camera)


def read_views(
    paths: Sequence[FilePath],
    *,
    intrinsics: FilePath | Sequence[FilePath | None] | None = None,
    masks: Sequence[FilePath | None] | None = None,
    T_world_cameras: Sequence[Similarity | None] | None = None,
    sensor: tuple[float, float, float] | None = None,
    depth_scale: float | None = None,
    background_is_free: bool = False,
) -> Observation:
    """Read several partial views of one object, as one observation in their common world frame.

    Args:
        paths: The scans, each as for `read_scan`.
        intrinsics: For depth images: one file for all, or one file a view; those of point clouds are not used.
        masks: For depth images: one file a view, or None for a view without a mask.
        T_world_cameras: Poses of the cameras: one a view, or None for a view that is already in the world frame. Each
            of several depth images needs one.
        sensor: As for `read_scan`, for every view that is a point cloud.
        depth_scale: As for `read_scan`, for every depth image.
        background_is_free: As for `read_scan`.

    Raises:
        ScanError: as `read_scan` and `join_views` do; also if one of several depth images comes without its camera's
            pose, or if an argument is of no use to any view.
        ConfigError: as `read_scan` does, and if the numbers of files differ.
    """
    count = len(paths)
    if intrinsics is None or isinstance(intrinsics, str | os.PathLike):
        intrinsics = [intrinsics] * count
    masks = [None] * count if masks is None else masks
    T_world_cameras = [None] * count if T_world_cameras is None else T_world_cameras
    for name, given in {"intrinsics": intrinsics, "masks": masks, "camera poses": T_world_cameras}.items():
        if len(given) != count:
            raise ConfigError(f"{len(given)} {name} for {count} views; expected one a view")
    images = [holds_depth(Path(path)) for path in paths]
    if count and not any(images) and not (depth_scale is None and set(intrinsics) | set(masks) == {None}):
        found = "a point cloud with intrinsics, mask or depth scale"
        raise refusal(Path(paths[0]), found, "these with depth images only: leave them out")
    if count and all(images) and sensor is not None:
        raise refusal(
            Path(paths[0]), "a depth image and a sensor position", "the camera as sensor: leave the position out"
        )
    views = []
    for path, image, camera_file, mask, pose in zip(paths, images, intrinsics, masks, T_world_cameras, strict=True):
        if image and pose is None and count > 1:
            found = f"a depth image, one of {count} views, without its camera's pose"
            raise refusal(Path(path), found, "where each camera stood in a common frame: pass the pose of each")
        views.append(
            read_scan(
                path, intrinsics=camera_file, mask=mask, depth_scale=depth_scale, background_is_free=background_is_free,
                T_world_camera=pose,
            ) if image else read_scan(path, sensor=sensor, T_world_camera=pose)
        )  # fmt: skip
    return join_views(views)


def holds_depth(path: Path) -> bool:
    """Return whether a scan is a depth image rather than points, by its suffix, or by the contents of an NPY or NPZ
    file.

    Raises ScanError for other suffixes, and as `read_scan` does for a file of numbers that cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES or suffix in POINT_SUFFIXES:
        return suffix in IMAGE_SUFFIXES
    if suffix == ".npy":
        return not looks_like_points(read_array(path))
    if suffix == ".npz":
        SCAN_FILE.check_size(path)
        return "depth" in read_scan_arrays(path, ("depth",))
    raise refusal(path, f"the suffix {suffix!r}", f"one of {' '.join(SCAN_SUFFIXES)}")


def _cloud_view(cloud: PointCloud, sensor: Float[np.ndarray, "3"] | None) -> Observation:
    """Make a view of a point cloud; a given sensor position replaces the file's.

    Many tools write normals of an arbitrary sign. A sensor sees a surface from outside, so if its position is known,
    normals that point away from it are turned round. If it is unknown, normals are taken to point outwards.
    """
    sensor_world, normals = cloud.sensor if sensor is None else sensor, cloud.normals
    if sensor_world is not None and normals is not None:
        points_away = np.einsum("ij,ij->i", normals, sensor_world - cloud.points) < 0.0
        normals = np.where(points_away[:, None], -normals, normals)
    return Observation.from_points(cloud.points, sensor_world, normals_world=normals, weights=cloud.weights)


def _depth_view(
    path: Path,
    intrinsics: Path | None,
    mask: Path | None,
    *,
    depth_scale: float | None,
    background_is_free: bool,
    T_world_camera: Similarity | None,
) -> Observation:
    image = read_depth_image(path)
    camera, file_scale = _camera(path, image, intrinsics)
    depth = metric_depth(path, image, depth_scale=depth_scale, file_scale=file_scale)
    visible = image.mask
    if mask is not None:
        visible = read_mask(mask)
        if visible.shape != depth.shape:
            found = f"a mask of {visible.shape[1]} x {visible.shape[0]} pixels"
            raise refusal(mask, found, f"{depth.shape[1]} x {depth.shape[0]}, the size of {path.name}")
    try:
        return Observation.from_depth(
            depth, camera, T_world_camera, mask=visible, background_is_free=background_is_free
        )
    except ScanError as error:
        raise ScanError(f"{path}: {error}") from error


def _camera(path: Path, image: DepthImage, intrinsics: Path | None) -> tuple[PinholeCamera, float | None]:
    height, width = image.raw.shape
    if intrinsics is not None:
        return camera_from_json(intrinsics, size=(width, height), image=path.stem)
    if image.camera is None:
        found = f"a depth image of {width} x {height} pixels without intrinsics"
        raise refusal(path, found, "the camera's focal lengths and centre: pass an intrinsics file")
    return image.camera, None
