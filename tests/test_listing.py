"""Files that list shapes, whatever is in them."""

from pathlib import Path

import pytest

from shapeprior.errors import DatasetError
from shapeprior.io import files as listing
from shapeprior.io.files import read_json, read_text


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
    monkeypatch.setattr(listing, "MAX_BYTES", 3)
    (tmp_path / "a.csv").write_text("path")
    with pytest.raises(DatasetError, match="expected a list of at most"):
        read_text(tmp_path / "a.csv")
