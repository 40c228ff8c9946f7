"""Records of prepared and refused shapes, and manifest.json, the list of them.

While shapes are prepared, each has a record in a file of its own. The manifest, with one row for each record, is
written last: a place without a manifest is an unfinished data set. docs/formats.md describes both files.
"""

import contextlib
import gc
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from shapeprior.datasets.mesh_source import Split, UpAxis
from shapeprior.errors import DatasetError
from shapeprior.io.files import STORE_NAME
from shapeprior.io.store import Store

FORMAT = "shapeprior-dataset"
VERSION = 2
MANIFEST = "manifest.json"
READ_THREADS = 16
"""Threads that read records at once. Over a network, nearly all of the time is spent waiting."""

RefusalKind = Literal["refused", "crashed", "timeout", "memory"]
_Row = TypeVar("_Row", "ShapeRecord", "RefusedShape")
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class ShapeRecord:
    """One prepared shape."""

    id: str
    """Name of the shape, unique in the data set; its files are named by it."""
    source: str
    """Path of the mesh file below its collection's folder."""
    source_sha256: str
    """SHA-256 of the source's bytes; a file that has changed is prepared again."""
    category: str
    """Category that the collection states; empty if it states none."""
    split: Split
    samples: int
    """Number of samples."""
    samples_sha256: str
    """SHA-256 of the samples' file."""
    mesh_sha256: str | None
    """SHA-256 of the mesh's file; None for samples that were made elsewhere, without a mesh."""
    T_unit_world: dict[str, object] | None
    """Similarity from the source's frame to the unit frame, as `Similarity.to_json` writes it; None if it is
    unknown."""
    unit: float | None
    """Metres in one unit of the source's frame; None if it is unknown."""
    up: UpAxis
    """The axis that points up in the source's frame."""
    confidence: float | None
    """Share of the surface on which the sign tests agree, 0 to 1; None for samples that were made elsewhere."""
    checks: dict[str, object]
    """Findings of cleaning and of the sign tests, by name."""


@dataclass(frozen=True, kw_only=True)
class RefusedShape:
    """One mesh file that did not become a shape, and the reason."""

    id: str
    """Name that the shape would have."""
    source: str
    """Path of the mesh file below its collection's folder."""
    source_sha256: str
    """SHA-256 of the source's bytes; empty if the file could not be read."""
    kind: RefusalKind
    """refused: a fault of the file, which is final until the file changes; crashed, timeout, memory: a later run
    tries again."""
    reason: str
    """What was found, what was expected, and what to do."""


def record_name(shape_id: str) -> str:
    """Return the name of a shape's record in the store."""
    return f"records/{shape_id}.json"


def write_record(store: Store, record: ShapeRecord | RefusedShape) -> None:
    """Write or replace the record of a shape, which is done after its samples and mesh. Raises OutputError."""
    kind = "shape" if isinstance(record, ShapeRecord) else "refused"
    text = json.dumps({kind: vars(record)}, indent=1, allow_nan=False)
    store.write(record_name(record.id), (text + "\n").encode())


def read_record(store: Store, shape_id: str) -> ShapeRecord | RefusedShape:
    """Return the record of a shape; raises DatasetError if it is missing, broken, or the record of another shape."""
    name = record_name(shape_id)
    place = store.describe(name)
    data = store.read(name)
    try:
        ((kind, row),) = json.loads(data).items()
        record = {"shape": _parse_shape, "refused": _parse_refusal}[kind](row)
        if record.id != shape_id:
            raise ValueError(f"it is the record of shape {record.id!r}")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DatasetError(f"{place}: not a record ({error}); run `shapeprior prepare` again") from None
    return record


def recorded_ids(store: Store) -> list[str]:
    """Return the ids of all records in the store, whether they can be read or not."""
    return [name.removeprefix("records/").removesuffix(".json") for name in store.names("records")]


def read_shape_records(store: Store) -> dict[str, ShapeRecord | RefusedShape]:
    """Return all records by id. A record that cannot be read is left out, so that its shape is prepared again."""
    with ThreadPoolExecutor(READ_THREADS) as pool:
        records = pool.map(lambda shape_id: _record_or_none(store, shape_id), recorded_ids(store))
        return {record.id: record for record in records if record is not None}


def _record_or_none(store: Store, shape_id: str) -> ShapeRecord | RefusedShape | None:
    try:
        return read_record(store, shape_id)
    except DatasetError:
        return None


def _parse_shape(value: object) -> ShapeRecord:
    """Return the record in parsed JSON; raises ValueError if a field is missing, unknown, or has a wrong value."""
    record = _check_row(ShapeRecord, value)
    _check_hash("source_sha256", record.source_sha256)
    _check_hash("samples_sha256", record.samples_sha256)
    if record.mesh_sha256 is not None:
        _check_hash("mesh_sha256", record.mesh_sha256)
    if record.samples < 0:
        raise ValueError(f"samples is {record.samples}; expected a count")
    if record.confidence is not None and not 0.0 <= record.confidence <= 1.0:
        raise ValueError(f"confidence is {record.confidence}; expected 0 to 1")
    if record.unit is not None and not (0.0 < record.unit < math.inf):
        raise ValueError(f"unit is {record.unit}; expected metres")
    return record


def _parse_refusal(value: object) -> RefusedShape:
    """Return the refusal in parsed JSON; raises ValueError if a field is missing, unknown, or has a wrong value."""
    record = _check_row(RefusedShape, value)
    if record.source_sha256:
        _check_hash("source_sha256", record.source_sha256)
    return record


def _check_row(cls: type[_Row], value: object) -> _Row:
    """Return a record of parsed JSON whose fields have the types that the dataclass declares."""
    if not isinstance(value, dict):
        raise ValueError(f"{type(value).__name__} in place of an object")
    types, choices = _field_types(cls)
    for name, allowed in types.items():
        if name not in value:
            raise ValueError(f"no {name}")
        found = value[name]
        if type(found) not in allowed or (name in choices and found not in choices[name]):
            raise ValueError(f"{name} is {str(found)[:80]!r}")
    if len(value) != len(types):
        unknown = next(name for name in value if name not in types)
        raise ValueError(f"unknown {unknown[:80]!r}")
    if not STORE_NAME.fullmatch(value["id"]):
        raise ValueError(f"id is {value['id'][:80]!r}; expected letters, digits, '.', '_', '-' between slashes")
    # Other programs may write a whole number without a fraction.
    as_floats = {
        name: float(value[name]) for name, allowed in types.items() if type(value[name]) is int and float in allowed
    }
    return cls(**{**value, **as_floats})


@cache
def _field_types(
    cls: type[ShapeRecord] | type[RefusedShape],
) -> tuple[dict[str, frozenset[type]], dict[str, tuple[str, ...]]]:
    """Return the types that each field may have, and for fields of a Literal type the values that they may have.

    The result is cached, since a manifest has tens of thousands of rows.
    """
    types, choices = {}, {}
    for name, hint in get_type_hints(cls).items():
        if get_origin(hint) is Literal:
            choices[name], hint = get_args(hint), str
        parts = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        allowed = {NoneType if part is None else get_origin(part) or part for part in parts}
        # bool is a subclass of int, but not a number here: types are compared exactly.
        types[name] = frozenset(allowed | {int} if float in allowed else allowed)
    return types, choices


def _check_hash(name: str, value: str) -> None:
    if not _SHA256.fullmatch(value):
        raise ValueError(f"{name} is {value[:80]!r}; expected 64 hexadecimal digits")


def write_manifest(
    store: Store,
    *,
    settings: Mapping[str, object],
    shapes: Sequence[ShapeRecord],
    refused: Sequence[RefusedShape],
) -> None:
    """Write or replace the manifest, JSON with one shape on each line. Raises OutputError.

    Only one process may write it at a time.
    """
    head = json.dumps({"format": FORMAT, "version": VERSION, "settings": settings}, indent=1, allow_nan=False)
    text = f'{head[:-2]},\n "shapes": [{_json_lines(shapes)}],\n "refused": [{_json_lines(refused)}]\n}}\n'
    store.write(MANIFEST, text.encode())


def read_manifest(store: Store) -> tuple[dict[str, Any], tuple[ShapeRecord, ...], tuple[RefusedShape, ...]]:
    """Return the settings, shapes and refusals of a data set.

    Raises DatasetError if its manifest is missing, broken, of another version, or names a shape twice.
    """
    root, path = store.describe(""), store.describe(MANIFEST)
    if not store.exists(MANIFEST):
        raise DatasetError(
            f"{root}: no {MANIFEST}; expected a finished data set; run `shapeprior prepare MESHES --out {root}`"
        )
    data = store.read(MANIFEST)
    try:
        with _garbage_collection_paused():
            settings, shapes, refused = _parse_manifest(path, data)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise DatasetError(f"{path}: not a manifest ({error}); prepare the data set again") from None
    ids = set()
    for shape in shapes:
        if shape.id in ids:
            raise DatasetError(f"{path}: two shapes with id {shape.id}; expected one; prepare the data set again")
        ids.add(shape.id)
    return settings, shapes, refused


def _parse_manifest(path: str, data: bytes) -> tuple[dict[str, Any], tuple[ShapeRecord, ...], tuple[RefusedShape, ...]]:
    manifest = json.loads(data)
    found = (manifest["format"], manifest["version"])
    if found != (FORMAT, VERSION):
        raise DatasetError(f"{path}: format {found}; expected {(FORMAT, VERSION)}; prepare the data set again")
    shapes = tuple(map(_parse_shape, manifest["shapes"]))
    return dict(manifest["settings"]), shapes, tuple(map(_parse_refusal, manifest["refused"]))


@contextlib.contextmanager
def _garbage_collection_paused() -> Iterator[None]:
    """Pause garbage collection: it would take longer than reading a large manifest, and would find nothing to free."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _json_lines(records: Iterable[ShapeRecord | RefusedShape]) -> str:
    """Return JSON with one record on each line, so that a long manifest can be searched and compared by line."""
    lines = [json.dumps(vars(record), separators=(",", ":"), allow_nan=False) for record in records]
    return "\n" + ",\n".join(lines) + "\n " if lines else ""
