"""Training that is killed, interrupted, or has its disk filled or its data taken away."""

import builtins
import errno
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.processes import kill, wait_until
from helpers.train_process import PRESETS, ends, epochs_of, start
from helpers.training_runs import checkpoint_bytes, copy_data, log_of

from shapeprior.datasets.dataset import Dataset
from shapeprior.errors import DatasetError, OutputError
from shapeprior.io import files
from shapeprior.models.checkpoint import RunConfig, read_checkpoint
from shapeprior.training import batches, trainer
from shapeprior.training import run as training_run
from shapeprior.training.run import EpochReport, TrainLog
from shapeprior.training.train import train_prior

TINY, LONG = PRESETS["tiny"], PRESETS["long"]


def epoch_of(run: Path) -> int:
    return read_checkpoint(run, RunConfig.read(run)).epoch


@pytest.fixture(scope="module")
def whole(tiny_data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The long run without a fault."""
    return train_prior(tiny_data, tmp_path_factory.mktemp("whole") / "run", preset=LONG, seed=1)


def require_same(run: Path, whole: Path) -> None:
    assert checkpoint_bytes(run) == checkpoint_bytes(whole)
    for ours, theirs in zip(log_of(run), log_of(whole), strict=True):
        assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint_seconds", [0.0, 0.2])
def test_killed_and_resumed_is_uninterrupted_bit_for_bit(
    tiny_data: Dataset, tmp_path: Path, whole: Path, checkpoint_seconds: float
) -> None:
    """Killed in the middle of whatever it does: a step, a line of the log, a checkpoint."""
    run = tmp_path / "run"
    for lines in (3, 30):
        never = tmp_path / "never"
        process = start(tiny_data.root, run, "long", checkpoint_seconds=checkpoint_seconds, hold=never)
        wait_until(lambda lines=lines: len(epochs_of(run)) >= lines, process=process)
        kill(process.pid)
        assert ends([process])[0][0] == -signal.SIGKILL
        assert epoch_of(run) < 150
    train_prior(tiny_data, run, preset=LONG, seed=1)
    require_same(run, whole)


@pytest.mark.slow
def test_ctrl_c_ends_with_the_epoch_and_says_how_to_go_on(tiny_data: Dataset, tmp_path: Path, whole: Path) -> None:
    run = tmp_path / "run"
    process = start(tiny_data.root, run, "long", checkpoint_seconds=1e6, hold=tmp_path / "interrupted")
    wait_until(lambda: len(epochs_of(run)) >= 3, process=process)
    process.send_signal(signal.SIGINT)
    (tmp_path / "interrupted").touch()
    assert ends([process]) == [(130, "shapeprior: interrupted; start the same command again to go on")]
    # No work was lost, though no checkpoint was due.
    assert 3 <= epoch_of(run) == epochs_of(run)[-1] < 150
    train_prior(tiny_data, run, preset=LONG, seed=1)
    require_same(run, whole)


def test_ctrl_c_in_a_long_epoch_does_not_wait_for_its_end(
    tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, measure, steps = tmp_path / "run", trainer.batch_objective, 0

    def interrupted(*arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 5:  # The first step of two of the third epoch.
            signal.raise_signal(signal.SIGINT)
        return measure(*arguments)

    monkeypatch.setattr(trainer, "batch_objective", interrupted)
    monkeypatch.setattr(training_run, "GRACE_SECONDS", 0.0)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train_prior(tiny_data, run, preset=TINY, seed=1, checkpoint_seconds=0.0)
    assert steps == 5
    assert epoch_of(run) == 2
    assert signal.getsignal(signal.SIGINT) is before
    # A second one does not wait for the end of the step.
    monkeypatch.setattr(training_run, "GRACE_SECONDS", 1e6)

    def interrupted_twice(*arguments: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("went on after the second one")

    monkeypatch.setattr(trainer, "batch_objective", interrupted_twice)
    with pytest.raises(KeyboardInterrupt):
        train_prior(tiny_data, run, preset=TINY, seed=1, checkpoint_seconds=0.0)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_full_disk(tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train_prior(tiny_data, tmp_path / "whole", preset=TINY, seed=1)
    run = tmp_path / "run"

    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill_the_disk(report: EpochReport) -> None:
        if report.epoch == 3:
            monkeypatch.setattr(files.os, "fsync", no_space)

    with pytest.raises(OutputError, match=r"checkpoint\.safetensors: No space left on device"):
        train_prior(tiny_data, run, preset=TINY, seed=1, progress=fill_the_disk, checkpoint_seconds=0.0)
    monkeypatch.undo()
    assert epoch_of(run) == 3
    assert not list(run.glob(".*"))
    assert checkpoint_bytes(train_prior(tiny_data, run, preset=TINY, seed=1)) == checkpoint_bytes(whole)
    assert epochs_of(run) == [1, 2, 3, 4, 5, 6]


def test_a_disk_without_room_for_the_log(tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"

    def open_full(path: Path, mode: str, **options: Any) -> Any:
        if len(epochs_of(run)) == 2:
            with builtins.open(path, mode, **options) as file:
                file.write('{"epoch": 3, ')
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return builtins.open(path, mode, **options)

    monkeypatch.setattr(training_run, "open", open_full, raising=False)
    with pytest.raises(OutputError, match=r"log\.jsonl: No space left on device.*go on from the last checkpoint"):
        train_prior(tiny_data, run, preset=TINY, seed=1, checkpoint_seconds=0.0)
    monkeypatch.undo()
    assert epoch_of(run) == 2
    train_prior(tiny_data, run, preset=TINY, seed=1)
    assert epochs_of(run) == [1, 2, 3, 4, 5, 6]


def test_data_that_vanishes(tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, run = copy_data(tiny_data, tmp_path / "data"), tmp_path / "run"
    monkeypatch.setattr(batches, "OPEN_FILES", 1)

    def remove(report: EpochReport) -> None:
        if report.epoch == 2:
            shutil.rmtree(data.root)

    with pytest.raises(DatasetError, match=r"data/samples/.*\.safetensors: "):
        train_prior(data, run, preset=TINY, seed=1, progress=remove, checkpoint_seconds=0.0, held_bytes=0)
    assert epoch_of(run) == 2
    # With the same samples in another place, training goes on.
    whole = train_prior(tiny_data, tmp_path / "whole", preset=TINY, seed=1)
    assert checkpoint_bytes(train_prior(tiny_data, run, preset=TINY, seed=1)) == checkpoint_bytes(whole)


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


def test_the_interruption_stays_away_from_threads(tiny_data: Dataset, tmp_path: Path) -> None:
    """Only the main thread may take signals; training in another one must work."""
    from threading import Thread

    thread = Thread(target=lambda: train_prior(tiny_data, tmp_path / "run", preset=TINY, seed=1))
    thread.start()
    thread.join()
    assert epoch_of(tmp_path / "run") == 6
    assert torch.get_num_threads() == 1
