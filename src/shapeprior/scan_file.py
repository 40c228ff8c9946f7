"""What all readers of scans share: limits, checks before a file is read, and the words of a refusal.

Files come from anywhere, so sizes are checked before contents are read, and nothing is unpickled. Every error is a
`ScanError` of one line that names the file, what was found, what was expected and what to do.
"""

import json
import os
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Num

from shapeprior.errors import ScanError

FilePath = str | os.PathLike[str]
"""What `open` takes."""

MAX_FILE_BYTES = 512 * 2**20
"""Larger files are refused unread."""
MAX_JSON_BYTES = 16 * 2**20
"""Larger intrinsics or pose files are refused unread."""
MAX_POINTS = 50_000_000
"""Larger point clouds are refused."""
MAX_PIXELS = 64_000_000
"""Larger images are refused undecoded."""


def refusal(path: Path, found: str, expected: str) -> ScanError:
    """The error of a file that cannot be used."""
    return ScanError(f"{path}: found {found}; expected {expected}")


def reason(error: BaseException) -> str:
    """The error's text on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def check_file(path: Path) -> int:
    """Bytes of a file that may be read; raises ScanError if there is none, or if it is empty or too large."""
    try:
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        raise refusal(path, f"no such file ({reason(error)})", "a scan: check the path") from error
    if not path.is_file():
        raise refusal(path, "a folder", "a file")
    if size == 0:
        raise refusal(path, "an empty file", "a scan: export it again")
    if size > MAX_FILE_BYTES:
        raise refusal(path, f"{size} bytes", f"{MAX_FILE_BYTES} at most: thin or crop the scan first")
    return size


def check_count(path: Path, count: int) -> None:
    """Raises ScanError for a number of points that is too large; for what a header states, before they are read."""
    if count > MAX_POINTS:
        raise refusal(path, f"{count} points", f"{MAX_POINTS} at most: thin the cloud first")


def read_array(path: Path) -> Num[np.ndarray, "..."] | Bool[np.ndarray, "..."]:
    """A numeric NPY, mapped into memory: its header is checked against the file's length before anything is read."""
    check_file(path)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy's parsers raise many kinds for damaged headers.
        expected = "numbers written by numpy.save, neither pickled objects nor a truncated file"
        raise refusal(path, f"no readable array ({reason(error)})", expected) from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise refusal(path, "an archive of arrays (NPZ)", "one array: save it with numpy.save, or name it .npz")
    if array.dtype.kind not in "biuf":
        raise refusal(path, f"values of type {array.dtype}", "real numbers")
    return array.view(np.ndarray)


def read_json_object(path: Path) -> dict[str, object]:
    """The object in a small JSON file; raises ScanError if the file is missing, too large or holds anything else."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ScanError(f"{path}: found {path.stat().st_size} bytes; expected a small JSON file")
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ScanError(f"{path}: no such file; expected a JSON file") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ScanError(f"{path}: cannot be read as JSON ({reason(error)}); expected a JSON object") from error
    if not isinstance(value, dict):
        raise ScanError(f"{path}: found a JSON {type(value).__name__}; expected a JSON object")
    return value
