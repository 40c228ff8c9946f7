"""The pinhole camera: pixels to rays and back, where it stands, and the intrinsics files that are understood."""

import json
import os
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Bool, Float

from shapeprior.errors import ConfigError, ScanError
from shapeprior.frames import Similarity

MAX_JSON_BYTES = 16 * 2**20
"""Larger intrinsics or pose files are refused unread."""

_METRES_PER_MILLIMETRE = 1e-3


@dataclass(frozen=True, kw_only=True)
class PinholeCamera:
    """A camera without distortion. Pixel (u, v) has its centre at (u, v); ``u = fx x / z + cx``, ``v = fy y / z + cy``.

    Raises ConfigError for a value outside its range.
    """

    fx: float
    """Focal length along the rows, in pixels; positive."""
    fy: float
    """Focal length along the columns, in pixels; positive."""
    cx: float
    """Where the optical axis meets the image, from the centre of the leftmost pixel to the right, in pixels."""
    cy: float
    """Where the optical axis meets the image, from the centre of the topmost pixel down, in pixels."""
    width: int
    """Pixels in a row; at least 1."""
    height: int
    """Pixels in a column; at least 1."""

    def __post_init__(self) -> None:
        if not (np.isfinite([self.fx, self.fy]).all() and self.fx > 0 and self.fy > 0):
            raise ConfigError(f"focal lengths fx = {self.fx}, fy = {self.fy}; expected positive, finite pixels")
        if not np.isfinite([self.cx, self.cy]).all():
            raise ConfigError(f"principal point cx = {self.cx}, cy = {self.cy}; expected finite pixels")
        if self.width < 1 or self.height < 1:
            raise ConfigError(f"image size {self.width} x {self.height}; expected at least 1 x 1 pixel")

    def pixel_rays(self) -> Float[np.ndarray, "height width 3"]:
        """Directions through the pixel centres in the camera frame, with z = 1: depth times these are points."""
        x = (np.arange(self.width, dtype=np.float64) - self.cx) / self.fx
        y = (np.arange(self.height, dtype=np.float64) - self.cy) / self.fy
        rays = np.ones((self.height, self.width, 3))
        rays[:, :, 0], rays[:, :, 1] = x[None, :], y[:, None]
        return rays

    def project(self, points_camera: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 2"]:
        """Pixels (u, v) of points of the camera frame, outside the image too; NaN where z is not above 0."""
        z = points_camera[:, 2:]
        focal, center = np.array([self.fx, self.fy]), np.array([self.cx, self.cy])
        slopes = np.divide(points_camera[:, :2], z, out=np.full((len(z), 2), np.nan), where=z > 0)
        return focal * slopes + center

    def back_project(self, depth: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "points 3"]:
        """Points of the camera frame, in the depth's length unit, row by row, for each pixel with a measurement.

        Raises ConfigError if the depth image is not of this camera's size.
        """
        if depth.shape != (self.height, self.width):
            found, expected = f"{depth.shape[1]} x {depth.shape[0]}", f"{self.width} x {self.height}"
            raise ConfigError(f"the depth image has {found} pixels; expected the camera's {expected}")
        measured = has_measurement(depth)
        return self.pixel_rays()[measured] * depth[measured][:, None].astype(np.float64)


def has_measurement(depth: Float[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Where a depth image holds a distance in front of the camera; zero, negative, NaN and infinity are none."""
    return np.isfinite(depth) & (depth > 0)


def look_at(
    eye_world: Float[np.ndarray, "3"],
    target_world: Float[np.ndarray, "3"],
    up_world: Float[np.ndarray, "3"] | tuple[float, float, float] = (0.0, 1.0, 0.0),
) -> Similarity:
    """``T_world_camera`` of a camera at the eye that looks at the target, with the up direction upwards in its image.

    Looking straight along up, the world axis that is farthest from the line of sight takes the place of up.
    Raises ValueError if the eye is the target.
    """
    forward = target_world - eye_world
    length = float(np.linalg.norm(forward))
    if not (np.isfinite(length) and length > 0):
        raise ValueError(f"a camera at {eye_world.tolist()} cannot look at {target_world.tolist()}")
    forward = forward / length
    up = np.asarray(up_world, dtype=np.float64)
    right = np.cross(forward, up)
    if np.linalg.norm(right) <= 1e-9 * np.linalg.norm(up):
        right = np.cross(forward, np.eye(3)[np.argmin(np.abs(forward))])
    right = right / np.linalg.norm(right)
    down = np.cross(forward, right)
    return Similarity(scale=1.0, rotation=np.stack([right, down, forward], axis=1), offset=eye_world.astype(np.float64))


def camera_from_json(
    path: str | os.PathLike[str], *, size: tuple[int, int] | None = None
) -> tuple[PinholeCamera, float | None]:
    """Read intrinsics: our own keys, Open3D's, RealSense's or BOP's.

    - ours: ``fx fy cx cy [width height] [depth_scale]``
    - RealSense: ``fx fy ppx ppy [width height] [depth_scale]``; ``coeffs``, if given, must be zero
    - Open3D's PinholeCameraIntrinsic: ``width height intrinsic_matrix``, nine numbers, column by column
    - BOP's camera.json, or scene_camera.json with one image: ``cam_K``, nine numbers, row by row, ``[depth_scale]``

    Args:
        path: The JSON file.
        size: Width and height of the depth image in pixels, needed where the file states none.

    Returns:
        The camera, and the metres in one raw unit of its depth images, or None where the file does not say. (BOP's
        files state millimetres; they are converted. The other three state metres.)

    Raises:
        ScanError: the file is missing, is not such a file, or states another image size than `size`.
    """
    path = Path(path)
    entry = read_json_object(path)
    if entry and all(isinstance(value, dict) and "cam_K" in value for value in entry.values()):
        if len(entry) > 1:
            raise ScanError(
                f"{path}: found the cameras of {len(entry)} images; expected one: keep the entry of your image only"
            )
        entry = cast(dict[str, object], next(iter(entry.values())))
    try:
        fx, fy, cx, cy = _focal_and_center(path, entry)
        width, height = _image_size(path, entry, size)
        camera = PinholeCamera(fx=fx, fy=fy, cx=cx, cy=cy, width=width, height=height)
        depth_scale = _number(entry, "depth_scale") if "depth_scale" in entry else None
        if depth_scale is not None and not (np.isfinite(depth_scale) and depth_scale > 0):
            raise ConfigError(f"depth_scale {depth_scale}; expected a positive length per raw unit")
    except ConfigError as error:
        raise ScanError(f"{path}: {error}") from error
    if depth_scale is not None and "cam_K" in entry:
        depth_scale *= _METRES_PER_MILLIMETRE
    return camera, depth_scale


def read_json_object(path: Path) -> dict[str, object]:
    """The object in a small JSON file; raises ScanError if the file is missing, too large or holds anything else."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ScanError(f"{path}: found {path.stat().st_size} bytes; expected a small JSON file")
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ScanError(f"{path}: no such file; expected a JSON file") from error
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error).replace("\n", " ") or type(error).__name__
        raise ScanError(f"{path}: cannot be read as JSON ({reason}); expected a JSON object") from error
    if not isinstance(value, dict):
        raise ScanError(f"{path}: found a JSON {type(value).__name__}; expected a JSON object")
    return value


def _focal_and_center(path: Path, entry: Mapping[str, object]) -> tuple[float, float, float, float]:
    if {"fx", "fy", "cx", "cy"} <= entry.keys():
        return _number(entry, "fx"), _number(entry, "fy"), _number(entry, "cx"), _number(entry, "cy")
    if {"fx", "fy", "ppx", "ppy"} <= entry.keys():
        if np.any(_numbers(entry, "coeffs") if "coeffs" in entry else 0.0):
            raise ConfigError("coeffs states lens distortion; undistort the depth image, then set coeffs to zeros")
        return _number(entry, "fx"), _number(entry, "fy"), _number(entry, "ppx"), _number(entry, "ppy")
    for key, layout in (("intrinsic_matrix", "column by column"), ("cam_K", "row by row")):
        if key in entry:
            values = _numbers(entry, key)
            matrix = values.reshape(3, 3) if values.size == 9 else np.zeros((3, 3))
            matrix = matrix.T if key == "intrinsic_matrix" else matrix
            if matrix[0, 1] != 0 or matrix[1, 0] != 0 or not np.array_equal(matrix[2], [0, 0, 1]):
                raise ConfigError(
                    f"{key} holds {values[:9].tolist()}; expected fx 0 cx / 0 fy cy / 0 0 1 as nine numbers, {layout}"
                )
            return float(matrix[0, 0]), float(matrix[1, 1]), float(matrix[0, 2]), float(matrix[1, 2])
    found = ", ".join(reprlib.repr(key) for key in list(entry)[:12]) or "none"
    raise ScanError(
        f"{path}: found the keys {found}; expected fx fy cx cy (or RealSense's fx fy ppx ppy, "
        "Open3D's intrinsic_matrix, BOP's cam_K)"
    )


def _image_size(path: Path, entry: Mapping[str, object], size: tuple[int, int] | None) -> tuple[int, int]:
    if not {"width", "height"} <= entry.keys():
        if size is None:
            raise ScanError(f"{path}: states no image size; expected the keys width and height, in pixels")
        return size
    width, height = _number(entry, "width"), _number(entry, "height")
    if not (width.is_integer() and height.is_integer()):
        raise ConfigError(f"image size {width} x {height}; expected whole pixels")
    if size is not None and size != (width, height):
        raise ScanError(
            f"{path}: made for images of {width:.0f} x {height:.0f} pixels; the depth image is {size[0]} x {size[1]}: "
            "pass the intrinsics of this image"
        )
    return int(width), int(height)


def _number(entry: Mapping[str, object], key: str) -> float:
    value = entry[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300:
        raise ConfigError(f"{key} is {reprlib.repr(value)}; expected a number")
    return float(value)


def _numbers(entry: Mapping[str, object], key: str) -> Float[np.ndarray, "numbers"]:
    values = entry[key]
    if not isinstance(values, list):
        raise ConfigError(f"{key} is {reprlib.repr(values)}; expected a list of numbers")
    return np.array([_number({key: value}, key) for value in values], dtype=np.float64)
