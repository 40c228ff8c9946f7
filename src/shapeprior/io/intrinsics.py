"""Camera intrinsics from JSON files, in the dialects of common tools.

Each dialect has its own keys, order of numbers and unit of depth; all of them become a `PinholeCamera` and a depth
scale in metres.
"""

import os
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Float

from shapeprior.errors import ConfigError, ScanError
from shapeprior.geometry.camera import LensDistortion, PinholeCamera
from shapeprior.io.files import FileSpec

METRES_PER_MILLIMETRE = 1e-3
MAX_DEPTH_SCALE = 0.02
"""Largest depth scale, in metres a raw unit. With a larger one, 16 bits would reach beyond a kilometre, so that the
number must mean something else."""
BROWN_CONRADY = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
"""Distortion coefficients in the order of OpenCV and ROS; files give the first four, the first five, or all eight."""
REALSENSE_MODELS = ("brown_conrady", "brown conrady")
"""Names of the Brown-Conrady model in librealsense's tools; its modified and inverse models are other functions."""
ROS_MODELS = ("plumb_bob", "rational_polynomial")
"""Names of the Brown-Conrady model in ROS."""
MAX_NUMBER = 1e300
"""Larger numbers are refused."""
_CAMERA_FILE = FileSpec(error=ScanError, expected="intrinsics as a JSON object", advice="export the camera again")


def camera_from_json(
    path: str | os.PathLike[str], *, size: tuple[int, int] | None = None, image: str | None = None
) -> tuple[PinholeCamera, float | None]:
    """Read intrinsics in this package's own dialect, or in that of RealSense, Open3D, BOP or ROS.

    - This package: ``fx fy cx cy [width height] [depth_scale] [k1 k2 p1 p2 k3 k4 k5 k6]``, with the distortion of
      `shapeprior.geometry.camera.LensDistortion`. The Azure Kinect SDK has the same names, and ``codx cody``, which
      must be zero.
    - RealSense: ``fx fy ppx ppy [width height] [depth_scale] [coeffs model]``. Coefficients that are not zero need the
      model Brown Conrady.
    - Open3D's PinholeCameraIntrinsic: ``width height intrinsic_matrix``, nine numbers, column by column.
    - BOP: ``cam_K [depth_scale]`` of a scene_camera.json, nine numbers, row by row; or a camera.json, which has this
      package's keys.
    - ROS's sensor_msgs/CameraInfo: ``K`` or ``k``, nine numbers, row by row, ``D`` or ``d`` with ``distortion_model``
      plumb_bob or rational_polynomial, and ``width height``. They describe the raw image, not a rectified one, neither
      binned nor cropped.

    Args:
        path: The JSON file.
        size: Width and height of the depth image in pixels, needed if the file states none.
        image: Name of the depth image without its suffix. A scene_camera.json has an entry for each image of a scene,
            named by the image's number: "000003" finds the entry "3".

    Returns:
        The camera, and the metres in one raw unit of its depth images, or None if the file does not say. BOP's files
        state millimetres, which are converted; the others state metres. A camera.json of BOP is recognised by a
        ``depth_scale`` above `MAX_DEPTH_SCALE`, such as 0.1 (YCB-V) or 1.

    Raises:
        ScanError: the file is missing, is in no such dialect, states another image size than `size`, or describes a
            lens that this package has no model for.
    """
    path = Path(path)
    entry = _entry_of_image(path, _CAMERA_FILE.read_json(path, dict), image)
    try:
        fx, fy, cx, cy = _focal_and_center(path, entry)
        width, height = _image_size(path, entry, size)
        camera = PinholeCamera(fx=fx, fy=fy, cx=cx, cy=cy, width=width, height=height, lens=_lens(entry))
        depth_scale = _number(entry, "depth_scale") if "depth_scale" in entry else None
        if depth_scale is not None and not (np.isfinite(depth_scale) and depth_scale > 0):
            raise ConfigError(f"depth_scale {depth_scale}; expected a positive length per raw unit")
    except ConfigError as error:
        raise ScanError(f"{path}: {error}") from error
    if depth_scale is not None and ("cam_K" in entry or ("cx" in entry and _is_millimetres(depth_scale))):
        depth_scale *= METRES_PER_MILLIMETRE
    return camera, depth_scale


def _is_millimetres(depth_scale: float) -> bool:
    """Return whether a depth scale can be in millimetres and cannot be in metres."""
    return MAX_DEPTH_SCALE < depth_scale <= MAX_DEPTH_SCALE / METRES_PER_MILLIMETRE


def _entry_of_image(path: Path, entry: dict[str, object], image: str | None) -> dict[str, object]:
    """Return the file's own object, or that of the image in a file for a whole scene."""
    if not entry or not all(isinstance(value, dict) and "cam_K" in value for value in entry.values()):
        return entry
    if len(entry) > 1:
        number = image.lstrip("0") or "0" if image else ""
        if number not in entry:
            raise ScanError(
                f"{path}: found the cameras of {len(entry)} images, none for an image named {image!r}; expected the "
                "depth image to be named by its number, such as 000003.png, or the entry of your image only"
            )
        return cast(dict[str, object], entry[number])
    return cast(dict[str, object], next(iter(entry.values())))


def _focal_and_center(path: Path, entry: Mapping[str, object]) -> tuple[float, float, float, float]:
    for keys in (("fx", "fy", "cx", "cy"), ("fx", "fy", "ppx", "ppy")):
        if set(keys) <= entry.keys():
            fx, fy, cx, cy = (_number(entry, key) for key in keys)
            return fx, fy, cx, cy
    for key in ("intrinsic_matrix", "cam_K", "K", "k"):
        if key in entry:
            layout = "column by column" if key == "intrinsic_matrix" else "row by row"
            values = _numbers(entry, key)
            matrix = values.reshape(3, 3) if values.size == 9 else np.zeros((3, 3))
            matrix = matrix.T if key == "intrinsic_matrix" else matrix
            return focal_and_center(
                matrix, found=f"{key} holds {values[:9].tolist()}", layout=f"nine numbers, {layout}"
            )
    found = ", ".join(reprlib.repr(key) for key in list(entry)[:12]) or "none"
    raise ScanError(
        f"{path}: found the keys {found}; expected fx fy cx cy (or RealSense's fx fy ppx ppy, "
        "Open3D's intrinsic_matrix, BOP's cam_K, ROS's K)"
    )


def focal_and_center(matrix: Float[np.ndarray, "3 3"], *, found: str, layout: str) -> tuple[float, float, float, float]:
    """Return fx, fy, cx and cy of a camera matrix.

    Raises ConfigError for a matrix that is none, or that has a skew; `found` and `layout` say what the file holds and
    should hold.
    """
    if matrix[0, 1] != 0 or matrix[1, 0] != 0 or not np.array_equal(matrix[2], [0, 0, 1]):
        raise ConfigError(f"{found}; expected fx 0 cx / 0 fy cy / 0 0 1 as {layout}")
    return float(matrix[0, 0]), float(matrix[1, 1]), float(matrix[0, 2]), float(matrix[1, 2])


def _lens(entry: Mapping[str, object]) -> LensDistortion:
    """Return the file's distortion; raises ConfigError unless it is zero or follows the Brown-Conrady model."""
    if {"K", "k"} & entry.keys():
        _check_whole_image(entry)
        return _ordered_coefficients(entry, "D" if "K" in entry else "d", "distortion_model", ROS_MODELS)
    if "ppx" in entry:
        return _ordered_coefficients(entry, "coeffs", "model", REALSENSE_MODELS)
    for key in ("codx", "cody"):
        if key in entry and _number(entry, key):
            raise ConfigError(f"{key} is {entry[key]}; expected a distortion around the principal point: {key} 0")
    return LensDistortion(**{key: _number(entry, key) for key in BROWN_CONRADY if key in entry})


def _ordered_coefficients(
    entry: Mapping[str, object], key: str, model_key: str, models: tuple[str, ...]
) -> LensDistortion:
    values = _numbers(entry, key) if key in entry else np.zeros(0)
    if not values.any():
        return LensDistortion()
    model = str(entry.get(model_key, "unstated")).lower().removeprefix("distortion.")
    if model not in models or len(values) not in (4, 5, 8):
        raise ConfigError(
            f"{key} states lens distortion: {len(values)} coefficients of model {reprlib.repr(model)}; expected 4, 5 "
            f"or 8 with {model_key} {' or '.join(models)}; or undistort the depth image, then set {key} to zeros"
        )
    return LensDistortion(**dict(zip(BROWN_CONRADY, values.tolist(), strict=False)))


def _check_whole_image(entry: Mapping[str, object]) -> None:
    """Raise ConfigError if a CameraInfo describes a binned or cropped image, which its matrix does not belong to."""
    roi = entry.get("roi")
    offset = [_number(roi, key) for key in ("x_offset", "y_offset") if key in roi] if isinstance(roi, Mapping) else []
    binning = [_number(entry, key) for key in ("binning_x", "binning_y") if key in entry]
    if any(offset) or any(value > 1 for value in binning):
        raise ConfigError(
            f"binning {binning}, region of interest at {offset}; expected a whole image at full resolution; write K of "
            "the image as it is, without binning and roi"
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
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > MAX_NUMBER:
        raise ConfigError(f"{key} is {reprlib.repr(value)}; expected a number")
    return float(value)


def _numbers(entry: Mapping[str, object], key: str) -> Float[np.ndarray, "numbers"]:
    values = entry[key]
    if not isinstance(values, list):
        raise ConfigError(f"{key} is {reprlib.repr(values)}; expected a list of numbers")
    return np.array([_number({key: value}, key) for value in values], dtype=np.float64)
