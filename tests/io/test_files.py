"""Files that list shapes, whatever is in them.

Names of stored files, and what is said of one that cannot be read or written.
"""

from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shapeprior.errors import DatasetError, OutputError
from shapeprior.io import files
from shapeprior.io.files import check_name, one_line, read_json, read_text, unreadable, unwritable, whole_range


def test_text_comes_without_its_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("\ufeffpath\né".encode())
    assert read_text(tmp_path / "a.csv") == "path\né"
    (tmp_path / "a.json").write_bytes("\ufeff[1]".encode())
    assert read_json(tmp_path / "a.json") == [1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON .*line 1"),
        (b"[\n1,\n]", "not JSON .*line 3"),
        (b"[" * 100_000, "nested too deeply"),
        (b"1" * 5000, "not JSON"),
        (b'"\xff"', "not UTF-8 at byte 1"),
        ("[1]".encode("utf-16"), "not UTF-8"),
    ],
)
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=message) as caught:
        read_json(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_large_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatasetError, match="No such file"):
        read_text(tmp_path / "none.csv")
    with pytest.raises(DatasetError, match="directory"):
        read_text(tmp_path)
    monkeypatch.setattr(files, "MAX_BYTES", 3)
    (tmp_path / "a.csv").write_text("path")
    with pytest.raises(DatasetError, match="expected a list of at most"):
        read_text(tmp_path / "a.csv")


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


@pytest.mark.parametrize("name", GOOD)
def test_plain_names_are_accepted(name: str) -> None:
    assert check_name(name, where="x") == name


@pytest.mark.parametrize("name", BAD)
def test_names_that_could_leave_the_store_are_refused(name: str) -> None:
    with pytest.raises(DatasetError, match=r"^the store: name .* expected letters, digits") as caught:
        check_name(name, where="the store")
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
    assert one_line(RuntimeError("two\nlines  and\ttabs")) == "two lines and tabs"
    assert one_line(RuntimeError()) == "RuntimeError"
    assert len(one_line(RuntimeError("x" * 1000))) == 200
    told = unwritable("u://x/a", RuntimeError("quota\nexceeded"))
    assert isinstance(told, OutputError)
    assert str(told).startswith("u://x/a: cannot be written (quota exceeded); expected")
