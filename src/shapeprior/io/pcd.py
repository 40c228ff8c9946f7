"""Point clouds of PCL: PCD files, version 0.7 and older, in all three encodings.

LZF, the compression inside PCD files: Marc Lehmann's LibLZF format, which has no library for Python without a compiler.
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

from shapeprior.io.files import check_count, check_file, reason, refusal
from shapeprior.io.point_cloud import PointCloud

HEADER_BYTES = 1 << 16
"""Longer headers are refused."""
MAX_UNPACKED_BYTES = 1 << 30
"""More is not decompressed."""
NORMALS = ("normal_x", "normal_y", "normal_z")
DEFAULT_VIEWPOINT = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
"""What PCL writes where nobody stated one."""
_TYPES = {("F", 4): "<f4", ("F", 8): "<f8"} | {
    (letter, size): f"<{letter.lower()}{size}" for letter in "IU" for size in (1, 2, 4, 8)
}


@dataclass(frozen=True, kw_only=True)
class PcdHeader:
    """What stands before the points."""

    columns: dict[str, int]
    """Column of each field's first number."""
    types: tuple[str, ...]
    """Of each column, as numpy writes it."""
    points: int
    viewpoint: tuple[float, ...]
    encoding: str
    size: int
    """Bytes of the header: the points begin there."""

    def offset(self, column: int) -> int:
        """Bytes of a point's columns before this one."""
        return sum(np.dtype(name).itemsize for name in self.types[:column])

    @property
    def point_bytes(self) -> int:
        """Of one point in the binary encodings."""
        return self.offset(len(self.types))


def read_pcd(path: Path) -> PointCloud:
    """Fields x y z, and normal_x normal_y normal_z; other fields are left out.

    Points with a NaN coordinate are PCL's way of saying that a pixel saw nothing, and are left out. VIEWPOINT's position is the
    sensor's, in the frame of the points, as PCL's normal estimation takes it; its orientation is not needed. PCL's default,
    0 0 0 1 0 0 0, states no position. Raises ScanError for anything else than such a file.
    """
    size = check_file(path)
    with path.open("rb") as file:
        header = _read_header(path, file)
        wanted = ["x", "y", "z", *(NORMALS if set(NORMALS) <= header.columns.keys() else ())]
        columns = [header.columns[name] for name in wanted]
        file.seek(header.size)
        read = {"ascii": _ascii, "binary": _binary, "binary_compressed": _compressed}[header.encoding]
        try:
            table = read(header, columns, file, size - header.size)
        except (ValueError, OverflowError, MemoryError) as error:
            expected = f"the {header.points} points of its header: the file may be truncated, export it again"
            raise refusal(path, f"no readable {header.encoding} PCD ({reason(error)})", expected) from error
    table = table[~np.isnan(table[:, :3]).any(axis=1)]
    sensor = None if header.viewpoint == DEFAULT_VIEWPOINT else np.array(header.viewpoint[:3])
    normals = table[:, 3:] if len(wanted) > 3 else None
    return PointCloud.checked(path, np.ascontiguousarray(table[:, :3]), normals=normals, sensor=sensor)


def _read_header(path: Path, file: BinaryIO) -> PcdHeader:
    lines: dict[str, list[str]] = {}
    start = file.read(HEADER_BYTES)
    stream = io.BytesIO(start)
    try:
        while "DATA" not in lines:
            line = stream.readline()
            if not line.endswith(b"\n"):
                raise ValueError("no line DATA")
            words = line.decode("ascii").split()
            if words and not words[0].startswith("#"):
                lines[words[0].upper()] = words[1:]
        return _parsed(path, lines, stream.tell())
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        text = f"no line {error}" if isinstance(error, KeyError) else reason(error)
        raise refusal(path, f"no PCD header ({text})", "fields x, y and z: export it again") from error


def _parsed(path: Path, lines: dict[str, list[str]], size: int) -> PcdHeader:
    names = lines["FIELDS"] if "FIELDS" in lines else lines["COLUMNS"]
    sizes = [_whole(word) for word in lines["SIZE"]]
    counts = [_whole(word) for word in lines["COUNT"]] if "COUNT" in lines else [1] * len(names)
    letters = lines["TYPE"]
    if not len(names) == len(sizes) == len(letters) == len(counts):
        raise ValueError(f"{len(names)} fields, {len(sizes)} sizes, {len(letters)} types, {len(counts)} counts")
    if sum(counts) > HEADER_BYTES:
        raise ValueError(f"{sum(counts)} numbers a point")
    unknown = [key for key in zip(letters, sizes, strict=True) if key not in _TYPES]
    if unknown:
        raise ValueError(f"a field of type {unknown[0][0][:20]} and {unknown[0][1]} bytes")
    firsts = [0, *itertools.accumulate(counts)]
    columns = {name: first for name, first, count in zip(names, firsts, counts, strict=False) if count == 1}
    if not {"x", "y", "z"} <= columns.keys():
        raise ValueError(f"the fields {' '.join(names)[:120]}")
    types = [
        _TYPES[key] for key, count in zip(zip(letters, sizes, strict=True), counts, strict=True) for _ in range(count)
    ]
    cells = _whole(lines["WIDTH"][0]) * _whole(lines["HEIGHT"][0] if "HEIGHT" in lines else "1")
    points = _whole(lines["POINTS"][0]) if "POINTS" in lines else cells
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


def _whole(word: str) -> int:
    if not word.isdecimal() or len(word) > 12:
        raise ValueError(f"{word[:20]!r}, not a whole number")
    return int(word)


def _ascii(header: PcdHeader, columns: list[int], file: BinaryIO, left: int) -> Float[np.ndarray, "points columns"]:
    if left < header.points * (2 * len(header.types) - 1):
        raise ValueError(f"{left} bytes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of an empty table; its length says so, too.
        lines = io.TextIOWrapper(file, encoding="ascii")
        try:
            table = np.loadtxt(lines, comments=None, usecols=columns, ndmin=2, max_rows=header.points + 1)
        finally:
            lines.detach()
    if len(table) != header.points:
        raise ValueError(f"{len(table)}{' or more' * (len(table) > header.points)} lines")
    return table.reshape(-1, len(columns))


def _binary(header: PcdHeader, columns: list[int], file: BinaryIO, left: int) -> Float[np.ndarray, "points columns"]:
    row = header.point_bytes
    if not header.points * row <= left < (header.points + 1) * row:
        raise ValueError(f"{left} bytes of {row} a point")
    dtype = np.dtype({
        "names": [str(column) for column in columns],
        "formats": [header.types[column] for column in columns],
        "offsets": [header.offset(column) for column in columns],
        "itemsize": row,
    })  # fmt: skip
    table = np.fromfile(file, dtype, header.points)
    return np.stack([table[name].astype(np.float64) for name in dtype.names or ()], axis=1)


def _compressed(
    header: PcdHeader, columns: list[int], file: BinaryIO, left: int
) -> Float[np.ndarray, "points columns"]:
    sizes = file.read(8)
    if len(sizes) < 8:
        raise ValueError("no sizes")
    packed, unpacked = struct.unpack("<II", sizes)
    if packed > left - 8 or unpacked != header.points * header.point_bytes:
        raise ValueError(f"{packed} of {left - 8} packed bytes that hold {unpacked}")
    if unpacked > min(MAX_UNPACKED_BYTES, GREATEST_GROWTH * packed):
        raise ValueError(f"{packed} packed bytes that hold {unpacked}")
    data = decompress(file.read(packed), unpacked)
    # Column after column, not point after point.
    table = []
    for column in columns:
        start = header.offset(column) * header.points
        table.append(np.frombuffer(data, header.types[column], header.points, start).astype(np.float64))
    return np.stack(table, axis=1)


GREATEST_GROWTH = 88
"""No three bytes stand for more than 264."""


def decompress(packed: bytes, size: int) -> bytes:
    """The `size` bytes that LZF packed; raises ValueError if these are none, before it holds more than that.

    A control byte below 32 announces so many bytes, and one, as they are; others stand for bytes that were there before:
    length in the upper three bits (7: and the next byte), less 2; distance in the lower five bits and the next byte, less
    1.
    """
    out, at, end = bytearray(), 0, len(packed)
    try:
        while at < end:
            control = packed[at]
            at += 1
            if control < 32:
                if at + control >= end:
                    raise ValueError("packed bytes end within a run")
                out += packed[at : at + control + 1]
                at += control + 1
            else:
                length = control >> 5
                if length == 7:
                    length += packed[at]
                    at += 1
                length += 2
                start = len(out) - ((control & 31) << 8) - packed[at] - 1
                at += 1
                if start < 0:
                    raise ValueError("packed bytes refer to what is not there")
                piece = out[start : start + length]
                if len(piece) < length:
                    # It runs into itself: the last bytes again and again.
                    piece = (piece * (length // len(piece) + 1))[:length]
                out += piece
            if len(out) > size:
                break
    except IndexError:
        raise ValueError("packed bytes end within a reference") from None
    if len(out) != size:
        raise ValueError(f"packed bytes hold {'more' if len(out) > size else len(out)} than the {size} stated")
    return bytes(out)
