"""Records and the manifest: what is written is read back unchanged, and broken files are refused."""

import gc
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.small_dataset import SETTINGS, some_record, some_refusal

from shapeprior.datasets.manifest import (
    FORMAT,
    VERSION,
    RefusedShape,
    ShapeRecord,
    read_manifest,
    read_record,
    read_shape_records,
    record_name,
    write_manifest,
    write_record,
)
from shapeprior.errors import DatasetError
from shapeprior.io.store import LocalStore

SHAPES = (some_record("a"), some_record("b/c", split="test", category="mug"), some_record("d", mesh_sha256=None))
REFUSED = (some_refusal("e"), some_refusal("f", kind="memory"))


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    write_manifest(LocalStore(tmp_path), settings=SETTINGS, shapes=SHAPES, refused=REFUSED)
    return LocalStore(tmp_path)


def edit(store: LocalStore, change: Callable[[dict[str, Any]], object]) -> Path:
    """Change the manifest without the package."""
    path = store.root / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    return path


def test_a_manifest_comes_back(store: LocalStore) -> None:
    assert read_manifest(store) == (SETTINGS, SHAPES, REFUSED)


def test_an_empty_manifest_comes_back(store: LocalStore) -> None:
    write_manifest(store, settings={}, shapes=(), refused=())
    assert read_manifest(store) == ({}, (), ())
    assert store.names("") == ["manifest.json"]


def test_each_shape_is_a_line(store: LocalStore) -> None:
    lines = store.read("manifest.json").decode().splitlines()
    rows = [json.loads(line.rstrip(",")) for line in lines if line.startswith('{"id"')]
    assert rows == [vars(record) for record in (*SHAPES, *REFUSED)]
    assert json.loads("\n".join(lines)).keys() == {"format", "version", "settings", "shapes", "refused"}


def test_the_format_is_named_in_the_file(store: LocalStore) -> None:
    manifest = json.loads(store.read("manifest.json"))
    assert (manifest["format"], manifest["version"]) == (FORMAT, VERSION) == ("shapeprior-dataset", 2)


def test_a_place_without_a_manifest_is_unfinished(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DatasetError, match=r"no manifest\.json.*shapeprior prepare") as caught:
            read_manifest(LocalStore(folder))
        assert str(folder) in str(caught.value)


def test_what_is_no_manifest_is_refused(store: LocalStore) -> None:
    for data in (b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"[]", b"3", b"null", b"{}", b'"text"'):
        store.write("manifest.json", data)
        with pytest.raises(DatasetError, match="prepare the data set again") as caught:
            read_manifest(store)
        assert store.describe("manifest.json") in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda m: m.update(version=1), r"\('shapeprior-dataset', 1\); expected \('shapeprior-dataset', 2\)"),
        (lambda m: m.update(version=VERSION + 1), r"\('shapeprior-dataset', 3\); expected"),
        (lambda m: m.update(format="other"), "'other'"),
        (lambda m: m.pop("version"), "version"),
        (lambda m: m.pop("settings"), "settings"),
        (lambda m: m.pop("shapes"), "shapes"),
        (lambda m: m.pop("refused"), "refused"),
        (lambda m: m.update(shapes=3), "not a manifest"),
        (lambda m: m.update(shapes=["a"]), "str in place of an object"),
        (lambda m: m["shapes"][0].pop("split"), "no split"),
        (lambda m: m["shapes"][0].update(extra=1), "extra"),
        (lambda m: m["shapes"][1].update(id="../a"), "id is '../a'; expected letters"),
        (lambda m: m["shapes"][1].update(id="a"), "two shapes with id a"),
        (lambda m: m["shapes"][0].update(unit=10**400), "too large"),
        (lambda m: m.update(settings=3), "not a manifest"),
        (lambda m: m.update(settings="no"), "not a manifest"),
        (lambda m: m["refused"][0].pop("reason"), "no reason"),
        (lambda m: m["refused"][0].update(id="/etc"), "id is '/etc'"),
    ],
)
def test_wrong_versions_and_rows_are_refused(
    change: Callable[[dict[str, Any]], object], found: str, store: LocalStore
) -> None:
    path = edit(store, change)
    with pytest.raises(DatasetError, match=found) as caught:
        read_manifest(store)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("broken", [True, False])
def test_the_garbage_collector_is_left_as_it_was(enabled: bool, broken: bool, store: LocalStore) -> None:
    if broken:
        store.write("manifest.json", b"{")
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        if broken:
            with pytest.raises(DatasetError):
                read_manifest(store)
        else:
            read_manifest(store)
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()


def edit_record(store: LocalStore, shape_id: str, change: Callable[[dict[str, Any]], object]) -> Path:
    """Change the record of a shape without the package."""
    path = store.root / f"records/{shape_id}.json"
    document = json.loads(path.read_text())
    (row,) = document.values()
    change(row)
    path.write_text(json.dumps(document))
    return path


RECORDS = [
    some_record("a"),
    some_record("mugs/b-1.x_2", category="mug", split="test", unit=0.001, up="z", confidence=1.0, checks={}),
    some_record("c", mesh_sha256=None, T_unit_world=None, confidence=None, samples=0),
    some_refusal("d"),
    some_refusal("e/f", kind="timeout", source_sha256="", reason="größer als \N{SNOWMAN} \n und \"'"),
]


@pytest.fixture
def empty_store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.id)
def test_records_come_back(record: ShapeRecord | RefusedShape, empty_store: LocalStore) -> None:
    write_record(empty_store, record)
    assert read_record(empty_store, record.id) == record
    assert empty_store.names("") == [record_name(record.id)] == [f"records/{record.id}.json"]


def test_a_record_takes_the_place_of_another(empty_store: LocalStore) -> None:
    write_record(empty_store, some_record("a"))
    write_record(empty_store, some_refusal("a"))
    assert read_record(empty_store, "a") == some_refusal("a")
    assert read_shape_records(empty_store) == {"a": some_refusal("a")}


def test_all_records_are_read_but_broken_ones(empty_store: LocalStore) -> None:
    assert read_shape_records(empty_store) == {}
    for record in RECORDS:
        write_record(empty_store, record)
    # Records that cannot be read are left out, and their shapes are prepared again.
    empty_store.write("records/cut.json", empty_store.read("records/a.json")[:-20])
    empty_store.write("records/moved.json", empty_store.read("records/a.json"))
    empty_store.write("records/note.txt", b"mine")
    assert read_shape_records(empty_store) == {record.id: record for record in RECORDS}


def test_missing_records_are_named(empty_store: LocalStore) -> None:
    with pytest.raises(DatasetError, match="missing") as caught:
        read_record(empty_store, "a")
    assert empty_store.describe("records/a.json") in str(caught.value)


def test_numbers_that_json_has_not_are_not_written(empty_store: LocalStore) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_record(empty_store, some_record("a", checks={"share": float("nan")}))
    assert empty_store.names("") == []


def test_whole_numbers_may_lack_a_fraction(empty_store: LocalStore) -> None:
    record = some_record("a", unit=1.0, confidence=1.0)
    write_record(empty_store, record)
    path = empty_store.root / "records/a.json"
    path.write_text(
        path.read_text().replace('"unit": 1.0', '"unit": 1').replace('"confidence": 1.0', '"confidence": 1')
    )
    found = read_record(empty_store, "a")
    assert found == record
    assert type(found.unit) is type(found.confidence) is float  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda row: row.update(extra=1), "unknown 'extra'"),
        (lambda row: row.update(id=5), "id is '5'"),
        (lambda row: row.update(id=None), "id is 'None'"),
        (lambda row: row.update(id="b"), "the record of shape 'b'"),
        (lambda row: row.update(id="../a"), r"id is '../a'; expected letters"),
        (lambda row: row.update(id="a\n"), r"id is 'a\\n'"),
        (lambda row: row.update(source=None), "source is"),
        (lambda row: row.update(source_sha256="AB" * 32), "source_sha256 is"),
        (lambda row: row.update(source_sha256=""), "source_sha256 is"),
        (lambda row: row.update(samples_sha256="ab" * 31), "samples_sha256 is"),
        (lambda row: row.update(mesh_sha256="x"), "mesh_sha256 is"),
        (lambda row: row.update(split="validation"), "split is 'validation'"),
        (lambda row: row.update(split=["train"]), "split is"),
        (lambda row: row.update(category=None), "category is 'None'"),
        (lambda row: row.update(samples=-1), "samples is -1"),
        (lambda row: row.update(samples=1.0), "samples is '1.0'"),
        (lambda row: row.update(samples=True), "samples is 'True'"),
        (lambda row: row.update(T_unit_world=[]), "T_unit_world is"),
        (lambda row: row.update(unit=0), "unit is 0"),
        (lambda row: row.update(unit=-1.0), "unit is -1"),
        (lambda row: row.update(unit=float("inf")), "unit is inf"),
        (lambda row: row.update(unit=10**400), "too large"),
        (lambda row: row.update(unit="mm"), "unit is 'mm'"),
        (lambda row: row.update(up="w"), "up is 'w'"),
        (lambda row: row.update(confidence=1.01), "confidence is 1.01"),
        (lambda row: row.update(confidence=float("nan")), "confidence is nan"),
        (lambda row: row.update(confidence=True), "confidence is 'True'"),
        (lambda row: row.update(checks=[]), "checks is"),
    ],
)
def test_broken_shapes_are_refused(
    change: Callable[[dict[str, Any]], object], found: str, empty_store: LocalStore
) -> None:
    write_record(empty_store, some_record("a"))
    path = edit_record(empty_store, "a", change)
    with pytest.raises(DatasetError, match=found) as caught:
        read_record(empty_store, "a")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda row: row.update(extra=1), "unknown 'extra'"),
        (lambda row: row.update(kind="lost"), "kind is 'lost'"),
        (lambda row: row.update(source_sha256="x"), "source_sha256 is 'x'"),
        (lambda row: row.update(reason=None), "reason is"),
    ],
)
def test_broken_refusals_are_refused(
    change: Callable[[dict[str, Any]], object], found: str, empty_store: LocalStore
) -> None:
    write_record(empty_store, some_refusal("a"))
    edit_record(empty_store, "a", change)
    with pytest.raises(DatasetError, match=found):
        read_record(empty_store, "a")


def test_what_is_no_record_is_refused(empty_store: LocalStore) -> None:
    broken = [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"[]",
        b"3",
        b"null",
        b"{}",
        b'{"shape": 3}',
        b'{"other": {}}',
    ]
    for data in broken:
        empty_store.write("records/a.json", data)
        with pytest.raises(DatasetError, match="not a record") as caught:
            read_record(empty_store, "a")
        assert "\n" not in str(caught.value)


def test_a_record_is_one_or_the_other(empty_store: LocalStore) -> None:
    write_record(empty_store, some_record("a"))
    document = json.loads((empty_store.root / "records/a.json").read_text())
    empty_store.write("records/a.json", json.dumps({**document, "refused": vars(some_refusal("a"))}).encode())
    with pytest.raises(DatasetError, match="not a record"):
        read_record(empty_store, "a")


@pytest.mark.parametrize("record", [some_record("a"), some_refusal("a")], ids=["shape", "refused"])
def test_a_missing_field_is_named(record: ShapeRecord | RefusedShape, empty_store: LocalStore) -> None:
    for name in vars(record):
        write_record(empty_store, record)
        path = edit_record(empty_store, "a", lambda row, name=name: row.pop(name))
        with pytest.raises(DatasetError, match=f"no {name}") as caught:
            read_record(empty_store, "a")
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_records_are_values() -> None:
    assert replace(some_record("a"), split="test") == some_record("a", split="test") != some_record("a")
