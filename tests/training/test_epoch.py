"""Epochs that end with numbers that are not finite: the error names the shape, and the last checkpoint stays."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.training_runs import TINY

from shapeprior.datasets.dataset import Dataset
from shapeprior.errors import CheckpointError
from shapeprior.models.checkpoint import RunConfig, read_checkpoint
from shapeprior.models.decoder import Decoder
from shapeprior.models.objective import Objective, TrainingBatch
from shapeprior.training import trainer
from shapeprior.training.train import train_prior


def test_numbers_that_diverge_leave_the_last_whole_checkpoint(tiny_data: Dataset, tmp_path: Path) -> None:
    preset = dataclasses.replace(TINY["triplane"], train=dataclasses.replace(TINY["triplane"].train, decoder_rate=1e25))
    run = tmp_path / "run"
    with pytest.raises(
        CheckpointError, match=r"epoch \d: (weights|the loss of shape (ball|box|egg)_.*) is not .*lower decoder_rate"
    ):
        train_prior(tiny_data, run, preset=preset, seed=1, checkpoint_seconds=0.0)
    if (run / "checkpoint.safetensors").exists():
        read_checkpoint(run, RunConfig.read(run))  # This refuses NaN.


def test_weights_that_break_in_the_last_step_of_an_epoch_are_not_saved(
    tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, measure, steps = tmp_path / "run", trainer.batch_objective, 0

    def infinite_gradient(decoder: Decoder, codes: torch.Tensor, *rest: Any) -> Objective:
        """Give a finite loss an infinite gradient, in the last of two steps of the third epoch."""
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
        """Make the loss of one shape non-finite from the second epoch on; an epoch has two steps."""
        nonlocal steps
        objective, steps = measure(decoder, codes, batch, *rest), steps + 1
        return dataclasses.replace(objective, value=torch.where((batch.rows == 2) & (steps > 2), bad, objective.value))

    monkeypatch.setattr(trainer, "batch_objective", one_bad_shape)
    shape = tiny_data.split("train")[2].id
    with pytest.raises(CheckpointError, match=f"epoch 2: the loss of shape {shape} is not finite"):
        train_prior(tiny_data, run, preset=TINY["deepsdf"], seed=1, checkpoint_seconds=0.0)
    assert read_checkpoint(run, RunConfig.read(run)).epoch == 1
