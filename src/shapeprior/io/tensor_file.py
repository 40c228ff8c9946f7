"""Safetensors files in any store, of which single rows can be read without the rest.

The format, described in docs/formats.md, begins with 8 bytes, little-endian, that state the length of the header. The
header is JSON, with each tensor's type, shape and range of bytes. The tensors follow, row after row, without gaps. The
library's own reader takes whole tensors of local files; this one reads rows from any store, and refuses a header that
does not fit its file.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Shaped

from shapeprior.errors import DatasetError
from shapeprior.io.store import Store

MAX_HEADER_BYTES = 1 << 20
"""Longest header."""
FIRST_READ_BYTES = 1024
"""Length of the first read from a store without memory maps, which is longer than any header that this package
writes."""
DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I32": np.dtype("<i4"),
    "U8": np.dtype("u1"),
}
"""Types that are read, by the names that the format has for them; it has others."""


@dataclass(frozen=True, kw_only=True)
class TensorEntry:
    """One tensor of a file, as the header states it."""

    type: str
    """Key of `DTYPES`."""
    shape: tuple[int, ...]
    """Rows, and the shape of a row."""
    start: int
    """First byte, counted from the beginning of the file."""

    @property
    def row_bytes(self) -> int:
        """Bytes from one row to the next."""
        return DTYPES[self.type].itemsize * math.prod(self.shape[1:])


class TensorFile:
    """An open safetensors file."""

    def __init__(self, store: Store, name: str) -> None:
        """Read and check the header; raises DatasetError if the file is missing, truncated, or of another format."""
        self._store, self._name = store, name
        self._memory = store.memory_map(name)
        self.tensors: Mapping[str, TensorEntry]
        """Entries of the tensors, by name."""
        try:
            self.tensors = _parse_header(*self._read_header())
        except _BrokenHeader as found:
            raise DatasetError(
                f"{self.place}: {found}; expected a whole safetensors file; run `shapeprior prepare` again"
            ) from None

    @property
    def place(self) -> str:
        """Path or URL of the file, for messages."""
        return self._store.describe(self._name)

    def require(self, tensor: str, types: Sequence[str], columns: tuple[int, ...]) -> int:
        """Return the number of rows of a tensor.

        Raises DatasetError unless the tensor is there, with one of the `types` (keys of `DTYPES`) and rows of shape
        `columns`.
        """
        entry = self.tensors.get(tensor)
        if entry is None:
            raise DatasetError(f"{self.place}: no tensor '{tensor}'; expected one; run `shapeprior prepare` again")
        if entry.type not in types or len(entry.shape) == 0 or entry.shape[1:] != columns:
            raise DatasetError(
                f"{self.place}: tensor '{tensor}' is {entry.type} {entry.shape}; expected {' or '.join(types)} "
                f"{('rows', *columns)}; run `shapeprior prepare` again"
            )
        return entry.shape[0]

    def rows(self, tensor: str, start: int, stop: int) -> Shaped[np.ndarray, "rows *columns"]:
        """Read rows `start` to `stop` (exclusive) of a tensor that is there, and no other bytes of the file.

        Raises DatasetError if the tensor has fewer rows.
        """
        entry = self.tensors[tensor]
        if not 0 <= start <= stop <= entry.shape[0]:
            raise DatasetError(
                f"{self.place}: rows {start} to {stop} of tensor '{tensor}'; expected some within 0 to "
                f"{entry.shape[0]}; ask for fewer"
            )
        data = self._bytes(entry.start + start * entry.row_bytes, entry.start + stop * entry.row_bytes)
        rows = np.frombuffer(data, dtype=DTYPES[entry.type]).reshape(stop - start, *entry.shape[1:])
        # The copy is in this machine's byte order, and can be written to.
        return rows.astype(rows.dtype.newbyteorder("="))

    def _read_header(self) -> tuple[bytes, int]:
        """Return the bytes of the header, and the size of the file."""
        size = self._store.size(self._name) if self._memory is None else len(self._memory)
        first = self._bytes(0, min(size, FIRST_READ_BYTES))
        length = int.from_bytes(first[:8], "little")
        if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
            raise _BrokenHeader(f"a header of {length} bytes in a file of {size}")
        return first[8 : 8 + length] if 8 + length <= len(first) else self._bytes(8, 8 + length), size

    def _bytes(self, start: int, stop: int) -> bytes:
        if self._memory is None:
            return self._store.read_range(self._name, start, stop)
        return self._memory[start:stop]


class _BrokenHeader(Exception):
    """The fault of a header, in words."""


@lru_cache(maxsize=64)
def _parse_header(header: bytes, size: int) -> Mapping[str, TensorEntry]:
    """Return the tensors of a file, in their order. Cached: files with equally many samples have equal headers."""
    try:
        document = json.loads(header)
        spans = {name: _span(name, value) for name, value in document.items() if name != "__metadata__"}
    # Brackets nested a thousand deep are a RecursionError.
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _BrokenHeader(f"a header that is no JSON of tensors ({type(error).__name__})") from None
    tensors = {}
    end = data_start = 8 + len(header)
    for name, (kind, shape, first, last) in sorted(spans.items(), key=lambda item: item[1][2:]):
        # Tensors must follow each other, so that none overlaps another or ends outside the file.
        if data_start + first != end or last - first != DTYPES[kind].itemsize * math.prod(shape):
            raise _BrokenHeader(f"tensor {name[:50]!r} of {kind} {shape[:4]} at bytes {first} to {last}")
        tensors[name] = TensorEntry(type=kind, shape=shape, start=end)
        end = data_start + last
    if end != size:
        raise _BrokenHeader(f"tensors of {end - data_start} bytes, but {size - data_start} bytes after the header")
    return MappingProxyType(tensors)


def _span(name: str, value: Any) -> tuple[str, tuple[int, ...], int, int]:
    """Return type, shape, first byte and end of a tensor; raises ValueError, TypeError or KeyError without them."""
    kind, shape, (first, last) = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(shape, list) or any(type(number) is not int or number < 0 for number in [*shape, first, last]):
        raise ValueError
    if kind not in DTYPES:
        raise _BrokenHeader(f"tensor {name[:50]!r} of type {str(kind)[:20]!r}")
    return kind, tuple(shape), first, last
