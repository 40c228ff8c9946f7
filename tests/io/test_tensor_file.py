"""Tensor files: rows of files by another writer are read, and headers that do not fit their file are refused."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.small_dataset import WatchedStore
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from shapeprior.errors import DatasetError
from shapeprior.io.store import LocalStore, open_store
from shapeprior.io.tensor_file import FIRST_READ_BYTES, MAX_HEADER_BYTES, TensorFile

RNG = np.random.default_rng(4)
TENSORS = {
    "half": RNG.standard_normal((50, 3)).astype(np.float16),
    "single": RNG.standard_normal(50).astype(np.float32),
    "double": RNG.standard_normal((7, 3)),
    "index": RNG.integers(-9, 9, (20, 3)).astype(np.int32),
    "byte": RNG.integers(0, 255, 50).astype(np.uint8),
    "cube": RNG.standard_normal((4, 2, 5)).astype(np.float32),
    "nothing": np.zeros((0, 3), dtype=np.float32),
}


def raw(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    """Return a file with any header, given as JSON or as its bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(first: int, last: int, *, dtype: object = "U8", shape: object = None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [last - first] if shape is None else shape, "data_offsets": [first, last]}


@pytest.fixture(params=[True, False], ids=["mapped", "by ranges"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> WatchedStore:
    return WatchedStore(LocalStore(tmp_path), maps=request.param)


def test_what_the_library_writes_is_read(store: WatchedStore) -> None:
    store.write("t", save(TENSORS))
    file = TensorFile(store, "t")
    assert file.tensors.keys() == TENSORS.keys()
    for name, expected in TENSORS.items():
        found = file.rows(name, 0, len(expected))
        assert found.dtype == expected.dtype
        assert found.dtype.isnative
        assert found.flags.writeable
        np.testing.assert_array_equal(found, expected)
        for start, stop in ((0, 0), (1, 3), (len(expected) // 2, len(expected)), (len(expected),) * 2):
            if stop <= len(expected):
                np.testing.assert_array_equal(file.rows(name, start, stop), expected[start:stop])


def test_only_the_rows_asked_for_are_read(store: WatchedStore) -> None:
    store.write("t", save({"a": np.zeros((100_000, 3), np.float32), "b": np.zeros(100_000, np.float16)}))
    file = TensorFile(store, "t")
    before = store.total
    assert before <= FIRST_READ_BYTES
    file.rows("a", 50_000, 50_100)
    assert store.total - before == 100 * 12
    file.rows("b", 0, 70)
    assert store.total - before == 100 * 12 + 70 * 2


def test_headers_longer_than_the_first_read(store: WatchedStore) -> None:
    metadata = {"note": "x" * 5000}
    store.write("t", save(TENSORS, metadata))
    file = TensorFile(store, "t")
    np.testing.assert_array_equal(file.rows("double", 0, 7), TENSORS["double"])
    assert "__metadata__" not in file.tensors


def test_tensors_in_any_order_and_spaces_after_the_header(store: WatchedStore) -> None:
    header = json.dumps({"b": entry(4, 6), "a": entry(0, 4), "e": entry(4, 4)}).encode() + b"   "
    store.write("t", raw(header, b"abcdef"))
    file = TensorFile(store, "t")
    assert file.rows("a", 0, 4).tobytes() == b"abcd"
    assert file.rows("b", 1, 2).tobytes() == b"f"
    assert file.rows("e", 0, 0).tobytes() == b""


def test_files_with_the_same_header_keep_apart(store: WatchedStore) -> None:
    # Headers are parsed once; the numbers are not.
    for name, value in (("t", 1.0), ("u", 2.0)):
        store.write(name, save({"a": np.full(3, value)}))
    assert TensorFile(store, "t").rows("a", 0, 3).tolist() == [1.0] * 3
    assert TensorFile(store, "u").rows("a", 0, 3).tolist() == [2.0] * 3
    store.write("u", store.read("t") + b"!")
    with pytest.raises(DatasetError, match="25 bytes after the header"):
        TensorFile(store, "u")


@pytest.mark.parametrize("rows", [(0, 51), (50, 51), (-1, 3), (5, 4), (60, 60), (-3, -1)])
def test_rows_that_are_not_there(rows: tuple[int, int], store: WatchedStore) -> None:
    store.write("t", save(TENSORS))
    with pytest.raises(
        DatasetError, match=rf"rows {rows[0]} to {rows[1]} of tensor 'half'; expected some within 0 to 50"
    ):
        TensorFile(store, "t").rows("half", *rows)


def test_tensors_are_required_by_type_and_shape(store: WatchedStore) -> None:
    store.write("t", save({**TENSORS, "number": np.array(1.0)}))
    file = TensorFile(store, "t")
    assert file.require("half", ("F16", "F32"), (3,)) == 50
    assert file.require("cube", ("F32",), (2, 5)) == 4
    for name, types, columns, found in (
        ("other", ("F16",), (), "no tensor 'other'"),
        ("half", ("F32", "F64"), (3,), r"'half' is F16 \(50, 3\); expected F32 or F64 \('rows', 3\)"),
        ("half", ("F16",), (), r"'half' is F16 \(50, 3\); expected F16 \('rows',\)"),
        ("half", ("F16",), (2,), "'half' is F16"),
        ("number", ("F64",), (), r"'number' is F64 \(\)"),
    ):
        with pytest.raises(DatasetError, match=found) as caught:
            file.require(name, types, columns)
        assert store.describe("t") in str(caught.value)


FITTING = {"a": entry(0, 4), "b": entry(4, 6)}
BROKEN = {
    "empty": b"",
    "shorter than a length": b"\x01\0\0",
    "only a length": struct.pack("<Q", 10),
    "no header": struct.pack("<Q", 0),
    "header longer than the file": raw(FITTING, b"abcdef", length=10_000),
    "a length beyond all bounds": raw(FITTING, b"abcdef", length=2**64 - 1),
    "header longer than allowed": raw(b" " * (MAX_HEADER_BYTES + 1) + b"{}"),
    "not JSON": raw(b"{a: 1}", b"abcdef"),
    "not text": raw(b"\xff\xfe\x00", b"abcdef"),
    "nested": raw(b"[" * 100_000),
    "a list": raw([1, 2]),
    "null": raw(None),
    "a number in place of a tensor": raw({"a": 3}),
    "cut": raw(FITTING, b"abcde"),
    "too long": raw(FITTING, b"abcdefg"),
    "overlapping": raw({"a": entry(0, 4), "b": entry(3, 5)}, b"abcde"),
    "twice the same bytes": raw({"a": entry(0, 4), "b": entry(0, 4)}, b"abcd"),
    "a gap": raw({"a": entry(0, 4), "b": entry(5, 6)}, b"abcdef"),
    "a gap before the first": raw({"a": entry(1, 4)}, b"abcd"),
    "outside": raw({"a": entry(0, 4000)}, b"abcd"),
    "before the start": raw({"a": entry(-4, 0, shape=[4])}, b"abcd"),
    "backwards": raw({"a": entry(4, 0, shape=[4])}, b"abcd"),
    "more rows than bytes": raw({"a": entry(0, 4, shape=[5])}, b"abcd"),
    "a negative shape": raw({"a": entry(0, 4, shape=[-2, -2])}, b"abcd"),
    "a huge shape": raw({"a": entry(0, 4, shape=[2**62, 2**62])}, b"abcd"),
    "a shape with a fraction": raw({"a": entry(0, 4, shape=[4.0])}, b"abcd"),
    "true in a shape": raw({"a": entry(0, 1, shape=[True])}, b"a"),
    "no shape": raw({"a": {"dtype": "U8", "data_offsets": [0, 4]}}, b"abcd"),
    "a shape that is none": raw({"a": entry(0, 4, shape="4")}, b"abcd"),
    "three offsets": raw({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4, 4]}}, b"abcd"),
    "offsets that are none": raw({"a": {"dtype": "U8", "shape": [4], "data_offsets": ["0", "4"]}}, b"abcd"),
    "a type that numpy has not": raw({"a": entry(0, 4, dtype="BF16", shape=[2])}, b"abcd"),
    "a type that is none": raw({"a": entry(0, 4, dtype=["U8"])}, b"abcd"),
    "another type than its bytes": raw({"a": entry(0, 4, dtype="F64", shape=[4])}, b"abcd"),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_headers_that_do_not_fit_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(data)
    for store in (open_store(tmp_path), WatchedStore(LocalStore(tmp_path))):
        with pytest.raises(DatasetError, match="shapeprior prepare") as caught:
            TensorFile(store, "t")
        assert str(tmp_path / "t") in str(caught.value)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < len(str(tmp_path)) + 300


def test_the_fitting_header_fits(store: WatchedStore) -> None:
    store.write("t", raw(FITTING, b"abcdef"))
    assert TensorFile(store, "t").rows("b", 0, 2).tobytes() == b"ef"


@given(place=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.booleans())
@settings(deadline=None, max_examples=200)
def test_a_damaged_file_is_refused_or_read_within_its_bounds(
    place: int, value: int, cut: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = bytearray(save({"a": np.arange(6, dtype=np.float16).reshape(2, 3), "b": np.zeros(2, np.uint8)}))
    place %= len(data)
    data[place] = value
    store = LocalStore(tmp_path_factory.getbasetemp())
    store.write("t", bytes(data[:place]) if cut else bytes(data))
    try:
        file = TensorFile(store, "t")
    except DatasetError:
        return
    assert not cut
    for name, tensor in file.tensors.items():
        # Where both readers accept the file, they read the same.
        np.testing.assert_array_equal(file.rows(name, 0, tensor.shape[0]), load(bytes(data))[name])


def test_missing_files_are_named(store: WatchedStore) -> None:
    store.maps = False
    with pytest.raises(DatasetError, match="missing") as caught:
        TensorFile(store, "t")
    assert store.describe("t") in str(caught.value)
