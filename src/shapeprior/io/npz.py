"""Arrays from NPZ files that anyone may have written: nothing is unpickled, and sizes are checked before reading."""

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

from shapeprior.errors import MeshError, ScanError, error_text
from shapeprior.io.files import FileSpec

MAX_NPZ_BYTES = 1 << 30
"""Largest NPZ file."""
MAX_SAMPLES_BYTES = 64 << 20
"""Largest array of a file of samples or parameters."""
MAX_SCAN_ARRAY_BYTES = 512 << 20
"""Largest array of a scan."""
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True, kw_only=True)
class _ArrayRules:
    """Which arrays of a file are read."""

    file: FileSpec
    dtype_kinds: str
    """Accepted kinds of NumPy's types, such as "f" for floats."""
    max_array_bytes: int


def _npz_file(error: type[MeshError] | type[ScanError]) -> FileSpec:
    return FileSpec(
        error=error,
        expected="arrays saved with numpy.savez",
        advice="check the name, or write the file again",
        max_bytes=MAX_NPZ_BYTES,
        advice_if_large="keep fewer rows",
    )


_SAMPLES = _ArrayRules(file=_npz_file(MeshError), dtype_kinds="f", max_array_bytes=MAX_SAMPLES_BYTES)
_SCAN = _ArrayRules(file=_npz_file(ScanError), dtype_kinds="biuf", max_array_bytes=MAX_SCAN_ARRAY_BYTES)


def read_float_arrays(path: Path, names: Sequence[str]) -> dict[str, Float[np.ndarray, "..."]]:
    """Read the named arrays of real numbers of an NPZ file, each of at most `MAX_SAMPLES_BYTES`; others are left
    unread.

    Raises MeshError if the file is missing, damaged or too large, lacks an array, or holds another type.
    """
    arrays = _read(path, names, _SAMPLES)
    for name in names:
        if name not in arrays:
            raise MeshError(f"{path}: no array '{name}'; expected a file as DeepSDF writes it; check the folder")
    return arrays


def read_scan_arrays(path: Path, names: Sequence[str]) -> dict[str, Num[np.ndarray, "..."] | Bool[np.ndarray, "..."]]:
    """Read those of the named arrays of numbers or truth values that an NPZ file has; others are left unread.

    Raises ScanError if the file is missing, damaged or too large, or if one of the arrays has another type or is larger
    than `MAX_SCAN_ARRAY_BYTES`.
    """
    return _read(path, names, _SCAN)


def _read(path: Path, names: Sequence[str], rules: _ArrayRules) -> dict[str, np.ndarray]:
    rules.file.check_size(path)
    try:
        # NumPy warns of headers that Python 2 wrote; they are read all the same.
        with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(path) as archive:
            members = set(archive.namelist())
            return {name: _read_member(archive, name, path, rules) for name in names if f"{name}.npy" in members}
    except MemoryError:
        raise rules.file.error(f"{path}: does not fit in memory; expected fewer rows; keep a part") from None
    # Parsers of untrusted bytes raise whatever they stumble over; each of these is the file's fault.
    except (
        zipfile.BadZipFile,
        zlib.error,
        tokenize.TokenError,
        OSError,
        ValueError,
        EOFError,
        RuntimeError,
        SyntaxError,
        OverflowError,
    ) as error:
        raise rules.file.refusal(path, f"cannot be read ({error_text(error)})") from None


def _read_member(archive: zipfile.ZipFile, name: str, path: Path, rules: _ArrayRules) -> np.ndarray:
    member = archive.getinfo(f"{name}.npy")
    fault = rules.file.error
    if member.file_size > rules.max_array_bytes:
        raise fault(
            f"{path}: array '{name}' of {member.file_size >> 20} MiB; expected at most {rules.max_array_bytes >> 20}; "
            "keep fewer rows"
        )
    # These methods stop at the stated size, whatever the file holds; others promise nothing.
    if member.compress_type not in _COMPRESSIONS:
        raise fault(f"{path}: compression {member.compress_type}; expected deflated arrays; use numpy.savez")
    with archive.open(member) as packed:
        data = packed.read(member.file_size)
    file = io.BytesIO(data)
    shape, fortran, dtype = _read_header(file)
    if dtype.kind not in rules.dtype_kinds or dtype.itemsize > 8:
        raise fault(f"{path}: array '{name}' is {str(dtype)[:80]}; expected real numbers; write it again")
    size = len(data) - file.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size:
        raise fault(
            f"{path}: array '{name}' of {size} bytes; expected those of shape {str(shape)[:80]}; write it again"
        )
    return np.frombuffer(data, dtype, offset=file.tell()).reshape(shape, order="F" if fortran else "C")


def _read_header(file: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return the shape, whether columns come first (Fortran's order), and the type of an NPY array."""
    version = np.lib.format.read_magic(file)
    try:
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(file)
        if version == (2, 0):
            return np.lib.format.read_array_header_2_0(file)
    except TypeError as error:
        # NumPy sorts the header's keys, which fails for keys of several types.
        raise ValueError(error) from None
    raise ValueError(f"NPY version {version}")
