import copy

import pytest
import torch
from torch import nn

from shapeprior.models.decoder import seeded
from shapeprior.models.optimizers import MOMENTUM, Muon, matrices, orthogonal


@pytest.mark.parametrize("shape", [(24, 24), (64, 7), (7, 64), (1, 5)])
def test_a_step_moves_all_directions_about_as_far(shape: tuple[int, int]) -> None:
    values = torch.randn(2, *shape, generator=seeded(0))
    left, sizes, right = torch.linalg.svd(values, full_matrices=False)
    found = orthogonal(values)
    moved = torch.linalg.svdvals(found)
    # What lies below a thousandth of the largest may stay shorter; random matrices have next to nothing there.
    kept = sizes > 0.02 * sizes.amax(dim=1, keepdim=True)
    assert moved[kept].min() > 0.6
    assert moved.max() < 1.3
    # The directions are those of the singular vectors.
    core = left.mT @ found @ right.mT
    assert (core - torch.diag_embed(core.diagonal(dim1=1, dim2=2))).abs().max() < 1e-3


def test_zero_gradients_move_nothing() -> None:
    assert torch.equal(orthogonal(torch.zeros(3, 4, 5)), torch.zeros(3, 4, 5))


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
        # torch keeps a running mean, ours is a sum: the size of a gradient does not matter.
        ours.weight.grad, theirs.weight.grad = gradient.clone(), gradient.clone()
        muon.step(rate=0.02)
        reference.step()
    moved, expected = ours.weight.detach() - start, theirs.weight.detach() - start
    # torch's products are in bfloat16.
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
    found = matrices(layer, layer.weight.detach())
    assert found.shape == (3, 4, 3 * 16)
    assert torch.equal(found[1, 2], layer.weight.detach()[6].flatten())
