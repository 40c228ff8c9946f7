"""Batches: every shape once an epoch, the same whoever computes them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapeprior.training.batches import ABSENT, BatchOrder

sizes = st.integers(1, 60)


@given(shapes=sizes, shapes_per_batch=sizes, seed=st.integers(0, 5), epoch=st.integers(0, 9))
def test_an_epoch_has_every_shape_once_in_full_batches(
    shapes: int, shapes_per_batch: int, seed: int, epoch: int
) -> None:
    order = BatchOrder(shapes, shapes_per_batch=shapes_per_batch, seed=seed)
    plan = order.epoch(epoch)
    present = plan.rows != ABSENT
    assert sorted(plan.rows[present].tolist()) == list(range(shapes))
    assert present[:-1].all()
    assert present[-1].any()
    assert plan.rows.shape[1] == order.lanes == min(shapes, shapes_per_batch)
    assert plan.starts.shape == (shapes,)
    assert ((plan.starts >= 0) & (plan.starts < 1)).all()


@given(shapes=sizes, shapes_per_batch=sizes, seed=st.integers(0, 5), size=st.integers(1, 6))
def test_processes_share_the_shapes_and_keep_theirs(shapes: int, shapes_per_batch: int, seed: int, size: int) -> None:
    order = BatchOrder(shapes, shapes_per_batch=shapes_per_batch, seed=seed)
    owned = [order.owned(rank, size).tolist() for rank in range(size)]
    assert sorted(row for rows in owned for row in rows) == list(range(shapes))
    for epoch in (0, 1):
        plan = order.epoch(epoch)
        for rank in range(size):
            lanes = plan.rows[:, rank::size]
            assert sorted(lanes[lanes != ABSENT].tolist()) == owned[rank]


@pytest.mark.parametrize("change", ["seed", "epoch"])
def test_another_seed_or_epoch_is_another_order(change: str) -> None:
    plans = []
    for number in range(4):
        order = BatchOrder(50, shapes_per_batch=7, seed=number if change == "seed" else 0)
        again = BatchOrder(50, shapes_per_batch=7, seed=number if change == "seed" else 0)
        plan = order.epoch(number if change == "epoch" else 0)
        np.testing.assert_array_equal(plan.rows, again.epoch(number if change == "epoch" else 0).rows)
        plans.append(plan)
    for first in range(4):
        for second in range(first):
            assert (plans[first].rows != plans[second].rows).mean() > 0.5
            assert np.abs(plans[first].starts - plans[second].starts).mean() > 0.2


def test_the_deal_of_a_seed_is_not_an_epoch_of_another() -> None:
    """numpy takes [seed] and [seed, 0] for the same seed."""
    first, second = BatchOrder(30, shapes_per_batch=1, seed=4), BatchOrder(30, shapes_per_batch=30, seed=4)
    assert first.epoch(0).rows.ravel().tolist() != second.epoch(0).rows.ravel().tolist()


def test_any_two_shapes_of_different_lanes_meet() -> None:
    order = BatchOrder(6, shapes_per_batch=2, seed=1)
    lanes = [set(order.owned(rank, 2).tolist()) for rank in range(2)]
    met = {frozenset(step.tolist()) for epoch in range(200) for step in order.epoch(epoch).rows}
    assert met == {frozenset((a, b)) for a in lanes[0] for b in lanes[1]}
