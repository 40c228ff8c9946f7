"""Point clouds of laser scanners: LAS and LAZ, by laspy."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float

from shapeprior.errors import ConfigError, ScanError
from shapeprior.las_layout import check_layout
from shapeprior.point_cloud import PointCloud
from shapeprior.scan_file import check_count, check_file, reason, refusal

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
