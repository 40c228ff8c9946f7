"""A store in a folder behind a URL, through fsspec."""

import contextlib
import mmap
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from shapeprior.errors import DatasetError, ShapePriorError, error_text
from shapeprior.io.files import STORE_NAME, check_name, unreadable, unwritable, whole_range

ATOMIC_SCHEMES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oci", "oss", "memory"})
"""Schemes of object stores, where a put shows the whole object or none and no folder need be made. Elsewhere a
temporary file is renamed."""


@dataclass(frozen=True)
class RemoteStore:
    """A folder behind a URL: ``s3://bucket/folder``, ``gs://``, ``abfs://``, ``sftp://``, ``https://``, ...

    Credentials and other options come from where fsspec and its drivers look for them: their environment variables and
    configuration files. http and https can only be read, and their server must answer ranges of bytes.
    """

    url: str

    def connect(self) -> None:
        """Find the driver; raises DatasetError if fsspec or the driver is missing, or if there is no such scheme."""
        with self._faults("", unreadable):
            self._open()

    def read(self, name: str) -> bytes:
        """Return the contents of a file."""
        with self._files(name, unreadable) as (files, path):
            return bytes(files.cat_file(path))

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Read bytes `start` to `stop` (exclusive) of a file, and no others."""
        if start == stop:
            return b""
        with self._files(name, unreadable) as (files, path):
            data = bytes(files.cat_file(path, start=start, end=stop))
        return whole_range(self.describe(name), start, stop, data)

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""
        with self._files(name, unreadable) as (files, path):
            return int(files.info(path)["size"])

    def exists(self, name: str) -> bool:
        """Return whether there is such a file; raises DatasetError if the server does not answer."""
        with self._files(name, unreadable) as (files, path):
            try:
                return files.info(path)["type"] == "file"
            except (FileNotFoundError, NotADirectoryError):
                return False

    def write(self, name: str, data: bytes) -> None:
        """Write or replace a file, whole or not at all."""
        with self._files(name, unwritable) as (files, path):
            if _schemes(files) & ATOMIC_SCHEMES:
                files.pipe_file(path, data)
            else:
                _write_and_rename(files, path, data)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with self._files(name, unwritable) as (files, path), contextlib.suppress(FileNotFoundError):
            files.rm_file(path)

    def names(self, folder: str) -> list[str]:
        """Return the sorted names of all files below a folder."""
        with self._faults(folder, unreadable):
            files, root = self._open()
            path = f"{root}/{self._checked(folder)}" if folder else root
            try:
                found = files.find(path)
            except FileNotFoundError:
                return []
        # Drivers return paths with or without a leading slash.
        start = len(path.strip("/")) - len(folder)
        below = (file.strip("/")[start:].lstrip("/") for file in found)
        return sorted(name for name in below if STORE_NAME.fullmatch(name))

    def memory_map(self, _name: str, /) -> mmap.mmap | None:
        """Return None: ranges are read instead."""
        return None

    def describe(self, name: str) -> str:
        """Return the URL of a file, without its password."""
        url = re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", self.url)
        return f"{url}{'' if url.endswith('/') else '/'}{name}" if name else url

    @contextlib.contextmanager
    def _files(self, name: str, fault: Callable[[str, Exception], ShapePriorError]) -> Iterator[tuple[Any, str]]:
        """Yield the file system and the path of a file in it; the errors of both become a `fault` of the file."""
        with self._faults(self._checked(name), fault):
            files, root = self._open()
            yield files, f"{root}/{name}"

    @contextlib.contextmanager
    def _faults(self, name: str, fault: Callable[[str, Exception], ShapePriorError]) -> Iterator[None]:
        try:
            yield
        except ShapePriorError:
            raise
        # Drivers raise the exceptions of the libraries that they are built on.
        except Exception as error:
            raise fault(self.describe(name), error) from None

    def _checked(self, name: str) -> str:
        return check_name(name, where=self.describe(""))

    def _open(self) -> tuple[Any, str]:
        """Return the file system and the path of the store in it, without a slash at its end."""
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise DatasetError(
                f"{self.describe('')}: URLs need fsspec, which is missing; expected it to be installed: "
                "`pip install 'shapeprior[remote]'`"
            ) from None
        try:
            # fsspec keeps a file system for each process and thread: asking again is cheap, and safe after a fork.
            files, root = url_to_fs(self.url)
        except ImportError as error:
            raise DatasetError(
                f"{self.describe('')}: {error_text(error)}; expected the driver of this scheme; install it with pip"
            ) from None
        except ValueError as error:
            raise DatasetError(
                f"{self.describe('')}: {error_text(error)}; expected a URL that fsspec knows, such as s3://, gs://, "
                "abfs://, sftp:// or https://; check the scheme"
            ) from None
        # Other processes write, too, so that a remembered listing may be old.
        files.invalidate_cache()
        return files, root.rstrip("/")


def _write_and_rename(files: Any, path: str, data: bytes) -> None:
    """Write a temporary file and rename it, for file systems that show a file while it is being written."""
    folder = path.rpartition("/")[0]
    temporary = f"{folder}/.{uuid.uuid4().hex}.tmp"
    files.makedirs(folder, exist_ok=True)
    try:
        files.pipe_file(temporary, data)
        try:
            files.mv(temporary, path)
        except OSError:
            if not files.exists(path):
                raise
            _replace_file(files, temporary, path)
    except BaseException:
        with contextlib.suppress(Exception):
            files.rm_file(temporary)
        raise


def _replace_file(files: Any, temporary: str, path: str) -> None:
    """Replace a file where nothing can be renamed onto one; the old file comes back if the new one cannot be moved."""
    aside = f"{temporary}.old"
    files.mv(path, aside)
    try:
        files.mv(temporary, path)
    except BaseException:
        files.mv(aside, path)
        raise
    files.rm_file(aside)


def _schemes(files: Any) -> set[str]:
    return {files.protocol} if isinstance(files.protocol, str) else set(files.protocol)
