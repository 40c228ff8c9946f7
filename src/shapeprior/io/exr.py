"""Depth from OpenEXR files, as renderers write them."""

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Num

from shapeprior.errors import ScanError, error_text
from shapeprior.io.files import MAX_PIXELS, SCAN_FILE, missing_package, refusal

MAX_DECODED_BYTES = 2 << 30
"""Most bytes of all channels of a file together, since the library decodes all of them."""
DEPTH_NAMES = ("Z", "DEPTH", "V", "Y", "R")
"""Last part of a depth channel's name, the best first. Blender calls a layer's depth Depth.V or Depth.Z; Y is
luminance."""
MIN_BACKGROUND_DEPTH = {2: 65504.0, 4: 1e9}
"""Smallest value that means that a ray met nothing, by the bytes of a number: renderers write infinity, 1e10, or the
largest number of half precision."""


def read_exr(path: Path) -> Num[np.ndarray, "height width"]:
    """Read the depth channel, in the size of the display window.

    Depth is infinite where the ray met nothing, and 0 where the file has no pixel. The depth channel is the only
    channel, or else the first of `DEPTH_NAMES` that some part has; R counts only if G and B, where there are any, are
    the same picture.

    Raises ScanError for any other file, and ConfigError if OpenEXR is not installed.
    """
    openexr = _import_openexr(path)
    SCAN_FILE.check_size(path)
    try:
        with openexr.File(str(path), header_only=True, separate_channels=True) as file:
            # Closing the file empties the headers.
            number, name, corner, size = _choose_channel(path, [part.header for part in file.parts])
        with openexr.File(str(path), separate_channels=True, num_threads=0) as file:
            if len(file.parts) <= number or name not in file.parts[number].channels:
                raise ValueError("its pixels cannot be decoded")  # The library says why on the terminal only.
            channels: dict[str, Any] = file.parts[number].channels
            values = np.array(channels[name].pixels)
            others = [np.asarray(channels[key].pixels) for key in _green_and_blue(name) if key in channels]
    except ScanError:
        raise
    except Exception as error:  # The library raises what its C++ code throws.
        expected = "an OpenEXR image: it may be truncated, export it again"
        raise refusal(path, f"no readable EXR ({error_text(error)})", expected) from error
    if not all(other.shape == values.shape and np.array_equal(other, values, equal_nan=True) for other in others):
        raise refusal(path, "a picture of red, green and blue", "depth: a single channel, or one named Z")
    if values.dtype.kind == "f":
        values[values >= MIN_BACKGROUND_DEPTH[values.dtype.itemsize]] = np.inf
    return _in_display_window(values, corner, size)


def _choose_channel(path: Path, headers: list[dict[str, Any]]) -> tuple[int, str, tuple[int, int], tuple[int, int]]:
    """Find the depth channel from the headers of a file's parts.

    Returns the number of its part, its name, the display window's pixel (x, y) where the part begins, and the display
    window's width and height.
    """
    names = [(number, channel.name) for number, header in enumerate(headers) for channel in header["channels"]]
    total = 0
    for header in headers:
        width, height = _window_size(path, header["dataWindow"])
        total += width * height * 4 * len(header["channels"])
    if total > MAX_DECODED_BYTES:
        raise refusal(path, f"{total >> 20} MiB of channels", f"{MAX_DECODED_BYTES >> 20} at most: keep the depth only")
    best = names if len(names) == 1 else [key for last in DEPTH_NAMES for key in names if _last_part(key[1]) == last]
    if not best:
        found = "the channels " + (", ".join(repr(name[:40]) for _, name in names[:12]) or "none")
        raise refusal(path, found, "a single one, or one named Z: export the depth")
    number, name = best[0]
    header = headers[number]
    if "deep" in str(header["type"]):
        raise refusal(path, "deep pixels", "one depth a pixel: flatten the image")
    channel = next(channel for channel in header["channels"] if channel.name == name)
    if (channel.xSampling, channel.ySampling) != (1, 1):
        raise refusal(path, "a depth channel at lower resolution", "one number a pixel: export the depth at full size")
    size = _window_size(path, header["displayWindow"])
    x, y = (
        int(data) - int(display)
        for data, display in zip(header["dataWindow"][0], header["displayWindow"][0], strict=True)
    )
    return number, name, (x, y), size


def _window_size(path: Path, window: Any) -> tuple[int, int]:
    """Return width and height of a window, which is stated as its first and its last pixel."""
    width, height = (int(last) - int(first) + 1 for first, last in zip(*window, strict=True))
    if width < 1 or height < 1 or math.prod((width, height)) > MAX_PIXELS:
        raise refusal(path, f"a window of {width} x {height} pixels", f"1 to {MAX_PIXELS}: crop the image")
    return width, height


def _in_display_window(
    values: Num[np.ndarray, "rows columns"], corner: tuple[int, int], size: tuple[int, int]
) -> Num[np.ndarray, "height width"]:
    """Lay a file's pixels into the whole image, which the intrinsics belong to: renderers leave empty borders out."""
    (x, y), (width, height) = corner, size
    if (x, y) == (0, 0) and values.shape == (height, width):
        return values
    image = np.zeros((height, width), dtype=values.dtype)
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + values.shape[1], width), min(y + values.shape[0], height)
    if left < right and top < bottom:
        image[top:bottom, left:right] = values[top - y : bottom - y, left - x : right - x]
    return image


def _last_part(name: str) -> str:
    return name.rsplit(".", 1)[-1].upper()


def _green_and_blue(name: str) -> tuple[str, ...]:
    """Return the names of the green and blue channels that belong to a red one; none for a channel that is not red."""
    return (f"{name[:-1]}G", f"{name[:-1]}B") if name[-1:] == "R" else ()


def _import_openexr(path: Path) -> ModuleType:
    try:
        import OpenEXR
    except ImportError as error:
        raise missing_package(path, "EXR", "OpenEXR", "exr", error) from None
    return OpenEXR
