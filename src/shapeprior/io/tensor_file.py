"""Numbers on disk: safetensors files, any rows of which can be read without the rest.

The format (described by docs/formats.md): 8 bytes, little-endian, say how long the header is; the header is JSON and gives
each tensor's type, shape and bytes; the rest is the tensors, row after row, without gaps. The library's own reader takes
whole tensors of local files; this one takes rows, from any store, and believes no header that does not fit its file.
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
FIRST_BYTES = 1024
"""What is read at first from a store without memory maps: longer than any header that this package writes."""
DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I32": np.dtype("<i4"),
    "U8": np.dtype("u1"),
}
"""The types that are read, of those that the format has, by its names for them."""


@dataclass(frozen=True, kw_only=True)
class TensorEntry:
    """One tensor of a file, by its header."""

    type: str
    """Key of `DTYPES`."""
    shape: tuple[int, ...]
    start: int
    """Its first byte, counted from the beginning of the file."""

    @property
    def row_bytes(self) -> int:
        """Bytes from one row to the next."""
        return DTYPES[self.type].itemsize * math.prod(self.shape[1:])


class TensorFile:
    """An open safetensors file."""

    def __init__(self, store: Store, name: str) -> None:
        """Read and check the header; raises DatasetError if the file is missing, cut, or not a safetensors file."""
        self._store, self._name = store, name
        self._memory = store.memory_map(name)
        self.tensors: Mapping[str, TensorEntry]
        """What there is, by name."""
        try:
            self.tensors = _parse_header(*self._read_header())
        except _BrokenHeader as found:
            raise DatasetError(
                f"{self.place}: {found}; expected a whole safetensors file of a data set; run `shapeprior prepare` again"
            ) from None

    @property
    def place(self) -> str:
        """Path or URL, for messages."""
        return self._store.describe(self._name)

    def require(self, tensor: str, types: Sequence[str], columns: tuple[int, ...]) -> int:
        """Number of rows of a tensor, which must be there with one of the types and these columns, or DatasetError."""
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
        """Rows start to stop (exclusive) of a tensor, which must be there; no other bytes of the file are read.

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
        # A copy in this machine's byte order, which can be written to.
        return rows.astype(rows.dtype.newbyteorder("="))

    def _read_header(self) -> tuple[bytes, int]:
        """The header's bytes and the file's size."""
        size = self._store.size(self._name) if self._memory is None else len(self._memory)
        first = self._bytes(0, min(size, FIRST_BYTES))
        length = int.from_bytes(first[:8], "little")
        if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
            raise _BrokenHeader(f"a header of {length} bytes in a file of {size}")
        return first[8 : 8 + length] if 8 + length <= len(first) else self._bytes(8, 8 + length), size

    def _bytes(self, start: int, stop: int) -> bytes:
        if self._memory is None:
            return self._store.read_range(self._name, start, stop)
        return self._memory[start:stop]


class _BrokenHeader(Exception):
    """What is wrong with a header."""


@lru_cache(maxsize=64)
def _parse_header(header: bytes, size: int) -> Mapping[str, TensorEntry]:
    """The tensors of a file, in their order. Cached: files of as many samples each have the same header."""
    try:
        document = json.loads(header)
        spans = {name: _span(name, value) for name, value in document.items() if name != "__metadata__"}
    # A RecursionError comes from brackets nested a thousand deep.
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _BrokenHeader(f"a header that is not one ({type(error).__name__})") from None
    tensors = {}
    end = data_start = 8 + len(header)
    for name, (kind, shape, first, last) in sorted(spans.items(), key=lambda item: item[1][2:]):
        # Tensors lie one after the other, so that none overlaps another or ends outside the file.
        if data_start + first != end or last - first != DTYPES[kind].itemsize * math.prod(shape):
            raise _BrokenHeader(f"tensor {name[:50]!r} of {kind} {shape[:4]} at bytes {first} to {last}")
        tensors[name] = TensorEntry(type=kind, shape=shape, start=end)
        end = data_start + last
    if end != size:
        raise _BrokenHeader(f"tensors of {end - data_start} bytes, but {size - data_start} bytes after the header")
    return MappingProxyType(tensors)


def _span(name: str, value: Any) -> tuple[str, tuple[int, ...], int, int]:
    """Type, shape, first and last byte of a tensor; raises ValueError, TypeError or KeyError if they are not given."""
    kind, shape, (first, last) = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(shape, list) or any(type(number) is not int or number < 0 for number in [*shape, first, last]):
        raise ValueError
    if kind not in DTYPES:
        raise _BrokenHeader(f"tensor {name[:50]!r} of type {str(kind)[:20]!r}")
    return kind, tuple(shape), first, last
