"""Stores in a folder, behind a URL of files, and in an object store in memory: all of them behave alike."""

import os
import threading
import uuid
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest

from shapeprior.errors import DatasetError, OutputError
from shapeprior.io.remote_store import RemoteStore
from shapeprior.io.store import LocalStore, Store, open_store

KINDS = ["folder", "file://", "memory://"]


@pytest.fixture(params=KINDS)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return a place that does not exist yet."""
    if request.param == "memory://":
        return f"memory://{uuid.uuid4().hex}/data"
    return f"{tmp_path}/new" if request.param == "folder" else f"file://{tmp_path}/new"


@pytest.fixture
def store(root: str) -> Store:
    return open_store(root)


def test_what_is_written_is_read(store: Store) -> None:
    for name in ("manifest.json", "samples/a/b.safetensors", "samples/a.safetensors"):
        assert not store.exists(name)
        store.write(name, b"0123456789")
        assert store.exists(name)
        assert store.read(name) == b"0123456789"
        assert store.size(name) == 10


def test_files_are_replaced(store: Store) -> None:
    for data in (b"long and first", b"short", b""):
        store.write("a/x", data)
        assert store.read("a/x") == data
        assert store.size("a/x") == len(data)
    assert store.names("") == ["a/x"]


def test_ranges_are_read(store: Store) -> None:
    store.write("a", b"0123456789")
    assert store.read_range("a", 0, 10) == b"0123456789"
    assert store.read_range("a", 3, 5) == b"34"
    assert store.read_range("a", 10, 10) == store.read_range("a", 4, 4) == b""
    for start, stop in ((5, 11), (10, 11), (50, 60)):
        with pytest.raises(DatasetError, match=f"expected {stop - start}; .*truncated") as caught:
            store.read_range("a", start, stop)
        assert store.describe("a") in str(caught.value)


def test_memory_maps_are_of_folders(store: Store) -> None:
    store.write("a", b"0123456789")
    found = store.memory_map("a")
    if isinstance(store, LocalStore):
        assert found is not None
        assert found[2:5] == b"234"
        assert len(found) == 10
        with pytest.raises(TypeError):
            found[0] = 1
    else:
        assert found is None


def test_a_map_outlives_the_file(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.write("a", b"before")
    found = store.memory_map("a")
    store.write("a", b"afterwards")
    assert found is not None
    assert found[:] == b"before"


def test_empty_files_cannot_be_mapped(tmp_path: Path) -> None:
    LocalStore(tmp_path).write("a", b"")
    with pytest.raises(DatasetError, match="empty"):
        LocalStore(tmp_path).memory_map("a")


def test_names_are_listed_by_folder(store: Store) -> None:
    names = ["manifest.json", "records/b.json", "records/a/c.json", "records2/x.json", "records.json"]
    for name in names:
        store.write(name, b"{}")
    assert store.names("") == sorted(names)
    assert store.names("records") == ["records/a/c.json", "records/b.json"]
    assert store.names("records/a") == ["records/a/c.json"]
    assert store.names("nowhere") == []


def test_a_store_that_does_not_exist_is_empty(store: Store) -> None:
    assert store.names("") == []
    assert not store.exists("a")


def test_files_are_removed(store: Store) -> None:
    store.write("a/b", b"1")
    store.remove("a/b")
    store.remove("a/b")
    store.remove("never/there")
    assert not store.exists("a/b")
    assert store.names("") == []


def test_folders_are_no_files(store: Store) -> None:
    store.write("a/b", b"1")
    assert not store.exists("a")
    assert not store.exists("a/b/c")
    with pytest.raises(DatasetError):
        store.read("a")
    with pytest.raises(OutputError) as caught:
        store.write("a/b/c", b"1")
    assert store.describe("a/b/c") in str(caught.value)
    assert store.names("") == ["a/b"]


def calls(store: Store, name: str) -> list[Callable[[], object]]:
    return [
        lambda: store.read(name),
        lambda: store.read_range(name, 0, 1),
        lambda: store.size(name),
        lambda: store.memory_map(name),
    ]


def test_missing_files_are_named(store: Store) -> None:
    for call in calls(store, "a/b")[: 4 if isinstance(store, LocalStore) else 3]:
        with pytest.raises(DatasetError, match=r"missing; .*shapeprior prepare") as caught:
            call()
        assert store.describe("a/b") in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/etc/passwd", "a\\b", "a\0", "C:a", "", ".hidden"])
def test_no_file_outside_is_touched(name: str, store: Store) -> None:
    store.write("a", b"1")
    writes = [lambda: store.write(name, b"2"), lambda: store.remove(name), lambda: store.exists(name)]
    for call in [*calls(store, name)[:3], *writes, lambda: store.names(name or "..")]:
        with pytest.raises(DatasetError, match=r"expected letters, digits|missing|cannot be read"):
            call()
    assert store.names("") == ["a"]


def test_what_a_killed_write_left_is_not_listed(tmp_path: Path) -> None:
    for root in (str(tmp_path), f"file://{tmp_path}"):
        store = open_store(root)
        store.write("records/a", b"1")
        (tmp_path / "records" / ".0123.tmp").write_bytes(b"half")
        assert store.names("") == store.names("records") == ["records/a"]


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    # The temporary file is written, but cannot be renamed onto a folder.
    (tmp_path / "a" / "folder").mkdir(parents=True)
    with pytest.raises(OutputError):
        LocalStore(tmp_path).write("a/folder", b"1")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "folder"]


def test_readers_see_whole_files_only(store: Store) -> None:
    payloads = [bytes([number]) * 300_000 for number in range(4)]
    store.write("a", payloads[0])
    seen: list[bytes] = []
    failed: list[BaseException] = []

    def write(data: bytes) -> None:
        try:
            for _ in range(8):
                store.write("a", data)
        except BaseException as error:
            failed.append(error)

    writers = [threading.Thread(target=write, args=(data,)) for data in payloads]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        seen.append(store.read("a"))
    assert not failed
    assert set(seen) <= set(payloads)
    assert store.names("") == ["a"]


def test_stores_go_to_other_processes(root: str, store: Store) -> None:
    copy = ForkingPickler.loads(bytes(ForkingPickler.dumps(store)))
    assert copy == store
    copy.write("a", b"1")
    assert store.read("a") == b"1"
    assert store.describe("") == root
    assert store.describe("a/b") == f"{root}/a/b"


def test_paths_and_urls_are_told_apart(tmp_path: Path) -> None:
    assert open_store(tmp_path) == open_store(str(tmp_path)) == LocalStore(tmp_path)
    assert open_store("relative/folder") == LocalStore(Path("relative/folder"))
    assert open_store("memory://a") == RemoteStore("memory://a")
    assert isinstance(open_store(tmp_path), Store)
    assert isinstance(open_store("memory://a"), Store)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_folders_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        LocalStore(tmp_path).write("a", b"1")
