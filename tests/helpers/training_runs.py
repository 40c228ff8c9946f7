"""Tiny training runs that several test files share, and what they leave on disk."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from shapeprior.datasets.dataset import Dataset
from shapeprior.models.deepsdf import DeepSdfConfig
from shapeprior.models.presets import Preset, TrainConfig
from shapeprior.models.triplane import TriplaneConfig
from shapeprior.training.train import EpochReport

SHORT = TrainConfig(epochs=4, shapes_per_batch=3, points_per_shape=200)


TINY = {
    "deepsdf": Preset(decoder=DeepSdfConfig(code_size=4, width=32), train=SHORT),
    "triplane": Preset(
        decoder=TriplaneConfig(code_size=4, base=2, channels=(6, 4), width=16),
        train=dataclasses.replace(SHORT, loss="banded", decoder_rate=5e-3, matrix_rate=2e-2, code_rate=3e-2),
    ),
}


BOTH = pytest.mark.parametrize("kind", list(TINY))


class StoppedRun(Exception):
    """Raised by `stop_after`, for whatever may stop a run."""


def stop_after(epoch: int) -> Callable[[EpochReport], None]:
    """Return a progress callback that stops a run after an epoch."""

    def progress(report: EpochReport) -> None:
        if report.epoch == epoch:
            raise StoppedRun

    return progress


def checkpoint_bytes(run: Path) -> bytes:
    return (run / "checkpoint.safetensors").read_bytes()


def log_of(run: Path) -> list[dict[str, float]]:
    text = (run / "log.jsonl").read_text()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def copy_data(data: Dataset, root: Path) -> Dataset:
    shutil.copytree(data.root, root)
    return Dataset.open(root)
