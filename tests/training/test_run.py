"""Run folders: they hold one run, their log drops broken lines, and Ctrl-C ends training in time."""

import dataclasses
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from helpers.train_process import PRESETS
from helpers.training_runs import SHORT, TINY, checkpoint_bytes

from shapeprior.datasets.dataset import Dataset
from shapeprior.errors import CheckpointError, OutputError
from shapeprior.models.checkpoint import RunConfig, read_checkpoint
from shapeprior.training import run as training_run
from shapeprior.training import trainer
from shapeprior.training.run import InterruptHandler, TrainLog
from shapeprior.training.train import train_prior


@pytest.fixture
def default_interrupt() -> Iterator[None]:
    """Python's own handler of Ctrl-C: a shell starts background jobs with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def epoch_of(run: Path) -> int:
    return read_checkpoint(run, RunConfig.read(run)).epoch


def test_a_folder_holds_one_run(tiny_data: Dataset, tmp_path: Path) -> None:
    run = train_prior(tiny_data, tmp_path / "run", preset=TINY["deepsdf"], seed=1)
    before = checkpoint_bytes(run)
    longer = dataclasses.replace(TINY["deepsdf"], train=dataclasses.replace(SHORT, epochs=9))
    fewer = dataclasses.replace(tiny_data, shapes=tiny_data.shapes[1:])
    changed = dataclasses.replace(
        tiny_data, shapes=tuple(dataclasses.replace(shape, samples_sha256="0" * 64) for shape in tiny_data.shapes)
    )
    for data, preset, seed in (
        (tiny_data, TINY["deepsdf"], 2),
        (tiny_data, TINY["triplane"], 1),
        (tiny_data, longer, 1),
        (fewer, TINY["deepsdf"], 1),
        (changed, TINY["deepsdf"], 1),
    ):
        with pytest.raises(CheckpointError, match="other settings or other data") as caught:
            train_prior(data, run, preset=preset, seed=seed)
        assert str(run) in str(caught.value)
    assert checkpoint_bytes(run) == before


def test_other_folders_are_left_alone(tiny_data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match="not empty and not a run"):
        train_prior(tiny_data, tmp_path, preset=TINY["deepsdf"], seed=1)
    with pytest.raises(CheckpointError, match="not empty and not a run"):
        train_prior(tiny_data, tmp_path / "thesis.txt", preset=TINY["deepsdf"], seed=1)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(OutputError):
        train_prior(tiny_data, tmp_path / "thesis.txt" / "run", preset=TINY["deepsdf"], seed=1)


@pytest.mark.parametrize(
    "line", ["{", "[]", "3", '{"epoch": "many"}', '{"epoch": 2}', "\N{REPLACEMENT CHARACTER}", "[" * 9999]
)
def test_broken_lines_of_the_log_are_dropped(tmp_path: Path, line: str) -> None:
    path = tmp_path / "log.jsonl"
    good = [json.dumps({"epoch": epoch, "seconds": epoch * 1.5}) for epoch in (1, 2, 3)]
    path.write_text("\n".join([good[0], line, good[1], good[2], line]))
    assert TrainLog(path).trim(2) == 3.0
    assert path.read_text().splitlines() == good[:2]
    assert TrainLog(tmp_path / "none.jsonl").trim(2) == 0.0


@pytest.mark.usefixtures("default_interrupt")
def test_ctrl_c_in_a_long_epoch_does_not_wait_for_its_end(
    tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, measure, steps = tmp_path / "run", trainer.batch_objective, 0

    def interrupted(*arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 5:  # This is the first of two steps of the third epoch.
            signal.raise_signal(signal.SIGINT)
        return measure(*arguments)

    monkeypatch.setattr(trainer, "batch_objective", interrupted)
    monkeypatch.setattr(training_run, "GRACE_SECONDS", 0.0)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train_prior(tiny_data, run, preset=PRESETS["tiny"], seed=1, checkpoint_seconds=0.0)
    assert steps == 5
    assert epoch_of(run) == 2
    assert signal.getsignal(signal.SIGINT) is before
    # The second Ctrl-C does not wait for the end of the step.
    monkeypatch.setattr(training_run, "GRACE_SECONDS", 1e6)

    def interrupted_twice(*arguments: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("went on after the second one")

    monkeypatch.setattr(trainer, "batch_objective", interrupted_twice)
    with pytest.raises(KeyboardInterrupt):
        train_prior(tiny_data, run, preset=PRESETS["tiny"], seed=1, checkpoint_seconds=0.0)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_interruption_stays_away_from_threads(tiny_data: Dataset, tmp_path: Path) -> None:
    """Only the main thread may handle signals; training in another one must work."""
    thread = Thread(target=lambda: train_prior(tiny_data, tmp_path / "run", preset=PRESETS["tiny"], seed=1))
    thread.start()
    thread.join()
    assert epoch_of(tmp_path / "run") == 6
    assert torch.get_num_threads() == 1


@pytest.mark.usefixtures("default_interrupt")
def test_an_interrupt_is_noted_once_and_the_handler_gives_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_run, "GRACE_SECONDS", 1e6)
    before = signal.getsignal(signal.SIGINT)
    with InterruptHandler() as interrupt:
        assert not interrupt.requested
        assert not interrupt.grace_is_over
        signal.raise_signal(signal.SIGINT)
        assert interrupt.requested
        assert not interrupt.grace_is_over
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
