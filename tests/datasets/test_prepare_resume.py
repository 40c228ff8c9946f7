"""Which places a data set may be written to: new ones, and those that were begun with the same settings."""

import json
from pathlib import Path
from typing import Any

import pytest

from shapeprior.datasets.prepare import read_earlier_settings, write_settings
from shapeprior.errors import DatasetError, OutputError
from shapeprior.io.store import open_store

SETTINGS: dict[str, Any] = {"prepare": {"up": "y", "near": {"variances": [0.1, 0.2]}, "measure": 0.9}, "seed": 3}
ADJUSTABLE = frozenset({"prepare.measure"})


def test_a_new_place_and_one_with_the_same_settings_are_free(tmp_path: Path) -> None:
    store = open_store(tmp_path / "new")
    assert read_earlier_settings(store, SETTINGS, adjustable=ADJUSTABLE) is None
    assert not (tmp_path / "new").exists()
    write_settings(store, SETTINGS)
    assert read_earlier_settings(store, SETTINGS, adjustable=ADJUSTABLE) == SETTINGS
    assert json.loads((tmp_path / "new" / "settings.json").read_text()) == SETTINGS


def test_an_empty_folder_and_a_killed_first_write_are_free(tmp_path: Path) -> None:
    (tmp_path / ".0123.tmp").write_bytes(b"half")
    assert read_earlier_settings(open_store(tmp_path), SETTINGS, adjustable=ADJUSTABLE) is None


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    for name in ("thesis.tex", "years of work.tex", "ä"):
        folder = tmp_path / f"folder of {name}"
        folder.mkdir()
        (folder / name).write_text("x")
        with pytest.raises(DatasetError, match=f"holds '{name}' and is not a data set"):
            read_earlier_settings(open_store(folder), SETTINGS, adjustable=ADJUSTABLE)


def test_a_url_with_something_else_is_refused() -> None:
    store = open_store("memory://claimed")
    store.write("thesis.tex", b"x")
    with pytest.raises(DatasetError, match=r"^memory://claimed: holds 'thesis\.tex'"):
        read_earlier_settings(store, SETTINGS, adjustable=ADJUSTABLE)
    store.remove("thesis.tex")
    assert read_earlier_settings(store, SETTINGS, adjustable=ADJUSTABLE) is None


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="file: is a file; expected a new folder"):
        read_earlier_settings(open_store(tmp_path / "file"), SETTINGS, adjustable=ADJUSTABLE)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (SETTINGS | {"seed": 4}, "seed = 3, now 4"),
        (SETTINGS | {"more": 1}, "more = nothing, now 1"),
        ({"prepare": SETTINGS["prepare"]}, "seed = 3, now nothing"),
        ({"prepare": SETTINGS["prepare"] | {"up": "z"}, "seed": 3}, "prepare.up = y, now z"),
        (
            {"prepare": SETTINGS["prepare"] | {"near": {"variances": [0.1]}}, "seed": 3},
            "prepare.near.variances = [0.1, 0.2], now [0.1]",
        ),
        ({"prepare": SETTINGS["prepare"] | {"near": None}, "seed": 3}, "prepare.near = {'variances'"),
    ],
)
def test_other_settings_are_refused_by_name(asked: dict[str, Any], found: str, tmp_path: Path) -> None:
    store = open_store(tmp_path)
    write_settings(store, SETTINGS)
    with pytest.raises(DatasetError, match="was prepared with other settings") as caught:
        read_earlier_settings(store, asked, adjustable=ADJUSTABLE)
    assert found in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert read_earlier_settings(store, SETTINGS, adjustable=ADJUSTABLE) == SETTINGS


def test_settings_that_may_differ_may(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    write_settings(store, SETTINGS)
    assert (
        read_earlier_settings(
            store, {"prepare": SETTINGS["prepare"] | {"measure": 0.1}, "seed": 3}, adjustable=ADJUSTABLE
        )
        == SETTINGS
    )


def test_broken_settings_are_refused(tmp_path: Path) -> None:
    for data in (b"{", b"[]", b"\xff", b"[" * 100_000):
        (tmp_path / "settings.json").write_bytes(data)
        with pytest.raises(
            DatasetError, match=r"settings\.json: (not JSON|not UTF-8|a JSON list).* expected the settings of"
        ):
            read_earlier_settings(open_store(tmp_path), SETTINGS, adjustable=ADJUSTABLE)
