"""What training refuses, and that a refusal costs nothing that was there before."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.training_runs import BOTH, SHORT, TINY, Interruption, checkpoint_bytes, copy_data, stop_after
from safetensors.torch import load_file, save_file

from shapeprior.completion.registry import load
from shapeprior.datasets.dataset import Dataset
from shapeprior.datasets.shape_files import write_samples
from shapeprior.errors import CheckpointError, ConfigError, DatasetError, OutputError
from shapeprior.models.checkpoint import RunConfig, read_checkpoint
from shapeprior.models.decoder import Decoder
from shapeprior.models.objective import Objective, TrainingBatch
from shapeprior.training import trainer
from shapeprior.training.train import train_prior


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


@BOTH
@pytest.mark.parametrize("field", ["points_unit", "sdf"])
def test_samples_without_a_number_are_refused_before_anything_is_lost(
    tiny_data: Dataset, tmp_path: Path, kind: str, field: str
) -> None:
    data, run = copy_data(tiny_data, tmp_path / "data"), tmp_path / "run"
    with pytest.raises(Interruption):
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


def test_numbers_that_diverge_leave_the_last_whole_checkpoint(tiny_data: Dataset, tmp_path: Path) -> None:
    preset = dataclasses.replace(TINY["triplane"], train=dataclasses.replace(TINY["triplane"].train, decoder_rate=1e25))
    run = tmp_path / "run"
    with pytest.raises(
        CheckpointError, match=r"epoch \d: (weights|the loss of shape (ball|box|egg)_.*) is not .*lower decoder_rate"
    ):
        train_prior(tiny_data, run, preset=preset, seed=1, checkpoint_seconds=0.0)
    if (run / "checkpoint.safetensors").exists():
        read_checkpoint(run, RunConfig.read(run))  # Refuses NaN.


def test_weights_that_break_in_the_last_step_of_an_epoch_are_not_saved(
    tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, measure, steps = tmp_path / "run", trainer.batch_objective, 0

    def infinite_gradient(decoder: Decoder, codes: torch.Tensor, *rest: Any) -> Objective:
        """A loss that is finite with a gradient that is not, in the last of two steps of the third epoch."""
        nonlocal steps
        objective, steps = measure(decoder, codes, *rest), steps + 1
        if steps == 6:
            codes = codes - codes.detach()
            return dataclasses.replace(objective, value=objective.value + codes.abs().sqrt().sum())
        return objective

    monkeypatch.setattr(trainer, "batch_objective", infinite_gradient)
    with pytest.raises(CheckpointError, match=r"epoch 3: weights .* not finite"):
        train_prior(tiny_data, run, preset=TINY["deepsdf"], seed=1, checkpoint_seconds=0.0)
    assert read_checkpoint(run, RunConfig.read(run)).epoch == 2


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_loss_that_is_not_finite_names_the_shape(
    tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: float
) -> None:
    run, measure, steps = tmp_path / "run", trainer.batch_objective, 0

    def one_bad_shape(decoder: Decoder, codes: torch.Tensor, batch: TrainingBatch, *rest: Any) -> Objective:
        """From the second epoch of two steps on."""
        nonlocal steps
        objective, steps = measure(decoder, codes, batch, *rest), steps + 1
        return dataclasses.replace(objective, value=torch.where((batch.rows == 2) & (steps > 2), bad, objective.value))

    monkeypatch.setattr(trainer, "batch_objective", one_bad_shape)
    shape = tiny_data.split("train")[2].id
    with pytest.raises(CheckpointError, match=f"epoch 2: the loss of shape {shape} is not finite"):
        train_prior(tiny_data, run, preset=TINY["deepsdf"], seed=1, checkpoint_seconds=0.0)
    assert read_checkpoint(run, RunConfig.read(run)).epoch == 1


@pytest.mark.parametrize(
    "drop", ["optimizer.", "optimizer.codes.step", "optimizer.codes.exp_avg_sq", "optimizer.hidden.2.bias.exp_avg"]
)
def test_weights_for_use_cannot_be_trained_on(tiny_data: Dataset, tmp_path: Path, drop: str) -> None:
    run = tmp_path / "run"
    with pytest.raises(Interruption):
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
