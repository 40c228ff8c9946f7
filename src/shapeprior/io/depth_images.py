"""Depth images and masks from PNG, TIFF, EXR, NPY and NPZ files."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Num
from PIL import Image

from shapeprior.errors import ConfigError, ScanError, error_text
from shapeprior.geometry.camera import PinholeCamera, has_measurement
from shapeprior.io.exr import read_exr
from shapeprior.io.files import MAX_PIXELS, SCAN_FILE, FilePath, read_array, refusal
from shapeprior.io.intrinsics import MAX_DEPTH_SCALE, focal_and_center
from shapeprior.io.npz import read_scan_arrays

IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".exr")
"""Suffixes of files that can hold depth only; .npy and .npz hold depth or points."""
MASK_SUFFIXES = (".png", ".tif", ".tiff")
"""Suffixes of masks, besides .npy."""
DEFAULT_DEPTH_SCALE = 1e-3
"""Metres in one unit of an integer depth image if neither the caller nor a file states it: millimetres."""
NPZ_DEPTH_KEYS = ("depth", "K", "mask", "depth_scale")
"""Keys of a depth image in an NPZ file."""
_PILLOW_FORMATS = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF"}


@dataclass(frozen=True, kw_only=True, eq=False)
class DepthImage:
    """A depth image as its file states it."""

    raw: Num[np.ndarray, "height width"]
    """Stored values: integers in units of the depth scale, or floats in metres."""
    camera: PinholeCamera | None = None
    """Intrinsics, if the file has them."""
    mask: Bool[np.ndarray, "height width"] | None = None
    """True where a pixel shows the object, if the file has a mask."""
    depth_scale: float | None = None
    """Metres in one raw unit, if the file states it."""


def read_depth(path: FilePath, *, depth_scale: float | None = None) -> Float[np.ndarray, "height width"]:
    """Read a depth image in metres, 0 where there is no measurement (raw values 0, negative, NaN and infinite).

    Args:
        path: A PNG of 16-bit grey, a TIFF of 16- or 32-bit integers or of floats, an EXR, a 2-D NPY, or an NPZ with the
            key depth.
        depth_scale: Metres in one raw unit. None takes the NPZ's own, or else `DEFAULT_DEPTH_SCALE`, for integers, and
            metres for floats.

    Raises:
        ScanError: as `shapeprior.scans.read.read_scan` does, and if no pixel holds a measurement.
        ConfigError: the depth scale is not positive, or the format needs a library that is not installed.
    """
    path = Path(path)
    return metric_depth(path, read_depth_image(path), depth_scale=depth_scale)


def read_depth_image(path: FilePath) -> DepthImage:
    """Read a depth image as its file states it; raises as `read_depth` does."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _read_npz(path)
    if suffix == ".npy":
        return DepthImage(raw=_check_depth(path, read_array(path)))
    if suffix == ".exr":
        return DepthImage(raw=_check_depth(path, read_exr(path)))
    if suffix not in IMAGE_SUFFIXES:
        raise refusal(path, f"the suffix {suffix!r}", f"{', '.join(IMAGE_SUFFIXES)}, .npy or .npz for depth")
    mode, values = _read_image(path)
    if not mode.startswith("I") and mode != "F":
        expected = "16-bit grey: a picture or 8-bit preview of depth holds no distances, export the raw depth"
        raise refusal(path, f"a {_PILLOW_FORMATS[suffix]} of pixel type {mode!r}", expected)
    return DepthImage(raw=_check_depth(path, values))


def read_mask(path: FilePath) -> Bool[np.ndarray, "height width"]:
    """Read a mask, True where a PNG, TIFF or 2-D NPY is not zero; an alpha channel is ignored.

    Raises ScanError as `read_depth` does.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return _nonzero(path, read_array(path))
    if suffix not in MASK_SUFFIXES:
        raise refusal(path, f"the suffix {suffix!r}", f"{', '.join(MASK_SUFFIXES)} or .npy for a mask")
    mode, values = _read_image(path)
    if values.ndim == 2:
        return _nonzero(path, values)
    return np.any(values[:, :, : -1 if mode.endswith("A") else None] != 0, axis=2)


def metric_depth(
    path: Path, image: DepthImage, *, depth_scale: float | None = None, file_scale: float | None = None
) -> Float[np.ndarray, "height width"]:
    """Convert a depth image to metres, with 0 where there is no measurement.

    The scale of integers is the caller's `depth_scale`, or else the image's own, or else the `file_scale` of a file
    beside it, or else millimetres. Floats are metres unless the caller gives a scale.

    Raises as `read_depth` does, and ScanError if a file states a scale that cannot be metres a unit.
    """
    stated = image.depth_scale if image.depth_scale is not None else file_scale
    scale = depth_scale if depth_scale is not None else stated
    scale = DEFAULT_DEPTH_SCALE if scale is None else scale
    if not (np.isfinite(scale) and scale > 0):
        raise ConfigError(f"depth scale {scale}; expected positive metres per raw unit")
    is_integer = image.raw.dtype.kind != "f"
    if is_integer and depth_scale is None and scale > MAX_DEPTH_SCALE:
        found = f"a depth scale of {scale:g} metres a unit in the intrinsics or the archive"
        expected = (
            f"at most {MAX_DEPTH_SCALE}: 0.001 for millimetres (1 in BOP's camera.json, 1000 units a metre elsewhere)"
        )
        raise refusal(path, found, expected)
    with np.errstate(invalid="ignore"):  # NaN is no measurement.
        depth = np.array(image.raw, dtype=np.float64)
    measured = has_measurement(depth)
    if not measured.any():
        finite = np.isfinite(depth)
        num_lost, num_negative = int(np.count_nonzero(~finite)), int(np.count_nonzero(finite & (depth < 0)))
        kinds = f"{num_lost} are NaN or infinite, {num_negative} negative, {depth.size - num_lost - num_negative} zero"
        found = f"no depth in front of the camera in {depth.size} pixels ({kinds})"
        raise refusal(path, found, "positive distances along the optical axis: check the export")
    return np.where(measured, depth, 0.0) * (scale if is_integer or depth_scale is not None else 1.0)


def _check_depth(path: Path, values: np.ndarray) -> Num[np.ndarray, "height width"]:
    if values.ndim != 2 or values.dtype.kind == "b" or not 0 < values.size <= MAX_PIXELS:
        expected = f"height x width numbers for depth, {MAX_PIXELS} pixels at most, or N x 3 for points"
        raise refusal(path, f"a {values.dtype} array of shape {values.shape}", expected)
    return values


def _nonzero(path: Path, values: np.ndarray) -> Bool[np.ndarray, "height width"]:
    if values.ndim != 2:
        raise refusal(path, f"an array of shape {values.shape}", "height x width for a mask")
    return np.asarray((values != 0) & np.isfinite(values))


def _read_npz(path: Path) -> DepthImage:
    SCAN_FILE.check_size(path)
    arrays = read_scan_arrays(path, NPZ_DEPTH_KEYS)
    if "depth" not in arrays:
        raise refusal(path, "no array depth", "depth, height x width, with K, mask and depth_scale as there are")
    raw = _check_depth(path, arrays["depth"])
    mask = _nonzero(path, arrays["mask"]) if "mask" in arrays else None
    if mask is not None and mask.shape != raw.shape:
        raise refusal(path, f"a mask of shape {mask.shape}", f"that of the depth, {raw.shape}")
    scale = arrays.get("depth_scale")
    if scale is not None and (scale.size != 1 or not float(scale.reshape(())) > 0):
        raise refusal(path, f"a depth_scale of shape {scale.shape}, or not above 0", "one number: metres a raw unit")
    camera = None
    if "K" in arrays:
        matrix = arrays["K"].astype(np.float64)
        if matrix.shape != (3, 3):
            raise refusal(path, f"K of shape {matrix.shape}", "a camera matrix, 3 x 3")
        try:
            found = f"K holds {matrix.ravel().tolist()}"
            fx, fy, cx, cy = focal_and_center(matrix, found=found, layout="three rows")
            camera = PinholeCamera(fx=fx, fy=fy, cx=cx, cy=cy, width=raw.shape[1], height=raw.shape[0])
        except ConfigError as error:
            raise ScanError(f"{path}: {error}") from error
    return DepthImage(
        raw=raw, camera=camera, mask=mask, depth_scale=None if scale is None else float(scale.reshape(()))
    )


def _read_image(path: Path) -> tuple[str, np.ndarray]:
    """Return Pillow's name of the pixel type, and the pixels."""
    kind = _PILLOW_FORMATS[path.suffix.lower()]
    SCAN_FILE.check_size(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of damaged tags that are not needed.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=[kind]) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise Image.DecompressionBombError(f"{image.width} x {image.height}")
                return image.mode, np.asarray(image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise refusal(path, "too many pixels", f"{MAX_PIXELS} at most: crop the image") from error
    except Exception as error:  # Pillow raises many kinds for damaged files.
        raise refusal(path, f"no readable {kind} ({error_text(error)})", f"a {kind} image: export it again") from error
