"""Losses against numbers worked out by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shapeprior.models.objective import banded_l1, clamped_l1, code_prior

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
