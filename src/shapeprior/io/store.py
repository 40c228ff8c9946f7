"""Stores of a data set's files: a folder of this machine, or any place that fsspec reaches by a URL.

A store holds files under names with '/' between their parts. A file appears whole or not at all, and several processes
may write files of different names at once. Stores are small objects that can be sent to worker processes.
"""

import contextlib
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from shapeprior.errors import DatasetError
from shapeprior.io.files import STORE_NAME, check_name, unreadable, unwritable, whole_range, write_bytes
from shapeprior.io.remote_store import RemoteStore


@runtime_checkable
class Store(Protocol):
    """Files under plain names.

    Methods raise DatasetError for a file that cannot be read and for a name that could leave the store, and OutputError
    for a file that cannot be written.
    """

    def read(self, name: str) -> bytes:
        """Return the contents of a file."""
        ...

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Read bytes `start` to `stop` (exclusive) of a file, and no others; raises DatasetError if it ends before."""
        ...

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""
        ...

    def exists(self, name: str) -> bool:
        """Return whether there is such a file."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write or replace a file, whole or not at all."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return the sorted names of all files below a folder, which may be absent ("" for the whole store)."""
        ...

    def memory_map(self, name: str, /) -> mmap.mmap | None:
        """Map a file into memory, read only; None from a store that cannot, whose ranges are read instead."""
        ...

    def describe(self, name: str) -> str:
        """Return the path or URL of a file for messages, or that of the store itself for the name ""."""
        ...


@dataclass(frozen=True)
class LocalStore:
    """A folder of this machine."""

    root: Path

    def read(self, name: str) -> bytes:
        """Return the contents of a file."""
        with self._reading(name) as path:
            return path.read_bytes()

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Read bytes `start` to `stop` (exclusive) of a file, and no others."""
        with self._reading(name) as path, open(path, "rb") as file:
            file.seek(start)
            return whole_range(str(path), start, stop, file.read(stop - start))

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""
        with self._reading(name) as path:
            return path.stat().st_size

    def exists(self, name: str) -> bool:
        """Return whether there is such a file."""
        with self._reading(name) as path:
            return path.is_file()

    def write(self, name: str, data: bytes) -> None:
        """Write or replace a file, whole or not at all."""
        write_bytes(self._path(name), data)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        path = self._path(name)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(str(path), error) from None

    def names(self, folder: str) -> list[str]:
        """Return the sorted names of all files below a folder."""
        root = self._path(folder) if folder else self.root
        found = (Path(below) / name for below, _, names in os.walk(root) for name in names)
        return sorted(name for path in found if STORE_NAME.fullmatch(name := path.relative_to(self.root).as_posix()))

    def memory_map(self, name: str, /) -> mmap.mmap | None:
        """Map a file into memory, read only."""
        with self._reading(name) as path, open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise DatasetError(f"{path}: the file is empty; expected tensors; run `shapeprior prepare` again")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def describe(self, name: str) -> str:
        """Return the path of a file."""
        return str(self.root / name)

    def _path(self, name: str) -> Path:
        return self.root / check_name(name, where=str(self.root))

    @contextlib.contextmanager
    def _reading(self, name: str) -> Iterator[Path]:
        path = self._path(name)
        try:
            yield path
        except OSError as error:
            raise unreadable(str(path), error) from None


def open_store(root: str | os.PathLike[str]) -> LocalStore | RemoteStore:
    """Return the store at a path or, if `root` holds ``://``, at a URL; it need not exist yet.

    Raises DatasetError if fsspec or the URL's driver is missing or knows no such scheme.
    """
    root = os.fspath(root)
    if "://" not in root:
        return LocalStore(Path(root))
    store = RemoteStore(root)
    # Connecting now rather than at the first file reports a wrong scheme before any work is done.
    store.connect()
    return store
