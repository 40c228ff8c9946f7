"""Point clouds from files: which reader takes which, and the readers of PLY, text and NumPy arrays."""

import re
import warnings
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Float, Num

from shapeprior.io.files import MAX_POINTS, FilePath, check_count, check_file, read_array, reason, refusal
from shapeprior.io.las import read_las
from shapeprior.io.npz import read_scan_arrays
from shapeprior.io.pcd import read_pcd
from shapeprior.io.point_cloud import PointCloud, unnamed_normals

TEXT_SUFFIXES = (".xyz", ".txt")
POINT_SUFFIXES = (".ply", ".pcd", ".las", ".laz", *TEXT_SUFFIXES)
"""Files that hold points whatever is in them; .npy and .npz hold points or depth."""
PLY_HEADER_BYTES = 65536
PLY_NORMALS = ("nx", "ny", "nz")
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+([eE][-+]?\d+)?")
NPZ_KEYS = ("points", "xyz", "normals", "sensor", "weights")
"""Keys of a point cloud in an NPZ file."""


def read_cloud(path: FilePath) -> PointCloud:
    """A point cloud with all that its file says of it: docs/formats.md has the formats and what is read of each.

    Raises ScanError as `shapeprior.scans.read.read_scan` does, also for NaN or infinite coordinates; ConfigError if the format needs a
    library that is not installed.
    """
    with np.errstate(all="ignore"):  # Numbers that are not finite, or too large, are found by checks.
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
        return _table(path, _read_text(path))
    if suffix == ".npz":
        return _read_npz(path)
    if suffix == ".npy":
        array = read_array(path)
        if not looks_like_points(array):
            raise refusal(path, f"a {array.dtype} array of shape {array.shape}", "N x 3 or N x 6 numbers for points")
        check_count(path, len(array))
        return _table(path, np.array(array, dtype=np.float64))
    raise refusal(path, f"the suffix {suffix!r}", f"{', '.join(POINT_SUFFIXES)}, .npy or .npz for points")


def looks_like_points(array: np.ndarray) -> bool:
    """Whether an array has the shape and type of points (3 columns) or of points with normals or colours (6)."""
    return array.ndim == 2 and array.shape[1] in (3, 6) and array.dtype.kind != "b"


def _table(path: Path, table: Float[np.ndarray, "points columns"]) -> PointCloud:
    """Columns without names."""
    normals = unnamed_normals(table[:, 3:]) if table.shape[1] == 6 and len(table) else None
    return PointCloud.checked(path, np.ascontiguousarray(table[:, :3]), normals=normals)


def _read_npz(path: Path) -> PointCloud:
    check_file(path)
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
    check_file(path)
    with path.open("rb") as file:
        header = file.read(PLY_HEADER_BYTES).split(b"end_header")[0]
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
            raise refusal(path, f"no readable PLY ({reason(error)})", expected) from error
    if points.shape != (stated, 3):
        raise refusal(path, f"{len(points)} points", expected)
    normals = None
    if set(PLY_NORMALS) <= columns.keys():
        normals = np.stack([columns[name] for name in PLY_NORMALS], axis=1)
    return PointCloud.checked(path, points, normals=normals, weights=columns.get("confidence"))


def _ply_columns(loaded: object, names: tuple[str, ...], count: int) -> dict[str, Float[np.ndarray, "points"]]:
    """Those of the named properties that each vertex has, as one number."""
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
    """Six columns where each line has so many numbers, else three."""
    check_file(path)
    try:
        try:
            return _columns(path, range(6))
        except ValueError:
            return _columns(path, range(3))
    except (OSError, ValueError) as error:
        expected = "three or more numbers a line, divided by spaces or commas: put # before other lines"
        raise refusal(path, f"no readable table ({reason(error)})", expected) from error


def _columns(path: Path, columns: range) -> Float[np.ndarray, "points columns"]:
    with path.open(encoding="utf-8") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of lines without data; a check says it better.
        lines = (_with_spaces(line) for line in file)
        table = np.loadtxt(
            lines, dtype=np.float64, comments="#", usecols=tuple(columns), ndmin=2, max_rows=MAX_POINTS + 1
        )
        return table.reshape(-1, len(columns))


def _with_spaces(line: str) -> str:
    """A line whose columns may be divided by commas; raises ValueError where commas stand for decimal points instead."""
    if "," not in line:
        return line
    words = line.split("#")[0].split()
    commas = [word for word in words if "," in word]
    if not commas:
        return line
    # One of two words with a comma may be two columns: "1,2 3". No column is before a comma that comes first.
    decimal = len(words) + len(commas) >= 4 and all(_DECIMAL_COMMA.fullmatch(word) for word in commas)
    if decimal or words[0].startswith(","):
        raise ValueError(f"decimal commas in the line {line.strip()[:60]!r}")
    return line.replace(",", " ")
