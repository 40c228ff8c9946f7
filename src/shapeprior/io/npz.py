"""Arrays out of NPZ files that anyone may have written: nothing is unpickled, and sizes are checked before reading."""

import io
import math
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Num

from shapeprior.errors import MeshError, ScanError, ShapePriorError

MAX_FILE_BYTES = 1 << 30
MAX_ARRAY_BYTES = 64 << 20
MAX_SCAN_ARRAY_BYTES = 512 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read_float_arrays(path: Path, names: Sequence[str]) -> dict[str, Float[np.ndarray, "..."]]:
    """The named arrays of real numbers of an NPZ file; others are left unread. Memory is bounded by MAX_ARRAY_BYTES each.

    Raises MeshError if the file is missing, damaged or too large, lacks an array or holds another type.
    """
    found = _read(path, names, _Rules(kinds="f", max_bytes=MAX_ARRAY_BYTES, error=MeshError))
    for name in names:
        if name not in found:
            raise MeshError(f"{path}: no array '{name}'; expected a file as DeepSDF writes it; check the folder")
    return found


def read_scan_arrays(path: Path, names: Sequence[str]) -> dict[str, Num[np.ndarray, "..."] | Bool[np.ndarray, "..."]]:
    """Those of the named arrays of numbers or truth values that an NPZ file has; others are left unread.

    Raises ScanError if the file is missing, damaged or too large, or one of them is of another type or larger than
    MAX_SCAN_ARRAY_BYTES.
    """
    return _read(path, names, _Rules(kinds="biuf", max_bytes=MAX_SCAN_ARRAY_BYTES, error=ScanError))


@dataclass(frozen=True, kw_only=True)
class _Rules:
    kinds: str
    """Of numpy's types, those that are read."""
    max_bytes: int
    error: type[ShapePriorError]


def _read(path: Path, names: Sequence[str], rules: _Rules) -> dict[str, np.ndarray]:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise rules.error(f"{path}: {size >> 20} MiB; expected at most {MAX_FILE_BYTES >> 20}; keep fewer rows")
        # numpy warns of headers that Python 2 wrote; they are read all the same.
        with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(path) as archive:
            there = set(archive.namelist())
            return {name: _read_member(archive, name, path, rules) for name in names if f"{name}.npy" in there}
    except OSError as error:
        raise rules.error(f"{path}: {error.strerror or error}; expected a readable NPZ file; check the name") from None
    except MemoryError:
        raise rules.error(f"{path}: does not fit in memory; expected fewer rows; keep a part") from None
    # Parsers of untrusted bytes raise whatever they stumble over; each of these is the file's fault.
    except (
        zipfile.BadZipFile,
        zlib.error,
        tokenize.TokenError,
        ValueError,
        EOFError,
        RuntimeError,
        SyntaxError,
        OverflowError,
    ) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise rules.error(
            f"{path}: cannot be read ({reason}); expected arrays saved with numpy.savez; write it again"
        ) from None


def _read_member(archive: zipfile.ZipFile, name: str, path: Path, rules: _Rules) -> np.ndarray:
    member = archive.getinfo(f"{name}.npy")
    # Asked for the stated size, inflating stops there, whatever the file holds; other methods promise nothing.
    if member.file_size > rules.max_bytes:
        raise rules.error(
            f"{path}: array '{name}' of {member.file_size >> 20} MiB; expected at most {rules.max_bytes >> 20}; "
            "keep fewer rows"
        )
    if member.compress_type not in _METHODS:
        raise rules.error(f"{path}: compression {member.compress_type}; expected deflated arrays; use numpy.savez")
    with archive.open(member) as packed:
        data = packed.read(member.file_size)
    file = io.BytesIO(data)
    shape, fortran, dtype = _read_header(file)
    if dtype.kind not in rules.kinds or dtype.itemsize > 8:
        raise rules.error(f"{path}: array '{name}' is {str(dtype)[:80]}; expected real numbers; write it again")
    size = len(data) - file.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size:
        raise rules.error(
            f"{path}: array '{name}' of {size} bytes; expected those of shape {str(shape)[:80]}; write it again"
        )
    return np.frombuffer(data, dtype, offset=file.tell()).reshape(shape, order="F" if fortran else "C")


def _read_header(file: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    try:
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(file)
        if version == (2, 0):
            return np.lib.format.read_array_header_2_0(file)
    except TypeError as error:
        # Keys of several types cannot be sorted, as numpy tries.
        raise ValueError(error) from None
    raise ValueError(f"NPY version {version}")
