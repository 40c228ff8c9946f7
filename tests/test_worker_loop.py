"""Values between processes: whole or not at all."""

from pathlib import Path

import pytest

from shapeprior.parallel.worker import Lost, receive, send


@pytest.mark.parametrize("value", [None, b"", "ä" * 100_000, Path("a"), Lost(kind="memory", reason="large"), {1: (2,)}])
def test_values_come_back_one_after_the_other(value: object, tmp_path: Path) -> None:
    with open(tmp_path / "pipe", "w+b") as pipe:
        send(pipe, value)
        send(pipe, "next")
        pipe.seek(0)
        assert receive(pipe) == value
        assert receive(pipe) == "next"
        with pytest.raises(EOFError):
            receive(pipe)


@pytest.mark.parametrize("length", [0, 5, 8, 15])
def test_a_value_cut_short_is_none(length: int, tmp_path: Path) -> None:
    with open(tmp_path / "pipe", "w+b") as pipe:
        send(pipe, "some text")
        pipe.truncate(length)
        pipe.seek(0)
        with pytest.raises(EOFError):
            receive(pipe)
