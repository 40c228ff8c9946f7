"""A list of meshes: a CSV or JSON file that names each file and what is known of it."""

import csv
import difflib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from shapeprior.datasets.mesh_source import MESH_LIST, MeshSource, UpAxis, parse_unit, shape_ids, without_suffix
from shapeprior.errors import ConfigError, DatasetError
from shapeprior.io.files import STORE_NAME

COLUMNS = ("path", "id", "category", "split", "up", "unit")
"""What a list may say of a mesh; only the path must be there, and an empty value says nothing."""


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One mesh as the list has it."""

    where: str
    """The list and the line, for messages."""
    values: dict[str, str]
    """Columns that are not empty."""


def read_mesh_list(path: Path, *, root: Path | None = None) -> list[MeshSource]:
    """The meshes of a CSV file with a header, or of a JSON list of objects (or ``{"meshes": [...]}``), sorted by path.

    Columns: `path`, and optionally `id`, `category`, `split` (train or test), `up` (x, y or z) and `unit` (m, cm, mm, in,
    ft or metres). Paths are relative to `root`, by default the list's own folder. A list is trusted by who gives it:
    its paths may be absolute or lead upwards; its ids, and those made of paths, cannot leave the data set. A file that
    is not there stays in the list, so that it is refused by name when it is read.

    Raises DatasetError, with the line, for an unknown column, a value that cannot be read, or a path or id named twice.
    """
    rows = _json_rows(path) if path.suffix.lower() == ".json" else _csv_rows(path)
    if not rows:
        raise DatasetError(f"{path}: no meshes; expected at least one row below the header; add the meshes' paths")
    rows = sorted(rows, key=lambda row: _name(row))
    base = path.parent if root is None else root
    _refuse_twice(rows, [os.path.normpath(base / row.values["path"]) for row in rows], "path")
    named = [row for row in rows if "id" in row.values]
    _refuse_twice(named, [row.values["id"].lower() for row in named], "id")
    made = iter(
        shape_ids(
            [_path_below(row) for row in rows if "id" not in row.values], taken=[row.values["id"] for row in named]
        )
    )
    return [_source(row, row.values.get("id") or next(made), base) for row in rows]


def _csv_rows(path: Path) -> list[_Row]:
    reader = csv.reader(io.StringIO(MESH_LIST.read_text(path), newline=""), strict=True)
    rows = []
    try:
        header = [column.strip().lower() for column in next(reader, [])]
        _check_columns(header, f"{path}, line 1")
        for values in reader:
            where = f"{path}, line {reader.line_num}"
            if not any(value.strip() for value in values):
                continue
            if len(values) != len(header):
                raise DatasetError(
                    f"{where}: {len(values)} values; expected {len(header)}, as in the header; quote values with commas"
                )
            rows.append(_row(dict(zip(header, values, strict=True)), where))
    except csv.Error as error:
        raise DatasetError(
            f"{path}, line {reader.line_num}: not CSV ({error}); expected values between commas; mend the line"
        ) from None
    return rows


def _json_rows(path: Path) -> list[_Row]:
    content = MESH_LIST.read_json(path, object)
    if isinstance(content, dict) and list(content) == ["meshes"]:
        content = content["meshes"]
    if not isinstance(content, list):
        raise DatasetError(
            f'{path}: {type(content).__name__} at the top; expected a list of objects, or {{"meshes": [...]}}; mend the file'
        )
    rows = []
    for index, entry in enumerate(content):
        where = f"{path}, entry {index + 1}"
        if not isinstance(entry, dict):
            raise DatasetError(f"{where}: {type(entry).__name__}; expected an object with a path; mend the entry")
        _check_columns(list(entry), where)
        for key, value in entry.items():
            if not isinstance(value, str | float | int | None) or isinstance(value, bool):
                raise DatasetError(f"{where}: {key} is a {type(value).__name__}; expected text; mend the entry")
        rows.append(_row({key: "" if value is None else str(value) for key, value in entry.items()}, where))
    return rows


def _check_columns(columns: list[str], where: str) -> None:
    for column in columns:
        if column not in COLUMNS:
            near = difflib.get_close_matches(column, COLUMNS, n=1)
            if set(column) & set(";\t|"):
                hint = "put commas between columns"
            else:
                hint = f"did you mean '{near[0]}'?" if near else "rename or drop it"
            raise DatasetError(f"{where}: unknown column {column[:80]!r}; expected {', '.join(COLUMNS)}; {hint}")
    if "path" not in columns:
        raise DatasetError(f"{where}: no column 'path'; expected {', '.join(COLUMNS)}; name each mesh's file")
    if len(set(columns)) < len(columns):
        raise DatasetError(f"{where}: a column appears twice; expected each of {', '.join(COLUMNS)} once; drop one")


def _row(values: dict[str, str], where: str) -> _Row:
    kept = {column: value.strip() for column, value in values.items() if value.strip()}
    if "path" not in kept:
        raise DatasetError(f"{where}: no path; expected the name of a mesh file; fill it in or drop the row")
    for column, value in kept.items():
        if not value.isprintable():
            raise DatasetError(f"{where}: {column} {value[:80]!r}; expected printable text on one line; mend it")
    shape_id = kept.get("id")
    if shape_id is not None and not STORE_NAME.fullmatch(shape_id):
        raise DatasetError(
            f"{where}: id {shape_id[:80]!r}; expected letters, digits, '.', '_', '-' between slashes; rename it"
        )
    return _Row(where=where, values=kept)


def _source(row: _Row, shape_id: str, base: Path) -> MeshSource:
    split, up = row.values.get("split"), row.values.get("up", "").lower() or None
    if split is not None and split not in ("train", "test"):
        raise DatasetError(f"{row.where}: split '{split[:80]}'; expected train or test; or leave it empty")
    if up is not None and up not in get_args(UpAxis):
        raise DatasetError(f"{row.where}: up '{up[:80]}'; expected x, y or z; or leave it empty")
    try:
        unit = parse_unit(row.values["unit"]) if "unit" in row.values else None
    except ConfigError as error:
        raise DatasetError(f"{row.where}: {error}") from None
    return MeshSource(
        shape_id=shape_id,
        path=base / row.values["path"],
        name=_name(row),
        category=row.values.get("category", ""),
        split=split,
        up=cast(UpAxis | None, up),
        unit=unit,
    )


def _name(row: _Row) -> str:
    return Path(row.values["path"]).as_posix()


def _path_below(row: _Row) -> str:
    """The path of a row without what leads out of the list's folder, to make an id of."""
    path = Path(row.values["path"])
    parts = [part for part in path.parts if part not in (path.anchor, "..")]
    return without_suffix("/".join(parts))


def _refuse_twice(rows: list[_Row], values: list[str], column: str) -> None:
    first: dict[str, _Row] = {}
    for row, value in zip(rows, values, strict=True):
        other = first.setdefault(value, row)
        if other is not row:
            raise DatasetError(
                f"{row.where}: {column} '{row.values[column]}' is also that of{other.where.rpartition(',')[2]}; "
                "expected each once; drop or rename one"
            )
