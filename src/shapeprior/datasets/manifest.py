"""manifest.json, the list of a data set's shapes. It is written last: a place without one is unfinished.

What becomes of each mesh file: a record, as a file of its own while shapes are prepared and as a row of the manifest.
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

from shapeprior.datasets.mesh_source import UpAxis
from shapeprior.errors import DatasetError
from shapeprior.io.files import STORE_NAME
from shapeprior.io.store import Store

Split = Literal["train", "test"]
RefusalKind = Literal["refused", "crashed", "timeout", "memory"]
Row = TypeVar("Row", "ShapeRecord", "RefusedShape")

HASH = re.compile("[0-9a-f]{64}")
READERS = 16
"""Records read at once: over a network, nearly all of the time is waiting."""


@dataclass(frozen=True, kw_only=True)
class ShapeRecord:
    """One prepared shape."""

    id: str
    """Name of the shape, unique in the data set; where its files lie."""
    source: str
    """Path of the mesh file below its collection's folder."""
    source_sha256: str
    """Hash of the source's bytes: a changed file is prepared again."""
    category: str
    """What kind of object it is, as its collection says; empty if it does not."""
    split: Split
    """train or test."""
    samples: int
    """Number of samples."""
    samples_sha256: str
    """Hash of the samples' file."""
    mesh_sha256: str | None
    """Hash of the mesh's file; None if there is no mesh, since the samples were made elsewhere."""
    T_unit_world: dict[str, object] | None
    """How the source's frame maps to the unit frame; `Similarity.from_json` reads it. None if nobody knows."""
    unit: float | None
    """Metres in one unit of the source's frame, if its collection says."""
    up: UpAxis
    """The axis that points up in the source's frame."""
    confidence: float | None
    """Share of the sign tests that agree, 0 to 1; None if the samples were made elsewhere."""
    checks: dict[str, object]
    """What cleaning and the sign tests found."""


@dataclass(frozen=True, kw_only=True)
class RefusedShape:
    """One mesh file that did not become a shape, and why."""

    id: str
    """The name that the shape would have."""
    source: str
    """Path of the mesh file below its collection's folder."""
    source_sha256: str
    """Hash of the source's bytes; empty if it could not be read."""
    kind: RefusalKind
    """refused: the file's own fault, which stays as long as the file; crashed, timeout, memory: tried again in a later run."""
    reason: str
    """What was found, what was expected, what to do."""


Record = ShapeRecord | RefusedShape


def record_name(shape_id: str) -> str:
    """Where a shape's record lies in the store."""
    return f"records/{shape_id}.json"


def write_record(store: Store, record: Record) -> None:
    """Write or replace the record of a shape, after its samples and its mesh. Raises OutputError."""
    kind = "shape" if isinstance(record, ShapeRecord) else "refused"
    text = json.dumps({kind: vars(record)}, indent=1, allow_nan=False)
    store.write(record_name(record.id), (text + "\n").encode())


def read_record(store: Store, shape_id: str) -> Record:
    """The record of a shape; raises DatasetError if it is missing, broken, or of another shape."""
    name = record_name(shape_id)
    place = store.describe(name)
    data = store.read(name)
    try:
        ((kind, row),) = json.loads(data).items()
        record = {"shape": read_shape, "refused": read_refusal}[kind](row)
        if record.id != shape_id:
            raise ValueError(f"of shape {record.id!r}")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DatasetError(f"{place}: not a record ({error}); run `shapeprior prepare` again") from None
    return record


def read_shape_records(store: Store) -> dict[str, Record]:
    """All records by id. One that cannot be read is left out, so that its shape is prepared again."""
    ids = [name.removeprefix("records/").removesuffix(".json") for name in store.names("records")]
    with ThreadPoolExecutor(READERS) as pool:
        records = pool.map(lambda shape_id: _record_or_none(store, shape_id), ids)
        return {record.id: record for record in records if record is not None}


def read_shape(value: object) -> ShapeRecord:
    """A shape's record from plain JSON; raises ValueError if a field is missing, unknown, or of another type or range."""
    record = _row(ShapeRecord, value)
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


def read_refusal(value: object) -> RefusedShape:
    """A refusal from plain JSON; raises ValueError if a field is missing, unknown, or of another type or range."""
    record = _row(RefusedShape, value)
    if record.source_sha256:
        _check_hash("source_sha256", record.source_sha256)
    return record


def _row(cls: type[Row], value: object) -> Row:
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
    # Other writers may leave out the fraction of a whole number.
    whole = {
        name: float(value[name]) for name, allowed in types.items() if type(value[name]) is int and float in allowed
    }
    return cls(**{**value, **whole})


@cache
def _field_types(
    cls: type[ShapeRecord] | type[RefusedShape],
) -> tuple[dict[str, frozenset[type]], dict[str, tuple[str, ...]]]:
    """The types that each field's value may have, and the values that some are chosen from.

    Looked up once: a manifest has tens of thousands of rows.
    """
    types, choices = {}, {}
    for name, hint in get_type_hints(cls).items():
        if get_origin(hint) is Literal:
            choices[name], hint = get_args(hint), str
        parts = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        allowed = {NoneType if part is None else get_origin(part) or part for part in parts}
        # True and False are no numbers.
        types[name] = frozenset(allowed | {int} if float in allowed else allowed)
    return types, choices


def _check_hash(name: str, value: str) -> None:
    if not HASH.fullmatch(value):
        raise ValueError(f"{name} is {value[:80]!r}; expected 64 hexadecimal digits")


def _record_or_none(store: Store, shape_id: str) -> Record | None:
    try:
        return read_record(store, shape_id)
    except DatasetError:
        return None


FORMAT = "shapeprior-dataset"
VERSION = 2
MANIFEST = "manifest.json"


def write_manifest(
    store: Store,
    *,
    settings: Mapping[str, object],
    shapes: Sequence[ShapeRecord],
    refused: Sequence[RefusedShape],
) -> None:
    """Write or replace the manifest: JSON with one shape a line. One process may do so at a time. Raises OutputError."""
    head = json.dumps({"format": FORMAT, "version": VERSION, "settings": settings}, indent=1, allow_nan=False)
    text = f'{head[:-2]},\n "shapes": [{_lines(shapes)}],\n "refused": [{_lines(refused)}]\n}}\n'
    store.write(MANIFEST, text.encode())


def read_manifest(store: Store) -> tuple[dict[str, Any], tuple[ShapeRecord, ...], tuple[RefusedShape, ...]]:
    """Settings, shapes and refusals of a data set; raises DatasetError if its manifest is missing, broken, or of another
    version, or names a shape twice."""
    root, path = store.describe(""), store.describe(MANIFEST)
    if not store.exists(MANIFEST):
        raise DatasetError(
            f"{root}: no {MANIFEST}; expected a finished data set; run `shapeprior prepare MESHES --out {root}`"
        )
    data = store.read(MANIFEST)
    try:
        with _no_garbage_hunt():
            settings, shapes, refused = _parse(path, data)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise DatasetError(f"{path}: not a manifest ({error}); prepare the data set again") from None
    ids = set()
    for shape in shapes:
        if shape.id in ids:
            raise DatasetError(f"{path}: two shapes with id {shape.id}; expected one; prepare the data set again")
        ids.add(shape.id)
    return settings, shapes, refused


def _parse(path: str, data: bytes) -> tuple[dict[str, Any], tuple[ShapeRecord, ...], tuple[RefusedShape, ...]]:
    manifest = json.loads(data)
    found = (manifest["format"], manifest["version"])
    if found != (FORMAT, VERSION):
        raise DatasetError(f"{path}: format {found}; expected {(FORMAT, VERSION)}; prepare the data set again")
    shapes = tuple(map(read_shape, manifest["shapes"]))
    return dict(manifest["settings"]), shapes, tuple(map(read_refusal, manifest["refused"]))


@contextlib.contextmanager
def _no_garbage_hunt() -> Iterator[None]:
    """Nothing of a manifest is garbage, and to look for some again and again takes longer than to read it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _lines(records: Iterable[Record]) -> str:
    """One record a line, so that a long manifest can be searched, compared and cut by line."""
    lines = [json.dumps(vars(record), separators=(",", ":"), allow_nan=False) for record in records]
    return "\n" + ",\n".join(lines) + "\n " if lines else ""
