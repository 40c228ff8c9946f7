"""Optimisers: Adam by rows against torch's Adam on each row, Muon against torch's, and the decay of rates."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from shapeprior.models.decoder import seeded
from shapeprior.models.optimizers import MOMENTUM, Muon, RowAdam, cosine_decay, orthogonalized, weight_matrices


@pytest.mark.parametrize("shape", [(24, 24), (64, 7), (7, 64), (1, 5)])
def test_a_step_moves_all_directions_about_as_far(shape: tuple[int, int]) -> None:
    values = torch.randn(2, *shape, generator=seeded(0))
    left, sizes, right = torch.linalg.svd(values, full_matrices=False)
    found = orthogonalized(values)
    moved = torch.linalg.svdvals(found)
    # Singular values below a thousandth of the largest may stay shorter; random matrices have next to none there.
    kept = sizes > 0.02 * sizes.amax(dim=1, keepdim=True)
    assert moved[kept].min() > 0.6
    assert moved.max() < 1.3
    # The directions are those of the singular vectors.
    core = left.mT @ found @ right.mT
    assert (core - torch.diag_embed(core.diagonal(dim1=1, dim2=2))).abs().max() < 1e-3


def test_zero_gradients_move_nothing() -> None:
    assert torch.equal(orthogonalized(torch.zeros(3, 4, 5)), torch.zeros(3, 4, 5))


def test_agrees_with_torch_on_a_matrix() -> None:
    ours = nn.Linear(40, 24)
    theirs = copy.deepcopy(ours)
    start = ours.weight.detach().clone()
    reference = torch.optim.Muon(
        [theirs.weight], lr=0.02, weight_decay=0.0, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw"
    )
    muon = Muon({"layer": ours})
    for step in range(4):
        gradient = torch.randn(24, 40, generator=seeded(step))
        # torch keeps a running mean of gradients, ours is a sum. The size of a gradient does not matter.
        ours.weight.grad, theirs.weight.grad = gradient.clone(), gradient.clone()
        muon.step(rate=0.02)
        reference.step()
    moved, expected = ours.weight.detach() - start, theirs.weight.detach() - start
    # torch computes the products in bfloat16.
    assert torch.linalg.vector_norm(moved - expected) < 0.03 * torch.linalg.vector_norm(expected)


@pytest.mark.parametrize("layer", [nn.ConvTranspose2d(12, 9, 4, groups=3), nn.Conv2d(12, 9, 3, groups=3)])
def test_groups_are_stepped_as_layers_of_their_own(layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
    gradient = torch.randn(layer.weight.shape, generator=seeded(1))
    layer.weight.grad = gradient
    alone = []
    for part, start in zip(gradient.chunk(3), layer.weight.detach().clone().chunk(3), strict=True):
        single = nn.Linear(part[0].numel(), len(part))
        single.weight = nn.Parameter(start.flatten(1).clone())
        single.weight.grad = part.flatten(1)
        Muon({"": single}).step(rate=0.1)
        alone.append(single.weight.detach())
    bias = None if layer.bias is None else layer.bias.detach().clone()
    Muon({"layer": layer}).step(rate=0.1)
    torch.testing.assert_close(layer.weight.detach().flatten(1), torch.cat(alone))
    assert layer.bias is None or torch.equal(layer.bias.detach(), bias)


def test_a_layer_without_a_gradient_stays() -> None:
    layer = nn.Linear(5, 4)
    start = layer.weight.detach().clone()
    muon = Muon({"layer": layer})
    muon.step(rate=1.0)
    assert torch.equal(layer.weight, start)
    assert not muon.momenta["layer.weight"].any()


def test_bfloat16_products_step_nearly_the_same_way() -> None:
    exact, rounded = nn.Linear(60, 48), nn.Linear(60, 48)
    rounded.load_state_dict(exact.state_dict())
    start = exact.weight.detach().clone()
    gradient = torch.randn(48, 60, generator=seeded(2))
    for layer, precision in ((exact, "float32"), (rounded, "bfloat16")):
        layer.weight.grad = gradient.clone()
        Muon({"layer": layer}, precision=precision).step(rate=0.1)
        assert layer.weight.dtype == torch.float32
    moved, other = exact.weight.detach() - start, rounded.weight.detach() - start
    away = torch.linalg.vector_norm(moved - other) / torch.linalg.vector_norm(moved)
    assert 0.0 < away < 0.05


def test_double_precision_stays() -> None:
    values = torch.randn(40, 24, generator=seeded(3), dtype=torch.float64)
    steps = {}
    for kind in (torch.float64, torch.float32):
        layer = nn.Linear(24, 40, dtype=kind)
        torch.nn.init.zeros_(layer.weight)
        layer.weight.grad = values.to(kind)
        Muon({"layer": layer}).step(rate=1.0)
        steps[kind] = layer.weight.detach().double()
    # Iterations in single precision would end with its digits.
    assert not torch.equal(steps[torch.float64], steps[torch.float64].float().double())
    torch.testing.assert_close(steps[torch.float64], steps[torch.float32], rtol=1e-3, atol=1e-4)


def test_matrices_hold_each_weight_once() -> None:
    layer = nn.ConvTranspose2d(12, 9, 4, groups=3)
    found = weight_matrices(layer, layer.weight.detach())
    assert found.shape == (3, 4, 3 * 16)
    assert torch.equal(found[1, 2], layer.weight.detach()[6].flatten())


@pytest.mark.parametrize("seed", range(3))
def test_each_row_moves_as_under_an_optimiser_of_its_own(seed: int) -> None:
    """The truth is torch.optim.Adam on each row. Random subsets of rows are stepped, with rates that change."""
    rng = np.random.default_rng(seed)
    start = torch.from_numpy(rng.standard_normal((7, 5))).float()
    target = torch.from_numpy(rng.standard_normal((7, 5))).float()
    table = RowAdam(start.clone())
    rows = [torch.nn.Parameter(row.clone()) for row in start]
    optimizers = [torch.optim.Adam([row], lr=1.0) for row in rows]
    made = np.zeros(7, dtype=np.int64)
    for step in range(200):
        chosen = rng.permutation(7)[: rng.integers(1, 8)]
        # Row 6 is rarely stepped, so its moments must wait.
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
    """Both moments are corrected for their start at zero, so that m / sqrt(v) = sign(g)."""
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


def test_rates_decay_along_half_a_cosine_to_their_final_share() -> None:
    shares = [cosine_decay(step, 8, final=0.25) for step in range(9)]
    assert shares == pytest.approx(0.25 + 0.75 * np.cos(np.linspace(0.0, np.pi / 2, 9)) ** 2)
    assert (shares[0], cosine_decay(8, 8)) == (1.0, 0.0)
