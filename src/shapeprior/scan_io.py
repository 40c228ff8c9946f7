"""Scans from files: point clouds, depth images, masks and poses.

Files come from anywhere, so sizes are checked before contents are read, and nothing is unpickled. Every error is a
`ScanError` of one line that names the file, what was found, what was expected and what to do.
"""

import os
import re
import warnings
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Bool, Float, Num
from PIL import Image

from shapeprior.camera import camera_from_json, has_measurement
from shapeprior.errors import ConfigError, ScanError
from shapeprior.observation import Observation

FilePath = str | os.PathLike[str]
"""What `open` takes."""

MAX_FILE_BYTES = 512 * 2**20
"""Larger files are refused unread."""
MAX_POINTS = 50_000_000
"""Larger point clouds are refused."""
MAX_PIXELS = 64_000_000
"""Larger images are refused undecoded."""
DEFAULT_DEPTH_SCALE = 1e-3
"""Metres in one unit of an integer depth image, where neither the caller nor the intrinsics state it: millimetres."""


def read_scan(
    path: FilePath,
    *,
    intrinsics: FilePath | None = None,
    mask: FilePath | None = None,
    sensor: tuple[float, float, float] | None = None,
    depth_scale: float | None = None,
    background_is_free: bool = False,
) -> Observation:
    """Read one partial view.

    A depth image (PNG, 2-D NPY) needs intrinsics; its world frame is the camera frame, in metres. A point cloud (PLY,
    XYZ, TXT, NPY of 3 or 6 columns) keeps its own frame and unit.

    Args:
        path: The scan.
        intrinsics: Of a depth image: a file for `shapeprior.camera.camera_from_json`.
        mask: Of a depth image: PNG or NPY, nonzero where a pixel shows the object.
        sensor: Of a point cloud: where the sensor stood, in the frame of the points. None: nothing is known to be free.
        depth_scale: Of an integer depth image: metres in one raw unit. None: the intrinsics file's, or millimetres.
        background_is_free: Of a depth image: as for `Observation.from_depth`.

    Raises:
        ScanError: a file is missing, damaged, too large, of another kind, or does not fit the others.
        ConfigError: the depth scale is not positive.
    """
    path = Path(path)
    intrinsics, mask = (None if name is None else Path(name) for name in (intrinsics, mask))
    array = _read_array(path) if path.suffix.lower() == ".npy" else None
    if path.suffix.lower() in (".ply", ".xyz", ".txt") or (array is not None and _looks_like_points(array)):
        if not (intrinsics is mask is depth_scale is None):
            found = "a point cloud with intrinsics, mask or depth scale"
            raise _refusal(path, found, "these with depth images only: leave them out")
        if sensor is not None and not np.isfinite(sensor).all():
            raise _refusal(path, f"the sensor position {sensor}", "three finite coordinates")
        return Observation.from_points(read_points(path), None if sensor is None else np.array(sensor, np.float64))
    if sensor is not None:
        raise _refusal(path, "a depth image and a sensor position", "the camera as sensor: leave the position out")
    raw = _raw_depth(path)
    height, width = raw.shape
    if intrinsics is None:
        found = f"a depth image of {width} x {height} pixels without intrinsics"
        raise _refusal(path, found, "the camera's focal lengths and centre: pass an intrinsics file")
    camera, file_scale = camera_from_json(intrinsics, size=(width, height))
    depth = _metric_depth(path, raw, depth_scale if depth_scale is not None else file_scale)
    visible = None if mask is None else _fitting_mask(mask, path, depth)
    try:
        return Observation.from_depth(depth, camera, mask=visible, background_is_free=background_is_free)
    except ScanError as error:
        raise ScanError(f"{path}: {error}") from error


def read_points(path: FilePath) -> Float[np.ndarray, "points 3"]:
    """Points of a PLY (a mesh's vertices count as points), of an NPY with 3 or 6 columns, or of an XYZ or TXT.

    Text has three or more columns, divided by spaces or commas; # starts a comment. Only the first three columns are
    used. Raises ScanError as `read_scan` does, also for NaN or infinite coordinates.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".ply":
        points = _ply_points(path)
    elif suffix in (".xyz", ".txt"):
        points = _text_points(path)
    elif suffix == ".npy":
        array = _read_array(path)
        if not _looks_like_points(array):
            raise _refusal(path, f"a {array.dtype} array of shape {array.shape}", "N x 3 or N x 6 numbers for points")
        points = np.array(array[:, :3], dtype=np.float64)
    else:
        raise _refusal(path, f"the suffix {suffix!r}", ".ply, .npy, .xyz or .txt for points")
    if len(points) == 0:
        raise _refusal(path, "0 points", "at least 1: check how the scan was exported")
    if len(points) > MAX_POINTS:
        raise _refusal(path, f"{len(points)} points", f"{MAX_POINTS} at most: thin the cloud first")
    bad = int(np.count_nonzero(~np.isfinite(points).all(axis=1)))
    if bad:
        found = f"{bad} of {len(points)} points with NaN or infinite coordinates"
        raise _refusal(path, found, "finite ones: remove those points")
    return points


def read_depth(path: FilePath, *, depth_scale: float | None = None) -> Float[np.ndarray, "height width"]:
    """Depth image in metres, 0 where there is no measurement (raw values 0, negative, NaN and infinite).

    Args:
        path: A 16-bit grey PNG, or a 2-D NPY.
        depth_scale: Metres in one raw unit of integer images; None is `DEFAULT_DEPTH_SCALE`. An NPY of floats holds
            metres already, and is not scaled.

    Raises:
        ScanError: as `read_scan` does, also if no pixel holds a measurement.
        ConfigError: the depth scale is not positive.
    """
    path = Path(path)
    return _metric_depth(path, _raw_depth(path), depth_scale)


def read_mask(path: FilePath) -> Bool[np.ndarray, "height width"]:
    """True where the PNG or 2-D NPY is not zero; an alpha channel is ignored. Raises ScanError as `read_scan` does."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        values = _read_array(path)
        if values.ndim != 2:
            raise _refusal(path, f"an array of shape {values.shape}", "height x width for a mask")
        return np.asarray((values != 0) & np.isfinite(values))
    if suffix != ".png":
        raise _refusal(path, f"the suffix {suffix!r}", ".png or .npy for a mask")
    mode, values = _read_png(path)
    if values.ndim == 2:
        return values != 0
    return np.any(values[:, :, : -1 if mode.endswith("A") else None] != 0, axis=2)


def _refusal(path: Path, found: str, expected: str) -> ScanError:
    return ScanError(f"{path}: found {found}; expected {expected}")


def _reason(error: Exception) -> str:
    """The error's text on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _check_file(path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise _refusal(path, f"no such file ({error.strerror})", "a scan: check the path") from error
    if not path.is_file():
        raise _refusal(path, "a folder", "a file")
    if size == 0:
        raise _refusal(path, "an empty file", "a scan: export it again")
    if size > MAX_FILE_BYTES:
        raise _refusal(path, f"{size} bytes", f"{MAX_FILE_BYTES} at most: thin or crop the scan first")


def _read_array(path: Path) -> Num[np.ndarray, "..."] | Bool[np.ndarray, "..."]:
    """A numeric NPY, mapped into memory: its header is checked against the file's length before anything is read."""
    _check_file(path)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy's parsers raise many kinds for damaged headers.
        expected = "numbers written by numpy.save, neither pickled objects nor a truncated file"
        raise _refusal(path, f"no readable array ({_reason(error)})", expected) from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise _refusal(path, "an archive of arrays (NPZ)", "one array: save it with numpy.save")
    if array.dtype.kind not in "biuf":
        raise _refusal(path, f"values of type {array.dtype}", "real numbers")
    return array.view(np.ndarray)


def _looks_like_points(array: np.ndarray) -> bool:
    return array.ndim == 2 and array.shape[1] in (3, 6) and array.dtype.kind != "b"


def _ply_points(path: Path) -> Float[np.ndarray, "points 3"]:
    _check_file(path)
    with path.open("rb") as file:
        header = file.read(65536)
        count = re.search(rb"^\s*element\s+vertex\s+(\d{1,18})\s*$", header, re.MULTILINE)
        if not header.startswith(b"ply") or count is None:
            raise _refusal(path, "no PLY header with vertices", "a PLY with x, y and z: export it again")
        stated = int(count[1])
        if stated > MAX_POINTS:
            raise _refusal(path, f"a header of {stated} points", f"{MAX_POINTS} at most: thin the cloud first")
        expected = f"the {stated} points of its header: the file may be truncated, export it again"
        file.seek(0)
        try:
            loaded = trimesh.load(file, file_type="ply", process=False)
            points = np.array(getattr(loaded, "vertices", np.zeros((0, 3))), dtype=np.float64)
        except Exception as error:  # trimesh raises many kinds for damaged files.
            raise _refusal(path, f"no readable PLY ({_reason(error)})", expected) from error
    if points.shape != (stated, 3):
        raise _refusal(path, f"{len(points)} points", expected)
    return points


def _text_points(path: Path) -> Float[np.ndarray, "points 3"]:
    _check_file(path)
    try:
        with path.open(encoding="utf-8") as file, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*input contained no data")  # read_points says it better.
            lines = (line.replace(",", " ") for line in file)
            return np.loadtxt(lines, dtype=np.float64, comments="#", usecols=(0, 1, 2), ndmin=2).reshape(-1, 3)
    except (OSError, ValueError) as error:
        expected = "three or more numbers a line, divided by spaces or commas: put # before other lines"
        raise _refusal(path, f"no readable table ({_reason(error)})", expected) from error


def _read_png(path: Path) -> tuple[str, np.ndarray]:
    """Pillow's name of the pixel type, and the pixels."""
    _check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=["PNG"]) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise Image.DecompressionBombError(f"{image.width} x {image.height}")
                return image.mode, np.asarray(image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise _refusal(path, "too many pixels", f"{MAX_PIXELS} at most: crop the image") from error
    except Exception as error:  # Pillow raises many kinds for damaged files.
        raise _refusal(path, f"no readable PNG ({_reason(error)})", "a PNG image: export it again") from error


def _fitting_mask(mask: Path, path: Path, depth: np.ndarray) -> Bool[np.ndarray, "height width"]:
    visible = read_mask(mask)
    if visible.shape != depth.shape:
        found = f"a mask of {visible.shape[1]} x {visible.shape[0]} pixels"
        raise _refusal(mask, found, f"{depth.shape[1]} x {depth.shape[0]}, the size of {path.name}")
    return visible


def _raw_depth(path: Path) -> Num[np.ndarray, "height width"]:
    suffix = path.suffix.lower()
    if suffix == ".png":
        mode, values = _read_png(path)
        if not mode.startswith("I"):
            expected = "16-bit grey: a picture or 8-bit preview of depth holds no distances, export the raw depth"
            raise _refusal(path, f"a PNG of pixel type {mode!r}", expected)
        return values
    if suffix != ".npy":
        raise _refusal(path, f"the suffix {suffix!r}", ".png or .npy for depth, .ply, .npy, .xyz or .txt for points")
    values = _read_array(path)
    if values.ndim != 2 or values.dtype.kind == "b" or not 0 < values.size <= MAX_PIXELS:
        expected = f"height x width numbers for depth, {MAX_PIXELS} pixels at most, or N x 3 for points"
        raise _refusal(path, f"a {values.dtype} array of shape {values.shape}", expected)
    return values


def _metric_depth(
    path: Path, raw: Num[np.ndarray, "height width"], depth_scale: float | None
) -> Float[np.ndarray, "height width"]:
    scale = DEFAULT_DEPTH_SCALE if depth_scale is None else depth_scale
    if not (np.isfinite(scale) and scale > 0):
        raise ConfigError(f"depth scale {scale}; expected positive metres per raw unit")
    depth = np.array(raw, dtype=np.float64)
    measured = has_measurement(depth)
    if not measured.any():
        finite = np.isfinite(depth)
        lost, behind = int(np.count_nonzero(~finite)), int(np.count_nonzero(finite & (depth < 0)))
        kinds = f"{lost} are NaN or infinite, {behind} negative, {depth.size - lost - behind} zero"
        found = f"no depth in front of the camera in {depth.size} pixels ({kinds})"
        raise _refusal(path, found, "positive distances along the optical axis: check the export")
    return np.where(measured, depth, 0.0) * (1.0 if raw.dtype.kind == "f" else scale)
