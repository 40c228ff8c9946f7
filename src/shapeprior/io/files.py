"""Files that anyone may have written: limits, refusals, reading, JSON, plain names, atomic writing, hashes and rows.

The size of a file is checked before its contents are read, and nothing is ever unpickled. Every error is one line that
names the file, what was found, what was expected, and what to try next.
"""

import contextlib
import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
from jaxtyping import Bool, Num

from shapeprior.errors import ConfigError, DatasetError, OutputError, ScanError, ShapePriorError, error_text

FilePath = str | os.PathLike[str]
"""A path as `open` takes it."""
T = TypeVar("T")

MAX_SCAN_BYTES = 512 << 20
"""Largest file of a point cloud or a depth image, in bytes."""
MAX_SMALL_JSON_BYTES = 16 << 20
"""Largest JSON file that describes one thing, such as a camera, a pose or a run's settings, in bytes."""
MAX_LIST_BYTES = 256 << 20
"""Largest file that lists many things, such as meshes, training shapes or rows of results, in bytes."""
MAX_POINTS = 50_000_000
"""Largest point cloud, in points."""
MAX_PIXELS = 64_000_000
"""Largest image, in pixels; a larger one is not decoded."""
STORE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
"""Names of files in a store. None of them leaves the store, is hidden (as half-written files are), or means something
to a URL or a shell."""


@dataclass(frozen=True, kw_only=True)
class FileSpec:
    """A kind of file as its reader expects it, and the words of the error for a file that is something else."""

    error: type[ShapePriorError]
    """Class of the error."""
    expected: str
    """A phrase that names the expected file, such as "a triangle mesh"."""
    advice: str
    """What to try next if the file is missing or damaged, such as "export it again"."""
    max_bytes: int = MAX_SMALL_JSON_BYTES
    """Larger files are refused unread."""
    advice_if_large: str = "keep a part of it"
    """What to try next if the file is too large."""

    def refusal(self, place: Path | str, found: str) -> ShapePriorError:
        """Return the error of a file that is not what was expected."""
        return self.error(f"{place}: {found}; expected {self.expected}; {self.advice}")

    def check_size(self, path: Path) -> int:
        """Return the size of a file in bytes; raises the error if it is missing, a folder, empty or too large."""
        try:
            size = path.stat().st_size
        except (OSError, ValueError) as error:  # A path with a null byte is a ValueError.
            raise self.refusal(path, error_text(error)) from None
        if not path.is_file():
            raise self.refusal(path, "a folder" if path.is_dir() else "not a regular file")
        if size == 0:
            raise self.refusal(path, "an empty file")
        if size > self.max_bytes:
            raise self._size_refusal(path, size)
        return size

    def read_bytes(self, path: Path, *, allow_pipe: bool = False) -> bytes:
        """Return the contents of a file, or of a pipe if that is allowed.

        Raises the error as `check_size` does, or if the file cannot be read.
        """
        try:
            size = self.max_bytes if allow_pipe and path.is_fifo() else self.check_size(path)
            with path.open("rb") as file:
                # Python makes room for as many bytes as are asked for, so the file's size bounds the memory.
                data = file.read(size + 1)
        except OSError as error:
            raise self.refusal(path, error_text(error)) from None
        if len(data) > self.max_bytes:
            raise self._size_refusal(path, len(data))
        return data

    def read_text(self, path: Path) -> str:
        """Return the text of a UTF-8 file or pipe, without a byte-order mark; raises the error if it is not UTF-8."""
        return self._decode(self.read_bytes(path, allow_pipe=True), path)

    def read_json(self, path: Path, kind: type[T], *, strict: bool = False) -> T:
        """Return the value in a JSON file or pipe, which must be of this Python type; see `parse_json`."""
        return self.parse_json(self.read_bytes(path, allow_pipe=True), kind, path, strict=strict)

    def parse_json(self, data: bytes, kind: type[T], place: Path | str, *, strict: bool = False) -> T:
        """Return the value of a JSON text.

        Args:
            data: The text, in UTF-8.
            kind: The Python type that the value must have: dict for an object, or object for anything.
            place: The file's path or URL, for the error.
            strict: Refuse NaN and Infinity, which are not JSON, though Python reads them.

        Raises the error, which says where, for a text that is not JSON, or a value of another type.
        """
        text = self._decode(data, place)
        try:
            value = json.loads(text, parse_constant=_refuse_constant if strict else None)
        except RecursionError:  # Brackets nested a thousand deep.
            raise self.refusal(place, "not JSON (nested too deeply)") from None
        except ValueError as error:
            raise self.refusal(place, f"not JSON ({error_text(error)})") from None
        if not isinstance(value, kind):
            raise self.refusal(place, f"a JSON {type(value).__name__}")
        return value

    def _size_refusal(self, path: Path, size: int) -> ShapePriorError:
        limit = f"{self.max_bytes / 2**20:.0f} MiB at most"
        return self.error(
            f"{path}: {size / 2**20:.1f} MiB; expected {self.expected} of {limit}; {self.advice_if_large}"
        )

    def _decode(self, data: bytes, place: Path | str) -> str:
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise self.refusal(place, f"not UTF-8 at byte {error.start}") from None


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


SCAN_FILE = FileSpec(
    error=ScanError,
    expected="a scan",
    advice="check the path, or export the scan again",
    max_bytes=MAX_SCAN_BYTES,
    advice_if_large="thin or crop the scan first",
)
"""A point cloud, a depth image or a mask."""


def refusal(path: Path, found: str, expected: str) -> ScanError:
    """Return the error of a scan that cannot be used; `expected` ends with what to try next."""
    return ScanError(f"{path}: found {found}; expected {expected}")


def missing_package(path: Path, format_name: str, package: str, extra: str, error: ImportError) -> ConfigError:
    """Return the error of a format that needs a package which an optional extra of this one installs."""
    return ConfigError(
        f"{path}: {format_name} needs {package} ({error_text(error)}); expected it to be installed: "
        f"`pip install 'shapeprior[{extra}]'`"
    )


def check_count(path: Path, count: int) -> None:
    """Raise ScanError for too many points; called with the number that a header states, before they are read."""
    if count > MAX_POINTS:
        raise refusal(path, f"{count} points", f"{MAX_POINTS} at most: thin the cloud first")


def read_array(path: Path) -> Num[np.ndarray, "..."] | Bool[np.ndarray, "..."]:
    """Return a numeric NPY array, mapped into memory.

    Its header is checked against the file's length before anything is read. Raises ScanError for any other file.
    """
    SCAN_FILE.check_size(path)
    try:
        array = load_numpy(path, memory_map=True)
    except Exception as error:  # NumPy's parsers raise many kinds for damaged headers.
        expected = "numbers written by numpy.save, neither pickled objects nor a truncated file"
        raise refusal(path, f"no readable array ({error_text(error)})", expected) from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise refusal(path, "an archive of arrays (NPZ)", "one array: save it with numpy.save, or name it .npz")
    if array.dtype.kind not in "biuf":
        raise refusal(path, f"values of type {array.dtype}", "real numbers")
    return array.view(np.ndarray)


def load_numpy(path: FilePath, *, memory_map: bool = False) -> Any:
    """Return what `numpy.load` finds in an NPY or NPZ file, without unpickling anything.

    For files that this package wrote: the sizes that a header states are believed. Raises what NumPy raises.
    """
    # The only call of numpy.load: by default it refuses pickled objects, and a default can be overridden.
    return np.load(path, mmap_mode="r" if memory_map else None, allow_pickle=False)  # noqa: TID251


# Files of a store, which may be a folder or a place at a URL.


def check_name(name: str, *, where: str) -> str:
    """Return the name of a file in a store; raises DatasetError for one that could leave the store."""
    if not STORE_NAME.fullmatch(name):
        raise DatasetError(
            f"{where}: name {name!r}; expected letters, digits, '.', '_', '-' between slashes; rename the file"
        )
    return name


def whole_range(place: str, start: int, stop: int, data: bytes) -> bytes:
    """Return the bytes that were read from a range of a file; raises DatasetError if they are too few or too many."""
    if len(data) != stop - start:
        raise DatasetError(
            f"{place}: {len(data)} bytes from byte {start}; expected {stop - start}; the file is truncated, or its "
            "server does not answer ranges: run `shapeprior prepare` again, or copy the data set to this machine"
        )
    return data


def unreadable(place: str, error: Exception) -> DatasetError:
    """Return the error of a file that is missing or cannot be read."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return DatasetError(f"{place}: missing; expected a file of a data set; run `shapeprior prepare` again")
    return DatasetError(
        f"{place}: cannot be read ({error_text(error)}); expected a readable file; check name and access"
    )


def unwritable(place: str, error: Exception) -> OutputError:
    """Return the error of a file that cannot be written or removed."""
    return OutputError(
        f"{place}: cannot be written ({error_text(error)}); expected a writable place with room; check access and free "
        "space, or choose another place"
    )


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: to a temporary file beside it, which is then renamed. Raises OutputError."""
    # The temporary name is short, so that any name that fits the file system can be written.
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise unwritable(str(path), error) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal, or an empty text if the file cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


@dataclass(frozen=True, kw_only=True)
class ResultRow:
    """The file of one result, with everything that the result depends on. A later run reads it if none of this has
    changed.

    Evaluation and the completion of a folder keep a row for every job, so that a run that was ended goes on where it
    stopped. Data sets keep records of another kind (`shapeprior.datasets.manifest`): those survive a change of some of
    their settings, are corrected in place when a source moves, and may lie at a URL.
    """

    path: Path
    """The JSON file: an object of two entries, the dependencies and the result."""
    dependencies: object
    """Everything that the result depends on, or a digest of it, as a value that JSON can hold."""
    dependencies_name: str = "settings"
    """Key of the dependencies in the file."""
    result_name: str = "result"
    """Key of the result in the file."""

    def read(self) -> dict[str, Any] | None:
        """Return the result of an earlier run, or None.

        None stands for no file, a damaged file, and a result of other dependencies.

        The result may hold anything, since the file may have been edited: check the entries that you use.
        """
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            dependencies, result = found[self.dependencies_name], found[self.result_name]
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None
        # Compared as JSON has them: a tuple has become a list, and so on.
        same = dependencies == json.loads(json.dumps(self.dependencies))
        return result if same and isinstance(result, dict) else None

    def write(self, result: Mapping[str, object]) -> None:
        """Write the result with its dependencies, atomically. Raises OutputError."""
        document = {self.dependencies_name: self.dependencies, self.result_name: result}
        write_bytes(self.path, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())

    def discard(self, files: Iterable[Path] = ()) -> None:
        """Remove the row, then the files that belong to it; what cannot be removed stays.

        In this order, since files without a row are made again, but a row is believed.
        """
        for path in (self.path, *files):
            with contextlib.suppress(OSError):
                path.unlink()
