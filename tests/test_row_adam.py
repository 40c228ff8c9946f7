"""Adam row by row is Adam, alone on each row."""

import numpy as np
import pytest
import torch

from shapeprior.models.optimizers import RowAdam


@pytest.mark.parametrize("seed", range(3))
def test_each_row_moves_as_under_an_optimiser_of_its_own(seed: int) -> None:
    """Against torch.optim.Adam on each row, over random subsets of rows, with rates that change."""
    rng = np.random.default_rng(seed)
    start = torch.from_numpy(rng.standard_normal((7, 5))).float()
    target = torch.from_numpy(rng.standard_normal((7, 5))).float()
    table = RowAdam(start.clone())
    rows = [torch.nn.Parameter(row.clone()) for row in start]
    optimizers = [torch.optim.Adam([row], lr=1.0) for row in rows]
    made = np.zeros(7, dtype=np.int64)
    for step in range(200):
        chosen = rng.permutation(7)[: rng.integers(1, 8)]
        # Row 6 is left alone for long: its moments must wait.
        chosen = chosen[(chosen != 6) | (step % 50 == 0)]
        if len(chosen) == 0:
            continue
        rate = 0.1 / (1 + step / 40)
        taken = table.take(chosen)
        ((taken - target[chosen]) ** 2).sum(dim=1).mul(torch.from_numpy(chosen + 0.5)).sum().backward()
        assert taken.grad is not None
        table.step(chosen, taken.grad, rate=rate)
        for row in chosen:
            optimizers[row].param_groups[0]["lr"] = rate
            optimizers[row].zero_grad()
            (((rows[row] - target[row]) ** 2).sum() * (row + 0.5)).backward()
            optimizers[row].step()
        made[chosen] += 1
        torch.testing.assert_close(table.values, torch.stack(list(rows)).detach(), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(table.steps, made)
    assert made[6] < made[:6].min()
    assert (table.values - target).abs().max() < (start - target).abs().max()


def test_rows_that_are_not_used_stay_bit_for_bit() -> None:
    table = RowAdam(torch.randn((4, 3), generator=torch.Generator().manual_seed(0)))
    table.step(np.array([2]), torch.ones(1, 3), rate=0.1)
    before = [part.clone() for part in (table.values, table.exp_avg, table.exp_avg_sq)]
    table.step(np.array([0, 3]), torch.ones(2, 3), rate=0.1)
    for old, new in zip(before, (table.values, table.exp_avg, table.exp_avg_sq), strict=True):
        assert torch.equal(old[1:3], new[1:3])
        assert not torch.equal(old[[0, 3]], new[[0, 3]])


def test_the_first_step_is_the_rate_whatever_the_gradient() -> None:
    """Both moments are corrected for their start at zero: m / sqrt(v) = sign(g)."""
    table = RowAdam(torch.zeros(2, 2))
    table.step(np.array([1, 0]), torch.tensor([[3.0, -1e-3], [2e4, 0.0]]), rate=0.25)
    torch.testing.assert_close(table.values, torch.tensor([[-0.25, 0.0], [-0.25, 0.25]]), rtol=1e-4, atol=1e-6)


def test_what_was_taken_is_a_copy() -> None:
    table = RowAdam(torch.zeros(3, 2))
    taken = table.take(np.array([1]))
    with torch.no_grad():
        taken += 1.0
    assert taken.requires_grad
    assert taken.is_leaf
    assert not table.values.any()
    assert not table.values.requires_grad
