"""Point clouds of laser scanners: LAS and LAZ, by laspy.

What a LAS or LAZ file says of its own parts, checked before a decoder believes it.

The decoder of LAZ makes room for whatever sizes a file states, and ends the process where there is none. The layout is that of
Isenburg 2013, "LASzip: lossless compression of LiDAR data", and of the LAS 1.4 specification of the ASPRS.
"""

import struct
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float

from shapeprior.errors import ConfigError, ScanError
from shapeprior.io.files import check_count, check_file, reason, refusal
from shapeprior.io.point_cloud import PointCloud

CHUNK_BYTES = 64 << 20
"""Of records, read at once; of these only coordinates and normals stay in memory."""
MAX_POINTS_PER_BYTE = 64
"""Of a LAZ file. Scanners' points take a byte or more each; a small file that states millions would keep the decoder busy."""
NORMALS = (("NormalX", "NormalY", "NormalZ"), ("normal_x", "normal_y", "normal_z"), ("nx", "ny", "nz"))
"""Extra dimensions that hold normals: CloudCompare's names, and usual ones."""


def read_las(path: Path) -> PointCloud:
    """Coordinates, scaled and offset as the header says, and normals from extra dimensions; withheld points are left out.

    Raises ScanError for anything else than such a file, ConfigError if laspy is not installed.
    """
    laspy = _laspy(path)
    size = check_file(path)
    expected = "a LAS or LAZ file: it may be truncated, export it again"
    try:
        check_layout(path, size)
        # Its parallel decoder makes room for as much as the file says that a chunk has.
        with laspy.open(path, read_evlrs=False, laz_backend=laspy.LazBackend.Lazrs) as file:
            header = file.header
            check_count(path, header.point_count)
            record = header.point_format.size
            space = size - header.offset_to_point_data
            most = MAX_POINTS_PER_BYTE * space if header.are_points_compressed else space // max(record, 1)
            if header.point_count > most:
                raise ValueError(f"{header.point_count} points of {record} bytes in {space} bytes")
            names = set(header.point_format.dimension_names)
            normals = next((keys for keys in NORMALS if set(keys) <= names), None)
            chunks = list(_chunks(file, header.point_count, max(1, CHUNK_BYTES // record), normals))
    except ScanError:
        raise
    except BaseException as error:  # The decompressor, written in Rust, raises panics that are no Exceptions.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise refusal(path, f"no readable points ({reason(error)})", expected) from error
    found = sum(len(points) for points, _ in chunks)
    table = np.concatenate([points[kept] for points, kept in chunks]) if chunks else np.zeros((0, 3))
    if found != header.point_count:
        raise refusal(path, f"{found} of the {header.point_count} points of its header", expected)
    return PointCloud.checked(
        path, np.ascontiguousarray(table[:, :3]), normals=table[:, 3:] if normals is not None else None
    )


def _chunks(
    file: Any, count: int, rows: int, normals: tuple[str, str, str] | None
) -> Iterator[tuple[Float[np.ndarray, "points columns"], np.ndarray]]:
    """Coordinates and normals of some points, and which are not withheld."""
    left = count
    while left > 0:
        points = file.read_points(min(rows, left))
        if len(points) == 0:
            return
        left -= len(points)
        columns = [points.x, points.y, points.z, *(points[name] for name in normals or ())]
        table = np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)
        yield table, np.asarray(points["withheld"]) == 0


def _laspy(path: Path) -> ModuleType:
    try:
        import laspy

        import_module("lazrs")  # What laspy reads LAZ with; it would say only later that there is none.
    except ImportError as error:
        raise ConfigError(
            f"{path}: LAS and LAZ need laspy ({reason(error)}); expected it to be installed: `pip install 'shapeprior[las]'`"
        ) from None
    return laspy


HEADER_BYTES = 227
"""The shortest header's, of LAS 1.0 to 1.2."""
RECORD_HEADER = struct.Struct("<2x16sHH32x")
"""Of a variable length record: user, number, length."""
LASZIP = (b"laszip encoded", 22204)
LAYERED = 3
"""LASzip's compressor for point formats 6 to 10: each chunk states the sizes of its layers."""
_LAYERS = {10: 9, 11: 1, 12: 2, 13: 1}
"""Layers by type of item: coordinates and all that formats 6 to 10 share, RGB, RGB and infrared, wave packets."""
_BYTES_ITEM = 14
"""Extra bytes; each is a layer."""


def check_layout(path: Path, size: int) -> None:
    """Raises ValueError if a LAS or LAZ file of this size states records, chunks or layers that it has no bytes for."""
    with path.open("rb") as file:
        start = _exactly(file, HEADER_BYTES)
        if start[:4] != b"LASF":
            raise ValueError("no LAS header")
        header_size, first, records, kind, point_bytes = struct.unpack_from("<HIIBH", start, 94)
        if not HEADER_BYTES <= header_size <= first <= size or point_bytes == 0:
            raise ValueError(f"a header of {header_size} bytes and points from byte {first} of {size}")
        file.seek(header_size)
        laszip = b""
        for _ in range(records):
            user, number, length = RECORD_HEADER.unpack(_exactly(file, RECORD_HEADER.size))
            if file.tell() + length > first:
                raise ValueError(f"{records} variable records before byte {first}")
            content = file.read(length)
            if (user.rstrip(b"\0"), number) == LASZIP:
                laszip = content
        if kind & 0x80:
            _check_chunks(file, laszip, first=first, point_bytes=point_bytes, size=size)


def _check_chunks(file: BinaryIO, laszip: bytes, *, first: int, point_bytes: int, size: int) -> None:
    if len(laszip) < 34:
        raise ValueError("no LASzip record")
    (compressor,), (count,) = struct.unpack_from("<H", laszip), struct.unpack_from("<H", laszip, 32)
    items = list(struct.iter_unpack("<HHH", laszip[34 : 34 + 6 * count]))
    if len(items) != count or sum(item[1] for item in items) != point_bytes:
        raise ValueError(f"{len(items)} of {count} packed items of other sizes than a point's {point_bytes} bytes")
    file.seek(first)
    (table,) = struct.unpack("<q", _exactly(file, 8))
    if table == -1:  # Written to a stream: the place of the table is at the end.
        file.seek(size - 8)
        (table,) = struct.unpack("<q", _exactly(file, 8))
    if not first + 8 <= table <= size - 8:
        raise ValueError(f"a table of chunks at byte {table} of {size}")
    file.seek(table + 4)
    (chunks,) = struct.unpack("<I", _exactly(file, 4))
    if chunks * point_bytes > table - first:
        raise ValueError(f"{chunks} chunks in {table - first} bytes")
    if compressor == LAYERED:
        layers = sum(width if kind == _BYTES_ITEM else _LAYERS.get(kind, 0) for kind, width, _ in items)
        at = first + 8
        for _ in range(chunks):
            # One point as it is, the number of points, the sizes of the layers, the layers.
            file.seek(at + point_bytes + 4)
            sizes = struct.unpack(f"<{layers}I", _exactly(file, 4 * layers))
            at = file.tell() + sum(sizes)
            if at > table:
                raise ValueError(f"layers of a chunk up to byte {at}, beyond the chunks' end at {table}")


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise ValueError("an end before the points")
    return data
