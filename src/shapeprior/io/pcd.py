"""Point clouds of PCL, the Point Cloud Library: PCD files of version 0.7 and older, in all three encodings.

The compressed encoding is LZF (Marc Lehmann's LibLZF), which the package python-neo-lzf unpacks. A PCD file states both
sizes of its packed points, and they are checked against the header and the file before memory is asked for.
"""

import io
import itertools
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float

from shapeprior.errors import error_text
from shapeprior.io.files import SCAN_FILE, check_count, missing_package, refusal
from shapeprior.io.point_cloud import PointCloud

MAX_HEADER_BYTES = 1 << 16
"""Longest header."""
MAX_UNPACKED_BYTES = 1 << 30
"""Most bytes that are unpacked."""
MAX_LZF_RATIO = 88
"""Most unpacked bytes for one packed byte: three bytes of LZF stand for 264 at most."""
NORMALS = ("normal_x", "normal_y", "normal_z")
DEFAULT_VIEWPOINT = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
"""The viewpoint that PCL writes where nobody stated one."""
_DTYPES = {("F", 4): "<f4", ("F", 8): "<f8"} | {
    (letter, size): f"<{letter.lower()}{size}" for letter in "IU" for size in (1, 2, 4, 8)
}


@dataclass(frozen=True, kw_only=True)
class PcdHeader:
    """The header of a PCD file."""

    columns: dict[str, int]
    """Column of each field that has one number a point, by name."""
    types: tuple[str, ...]
    """NumPy's name of each column's type."""
    points: int
    """Number of points."""
    viewpoint: tuple[float, ...]
    """Position of the sensor, and its orientation as a quaternion (w, x, y, z)."""
    encoding: str
    """One of ascii, binary and binary_compressed."""
    size: int
    """Bytes of the header, after which the points begin."""

    def offset(self, column: int) -> int:
        """Return the bytes of a point's columns before this one."""
        return sum(np.dtype(name).itemsize for name in self.types[:column])

    @property
    def point_bytes(self) -> int:
        """Bytes of one point in the binary encodings."""
        return self.offset(len(self.types))


def read_pcd(path: Path) -> PointCloud:
    """Read the fields x y z, and normal_x normal_y normal_z if they are there; other fields are left out.

    Points with a NaN coordinate are left out: PCL writes them for pixels that saw nothing. VIEWPOINT states the
    sensor's position, in the frame of the points, as PCL's normal estimation takes it; its orientation is not needed.
    PCL's default, 0 0 0 1 0 0 0, states no position.

    Raises ScanError for any other file, and ConfigError if the points are compressed and python-neo-lzf is not
    installed.
    """
    size = SCAN_FILE.check_size(path)
    with path.open("rb") as file:
        header = _read_header(path, file)
        names = ["x", "y", "z", *(NORMALS if set(NORMALS) <= header.columns.keys() else ())]
        columns = [header.columns[name] for name in names]
        file.seek(header.size)
        read = {"ascii": _read_ascii, "binary": _read_binary, "binary_compressed": _read_compressed}[header.encoding]
        try:
            table = read(header, columns, file, size - header.size)
        except ImportError as error:
            raise missing_package(path, "compressed PCD", "python-neo-lzf", "pcd", error) from None
        except (ValueError, OverflowError, MemoryError) as error:
            expected = f"the {header.points} points of its header: the file may be truncated, export it again"
            raise refusal(path, f"no readable {header.encoding} PCD ({error_text(error)})", expected) from error
    table = table[~np.isnan(table[:, :3]).any(axis=1)]
    sensor = None if header.viewpoint == DEFAULT_VIEWPOINT else np.array(header.viewpoint[:3])
    normals = table[:, 3:] if len(names) > 3 else None
    return PointCloud.checked(path, np.ascontiguousarray(table[:, :3]), normals=normals, sensor=sensor)


def _read_header(path: Path, file: BinaryIO) -> PcdHeader:
    lines: dict[str, list[str]] = {}
    start = file.read(MAX_HEADER_BYTES)
    stream = io.BytesIO(start)
    try:
        while "DATA" not in lines:
            line = stream.readline()
            if not line.endswith(b"\n"):
                raise ValueError("no line DATA")
            words = line.decode("ascii").split()
            if words and not words[0].startswith("#"):
                lines[words[0].upper()] = words[1:]
        return _parse_header(path, lines, stream.tell())
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        text = f"no line {error}" if isinstance(error, KeyError) else error_text(error)
        raise refusal(path, f"no PCD header ({text})", "fields x, y and z: export it again") from error


def _parse_header(path: Path, lines: dict[str, list[str]], size: int) -> PcdHeader:
    names = lines["FIELDS"] if "FIELDS" in lines else lines["COLUMNS"]
    sizes = [_whole_number(word) for word in lines["SIZE"]]
    counts = [_whole_number(word) for word in lines["COUNT"]] if "COUNT" in lines else [1] * len(names)
    letters = lines["TYPE"]
    if not len(names) == len(sizes) == len(letters) == len(counts):
        raise ValueError(f"{len(names)} fields, {len(sizes)} sizes, {len(letters)} types, {len(counts)} counts")
    if sum(counts) > MAX_HEADER_BYTES:
        raise ValueError(f"{sum(counts)} numbers a point")
    unknown = [key for key in zip(letters, sizes, strict=True) if key not in _DTYPES]
    if unknown:
        raise ValueError(f"a field of type {unknown[0][0][:20]} and {unknown[0][1]} bytes")
    firsts = [0, *itertools.accumulate(counts)]
    columns = {name: first for name, first, count in zip(names, firsts, counts, strict=False) if count == 1}
    if not {"x", "y", "z"} <= columns.keys():
        raise ValueError(f"the fields {' '.join(names)[:120]}")
    types = [
        _DTYPES[key] for key, count in zip(zip(letters, sizes, strict=True), counts, strict=True) for _ in range(count)
    ]
    cells = _whole_number(lines["WIDTH"][0]) * _whole_number(lines["HEIGHT"][0] if "HEIGHT" in lines else "1")
    points = _whole_number(lines["POINTS"][0]) if "POINTS" in lines else cells
    if points != cells:
        raise ValueError(f"{points} points in {cells} cells")
    check_count(path, points)
    viewpoint = tuple(float(word) for word in lines.get("VIEWPOINT", ())) or DEFAULT_VIEWPOINT
    if len(viewpoint) != 7:
        raise ValueError(f"a viewpoint of {len(viewpoint)} numbers, not 7")
    encoding = lines["DATA"][0].lower()
    if encoding not in ("ascii", "binary", "binary_compressed"):
        raise ValueError(f"data {encoding[:20]!r}")
    return PcdHeader(
        columns=columns, types=tuple(types), points=points, viewpoint=viewpoint, encoding=encoding, size=size
    )


def _whole_number(word: str) -> int:
    if not word.isdecimal() or len(word) > 12:
        raise ValueError(f"{word[:20]!r}, not a whole number")
    return int(word)


def _read_ascii(
    header: PcdHeader, columns: list[int], file: BinaryIO, remaining: int
) -> Float[np.ndarray, "points columns"]:
    if remaining < header.points * (2 * len(header.types) - 1):
        raise ValueError(f"{remaining} bytes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy warns of an empty table; the check below finds it.
        lines = io.TextIOWrapper(file, encoding="ascii")
        try:
            table = np.loadtxt(lines, comments=None, usecols=columns, ndmin=2, max_rows=header.points + 1)
        finally:
            lines.detach()
    if len(table) != header.points:
        raise ValueError(f"{len(table)}{' or more' * (len(table) > header.points)} lines")
    return table.reshape(-1, len(columns))


def _read_binary(
    header: PcdHeader, columns: list[int], file: BinaryIO, remaining: int
) -> Float[np.ndarray, "points columns"]:
    row = header.point_bytes
    if not header.points * row <= remaining < (header.points + 1) * row:
        raise ValueError(f"{remaining} bytes of {row} a point")
    dtype = np.dtype({
        "names": [str(column) for column in columns],
        "formats": [header.types[column] for column in columns],
        "offsets": [header.offset(column) for column in columns],
        "itemsize": row,
    })  # fmt: skip
    table = np.fromfile(file, dtype, header.points)
    return np.stack([table[name].astype(np.float64) for name in dtype.names or ()], axis=1)


def _read_compressed(
    header: PcdHeader, columns: list[int], file: BinaryIO, remaining: int
) -> Float[np.ndarray, "points columns"]:
    sizes = file.read(8)
    if len(sizes) < 8:
        raise ValueError("no sizes")
    packed, unpacked = struct.unpack("<II", sizes)
    if packed > remaining - 8 or unpacked != header.points * header.point_bytes:
        raise ValueError(f"{packed} of {remaining - 8} packed bytes that hold {unpacked}")
    if unpacked > min(MAX_UNPACKED_BYTES, MAX_LZF_RATIO * packed):
        raise ValueError(f"{packed} packed bytes that hold {unpacked}")
    data = unpack_lzf(file.read(packed), unpacked)
    # Column after column, not point after point.
    table = []
    for column in columns:
        start = header.offset(column) * header.points
        table.append(np.frombuffer(data, header.types[column], header.points, start).astype(np.float64))
    return np.stack(table, axis=1)


def unpack_lzf(packed: bytes, size: int) -> bytes:
    """Return the `size` bytes that LZF packed.

    Raises ValueError if the packed bytes are damaged or hold another number of bytes, and ImportError without
    python-neo-lzf.
    """
    import lzf

    # The library returns None for more bytes than it has room for, and fewer bytes without a complaint.
    data = lzf.decompress(packed, size)
    if data is None or len(data) != size:
        raise ValueError(f"packed bytes hold {'more' if data is None else len(data)} than the {size} stated")
    return data
