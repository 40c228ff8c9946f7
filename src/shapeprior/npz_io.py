"""Arrays out of NPZ files that anyone may have written: nothing is unpickled, and sizes are checked before reading."""

import io
import math
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from shapeprior.errors import MeshError

MAX_FILE_BYTES = 1 << 30
MAX_ARRAY_BYTES = 64 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read_float_arrays(path: Path, names: Sequence[str]) -> dict[str, Float[np.ndarray, "..."]]:
    """The named arrays of real numbers of an NPZ file; others are left unread. Memory is bounded by MAX_ARRAY_BYTES each.

    Raises MeshError if the file is missing, damaged or too large, lacks an array or holds another type.
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise MeshError(f"{path}: {size >> 20} MiB; expected at most {MAX_FILE_BYTES >> 20}; keep fewer samples")
        # numpy warns of headers that Python 2 wrote; they are read all the same.
        with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(path) as archive:
            return {name: _read_member(archive, name, path) for name in names}
    except OSError as error:
        raise MeshError(f"{path}: {error.strerror or error}; expected a readable NPZ file; check the name") from None
    except MemoryError:
        raise MeshError(f"{path}: does not fit in memory; expected fewer samples; keep a part") from None
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
        raise MeshError(
            f"{path}: cannot be read ({reason}); expected arrays saved with numpy.savez; write it again"
        ) from None


def _read_member(archive: zipfile.ZipFile, name: str, path: Path) -> Float[np.ndarray, "..."]:
    try:
        member = archive.getinfo(f"{name}.npy")
    except KeyError:
        raise MeshError(f"{path}: no array '{name}'; expected a file as DeepSDF writes it; check the folder") from None
    # Asked for the stated size, inflating stops there, whatever the file holds; other methods promise nothing.
    if member.file_size > MAX_ARRAY_BYTES:
        raise MeshError(
            f"{path}: array '{name}' of {member.file_size >> 20} MiB; expected at most {MAX_ARRAY_BYTES >> 20}; "
            "keep fewer samples"
        )
    if member.compress_type not in _METHODS:
        raise MeshError(f"{path}: compression {member.compress_type}; expected deflated arrays; use numpy.savez")
    with archive.open(member) as packed:
        data = packed.read(member.file_size)
    file = io.BytesIO(data)
    shape, fortran, dtype = _read_header(file)
    if dtype.kind != "f" or dtype.itemsize > 8:
        raise MeshError(f"{path}: array '{name}' is {str(dtype)[:80]}; expected real numbers; write it again")
    size = len(data) - file.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size:
        raise MeshError(
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
