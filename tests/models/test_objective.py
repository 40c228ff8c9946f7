"""Losses against numbers worked out by hand."""

from dataclasses import replace

import pytest
import torch
from helpers.ellipsoids import EllipsoidDecoder
from hypothesis import given
from hypothesis import strategies as st

from shapeprior.models.decoder import seeded
from shapeprior.models.objective import (
    SLOPE_STEP,
    TrainingBatch,
    banded_l1,
    batch_objective,
    beside_along,
    clamped_l1,
    code_prior,
    slope_along,
)
from shapeprior.models.presets import TrainConfig

CLAMP = 0.1
DISTANCES = st.floats(-0.5, 0.5, width=32)


@pytest.mark.parametrize(
    ("predicted", "target", "clamped", "banded"),
    [
        (0.03, 0.05, 0.02, 0.02),  # Both within the clamp.
        (-0.02, 0.05, 0.07, 0.07),
        (0.30, 0.05, 0.05, 0.25),  # The prediction beyond it: banded keeps counting.
        (-0.40, 0.05, 0.15, 0.45),
        (0.03, 0.70, 0.07, 0.07),  # The target beyond it: only the clamp is asked for.
        (0.30, 0.70, 0.00, 0.00),
        (-0.30, -0.70, 0.00, 0.00),
        (0.05, -0.70, 0.15, 0.15),
        (0.30, -0.70, 0.20, 0.40),
    ],
)
def test_numbers_by_hand(predicted: float, target: float, clamped: float, banded: float) -> None:
    f, s = torch.tensor([predicted]), torch.tensor([target])
    assert clamped_l1(f, s, CLAMP).item() == pytest.approx(clamped, abs=1e-7)
    assert banded_l1(f, s, CLAMP).item() == pytest.approx(banded, abs=1e-7)


@given(predicted=st.floats(-0.09375, 0.09375, width=32), target=DISTANCES)
def test_both_agree_where_the_prediction_is_within_the_clamp(predicted: float, target: float) -> None:
    f, s = torch.tensor([predicted]), torch.tensor([target])
    torch.testing.assert_close(banded_l1(f, s, CLAMP), clamped_l1(f, s, CLAMP), rtol=0, atol=1e-7)


@given(predicted=DISTANCES, target=DISTANCES)
def test_banded_is_never_below_clamped_and_zero_together_with_it(predicted: float, target: float) -> None:
    f, s = torch.tensor([predicted]), torch.tensor([target])
    clamped, banded = clamped_l1(f, s, CLAMP).item(), banded_l1(f, s, CLAMP).item()
    assert banded >= clamped - 1e-7
    assert banded >= 0.0


@pytest.mark.parametrize("target", [0.05, -0.7])
def test_beyond_the_clamp_only_banded_has_a_gradient(target: float) -> None:
    gradients = []
    for loss in (clamped_l1, banded_l1):
        f = torch.tensor([0.3], requires_grad=True)
        loss(f, torch.tensor([target]), CLAMP).sum().backward()
        assert f.grad is not None
        gradients.append(f.grad.item())
    assert gradients == [0.0, 1.0]  # Down, towards the target.


def test_one_value_a_sample_and_the_shape_stays() -> None:
    f, s = torch.zeros(2, 5), torch.full((2, 5), 0.04)
    for loss in (clamped_l1, banded_l1):
        torch.testing.assert_close(loss(f, s, CLAMP), s)


def test_code_prior_is_the_squared_length() -> None:
    assert code_prior(torch.tensor([[3.0, 4.0], [0.0, -2.0]])).tolist() == [25.0, 4.0]


def unit_vectors(count: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn((1, count, 3), generator=seeded(1), dtype=torch.float64), dim=-1)


def test_the_slope_along_a_tilted_plane_is_the_sine_of_the_tilt() -> None:
    """Directions take turns, so that the squares of both add up to that of the sine."""
    normals = torch.tensor([0.0, 0.6, 0.8], dtype=torch.float64).expand(1, 200, 3)
    points = torch.zeros_like(normals)
    for degrees in (0.0, 5.0, 30.0):
        angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
        # The gradient leans away from the normal, towards a direction between both tangents.
        gradient = torch.cos(angle) * normals[0, 0] + torch.sin(angle) * torch.tensor([0.6, -0.64, 0.48]).double()
        slope = slope_along(*(side @ gradient for side in beside_along(points, normals)))
        both = slope.view(-1, 2).square().sum(dim=1)
        torch.testing.assert_close(both, torch.sin(angle).square().expand(100), rtol=0, atol=1e-9)


def test_curvature_has_no_slope() -> None:
    normals = unit_vectors(300)
    slope = slope_along(*(side.norm(dim=-1) - 0.1 for side in beside_along(0.1 * normals, normals)))
    assert slope.max() < 1e-12


def test_a_ripple_along_the_surface_costs_its_slope() -> None:
    normals = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(1, 4000, 3)
    points = torch.rand((1, 4000, 3), generator=seeded(2), dtype=torch.float64) * torch.tensor([1.0, 1.0, 0.0])
    number, height = 2.0 * torch.pi / 0.0625, 0.001
    sides = (side[..., 2] + height * torch.sin(number * side[..., 0]) for side in beside_along(points, normals))
    # Half of the differences lie across the ripple; the mean of |cos| is 2 / pi.
    expected = 0.5 * height * torch.sin(torch.tensor(number * SLOPE_STEP)) / SLOPE_STEP * 2.0 / torch.pi
    assert slope_along(*sides).mean() == pytest.approx(float(expected), rel=0.03)


def test_the_objective_adds_the_weighted_slope() -> None:
    decoder, generator = EllipsoidDecoder(), seeded(3)
    codes = 0.3 * torch.randn((2, decoder.code_size), generator=generator)
    points = torch.rand((2, 50, 3), generator=generator) - 0.5
    normals = unit_vectors(30).float().expand(2, 30, 3)
    plain = TrainingBatch(rows=torch.arange(2), points_unit=points, sdf=points.norm(dim=-1) - 0.4)
    with_surface = TrainingBatch(
        rows=plain.rows, points_unit=points, sdf=plain.sdf,
        surface_points_unit=0.4 * normals, surface_normals_unit=normals,
    )  # fmt: skip
    recipe = TrainConfig(surface_weight=0.5)
    without = batch_objective(decoder, codes, plain, recipe).value
    found = batch_objective(decoder, codes, with_surface, recipe)
    ahead, behind = (decoder(codes, side) for side in beside_along(0.4 * normals, normals))
    torch.testing.assert_close(found.value, without + 0.5 * ((ahead - behind).abs() / 0.02).mean(dim=1))
    unweighted = batch_objective(decoder, codes, with_surface, TrainConfig())
    torch.testing.assert_close(unweighted.value, without)
    torch.testing.assert_close(found.error, unweighted.error)


def test_lost_insides_count_more() -> None:
    decoder = EllipsoidDecoder()
    codes = torch.zeros(1, decoder.code_size)
    points = torch.rand((1, 60, 3), generator=seeded(5)) - 0.5
    predicted = decoder(codes, points)
    target = 0.1 * torch.rand((1, 60), generator=seeded(6)) - 0.06
    batch = TrainingBatch(rows=torch.arange(1), points_unit=points, sdf=target)
    plain = TrainConfig(code_prior=0.0, loss="banded")
    single = banded_l1(predicted, target, plain.clamp)
    lost = (target < 0) & (predicted > target)
    assert 0.05 < lost.float().mean() < 0.95
    assert ((target < 0) & ~lost).any()
    expected = torch.where(lost, 3.0 * single, single).mean(dim=1)
    found = batch_objective(decoder, codes, batch, replace(plain, inside_weight=3.0))
    torch.testing.assert_close(found.value, expected)
    torch.testing.assert_close(found.error, batch_objective(decoder, codes, batch, plain).error)
