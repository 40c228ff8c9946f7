"""Training that is killed or interrupted, whose disk is full, or whose data vanish."""

import builtins
import errno
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from helpers.processes import kill, wait_until
from helpers.train_process import PRESETS, ends, epochs_of, start
from helpers.training_runs import checkpoint_bytes, copy_data, log_of

from shapeprior.datasets.dataset import Dataset
from shapeprior.errors import DatasetError, OutputError
from shapeprior.io import files
from shapeprior.models.checkpoint import RunConfig, read_checkpoint
from shapeprior.training import batches
from shapeprior.training import run as training_run
from shapeprior.training.run import EpochReport
from shapeprior.training.train import train_prior

TINY, LONG = PRESETS["tiny"], PRESETS["long"]


def epoch_of(run: Path) -> int:
    return read_checkpoint(run, RunConfig.read(run)).epoch


@pytest.fixture(scope="module")
def whole(tiny_data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the long run without a fault."""
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
    """The process is killed at any moment: in a step, a line of the log, or a checkpoint."""
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


def test_a_full_disk(tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train_prior(tiny_data, tmp_path / "whole", preset=TINY, seed=1)
    run = tmp_path / "run"

    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill_the_disk(report: EpochReport) -> None:
        if report.epoch == 3:
            monkeypatch.setattr(files.os, "fsync", no_space)

    with pytest.raises(OutputError, match=r"checkpoint\.safetensors: cannot be written \(No space left on device\)"):
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
    monkeypatch.setattr(batches, "MAX_OPEN_FILES", 1)

    def remove(report: EpochReport) -> None:
        if report.epoch == 2:
            shutil.rmtree(data.root)

    with pytest.raises(DatasetError, match=r"data/samples/.*\.safetensors: "):
        train_prior(data, run, preset=TINY, seed=1, progress=remove, checkpoint_seconds=0.0, held_bytes=0)
    assert epoch_of(run) == 2
    # With the same samples in another place, training goes on.
    whole = train_prior(tiny_data, tmp_path / "whole", preset=TINY, seed=1)
    assert checkpoint_bytes(train_prior(tiny_data, run, preset=TINY, seed=1)) == checkpoint_bytes(whole)
