"""Inputs that training refuses; a refusal changes nothing that was there before."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from helpers.training_runs import BOTH, TINY, StoppedRun, checkpoint_bytes, copy_data, stop_after
from safetensors.torch import load_file, save_file

from shapeprior.completion.registry import load
from shapeprior.datasets.dataset import Dataset
from shapeprior.datasets.shape_files import write_samples
from shapeprior.errors import CheckpointError, ConfigError, DatasetError
from shapeprior.models.checkpoint import RunConfig, read_checkpoint
from shapeprior.training.train import train_prior


@BOTH
@pytest.mark.parametrize("field", ["points_unit", "sdf"])
def test_samples_without_a_number_are_refused_before_anything_is_lost(
    tiny_data: Dataset, tmp_path: Path, kind: str, field: str
) -> None:
    data, run = copy_data(tiny_data, tmp_path / "data"), tmp_path / "run"
    with pytest.raises(StoppedRun):
        train_prior(data, run, preset=TINY[kind], seed=1, progress=stop_after(2), checkpoint_seconds=0.0)
    before, shape = checkpoint_bytes(run), data.split("train")[1]
    samples = data.samples(shape.id)
    getattr(samples, field)[5] = np.nan
    write_samples(data.store, shape.id, samples)
    with pytest.raises(DatasetError, match=f"{shape.id}.*NaN") as caught:
        train_prior(data, run, preset=TINY[kind], seed=1)
    assert str(data.root) in str(caught.value)
    assert checkpoint_bytes(run) == before
    assert read_checkpoint(run, RunConfig.read(run)).epoch == 2


def test_a_shape_without_samples(tiny_data: Dataset, tmp_path: Path) -> None:
    shape = tiny_data.split("train")[2]
    cut = tuple(dataclasses.replace(row, samples=0) if row is shape else row for row in tiny_data.shapes)
    with pytest.raises(DatasetError, match=f"{shape.id} has no samples"):
        train_prior(dataclasses.replace(tiny_data, shapes=cut), tmp_path / "run", preset=TINY["deepsdf"], seed=1)
    assert not (tmp_path / "run").exists()


def test_a_seed_below_zero(tiny_data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="seed = -1"):
        train_prior(tiny_data, tmp_path / "run", preset=TINY["deepsdf"], seed=-1)


def test_nothing_to_train_on(tiny_data: Dataset, tmp_path: Path) -> None:
    data = dataclasses.replace(tiny_data, shapes=tiny_data.split("test"))
    with pytest.raises(DatasetError, match="no shape in the training split"):
        train_prior(data, tmp_path / "run", preset=TINY["deepsdf"], seed=1)


@pytest.mark.parametrize(
    "drop", ["optimizer.", "optimizer.codes.step", "optimizer.codes.exp_avg_sq", "optimizer.hidden.2.bias.exp_avg"]
)
def test_weights_for_use_cannot_be_trained_on(tiny_data: Dataset, tmp_path: Path, drop: str) -> None:
    run = tmp_path / "run"
    with pytest.raises(StoppedRun):
        train_prior(tiny_data, run, preset=TINY["deepsdf"], seed=1, progress=stop_after(2), checkpoint_seconds=0.0)
    path = run / "checkpoint.safetensors"
    kept = {name: value for name, value in load_file(path).items() if not name.startswith(drop)}
    save_file(kept, path, {"format": "shapeprior-run", "version": "1", "epoch": "2"})
    assert load(run).codes.shape == (4, 4)
    with pytest.raises(CheckpointError, match="training cannot go on") as caught:
        train_prior(tiny_data, run, preset=TINY["deepsdf"], seed=1)
    assert str(path) in str(caught.value)


def test_a_rate_for_layers_that_there_are_not_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"matrix_rate = 0.02 with a decoder of kind 'deepsdf'"):
        dataclasses.replace(TINY["deepsdf"], train=dataclasses.replace(TINY["deepsdf"].train, matrix_rate=0.02))


def test_devices_that_do_not_exist_are_refused(tiny_data: Dataset, tmp_path: Path) -> None:
    for device in ("gpu", "cuda:99"):
        with pytest.raises(ConfigError, match=f"device '{device}'"):
            train_prior(tiny_data, tmp_path / "run", preset=TINY["deepsdf"], seed=1, device=device)
    assert not (tmp_path / "run").exists()
