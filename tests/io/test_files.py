"""Files of others: bounded reading, JSON, names in a store, and the words of an error."""

import os
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shapeprior.errors import ConfigError, DatasetError, OutputError, error_text, one_line
from shapeprior.io.files import FileSpec, check_name, load_numpy, unreadable, unwritable, whole_range, write_bytes

SPEC = FileSpec(error=DatasetError, expected="a list", advice="mend it", max_bytes=200_000, advice_if_large="split it")


def refusal(path: Path, content: bytes, *, kind: type = object, strict: bool = False) -> str:
    """The text of the error for a JSON file, which is one line that begins with the path."""
    path.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        SPEC.read_json(path, kind, strict=strict)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_text_comes_without_its_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("\ufeffpath\né".encode())
    assert SPEC.read_text(tmp_path / "a.csv") == "path\né"
    (tmp_path / "a.json").write_bytes("\ufeff[1]".encode())
    assert SPEC.read_json(tmp_path / "a.json", list) == [1]
    assert SPEC.parse_json(b'{"a": NaN}', dict, "s3://b/a.json")["a"] != 0.0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file; expected a list; mend it"),
        (b" ", "not JSON (Expecting value: line 1"),
        (b"[\n1,\n]", "line 3"),
        (b"[" * 100_000, "not JSON (nested too deeply)"),
        (b"1" * 5000, "not JSON (Exceeds the limit"),
        (b'"\xff"', "not UTF-8 at byte 1"),
        ("[1]".encode("utf-16"), "not UTF-8"),
    ],
)
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    assert message in refusal(tmp_path / "a.json", content)


def test_json_of_another_type_and_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    assert "a JSON list; expected a list; mend it" in refusal(tmp_path / "a.json", b"[1]", kind=dict)
    for constant in (b"NaN", b"Infinity", b"-Infinity"):
        found = refusal(tmp_path / "a.json", b'{"a": ' + constant + b"}", kind=dict, strict=True)
        assert f"not JSON ({constant.decode()} is no number of JSON)" in found


def test_missing_and_large_files_are_refused_with_the_callers_error(tmp_path: Path) -> None:
    spec = FileSpec(error=ConfigError, expected="settings", advice="write them", max_bytes=3)
    with pytest.raises(ConfigError, match=r"none\.csv: No such file or directory; expected settings; write them$"):
        spec.read_text(tmp_path / "none.csv")
    with pytest.raises(ConfigError, match="a folder; expected settings"):
        spec.read_text(tmp_path)
    with pytest.raises(ConfigError, match="null byte"):
        spec.read_text(tmp_path / "a\0b")
    (tmp_path / "a.csv").write_text("path")
    with pytest.raises(ConfigError, match="MiB; expected settings of 0 MiB at most; keep a part of it"):
        spec.read_text(tmp_path / "a.csv")


def test_json_may_come_through_a_pipe_of_bounded_length() -> None:
    spec = FileSpec(error=ConfigError, expected="settings", advice="write them", max_bytes=3)
    for content in (b"[1]", b"[12]"):
        reading, writing = os.pipe()
        os.write(writing, content)
        os.close(writing)
        path = Path(f"/dev/fd/{reading}")
        if len(content) == 3:
            assert spec.read_json(path, list) == [1]
        else:
            with pytest.raises(ConfigError, match="at most; keep a part of it"):
                spec.read_json(path, list)
        os.close(reading)


def test_numpy_files_are_loaded_and_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(3))
    assert isinstance(load_numpy(tmp_path / "a.npy", memory_map=True), np.memmap)
    np.testing.assert_array_equal(load_numpy(tmp_path / "a.npy"), [0, 1, 2])
    np.save(tmp_path / "b.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load_numpy(tmp_path / "b.npy")


GOOD = ["a", "a/b", "A-1.b_2", "0", "_x", "a..b", "a/b/c/d", "x" * 200, "manifest.json", "samples/a.safetensors"]
BAD = [
    "",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/..",
    "/a",
    "a/",
    "a//b",
    ".a",
    "a/.b",
    "-a",
    "a b",
    "a\\b",
    "\\a",
    "C:a",
    "C:/a",
]
BAD += ["a\n", "\na", "ä", "a\0", "~a", "a?b", "a#b", "a%2e", "s3://b/a", "a*", "٣"]


def test_plain_names_are_accepted() -> None:
    assert [check_name(name, where="x") for name in GOOD] == GOOD


def test_names_that_could_leave_the_store_are_refused() -> None:
    for name in BAD:
        with pytest.raises(DatasetError, match=r"^the store: name .* expected letters, digits") as caught:
            check_name(name, where="the store")
        assert repr(name) in str(caught.value)
        assert "\n" not in str(caught.value)


@given(name=st.text(alphabet="aB0./\\-_:~ \n\0", max_size=12))
@settings(deadline=None)
def test_no_accepted_name_leaves_the_store(name: str) -> None:
    try:
        check_name(name, where="x")
    except DatasetError:
        return
    for flavour in (PurePosixPath, PureWindowsPath):
        path = flavour("/data/set") / name
        assert ".." not in path.parts
        assert path.is_relative_to(flavour("/data/set"))
        assert path.as_posix() == f"/data/set/{name}"
    assert not any(part.startswith(".") for part in Path(name).parts)


def test_a_range_is_whole_or_an_error() -> None:
    assert whole_range("x", 3, 5, b"ab") == b"ab"
    assert whole_range("x", 3, 3, b"") == b""
    for data in (b"", b"a", b"abc"):
        with pytest.raises(DatasetError, match=f"^x: {len(data)} bytes from byte 3; expected 2; .*truncated"):
            whole_range("x", 3, 5, data)


@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file"), NotADirectoryError(20, "Not a directory")])
def test_missing_files_are_told_from_unreadable_ones(error: OSError) -> None:
    assert "u://x/a: missing" in str(unreadable("u://x/a", error))
    told = unreadable("u://x/a", PermissionError(13, "Permission denied"))
    assert "u://x/a: cannot be read (Permission denied)" in str(told)


def test_errors_of_other_libraries_fit_on_a_line() -> None:
    assert error_text(RuntimeError("two\nlines  and\ttabs")) == "two lines and tabs"
    assert error_text(RuntimeError()) == "RuntimeError"
    assert error_text(FileNotFoundError(2, "No such file", "a.txt")) == "No such file"
    assert len(error_text(RuntimeError("x" * 1000))) == 200
    assert one_line(" two\nlines ") == "two lines"
    with pytest.raises(OutputError, match=r"test_files\.py.a: cannot be written \("):
        write_bytes(Path(__file__) / "a", b"")
    told = unwritable("u://x/a", RuntimeError("quota\nexceeded"))
    assert isinstance(told, OutputError)
    assert str(told).startswith("u://x/a: cannot be written (quota exceeded); expected")
