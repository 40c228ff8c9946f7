"""manifest.json, the list of a data set's shapes. It is written last: a place without one is unfinished."""

import contextlib
import gc
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from shapeprior.errors import DatasetError
from shapeprior.io.store import Store
from shapeprior.records import Record, RefusedShape, ShapeRecord, read_refusal, read_shape

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
