"""What a run begins with: the linear model of the samples, whoever is fitted to it, and errors."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from shapeprior.datasets.dataset import Dataset
from shapeprior.errors import DatasetError
from shapeprior.models.checkpoint import Checkpoint, RunConfig
from shapeprior.models.deepsdf import DeepSdfConfig
from shapeprior.models.presets import StartName, TrainConfig
from shapeprior.models.triplane import TriplaneConfig
from shapeprior.sdf.sampling import SdfSamples
from shapeprior.training import initialization as module
from shapeprior.training.initialization import first_state

TRIPLANE = TriplaneConfig(code_size=4, base=2, channels=(6, 4), width=16)


def begin(data: Dataset, start: StartName, *, seed: int = 0, decoder: Any = TRIPLANE) -> Checkpoint:
    shapes = data.split("train")
    config = RunConfig(
        decoder=decoder,
        train=TrainConfig(start=start, code_init_deviation=0.3),
        seed=seed,
        shape_ids=tuple(shape.id for shape in shapes),
        dataset={},
    )
    return first_state(data, shapes, config)


def clamped_error(data: Dataset, state: Checkpoint) -> float:
    """Mean over the training samples."""
    errors = []
    for shape, code in zip(data.split("train"), state.codes, strict=True):
        samples = data.samples(shape.id)
        with torch.no_grad():
            field = state.decoder(code[None], torch.from_numpy(samples.points_unit.astype(np.float32))[None])[0].numpy()
        errors.append(np.abs(field.clip(-0.1, 0.1) - samples.sdf.astype(np.float32).clip(-0.1, 0.1)).mean())
    return float(np.mean(errors))


def test_a_linear_start_knows_the_shapes_before_the_first_step(tiny_data: Dataset) -> None:
    linear, random = begin(tiny_data, "linear"), begin(tiny_data, "random")
    assert linear.epoch == random.epoch == 0
    assert clamped_error(tiny_data, linear) < 0.6 * clamped_error(tiny_data, random)


def test_random_codes_have_the_deviation_that_is_asked_for(tiny_data: Dataset) -> None:
    codes = torch.stack([begin(tiny_data, "random", seed=seed).codes for seed in range(40)])
    assert codes.std() == pytest.approx(0.3, rel=0.1)
    assert codes.mean() == pytest.approx(0.0, abs=0.05)


def test_a_decoder_without_a_coarse_field_gets_the_same_codes(tiny_data: Dataset) -> None:
    plain = begin(tiny_data, "linear", decoder=DeepSdfConfig(code_size=4, width=32))
    assert torch.equal(plain.codes, begin(tiny_data, "linear").codes)


def test_shapes_beyond_those_that_are_fitted_are_projected(tiny_data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = begin(tiny_data, "linear")
    monkeypatch.setattr(module, "MAX_FITTED", len(whole.codes) - 1)
    monkeypatch.setattr(module, "BATCH", 1)
    part = begin(tiny_data, "linear")
    assert not torch.equal(part.codes, whole.codes)
    assert torch.isfinite(part.codes).all()
    assert clamped_error(tiny_data, part) < clamped_error(tiny_data, begin(tiny_data, "random"))


def test_samples_that_are_not_finite_are_an_error_that_names_the_shape(
    tiny_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, read = tiny_data.split("train")[1].id, Dataset.sample_block

    def broken(self: Dataset, shape_id: str, *, start: int, count: int) -> SdfSamples:
        block = read(self, shape_id, start=start, count=count)
        return replace(block, sdf=np.full_like(block.sdf, np.nan)) if shape_id == victim else block

    monkeypatch.setattr(Dataset, "sample_block", broken)
    with pytest.raises(DatasetError, match=f"{victim} hold NaN"):
        begin(tiny_data, "linear")
