"""Records of shapes and refusals: what is written comes back, and nothing else is read."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_dataset import some_record, some_refusal

from shapeprior.datasets.manifest import Record, read_record, read_records, record_name, write_record
from shapeprior.errors import DatasetError
from shapeprior.io.store import LocalStore

RECORDS = [
    some_record("a"),
    some_record("mugs/b-1.x_2", category="mug", split="test", unit=0.001, up="z", confidence=1.0, checks={}),
    some_record("c", mesh_sha256=None, T_unit_world=None, confidence=None, samples=0),
    some_refusal("d"),
    some_refusal("e/f", kind="timeout", source_sha256="", reason="größer als \N{SNOWMAN} \n und \"'"),
]


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.id)
def test_records_come_back(record: Record, store: LocalStore) -> None:
    write_record(store, record)
    assert read_record(store, record.id) == record
    assert store.names("") == [record_name(record.id)] == [f"records/{record.id}.json"]


def test_a_record_takes_the_place_of_another(store: LocalStore) -> None:
    write_record(store, some_record("a"))
    write_record(store, some_refusal("a"))
    assert read_record(store, "a") == some_refusal("a")
    assert read_records(store) == {"a": some_refusal("a")}


def test_all_records_are_read_but_broken_ones(store: LocalStore) -> None:
    assert read_records(store) == {}
    for record in RECORDS:
        write_record(store, record)
    # What is left out is prepared again.
    store.write("records/cut.json", store.read("records/a.json")[:-20])
    store.write("records/moved.json", store.read("records/a.json"))
    store.write("records/note.txt", b"mine")
    assert read_records(store) == {record.id: record for record in RECORDS}


def test_missing_records_are_named(store: LocalStore) -> None:
    with pytest.raises(DatasetError, match="missing") as caught:
        read_record(store, "a")
    assert store.describe("records/a.json") in str(caught.value)


def test_numbers_that_json_has_not_are_not_written(store: LocalStore) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_record(store, some_record("a", checks={"share": float("nan")}))
    assert store.names("") == []


def test_whole_numbers_may_lack_a_fraction(store: LocalStore) -> None:
    record = some_record("a", unit=1.0, confidence=1.0)
    write_record(store, record)
    path = store.root / "records/a.json"
    path.write_text(
        path.read_text().replace('"unit": 1.0', '"unit": 1').replace('"confidence": 1.0', '"confidence": 1')
    )
    found = read_record(store, "a")
    assert found == record
    assert type(found.unit) is type(found.confidence) is float  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        *[(lambda row, name=name: row.pop(name), f"no {name}") for name in vars(some_record("a"))],
        (lambda row: row.update(extra=1), "unknown 'extra'"),
        (lambda row: row.update(id=5), "id is '5'"),
        (lambda row: row.update(id=None), "id is 'None'"),
        (lambda row: row.update(id="b"), "of shape 'b'"),
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
def test_broken_shapes_are_refused(change: Callable[[dict[str, Any]], object], found: str, store: LocalStore) -> None:
    write_record(store, some_record("a"))
    path = store.root / "records/a.json"
    document = json.loads(path.read_text())
    change(document["shape"])
    path.write_text(json.dumps(document))
    with pytest.raises(DatasetError, match=found) as caught:
        read_record(store, "a")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        *[(lambda row, name=name: row.pop(name), f"no {name}") for name in vars(some_refusal("a"))],
        (lambda row: row.update(extra=1), "unknown 'extra'"),
        (lambda row: row.update(kind="lost"), "kind is 'lost'"),
        (lambda row: row.update(source_sha256="x"), "source_sha256 is 'x'"),
        (lambda row: row.update(reason=None), "reason is"),
    ],
)
def test_broken_refusals_are_refused(change: Callable[[dict[str, Any]], object], found: str, store: LocalStore) -> None:
    write_record(store, some_refusal("a"))
    path = store.root / "records/a.json"
    document = json.loads(path.read_text())
    change(document["refused"])
    path.write_text(json.dumps(document))
    with pytest.raises(DatasetError, match=found):
        read_record(store, "a")


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"[]", b"3", b"null", b"{}", b'{"shape": 3}', b'{"other": {}}'],
    ids=["empty", "cut", "not text", "nested", "list", "number", "null", "object", "no object", "other"],
)
def test_what_is_no_record_is_refused(data: bytes, store: LocalStore) -> None:
    store.write("records/a.json", data)
    with pytest.raises(DatasetError, match="not a record") as caught:
        read_record(store, "a")
    assert "\n" not in str(caught.value)


def test_a_record_is_one_or_the_other(store: LocalStore) -> None:
    write_record(store, some_record("a"))
    document = json.loads((store.root / "records/a.json").read_text())
    store.write("records/a.json", json.dumps({**document, "refused": vars(some_refusal("a"))}).encode())
    with pytest.raises(DatasetError, match="not a record"):
        read_record(store, "a")


def test_records_are_values() -> None:
    assert replace(some_record("a"), split="test") == some_record("a", split="test") != some_record("a")
