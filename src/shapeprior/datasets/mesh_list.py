"""Lists of meshes: CSV and JSON files that name each mesh file and state what is known about it."""

import csv
import difflib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from shapeprior.datasets.mesh_source import (
    MESH_LIST,
    MeshSource,
    Split,
    UpAxis,
    parse_unit,
    with_unique_ids,
    without_suffix,
)
from shapeprior.errors import ConfigError, DatasetError
from shapeprior.io.files import STORE_NAME

COLUMNS = ("path", "id", "category", "split", "up", "unit")
"""Columns that a list may have. Only the path is required, and an empty value counts as missing."""


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One mesh as the list states it."""

    where: str
    """The list and the line, for messages."""
    values: dict[str, str]
    """Values of the columns that are not empty."""

    @property
    def name(self) -> str:
        return Path(self.values["path"]).as_posix()


def read_mesh_list(path: Path, *, root: Path | None = None) -> list[MeshSource]:
    """Return the meshes that a CSV or JSON file lists, sorted by path.

    A CSV file has a header. A JSON file holds a list of objects, or ``{"meshes": [...]}``.

    Columns: `path`, and optionally `id`, `category`, `split` (train or test), `up` (x, y or z) and `unit` (m, cm, mm,
    in, ft or metres). Paths are relative to `root`, by default the list's own folder. The list itself is trusted: its
    paths may be absolute or lead upwards. Its ids, and those made of its paths, cannot leave the data set. A file that
    does not exist stays in the list, so that reading it reports it by name.

    Raises DatasetError, with the line, for an unknown column, a value that cannot be read, or a path or id named twice.
    """
    rows = _json_rows(path) if path.suffix.lower() == ".json" else _csv_rows(path)
    if not rows:
        raise DatasetError(f"{path}: no meshes; expected at least one row below the header; add the meshes' paths")
    rows = sorted(rows, key=lambda row: row.name)
    folder = path.parent if root is None else root
    _refuse_repeats(rows, [os.path.normpath(folder / row.values["path"]) for row in rows], "path")
    rows_with_id = [row for row in rows if "id" in row.values]
    _refuse_repeats(rows_with_id, [row.values["id"].lower() for row in rows_with_id], "id")
    sources = [_source(row, folder) for row in rows]
    # Ids that the list states stay as they are, so only the others may get a number.
    unnamed = with_unique_ids(
        [source for source, row in zip(sources, rows, strict=True) if "id" not in row.values],
        taken=[row.values["id"] for row in rows_with_id],
    )
    next_unnamed = iter(unnamed)
    return [source if "id" in row.values else next(next_unnamed) for source, row in zip(sources, rows, strict=True)]


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
                    f"{where}: {len(values)} values; expected {len(header)}, as in the header; "
                    "put quotes around values that contain commas"
                )
            rows.append(_row(dict(zip(header, values, strict=True)), where))
    except csv.Error as error:
        raise DatasetError(
            f"{path}, line {reader.line_num}: not CSV ({error}); expected values between commas; correct the line"
        ) from None
    return rows


def _json_rows(path: Path) -> list[_Row]:
    content = MESH_LIST.read_json(path, object)
    if isinstance(content, dict) and list(content) == ["meshes"]:
        content = content["meshes"]
    if not isinstance(content, list):
        raise DatasetError(
            f'{path}: {type(content).__name__} at the top; expected a list of objects, or {{"meshes": [...]}}; '
            "correct the file"
        )
    rows = []
    for index, entry in enumerate(content):
        where = f"{path}, entry {index + 1}"
        if not isinstance(entry, dict):
            raise DatasetError(f"{where}: {type(entry).__name__}; expected an object with a path; correct the entry")
        _check_columns(list(entry), where)
        for key, value in entry.items():
            if not isinstance(value, str | float | int | None) or isinstance(value, bool):
                raise DatasetError(f"{where}: {key} is a {type(value).__name__}; expected text; correct the entry")
        rows.append(_row({key: "" if value is None else str(value) for key, value in entry.items()}, where))
    return rows


def _check_columns(columns: list[str], where: str) -> None:
    for column in columns:
        if column not in COLUMNS:
            similar = difflib.get_close_matches(column, COLUMNS, n=1)
            if set(column) & set(";\t|"):
                hint = "put commas between columns"
            else:
                hint = f"did you mean '{similar[0]}'?" if similar else "rename or drop it"
            raise DatasetError(f"{where}: unknown column {column[:80]!r}; expected {', '.join(COLUMNS)}; {hint}")
    if "path" not in columns:
        raise DatasetError(
            f"{where}: no column 'path'; expected {', '.join(COLUMNS)}; add a column with the path of each mesh file"
        )
    if len(set(columns)) < len(columns):
        raise DatasetError(
            f"{where}: a column appears twice; expected each of {', '.join(COLUMNS)} at most once; drop one"
        )


def _row(values: dict[str, str], where: str) -> _Row:
    kept = {column: value.strip() for column, value in values.items() if value.strip()}
    if "path" not in kept:
        raise DatasetError(f"{where}: no path; expected the name of a mesh file; fill it in or drop the row")
    for column, value in kept.items():
        if not value.isprintable():
            raise DatasetError(f"{where}: {column} {value[:80]!r}; expected printable text on one line; correct it")
    shape_id = kept.get("id")
    if shape_id is not None and not STORE_NAME.fullmatch(shape_id):
        raise DatasetError(
            f"{where}: id {shape_id[:80]!r}; expected letters, digits, '.', '_', '-' between slashes; rename it"
        )
    return _Row(where=where, values=kept)


def _source(row: _Row, folder: Path) -> MeshSource:
    split, up = row.values.get("split"), row.values.get("up", "").lower() or None
    if split is not None and split not in get_args(Split):
        raise DatasetError(f"{row.where}: split '{split[:80]}'; expected train or test; or leave it empty")
    if up is not None and up not in get_args(UpAxis):
        raise DatasetError(f"{row.where}: up '{up[:80]}'; expected x, y or z; or leave it empty")
    try:
        unit = parse_unit(row.values["unit"]) if "unit" in row.values else None
    except ConfigError as error:
        raise DatasetError(f"{row.where}: {error}") from None
    return MeshSource(
        shape_id=row.values.get("id") or _id_from_path(row),
        path=folder / row.values["path"],
        name=row.name,
        category=row.values.get("category", ""),
        split=cast(Split | None, split),
        up=cast(UpAxis | None, up),
        unit=unit,
    )


def _id_from_path(row: _Row) -> str:
    """Return the row's path without suffix and without the parts that lead out of the list's folder."""
    path = Path(row.values["path"])
    parts = [part for part in path.parts if part not in (path.anchor, "..")]
    return without_suffix("/".join(parts))


def _refuse_repeats(rows: list[_Row], values: list[str], column: str) -> None:
    first_rows: dict[str, _Row] = {}
    for row, value in zip(rows, values, strict=True):
        first = first_rows.setdefault(value, row)
        if first is not row:
            raise DatasetError(
                f"{row.where}: {column} '{row.values[column]}' is also that of{first.where.rpartition(',')[2]}; "
                "expected each once; drop or rename one"
            )
