"""The manifest: what is written comes back, as a line a shape, and what is broken is refused."""

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_dataset import SETTINGS, some_record, some_refusal

from shapeprior.datasets.manifest import FORMAT, VERSION, read_manifest, write_manifest
from shapeprior.errors import DatasetError
from shapeprior.io.store import LocalStore

SHAPES = (some_record("a"), some_record("b/c", split="test", category="mug"), some_record("d", mesh_sha256=None))
REFUSED = (some_refusal("e"), some_refusal("f", kind="memory"))


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    write_manifest(LocalStore(tmp_path), settings=SETTINGS, shapes=SHAPES, refused=REFUSED)
    return LocalStore(tmp_path)


def edit(store: LocalStore, change: Callable[[dict[str, Any]], object]) -> Path:
    """Change the manifest behind the package's back."""
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


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"[]", b"3", b"null", b"{}", b'"text"'],
    ids=["empty", "cut", "not text", "nested", "list", "number", "null", "object", "string"],
)
def test_what_is_no_manifest_is_refused(data: bytes, store: LocalStore) -> None:
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
