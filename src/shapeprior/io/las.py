"""Point clouds of laser scanners: LAS and LAZ files, read by laspy after a check of their layout.

The decoder of LAZ asks for as much memory as a file states, and ends the process if there is not enough. So what a file
says of its own parts is compared with its size first. The layout is that of the LAS 1.4 specification of the ASPRS, and
of Isenburg 2013, "LASzip: lossless compression of LiDAR data".
"""

import struct
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float

from shapeprior.errors import ScanError, error_text
from shapeprior.io.files import SCAN_FILE, check_count, missing_package, refusal
from shapeprior.io.point_cloud import PointCloud

CHUNK_BYTES = 64 << 20
"""Bytes of records that are decoded at once; only their coordinates and normals stay in memory."""
MAX_POINTS_PER_BYTE = 64
"""Most points for one byte of a LAZ file. Scanners' points take a byte or more each; a small file that states millions
would keep the decoder busy."""
NORMALS = (("NormalX", "NormalY", "NormalZ"), ("normal_x", "normal_y", "normal_z"), ("nx", "ny", "nz"))
"""Names of the extra dimensions that hold normals: CloudCompare's, and other usual ones."""
MIN_HEADER_BYTES = 227
"""Length of the shortest header, that of LAS 1.0 to 1.2."""
VARIABLE_RECORD = struct.Struct("<2x16sHH32x")
"""Header of a variable length record: user, number, length of the content."""
LASZIP_RECORD = (b"laszip encoded", 22204)
"""User and number of the record that describes the compression."""
LAYERED = 3
"""Number of LASzip's compressor for point formats 6 to 10, in whose chunks each layer's size is stated."""
_LAYERS = {10: 9, 11: 1, 12: 2, 13: 1}
"""Number of layers by type of item: coordinates and all that formats 6 to 10 share; RGB; RGB and infrared; wave
packets."""
_EXTRA_BYTES_ITEM = 14
"""Type of item for extra bytes, each of which is a layer."""


def read_las(path: Path) -> PointCloud:
    """Read coordinates, in the file's frame and unit, and normals from extra dimensions; withheld points are left out.

    Raises ScanError for any other file, and ConfigError if laspy is not installed.
    """
    laspy = _import_laspy(path)
    size = SCAN_FILE.check_size(path)
    expected = "a LAS or LAZ file: it may be truncated, export it again"
    try:
        check_layout(path, size)
        # Not laspy's parallel decoder, which asks for as much memory as the file states for a chunk.
        with laspy.open(path, read_evlrs=False, laz_backend=laspy.LazBackend.Lazrs) as file:
            header = file.header
            check_count(path, header.point_count)
            record = header.point_format.size
            point_data = size - header.offset_to_point_data
            compressed = header.are_points_compressed
            max_points = MAX_POINTS_PER_BYTE * point_data if compressed else point_data // max(record, 1)
            if header.point_count > max_points:
                raise ValueError(f"{header.point_count} points of {record} bytes in {point_data} bytes")
            names = set(header.point_format.dimension_names)
            normals = next((keys for keys in NORMALS if set(keys) <= names), None)
            chunks = list(_read_chunks(file, header.point_count, max(1, CHUNK_BYTES // record), normals))
    except ScanError:
        raise
    except BaseException as error:  # Panics of the decompressor, which is written in Rust, are no Exceptions.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise refusal(path, f"no readable points ({error_text(error)})", expected) from error
    found = sum(len(points) for points, _ in chunks)
    table = np.concatenate([points[kept] for points, kept in chunks]) if chunks else np.zeros((0, 3))
    if found != header.point_count:
        raise refusal(path, f"{found} of the {header.point_count} points of its header", expected)
    return PointCloud.checked(
        path, np.ascontiguousarray(table[:, :3]), normals=table[:, 3:] if normals is not None else None
    )


def _read_chunks(
    file: Any, count: int, rows: int, normals: tuple[str, str, str] | None
) -> Iterator[tuple[Float[np.ndarray, "points columns"], np.ndarray]]:
    """Yield coordinates and normals of at most `rows` points at a time, and a mask of those that are not withheld."""
    remaining = count
    while remaining > 0:
        points = file.read_points(min(rows, remaining))
        if len(points) == 0:
            return
        remaining -= len(points)
        columns = [points.x, points.y, points.z, *(points[name] for name in normals or ())]
        table = np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)
        yield table, np.asarray(points["withheld"]) == 0


def _import_laspy(path: Path) -> ModuleType:
    try:
        import laspy

        import_module("lazrs")  # laspy reads LAZ with it, and would notice only later that it is missing.
    except ImportError as error:
        raise missing_package(path, "LAS and LAZ", "laspy", "las", error) from None
    return laspy


def check_layout(path: Path, size: int) -> None:
    """Raise ValueError if a LAS or LAZ file of this size states records, chunks or layers that it has no bytes for."""
    with path.open("rb") as file:
        start = _read_exactly(file, MIN_HEADER_BYTES)
        if start[:4] != b"LASF":
            raise ValueError("no LAS header")
        header_size, first, records, kind, point_bytes = struct.unpack_from("<HIIBH", start, 94)
        if not MIN_HEADER_BYTES <= header_size <= first <= size or point_bytes == 0:
            raise ValueError(f"a header of {header_size} bytes and points from byte {first} of {size}")
        file.seek(header_size)
        compression = b""
        for _ in range(records):
            user, number, length = VARIABLE_RECORD.unpack(_read_exactly(file, VARIABLE_RECORD.size))
            if file.tell() + length > first:
                raise ValueError(f"{records} variable records before byte {first}")
            content = file.read(length)
            if (user.rstrip(b"\0"), number) == LASZIP_RECORD:
                compression = content
        if kind & 0x80:
            _check_chunks(file, compression, first=first, point_bytes=point_bytes, size=size)


def _check_chunks(file: BinaryIO, laszip: bytes, *, first: int, point_bytes: int, size: int) -> None:
    """Check the chunks of a LAZ file against the content of its LASzip record; points begin at byte `first`."""
    if len(laszip) < 34:
        raise ValueError("no LASzip record")
    (compressor,), (count,) = struct.unpack_from("<H", laszip), struct.unpack_from("<H", laszip, 32)
    items = list(struct.iter_unpack("<HHH", laszip[34 : 34 + 6 * count]))
    if len(items) != count or sum(item[1] for item in items) != point_bytes:
        raise ValueError(f"{len(items)} of {count} packed items of other sizes than a point's {point_bytes} bytes")
    file.seek(first)
    (table,) = struct.unpack("<q", _read_exactly(file, 8))
    if table == -1:  # The file was written to a stream: the table's position stands at the end.
        file.seek(size - 8)
        (table,) = struct.unpack("<q", _read_exactly(file, 8))
    if not first + 8 <= table <= size - 8:
        raise ValueError(f"a table of chunks at byte {table} of {size}")
    file.seek(table + 4)
    (chunks,) = struct.unpack("<I", _read_exactly(file, 4))
    if chunks * point_bytes > table - first:
        raise ValueError(f"{chunks} chunks in {table - first} bytes")
    if compressor == LAYERED:
        layers = sum(width if kind == _EXTRA_BYTES_ITEM else _LAYERS.get(kind, 0) for kind, width, _ in items)
        position = first + 8
        for _ in range(chunks):
            # A chunk holds one point uncompressed, the number of points, the sizes of the layers, and the layers.
            file.seek(position + point_bytes + 4)
            sizes = struct.unpack(f"<{layers}I", _read_exactly(file, 4 * layers))
            position = file.tell() + sum(sizes)
            if position > table:
                raise ValueError(f"layers of a chunk up to byte {position}, beyond the chunks' end at {table}")


def _read_exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise ValueError("an end before the points")
    return data
