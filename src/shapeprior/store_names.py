"""What all stores share: which names files may have, and what is said when one cannot be read or written."""

import re

from shapeprior.errors import DatasetError, OutputError

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
"""Plain names only: none leaves the store, is hidden (as files half written are), or means something to a URL or a shell."""


def check_name(name: str, *, where: str) -> str:
    """Refuse names that could leave the store; raises DatasetError."""
    if not NAME.fullmatch(name):
        raise DatasetError(f"{where}: name {name!r}; expected letters, digits, '.', '_', '-' between slashes")
    return name


def whole_range(place: str, start: int, stop: int, data: bytes) -> bytes:
    """The bytes of a range, if they are as many as were asked for; raises DatasetError."""
    if len(data) != stop - start:
        raise DatasetError(
            f"{place}: {len(data)} bytes from byte {start}; expected {stop - start}; the file is truncated, or its server "
            "does not answer ranges: run `shapeprior prepare` again, or copy the data set to this machine"
        )
    return data


def unreadable(place: str, error: Exception) -> DatasetError:
    """What to raise for a file that is missing or cannot be read."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return DatasetError(f"{place}: missing; expected a file of a data set; run `shapeprior prepare` again")
    return DatasetError(f"{place}: cannot be read ({one_line(error)}); expected a readable file; check name and access")


def unwritable(place: str, error: Exception) -> OutputError:
    """What to raise for a file that cannot be written or removed."""
    return OutputError(
        f"{place}: cannot be written ({one_line(error)}); expected a place that can be; check access or choose another"
    )


def one_line(error: Exception) -> str:
    """The text of an error of another library, on one line of bounded length."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200] or type(error).__name__
