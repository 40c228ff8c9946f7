"""A result comes back from its file if nothing that it depends on has changed, and not otherwise."""

import json
from pathlib import Path

import pytest

from shapeprior.errors import OutputError
from shapeprior.io.files import ResultRow

SETTINGS = {"resolution": 64, "sensor": (0.0, 1.5), "pose": None}
RESULT = {"score": 0.5, "mesh": "a.ply", "reason": "größer"}


def row(tmp_path: Path, **changes: object) -> ResultRow:
    return ResultRow(path=tmp_path / "rows" / "a.json", dependencies={**SETTINGS, **changes})


def test_a_result_comes_back_while_its_dependencies_are_the_same(tmp_path: Path) -> None:
    assert row(tmp_path).read() is None
    row(tmp_path).write(RESULT)
    assert row(tmp_path).read() == RESULT
    # Tuples and lists are one thing in JSON.
    assert row(tmp_path, sensor=[0.0, 1.5]).read() == RESULT
    assert row(tmp_path, resolution=65).read() is None
    assert row(tmp_path, more=1).read() is None
    row(tmp_path, resolution=65).write({"score": 0.7})
    assert row(tmp_path, resolution=65).read() == {"score": 0.7}
    assert [path.name for path in (tmp_path / "rows").iterdir()] == ["a.json"]


def test_the_file_holds_both_under_their_names(tmp_path: Path) -> None:
    named = ResultRow(path=tmp_path / "b.json", dependencies="digest", dependencies_name="key", result_name="row")
    named.write(RESULT)
    assert json.loads(named.path.read_text()) == {"key": "digest", "row": RESULT}
    assert named.read() == RESULT
    assert ResultRow(path=named.path, dependencies="digest").read() is None


def test_damaged_files_hold_no_result(tmp_path: Path) -> None:
    row(tmp_path).write(RESULT)
    path = row(tmp_path).path
    text = path.read_text()
    for length in range(0, len(text) - 2, 7):
        path.write_text(text[:length])
        assert row(tmp_path).read() is None
    settings = json.dumps(SETTINGS)
    for broken in (
        "[]",
        "3",
        "{}",
        "[" * 9999,
        "\N{REPLACEMENT CHARACTER}",
        f'{{"settings": {settings}, "result": 3}}',
    ):
        path.write_text(broken)
        assert row(tmp_path).read() is None
    path.write_bytes(b"\xff\xfe")
    assert row(tmp_path).read() is None
    path.unlink()
    path.mkdir()
    assert row(tmp_path).read() is None


def test_a_row_that_is_discarded_takes_its_files_with_it(tmp_path: Path) -> None:
    row(tmp_path).write(RESULT)
    (tmp_path / "a.ply").write_bytes(b"mesh")
    (tmp_path / "kept.ply").write_bytes(b"mesh")
    row(tmp_path).discard([tmp_path / "a.ply", tmp_path / "missing.ply"])
    assert row(tmp_path).read() is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.ply", "rows"]
    row(tmp_path).discard()


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(b"a file")
    with pytest.raises(OutputError, match="rows"):
        row(tmp_path).write(RESULT)


def test_a_result_that_is_no_number_is_refused_and_leaves_no_row(tmp_path: Path) -> None:
    row = ResultRow(path=tmp_path / "row.json", dependencies={"seed": 0})
    with pytest.raises(ValueError, match="not JSON compliant"):
        row.write({"error": float("nan")})
    assert not row.path.exists()
