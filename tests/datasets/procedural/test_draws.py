"""Random choices: one draw each, in the stated range, as often as stated."""

from collections.abc import Callable

import numpy as np
import pytest

from shapeprior.datasets.procedural.draws import chance, log_normal, log_uniform, weighted_index


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: chance(rng, 0.3),
        lambda rng: log_uniform(rng, 0.1, 10.0),
        lambda rng: weighted_index(rng, [1.0, 2.0]),
    ],
    ids=["chance", "log_uniform", "weighted_index"],
)
def test_each_choice_takes_one_number_from_the_generator(draw: Callable[[np.random.Generator], object]) -> None:
    rng, other = np.random.default_rng(1), np.random.default_rng(1)
    draw(rng)
    other.random()
    assert rng.random() == other.random()


def test_choices_are_distributed_as_stated() -> None:
    rng = np.random.default_rng(2)
    assert np.mean([chance(rng, 0.3) for _ in range(4000)]) == pytest.approx(0.3, abs=0.03)
    logarithms = np.log10([log_uniform(rng, 0.1, 10.0) for _ in range(4000)])
    assert np.abs(logarithms).max() <= 1.0
    assert np.mean(logarithms < 0.5) == pytest.approx(0.75, abs=0.03)
    proportions = np.array([log_normal(rng, 2.0, 0.5, low=1.0, high=5.0) for _ in range(4000)])
    assert (proportions.min(), proportions.max()) == (1.0, 5.0)
    assert np.median(proportions) == pytest.approx(2.0, rel=0.05)
    indices = [weighted_index(rng, [1.0, 0.0, 3.0]) for _ in range(4000)]
    assert np.bincount(indices, minlength=3) / 4000 == pytest.approx([0.25, 0.0, 0.75], abs=0.03)
