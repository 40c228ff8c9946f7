"""What all readers of scans share: limits, checks before a file is read, and the words of a refusal.

Files come from anywhere, so sizes are checked before contents are read, and nothing is unpickled. Every error is a
`ScanError` of one line that names the file, what was found, what was expected and what to do.

Files that list shapes: read whole, as text or JSON, if they are of bounded size.

What all stores share: which names files may have, and what is said when one cannot be read or written.
"""

import contextlib
import hashlib
import json
import os
import re
import uuid
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Num

from shapeprior.errors import DatasetError, OutputError, ScanError

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


MAX_BYTES = 256 << 20


def read_text(path: Path) -> str:
    """A file's text, without byte-order mark; raises DatasetError if it is missing, too large or not UTF-8."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DatasetError(f"{path}: {size >> 20} MiB; expected a list of at most {MAX_BYTES >> 20}; split it")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}; expected a readable list of meshes; check the name") from None
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8 at byte {error.start}; expected text; save the file as UTF-8") from None


def read_json(path: Path) -> object:
    """A file's JSON; raises DatasetError, with the line, if it is none."""
    try:
        return json.loads(read_text(path))
    # A RecursionError comes from brackets nested a thousand deep.
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise DatasetError(f"{path}: not JSON ({reason}); expected a list of meshes; mend the file") from None


NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
"""Plain names only: none leaves the store, is hidden (as files half written are), or means something to a URL or a shell."""


def check_name(name: str, *, where: str) -> str:
    """Refuse names that could leave the store; raises DatasetError."""
    if not NAME.fullmatch(name):
        raise DatasetError(f"{where}: name {name!r}; expected letters, digits, '.', '_', '-' between slashes")
    return name


def whole_range(place: str, start: int, stop: int, data: bytes) -> bytes:
    """The bytes of a range, if they are as many as were asked for; raises DatasetError."""
    if len(data) != stop - start:
        raise DatasetError(
            f"{place}: {len(data)} bytes from byte {start}; expected {stop - start}; the file is truncated, or its server "
            "does not answer ranges: run `shapeprior prepare` again, or copy the data set to this machine"
        )
    return data


def unreadable(place: str, error: Exception) -> DatasetError:
    """What to raise for a file that is missing or cannot be read."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return DatasetError(f"{place}: missing; expected a file of a data set; run `shapeprior prepare` again")
    return DatasetError(f"{place}: cannot be read ({one_line(error)}); expected a readable file; check name and access")


def unwritable(place: str, error: Exception) -> OutputError:
    """What to raise for a file that cannot be written or removed."""
    return OutputError(
        f"{place}: cannot be written ({one_line(error)}); expected a place that can be; check access or choose another"
    )


def one_line(error: Exception) -> str:
    """The text of an error of another library, on one line of bounded length."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200] or type(error).__name__


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: to a neighbour first, then renamed. Raises OutputError."""
    # The neighbour's name is short, so that any name that fits the file system can be written.
    neighbour = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(neighbour, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(neighbour, path)
    except OSError as error:
        raise OutputError(
            f"{path}: {error.strerror or error}; expected a place that can be written; choose another output"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            neighbour.unlink()


def source_sha256(path: Path) -> str:
    """Hash of a file's bytes; empty if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
