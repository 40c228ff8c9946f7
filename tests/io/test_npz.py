"""NPZ files that anyone may have written: numbers come back, everything else is refused in one line."""

import dataclasses
import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from shapeprior.errors import MeshError
from shapeprior.io import npz
from shapeprior.io.files import load_numpy
from shapeprior.io.npz import read_float_arrays


def npy(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


def header(text: str, data: bytes = b"") -> bytes:
    """An NPY file with a header of our choice."""
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + data


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back_as_numpy_reads_them(tmp_path: Path, save: Callable[..., None]) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "half": rng.random((3, 4)).astype(np.float16),
        "single": rng.random((5, 4)).astype(np.float32),
        "big_endian": rng.random(6).astype(">f8"),
        "by_column": np.asfortranarray(rng.random((4, 3))),
        "scalar": np.float32(2.5),
        "none": np.zeros((0, 4), np.float32),
    }
    save(tmp_path / "a.npz", **arrays, unread=np.arange(3))
    read = read_float_arrays(tmp_path / "a.npz", list(arrays))
    with load_numpy(tmp_path / "a.npz") as expected:
        for name in arrays:
            assert read[name].dtype == expected[name].dtype
            np.testing.assert_array_equal(read[name], expected[name])


def test_the_second_version_of_the_format_is_read(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.arange(3.0), version=(2, 0))
    path = archive(tmp_path / "a.npz", {"x.npy": file.getvalue()})
    assert read_float_arrays(path, ["x"])["x"].tolist() == [0.0, 1.0, 2.0]


def test_python_2_headers_are_read_without_a_warning(tmp_path: Path) -> None:
    data = header("{'descr': '<f4', 'fortran_order': False, 'shape': (2L,), }", np.arange(2, dtype="<f4").tobytes())
    assert read_float_arrays(archive(tmp_path / "a.npz", {"x.npy": data}), ["x"])["x"].tolist() == [0.0, 1.0]


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (npy(np.array([{}]), allow_pickle=True), "array 'x' is object; expected real numbers"),
        (npy(np.arange(3)), "array 'x' is int64"),
        (npy(np.array(["a"])), "expected real numbers"),
        (npy(np.zeros(2, np.complex64)), "array 'x' is complex64"),
        (npy(np.zeros(2, [("a", "f4")])), "expected real numbers"),
        (b"", "cannot be read"),
        (b"not an array", "cannot be read"),
        (b"\x93NUMPY\x03\x00" + b" " * 20, "NPY version"),
        (header("{"), "cannot be read"),
        (header(GOOD.replace("'descr'", "b'descr'")), "cannot be read"),
        (header("__import__('os')"), "cannot be read"),
        (header(GOOD, b"1234567"), "array 'x' of 7 bytes"),
        (header(GOOD, b"123456789"), "array 'x' of 9 bytes"),
        (header(GOOD.replace("(2,)", "(-2,)"), b"12345678"), "array 'x' of 8 bytes"),
        (header(GOOD.replace("(2,)", "(10**12,)")), "cannot be read"),
        (header(GOOD.replace("(2,)", "(1000000000000, 4)")), "array 'x' of 0 bytes"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = archive(tmp_path / "a.npz", {"x.npy": data})
    with pytest.raises(MeshError, match=message) as caught:
        read_float_arrays(path, ["x"])
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_array_is_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", {"x.npy": npy(np.zeros(1))})
    with pytest.raises(MeshError, match="no array 'y'"):
        read_float_arrays(path, ["x", "y"])


def test_a_small_file_cannot_become_a_large_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "_SAMPLES", dataclasses.replace(npz._SAMPLES, max_array_bytes=1 << 20))
    data = npy(np.zeros(1 << 20, np.float32))
    path = archive(tmp_path / "bomb.npz", {"x.npy": data}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 13
    with pytest.raises(MeshError, match="array 'x' of 4 MiB; expected at most 1"):
        read_float_arrays(path, ["x"])
    # The size that the archive states is the one that is believed: what lies beyond is not inflated.
    content = path.read_bytes().replace(struct.pack("<I", len(data)), struct.pack("<I", 1000))
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(MeshError, match="cannot be read"):
        read_float_arrays(path, ["x"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(data) / 4


def test_other_compressions_are_refused(tmp_path: Path) -> None:
    # These inflate as much as they like at once.
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        path = archive(tmp_path / "a.npz", {"x.npy": npy(np.zeros(9))}, method)
        with pytest.raises(MeshError, match="expected deflated arrays"):
            read_float_arrays(path, ["x"])


def test_files_that_are_none_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "text.npz").write_bytes(b"abc" * 99)
    (tmp_path / "array.npz").write_bytes(npy(np.zeros(3)))
    for name, message in {
        "none.npz": "No such file",
        "empty.npz": "an empty file",
        "text.npz": "cannot be read",
        "array.npz": "cannot be read",
        ".": "a folder; expected arrays saved with numpy.savez",
    }.items():
        with pytest.raises(MeshError, match=message):
            read_float_arrays(tmp_path / name, ["x"])
    small = dataclasses.replace(npz._SAMPLES, file=dataclasses.replace(npz._SAMPLES.file, max_bytes=10))
    monkeypatch.setattr(npz, "_SAMPLES", small)
    with pytest.raises(MeshError, match="at most; keep fewer rows"):
        read_float_arrays(tmp_path / "text.npz", ["x"])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damaged_files_are_refused_or_read(tmp_path: Path, save: Callable[..., None]) -> None:
    rng = np.random.default_rng(7)
    save(tmp_path / "whole.npz", x=rng.random((5, 4)).astype(np.float32))
    whole = (tmp_path / "whole.npz").read_bytes()
    path = tmp_path / "damaged.npz"
    messages = []
    for trial in range(600):
        content = bytearray(whole)
        if trial % 3 == 0:
            del content[rng.integers(len(content)) :]
        else:
            for place in rng.integers(len(content), size=1 + trial % 4):
                content[place] = rng.integers(256)
        path.write_bytes(content)
        try:
            read_float_arrays(path, ["x"])
        except MeshError as error:
            messages.append(str(error))
    assert len(messages) > 300
    assert all(message.startswith(str(path)) and "\n" not in message for message in messages)
