"""The warm start against the eigenvectors of the covariance, Eckart and Young, and a plane sampled densely."""

import numpy as np
import pytest
import torch

from shapeprior.models.presets import build_decoder
from shapeprior.models.triplane import TriplaneConfig
from shapeprior.training.initialization import SPREAD, WarmStart, coarse_grid, coarse_grids

CELLS, CLAMP = 6, 0.1
AXIS = (np.arange(CELLS) + 0.5) / CELLS * 2.0 - 1.0
CENTERS = np.stack(np.meshgrid(AXIS, AXIS, AXIS, indexing="ij"), axis=-1).reshape(-1, 3)


def ellipsoid_like(radii: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A field that is negative inside an ellipsoid."""
    return (np.linalg.norm(points / radii, axis=-1) - 1.0) * radii.min()


def family(count: int) -> np.ndarray:
    radii = np.random.default_rng(0).uniform(0.3, 0.8, size=(count, 3))
    return np.stack([ellipsoid_like(row, CENTERS) for row in radii])


def test_codes_are_principal_components_by_the_eigenvectors_of_the_covariance() -> None:
    grids = family(30)
    start = WarmStart.fit(grids, code_size=5, clamp=CLAMP, deviation=0.3)
    near = np.clip(grids, -CLAMP, CLAMP)
    values, vectors = np.linalg.eigh(np.cov(near.T, bias=True))
    scores = (near - near.mean(axis=0)) @ vectors[:, ::-1][:, :5]
    deviations = np.sqrt(values[::-1][:5])
    expected = 0.3 * scores / deviations * (deviations / deviations[0]) ** SPREAD
    found = start.codes(grids)
    sign = np.sign((found * expected).sum(axis=0))  # An axis may point either way.
    np.testing.assert_allclose(found, expected * sign, atol=1e-9)
    assert found[:, 0].std() == pytest.approx(0.3)


def test_the_field_of_the_codes_is_the_best_of_its_rank() -> None:
    grids = family(30)
    near = np.clip(grids, -CLAMP, CLAMP)
    full = WarmStart.fit(grids, code_size=40, clamp=CLAMP, deviation=0.3)
    np.testing.assert_allclose(full.mean + full.codes(grids) @ full.basis, near, atol=1e-9)
    few = WarmStart.fit(grids, code_size=4, clamp=CLAMP, deviation=0.3)
    missed = np.square(few.mean + few.codes(grids) @ few.basis - near).sum()
    values = np.linalg.svd(near - near.mean(axis=0), compute_uv=False)
    assert missed == pytest.approx(np.square(values[4:]).sum())  # Eckart and Young 1936


def test_a_shape_that_was_not_fitted_gets_the_code_of_its_likeness() -> None:
    grids = family(30)
    start = WarmStart.fit(grids[:20], code_size=8, clamp=CLAMP, deviation=0.3)
    code = start.codes(grids[20:])
    nearest = np.argmin(np.linalg.norm(start.codes(grids[:20])[None] - code[:, None], axis=2), axis=1)
    gap = np.abs(np.clip(grids[20:, None], -CLAMP, CLAMP) - np.clip(grids[None, :20], -CLAMP, CLAMP)).mean(axis=2)
    rank = (gap < gap[np.arange(10), nearest][:, None]).sum(axis=1)
    assert np.median(rank) <= 1


@pytest.mark.parametrize("count", [1, 2])
def test_one_shape_or_twins_leave_all_codes_zero(count: int) -> None:
    grids = np.repeat(family(1), count, axis=0)
    start = WarmStart.fit(grids, code_size=4, clamp=CLAMP, deviation=0.3)
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
    """At cell centres, but for what the untrained planes add to it."""
    grids = family(30)
    start = WarmStart.fit(grids, code_size=8, clamp=CLAMP, deviation=0.3)
    decoder = build_decoder(
        TriplaneConfig(code_size=8, base=3, channels=(6, 4), width=8, volume=CELLS), seed=0
    ).double()
    points = torch.from_numpy(CENTERS)[None].expand(30, -1, -1)
    codes = torch.from_numpy(start.codes(grids))
    with torch.no_grad():
        decoder.start_from(torch.zeros(CELLS**3), torch.zeros(8, CELLS**3))
        correction = decoder(codes, points)
        decoder.start_from(torch.from_numpy(start.mean), torch.from_numpy(start.basis))
        field = decoder(codes, points) - correction
    np.testing.assert_allclose(field.numpy(), start.mean + start.codes(grids) @ start.basis, atol=1e-6)
