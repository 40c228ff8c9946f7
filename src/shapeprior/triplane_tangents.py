"""How tri-planes change with the code, and what that does at points of the field.

The generator is linear but for its activations, so that a direction of the code is pushed through it like another shape (forward
mode), but for the last doubling, which would take longest: a point reads few of the many cells that it makes. So the slope of a
point's value by the features that it reads is carried back through that doubling (reverse mode), and meets the directions there.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

TAPS = 4
"""Size of a doubling's kernel along an axis; output r of it is the sum of inputs i times tap r + 1 - 2 i."""


def push_through(
    layers: Iterable[nn.Module],
    carried: Float[Tensor, "1 features side side"],
    moved: Float[Tensor, "directions features side side"],
) -> Float[Tensor, "cells directions"]:
    """Directions behind some layers of a generator, given them before, beside what the code itself has there (`carried`); rows of
    (row, column, feature)."""
    # With features side by side in memory all of this takes half the time; a fresh tensor of this size costs as much as a layer.
    moved, carried = (part.clone(memory_format=torch.channels_last) for part in (moved, carried))
    for layer in layers:
        if isinstance(layer, nn.SiLU):
            bent = torch.sigmoid(carried)
            moved = moved.mul_(bent * (1.0 + carried * (1.0 - bent)))
        elif isinstance(layer, nn.ConvTranspose2d):
            moved = nn.functional.conv_transpose2d(moved, layer.weight, stride=2, padding=1, groups=layer.groups)
        else:
            if not isinstance(layer, nn.Conv2d) or layer.kernel_size != (1, 1):
                raise TypeError(f"a layer {layer} in the generator; expected SiLU, 1 x 1 convolutions and doublings")
            moved = nn.functional.linear(moved.permute(0, 2, 3, 1), layer.weight[:, :, 0, 0]).permute(0, 3, 1, 2)
        carried = layer(carried)
    return moved.permute(0, 2, 3, 1).flatten(1).T.contiguous()


def before_doubling(
    places: Float[Tensor, "points 2"],
    slope: Float[Tensor, "points outputs"],
    weight: Float[Tensor, "inputs outputs taps taps"],
    side: int,
) -> tuple[Int[Tensor, "points 9"], Float[Tensor, "points 9 inputs"]]:
    """Cells of a doubling's input, row by row, that a bilinear reading of its output depends on at some places, and the slope of a
    value by the features of each, given its slope by the features that were read.

    `places` are (row, column) in [-1, 1], as `grid_sample` reads them with values at cells' middles and the outermost ones kept
    beyond; `side` is the input's.
    """
    cells, shares = _along_axes(places, side)
    both = (shares[:, 0, :, None, :, None] * shares[:, 1, None, :, None, :]).view(len(places), 9, TAPS**2)
    inputs, outputs = weight.shape[:2]
    by_tap = (slope @ weight.permute(1, 2, 3, 0).reshape(outputs, -1)).view(len(places), TAPS**2, inputs)
    return (cells[:, 0, :, None] * side + cells[:, 1, None, :]).flatten(1), torch.matmul(both, by_tap)


def _along_axes(
    places: Float[Tensor, "points axes"], side: int
) -> tuple[Int[Tensor, "points axes 3"], Float[Tensor, "points axes 3 taps"]]:
    """Along each axis, the three inputs of a doubling that two neighbouring outputs come from, and how much of each input goes
    through which tap into what is read between these outputs."""
    outputs = 2 * side
    place = (((places + 1.0) * outputs - 1.0) / 2.0).clamp(0.0, outputs - 1.0)
    low = place.floor().clamp(max=outputs - 2.0)
    share = (place - low)[..., None, None]
    low = low.long()
    taps = _taps().to(places)
    lower, between = taps[0], taps[1] - taps[0]
    shares = lower[low % 2].addcmul_(share, between[low % 2])
    inputs = ((low + 1) // 2 - 1)[..., None] + torch.arange(3, device=places.device)
    shares *= ((inputs >= 0) & (inputs < side))[..., None]
    return inputs.clamp_(0, side - 1), shares


def _taps() -> Float[Tensor, "output parity input tap"]:
    """1 where an input, counted from the first of three, goes through a tap into the lower (0) or the upper (1) of two neighbouring
    outputs, of which the lower is even (0) or odd (1)."""
    found = torch.zeros((2, 2, 3, TAPS))
    for upper in (0, 1):
        for odd in (0, 1):
            first = (odd + 1) // 2 - 1
            for place in range(3):
                tap = odd + upper + 1 - 2 * (first + place)
                if 0 <= tap < TAPS:
                    found[upper, odd, place, tap] = 1.0
    return found
