"""Remote stores whose drivers are missing, fail, cannot rename, or show a file while it is written."""

import sys
import uuid
from collections.abc import Iterator
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import known_implementations

from shapeprior.errors import DatasetError, OutputError, ShapePriorError
from shapeprior.io.remote_store import RemoteStore
from shapeprior.io.store import open_store


class Fault(Exception):
    """An error of a driver's own library, which is no OSError."""


class SlowFiles(MemoryFileSystem):
    """Files that can be seen while they are written, on a server that may fail."""

    protocol = "slow"
    puts: tuple[str, ...] = ()
    moves = 0
    renames_onto_files = True
    fails: str | None = None
    ranges = True

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.removeprefix("slow:/"))

    def pipe_file(self, path: str, value: bytes, **_: Any) -> None:
        type(self).puts += (path,)
        if self.fails == "put":
            super().pipe_file(path, value[:1])
            raise Fault("quota\nexceeded")
        super().pipe_file(path, value)

    def mv(self, path1: str, path2: str, **_: Any) -> None:
        onto = not self.renames_onto_files and self.exists(path2)
        # A put that fails at its last step: the new file cannot get its name, whatever is there.
        if onto or (self.fails == "mv" and path1.endswith(".tmp")):
            raise OSError("no such rename")
        type(self).moves += 1
        super().mv(path1, path2)

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        if self.fails == "info":
            raise Fault("no answer")
        return super().info(path, **kwargs)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        return super().cat_file(path, start, end) if self.ranges else super().cat_file(path)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[SlowFiles]]:
    fsspec.register_implementation("slow", SlowFiles, clobber=True)
    for name, value in (("puts", ()), ("moves", 0), ("renames_onto_files", True), ("fails", None), ("ranges", True)):
        monkeypatch.setattr(SlowFiles, name, value)
    yield SlowFiles
    SlowFiles.clear_instance_cache()


@pytest.fixture
def store(slow: type[SlowFiles]) -> RemoteStore:
    return RemoteStore(f"slow://{uuid.uuid4().hex}")


def test_files_that_can_be_seen_half_written_get_their_name_last(store: RemoteStore, slow: type[SlowFiles]) -> None:
    store.write("a/b", b"first")
    store.write("a/b", b"second")
    assert store.read("a/b") == b"second"
    assert slow.moves == 2
    assert all(path.rpartition("/")[2].startswith(".") and path.endswith(".tmp") for path in slow.puts)
    assert len(set(slow.puts)) == 2
    assert store.names("") == ["a/b"]
    assert len(slow().find(store.url)) == 1


def test_objects_are_put_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryFileSystem, "mv", lambda *_: pytest.fail("an object was copied"))
    RemoteStore("memory://whole").write("a", b"1")


def test_file_systems_that_do_not_rename_onto_files(
    store: RemoteStore, slow: type[SlowFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow, "renames_onto_files", False)
    store.write("a", b"first")
    store.write("a", b"second")
    assert store.read("a") == b"second"
    assert len(slow().find(store.url)) == 1


@pytest.mark.parametrize("step", ["put", "mv"])
def test_writes_that_fail_leave_what_was_there(
    step: str, store: RemoteStore, slow: type[SlowFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write("a", b"before")
    monkeypatch.setattr(slow, "fails", step)
    for name in ("a", "b"):
        with pytest.raises(OutputError, match=r"cannot be written \((quota exceeded|no such rename)\)") as caught:
            store.write(name, b"after")
        assert str(caught.value).startswith(f"{store.url}/{name}: ")
    assert store.read("a") == b"before"
    assert slow().find(store.url) == [f"/{store.url.removeprefix('slow://')}/a"]


def test_no_answer_is_not_taken_for_absence(
    store: RemoteStore, slow: type[SlowFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow, "fails", "info")
    for ask in (store.exists, store.size):
        with pytest.raises(DatasetError, match=r"cannot be read \(no answer\)") as caught:
            ask("manifest.json")
        assert str(caught.value).startswith(f"{store.url}/manifest.json: ")


def test_servers_that_send_the_whole_file_instead_of_a_range(
    store: RemoteStore, slow: type[SlowFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write("a", b"0123456789")
    monkeypatch.setattr(slow, "ranges", False)
    with pytest.raises(DatasetError, match=r"10 bytes from byte 2; expected 3; .*does not answer ranges"):
        store.read_range("a", 2, 5)


def test_a_listing_is_never_an_old_one(store: RemoteStore, slow: type[SlowFiles]) -> None:
    asked = []
    files = slow()
    files.invalidate_cache = lambda path=None: asked.append(path)  # pyright: ignore[reportAttributeAccessIssue]
    store.names("")
    store.exists("a")
    assert len(asked) == 2


def test_without_fsspec_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(DatasetError, match=r"^s3://bucket/x: URLs need fsspec.*pip install 'shapeprior\[remote\]'"):
        open_store("s3://bucket/x")
    open_store("folder")


def test_without_a_driver_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"class": "a_driver_that_is_not_there.Files", "err": "Install a_driver to access far:// files"}
    monkeypatch.setitem(known_implementations, "far", entry)
    with pytest.raises(DatasetError, match=r"^far://x: Install a_driver to access far:// files; .*install it"):
        open_store("far://x")


def test_unknown_schemes_are_refused() -> None:
    with pytest.raises(DatasetError, match=r"^nowhere://x: Protocol not known: nowhere; .*s3://.*check the scheme"):
        open_store("nowhere://x")


def test_passwords_are_not_told(slow: type[SlowFiles], monkeypatch: pytest.MonkeyPatch) -> None:
    store = RemoteStore("slow://user:secret@host/folder")
    assert store.describe("a") == "slow://user:***@host/folder/a"
    monkeypatch.setattr(slow, "fails", "info")
    with pytest.raises(ShapePriorError) as caught:
        store.exists("a")
    assert "secret" not in str(caught.value)


def test_places_at_the_root_of_a_server() -> None:
    store = RemoteStore("memory://")
    name = uuid.uuid4().hex
    store.write(f"{name}/a", b"1")
    assert store.names(name) == [f"{name}/a"]
    assert f"{name}/a" in store.names("")
    assert store.describe("a") == "memory://a"
    store.remove(f"{name}/a")
