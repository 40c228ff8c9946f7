"""Point clouds from files of every format, with the readers of PLY, text, NPY and NPZ files."""

import re
import warnings
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Float, Num

from shapeprior.errors import error_text
from shapeprior.io.files import MAX_POINTS, SCAN_FILE, FilePath, check_count, read_array, refusal
from shapeprior.io.las import read_las
from shapeprior.io.npz import read_scan_arrays
from shapeprior.io.pcd import read_pcd
from shapeprior.io.point_cloud import PointCloud, unnamed_normals

TEXT_SUFFIXES = (".xyz", ".txt")
"""Suffixes of tables of numbers."""
POINT_SUFFIXES = (".ply", ".pcd", ".las", ".laz", *TEXT_SUFFIXES)
"""Suffixes of files that can hold points only; .npy and .npz hold points or depth."""
MAX_PLY_HEADER_BYTES = 65536
"""The number of vertices must be stated within these first bytes."""
PLY_NORMALS = ("nx", "ny", "nz")
"""Properties that hold a vertex's normal in a PLY file."""
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+([eE][-+]?\d+)?")
NPZ_KEYS = ("points", "xyz", "normals", "sensor", "weights")
"""Keys of a point cloud in an NPZ file."""


def read_cloud(path: FilePath) -> PointCloud:
    """Read a point cloud with its normals, sensor positions and weights; docs/formats.md lists the fields of each
    format.

    Raises ScanError as `shapeprior.scans.read.read_scan` does, and for NaN or infinite coordinates. Raises ConfigError
    if the format needs a library that is not installed.
    """
    with np.errstate(all="ignore"):  # Checks find the numbers that are not finite.
        return _read(Path(path))


def _read(path: Path) -> PointCloud:
    suffix = path.suffix.lower()
    if suffix == ".ply":
        return _read_ply(path)
    if suffix == ".pcd":
        return read_pcd(path)
    if suffix in (".las", ".laz"):
        return read_las(path)
    if suffix in TEXT_SUFFIXES:
        return _cloud_from_table(path, _read_text(path))
    if suffix == ".npz":
        return _read_npz(path)
    if suffix == ".npy":
        array = read_array(path)
        if not looks_like_points(array):
            raise refusal(path, f"a {array.dtype} array of shape {array.shape}", "N x 3 or N x 6 numbers for points")
        check_count(path, len(array))
        return _cloud_from_table(path, np.array(array, dtype=np.float64))
    raise refusal(path, f"the suffix {suffix!r}", f"{', '.join(POINT_SUFFIXES)}, .npy or .npz for points")


def looks_like_points(array: np.ndarray) -> bool:
    """Return whether an array can hold points (3 columns), or points with normals or colours (6 columns)."""
    return array.ndim == 2 and array.shape[1] in (3, 6) and array.dtype.kind != "b"


def _cloud_from_table(path: Path, table: Float[np.ndarray, "points columns"]) -> PointCloud:
    """Make a cloud of a table without column names."""
    normals = unnamed_normals(table[:, 3:]) if table.shape[1] == 6 and len(table) else None
    return PointCloud.checked(path, np.ascontiguousarray(table[:, :3]), normals=normals)


def _read_npz(path: Path) -> PointCloud:
    SCAN_FILE.check_size(path)
    arrays = read_scan_arrays(path, NPZ_KEYS)
    if ("points" in arrays) == ("xyz" in arrays):
        found = "both points and xyz" if "xyz" in arrays else "neither points nor xyz"
        raise refusal(path, found, "one of these arrays, N x 3, with normals, sensor and weights as there are")
    points = arrays["points" if "points" in arrays else "xyz"]
    count = len(points) if points.ndim else 0
    shapes = {
        "points": [(count, 3)],
        "xyz": [(count, 3)],
        "normals": [(count, 3)],
        "sensor": [(3,), (count, 3)],
        "weights": [(count,), (count, 1)],
    }
    for name, array in arrays.items():
        if array.shape not in shapes[name] or array.dtype.kind == "b":
            expected = " or ".join(str(shape) for shape in shapes[name])
            raise refusal(path, f"{name} of type {array.dtype} and shape {array.shape}", f"numbers of shape {expected}")
    check_count(path, count)
    double: dict[str, np.ndarray] = {name: array.astype(np.float64) for name, array in arrays.items()}
    weights = double["weights"].reshape(-1) if "weights" in double else None
    return PointCloud.checked(
        path,
        double["points" if "points" in double else "xyz"],
        normals=double.get("normals"),
        sensor=double.get("sensor"),
        weights=weights,
    )


def _read_ply(path: Path) -> PointCloud:
    SCAN_FILE.check_size(path)
    with path.open("rb") as file:
        header = file.read(MAX_PLY_HEADER_BYTES).split(b"end_header")[0]
        count = re.search(rb"^\s*element\s+vertex\s+(\d{1,18})\s*$", header, re.MULTILINE)
        if not header.startswith(b"ply") or count is None:
            raise refusal(path, "no PLY header with vertices", "a PLY with x, y and z: export it again")
        stated = int(count[1])
        if stated > MAX_POINTS:
            raise refusal(path, f"a header of {stated} points", f"{MAX_POINTS} at most: thin the cloud first")
        expected = f"the {stated} points of its header: the file may be truncated, export it again"
        file.seek(0)
        try:
            loaded = trimesh.load(file, file_type="ply", process=False)
            points = np.array(getattr(loaded, "vertices", np.zeros((0, 3))), dtype=np.float64)
            columns = _ply_columns(loaded, (*PLY_NORMALS, "confidence"), len(points))
        except Exception as error:  # trimesh raises many kinds for damaged files.
            raise refusal(path, f"no readable PLY ({error_text(error)})", expected) from error
    if points.shape != (stated, 3):
        raise refusal(path, f"{len(points)} points", expected)
    normals = None
    if set(PLY_NORMALS) <= columns.keys():
        normals = np.stack([columns[name] for name in PLY_NORMALS], axis=1)
    return PointCloud.checked(path, points, normals=normals, weights=columns.get("confidence"))


def _ply_columns(loaded: object, names: tuple[str, ...], count: int) -> dict[str, Float[np.ndarray, "points"]]:
    """Return those of the named vertex properties that the file has."""
    raw = getattr(loaded, "metadata", {}).get("_ply_raw", {}).get("vertex", {})
    found = {}
    for name in names:
        if name in raw.get("properties", {}):
            values: Num[np.ndarray, ...] = np.asarray(raw["data"][name], dtype=np.float64).reshape(-1)
            if len(values) != count:
                raise ValueError(f"{len(values)} numbers {name} of {count} vertices")
            found[name] = values
    return found


def _read_text(path: Path) -> Float[np.ndarray, "points columns"]:
    """Read a table of six columns if each line has so many numbers, and of three if not."""
    SCAN_FILE.check_size(path)
    try:
        try:
            return _columns(path, range(6))
        except ValueError:
            return _columns(path, range(3))
    except (OSError, ValueError) as error:
        expected = "three or more numbers a line, divided by spaces or commas: put # before other lines"
        raise refusal(path, f"no readable table ({error_text(error)})", expected) from error


def _columns(path: Path, columns: range) -> Float[np.ndarray, "points columns"]:
    with path.open(encoding="utf-8") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy warns of a file without data; a check refuses it.
        lines = (_separate_by_spaces(line) for line in file)
        table = np.loadtxt(
            lines, dtype=np.float64, comments="#", usecols=tuple(columns), ndmin=2, max_rows=MAX_POINTS + 1
        )
        return table.reshape(-1, len(columns))


def _separate_by_spaces(line: str) -> str:
    """Replace commas between columns by spaces; raises ValueError if the commas are decimal points."""
    if "," not in line:
        return line
    words = line.split("#")[0].split()
    commas = [word for word in words if "," in word]
    if not commas:
        return line
    # Two words with one comma may be three columns, as in "1,2 3". No column stands before a comma that comes first.
    decimal = len(words) + len(commas) >= 4 and all(_DECIMAL_COMMA.fullmatch(word) for word in commas)
    if decimal or words[0].startswith(","):
        raise ValueError(f"decimal commas in the line {line.strip()[:60]!r}")
    return line.replace(",", " ")
