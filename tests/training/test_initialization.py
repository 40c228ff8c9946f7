"""The first state of a run: random and linear starts, for shapes in and outside the linear model, and errors.

The linear model is checked against eigenvectors of the covariance, the theorem of Eckart and Young, and a densely
sampled plane.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from shapeprior.datasets.dataset import Dataset
from shapeprior.errors import DatasetError
from shapeprior.models.checkpoint import Checkpoint, RunConfig
from shapeprior.models.deepsdf import DeepSdfConfig
from shapeprior.models.presets import StartName, TrainConfig, build_decoder
from shapeprior.models.triplane import TriplaneConfig
from shapeprior.sdf.sampling import SdfSamples
from shapeprior.training import initialization
from shapeprior.training.initialization import (
    WIDTH_EXPONENT,
    LinearInitialization,
    coarse_grid,
    coarse_grids,
    initial_checkpoint,
)

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
    return initial_checkpoint(data, shapes, config)


def clamped_error(data: Dataset, state: Checkpoint) -> float:
    """Return the mean clamped error over the training samples."""
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
    monkeypatch.setattr(initialization, "MAX_FITTED", len(whole.codes) - 1)
    monkeypatch.setattr(initialization, "CHUNK_SHAPES", 1)
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


CELLS, CLAMP = 6, 0.1
AXIS = (np.arange(CELLS) + 0.5) / CELLS * 2.0 - 1.0
CENTERS = np.stack(np.meshgrid(AXIS, AXIS, AXIS, indexing="ij"), axis=-1).reshape(-1, 3)


def ellipsoid_like(radii: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return a field that is negative inside an ellipsoid."""
    return (np.linalg.norm(points / radii, axis=-1) - 1.0) * radii.min()


def family(count: int) -> np.ndarray:
    radii = np.random.default_rng(0).uniform(0.3, 0.8, size=(count, 3))
    return np.stack([ellipsoid_like(row, CENTERS) for row in radii])


def test_codes_are_principal_components_by_the_eigenvectors_of_the_covariance() -> None:
    grids = family(30)
    start = LinearInitialization.fit(grids, code_size=5, clamp=CLAMP, deviation=0.3)
    near = np.clip(grids, -CLAMP, CLAMP)
    values, vectors = np.linalg.eigh(np.cov(near.T, bias=True))
    scores = (near - near.mean(axis=0)) @ vectors[:, ::-1][:, :5]
    deviations = np.sqrt(values[::-1][:5])
    expected = 0.3 * scores / deviations * (deviations / deviations[0]) ** WIDTH_EXPONENT
    found = start.codes(grids)
    sign = np.sign((found * expected).sum(axis=0))  # An axis may point either way.
    np.testing.assert_allclose(found, expected * sign, atol=1e-9)
    assert found[:, 0].std() == pytest.approx(0.3)


def test_the_field_of_the_codes_is_the_best_of_its_rank() -> None:
    grids = family(30)
    near = np.clip(grids, -CLAMP, CLAMP)
    full = LinearInitialization.fit(grids, code_size=40, clamp=CLAMP, deviation=0.3)
    np.testing.assert_allclose(full.mean + full.codes(grids) @ full.basis, near, atol=1e-9)
    few = LinearInitialization.fit(grids, code_size=4, clamp=CLAMP, deviation=0.3)
    missed = np.square(few.mean + few.codes(grids) @ few.basis - near).sum()
    values = np.linalg.svd(near - near.mean(axis=0), compute_uv=False)
    assert missed == pytest.approx(np.square(values[4:]).sum())  # Eckart and Young 1936


def test_a_shape_that_was_not_fitted_gets_the_code_of_its_likeness() -> None:
    grids = family(30)
    start = LinearInitialization.fit(grids[:20], code_size=8, clamp=CLAMP, deviation=0.3)
    code = start.codes(grids[20:])
    nearest = np.argmin(np.linalg.norm(start.codes(grids[:20])[None] - code[:, None], axis=2), axis=1)
    gap = np.abs(np.clip(grids[20:, None], -CLAMP, CLAMP) - np.clip(grids[None, :20], -CLAMP, CLAMP)).mean(axis=2)
    rank = (gap < gap[np.arange(10), nearest][:, None]).sum(axis=1)
    assert np.median(rank) <= 1


@pytest.mark.parametrize("count", [1, 2])
def test_one_shape_or_twins_leave_all_codes_zero(count: int) -> None:
    grids = np.repeat(family(1), count, axis=0)
    start = LinearInitialization.fit(grids, code_size=4, clamp=CLAMP, deviation=0.3)
    assert np.abs(start.codes(grids)).max() == 0.0
    np.testing.assert_allclose(start.mean, np.clip(grids[0], -CLAMP, CLAMP))


def test_grid_values_are_those_of_the_field_where_samples_are_dense() -> None:
    points = np.random.default_rng(1).uniform(-1.0, 1.0, size=(20_000, 3))
    normal = np.array([0.6, 0.0, 0.8])
    found = coarse_grid(points, points @ normal - 0.1, CELLS)
    np.testing.assert_allclose(found, CENTERS @ normal - 0.1, atol=0.05)
    assert np.corrcoef(found, CENTERS @ normal)[0, 1] > 0.999


def test_a_shape_with_fewer_samples_than_neighbours_works() -> None:
    grids = coarse_grids([(np.zeros((1, 3), np.float16), np.full(1, 0.25, np.float16))], 2)
    np.testing.assert_array_equal(grids, np.full((1, 8), 0.25))


def test_the_decoder_starts_as_the_linear_model() -> None:
    """They agree at cell centres, once the correction of the untrained planes is taken off."""
    grids = family(30)
    start = LinearInitialization.fit(grids, code_size=8, clamp=CLAMP, deviation=0.3)
    decoder = build_decoder(
        TriplaneConfig(code_size=8, base=3, channels=(6, 4), width=8, volume=CELLS), seed=0
    ).double()
    points = torch.from_numpy(CENTERS)[None].expand(30, -1, -1)
    codes = torch.from_numpy(start.codes(grids))
    with torch.no_grad():
        decoder.set_coarse_field(torch.zeros(CELLS**3), torch.zeros(8, CELLS**3))
        correction = decoder(codes, points)
        decoder.set_coarse_field(torch.from_numpy(start.mean), torch.from_numpy(start.basis))
        field = decoder(codes, points) - correction
    np.testing.assert_allclose(field.numpy(), start.mean + start.codes(grids) @ start.basis, atol=1e-6)
