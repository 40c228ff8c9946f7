"""How tri-planes change with the code, and what that does at points of the field.

The generator is linear but for its activations, so that a direction of the code is pushed through it like another shape (forward
mode), but for the last doubling, which would take longest: a point reads few of the many cells that it makes. So the slope of a
point's value by the features that it reads is carried back through that doubling (reverse mode), and meets the directions there.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from shapeprior.models.device import product_type

TAPS = 4
"""Size of a doubling's kernel along an axis; output r of it is the sum of inputs i times tap r + 1 - 2 i."""
CASES = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Whether the lower of two neighbouring outputs is odd, along rows and along columns."""


def push_through(
    layers: Iterable[nn.Module],
    carried: Float[Tensor, "1 features side side"],
    moved: Float[Tensor, "directions features side side"],
) -> Float[Tensor, "cells directions"]:
    """Directions behind some layers of a generator, given them before, beside what the code itself has there (`carried`); rows of
    (row, column, feature).

    Where the device multiplies in bfloat16, single-precision directions are pushed through in it: least squares take steps along
    them whose worth is then measured exactly. Half a per cent of a derivative costs no step, nor does it matter for a deviation.
    """
    kind = moved.dtype
    if kind == torch.float32:
        moved = moved.to(product_type(moved.device, "auto"))
    # With features side by side in memory all of this takes half the time; a fresh tensor of this size costs as much as a layer.
    moved, carried = (part.clone(memory_format=torch.channels_last) for part in (moved, carried))
    for layer in layers:
        if isinstance(layer, nn.SiLU):
            bent = torch.sigmoid(carried)
            moved = moved.mul_((bent * (1.0 + carried * (1.0 - bent))).to(moved.dtype))
        elif isinstance(layer, nn.ConvTranspose2d):
            weight = layer.weight.to(moved.dtype)
            moved = nn.functional.conv_transpose2d(moved, weight, stride=2, padding=1, groups=layer.groups)
        else:
            if not isinstance(layer, nn.Conv2d) or layer.kernel_size != (1, 1):
                raise TypeError(f"a layer {layer} in the generator; expected SiLU, 1 x 1 convolutions and doublings")
            weight = layer.weight[:, :, 0, 0].to(moved.dtype)
            moved = nn.functional.linear(moved.permute(0, 2, 3, 1), weight).permute(0, 3, 1, 2)
        carried = layer(carried)
    return moved.permute(0, 2, 3, 1).flatten(1).T.to(kind).contiguous()


def doubling_kernels(weight: Float[Tensor, "inputs outputs taps taps"]) -> list[Float[Tensor, "_reads _cells"]]:
    """How the slope of a value by what is read of a doubling's output becomes its slope by the doubling's input.

    A bilinear reading takes four outputs, lower or upper along each axis, times their features; the input cells that these come
    from are three along an axis where the lower output is even, two where it is odd. One matrix for each of `CASES`: from (row,
    column, feature) of the outputs to (row, column, feature) of the cells.
    """
    taps = _taps().to(weight)
    found = []
    for odd_row, odd_column in CASES:
        row, column = taps[:, odd_row, : 3 - odd_row], taps[:, odd_column, : 3 - odd_column]
        kernel = torch.einsum("uia,vjb,coab->uvoijc", row, column, weight)
        found.append(kernel.reshape(4 * weight.shape[1], -1))
    return found


def by_directions(
    places: Float[Tensor, "planes points 2"],
    slope: Float[Tensor, "planes points outputs"],
    kernels: Sequence[Float[Tensor, "planes _reads _cells"]],
    moved: Float[Tensor, "inputs directions"],
) -> Float[Tensor, "points directions"]:
    """Change of a value at each point along some directions, given its slope by what is read there behind a doubling, and how the
    doubling's input changes along them (`push_through`).

    `places` are (row, column) in [-1, 1], as `grid_sample` reads them with values at cells' middles and the outermost ones kept
    beyond; `kernels` are those of `doubling_kernels` for all planes. Points are taken case by case, which makes products of few
    large matrices: a small one a point takes several times as long.
    """
    planes, count = slope.shape[:2]
    inputs = kernels[3].shape[2] // 4  # Where both lower outputs are odd, a reading depends on two cells by two.
    side = math.isqrt(len(moved) // (planes * inputs))
    place = (((places.flatten(0, 1) + 1.0) * 2 * side - 1.0) / 2.0).clamp(0.0, 2 * side - 1.0)
    low = place.floor().clamp(max=2 * side - 2.0)
    shares = torch.stack([low + 1.0 - place, place - low], dim=-1)
    low = low.long()
    plane = torch.arange(planes, device=low.device).repeat_interleave(count)
    group = planes * (2 * (low[:, 0] % 2) + low[:, 1] % 2) + plane
    order = group.argsort()
    sizes = torch.bincount(group, minlength=4 * planes).view(4, planes).tolist()
    read = (shares[:, 0, :, None] * shares[:, 1, None, :]).flatten(1)[:, :, None] * slope.flatten(0, 1)[:, None]
    by_case = [sum(of_planes) for of_planes in sizes]
    sorted_parts = (part[order].split(by_case) for part in (read.flatten(1), (low + 1) // 2 - 1, plane))
    feature = torch.arange(inputs, device=low.device)
    parts = []
    for kernel, odd, of_planes, read, first, plane in zip(kernels, CASES, sizes, *sorted_parts, strict=True):
        by_input = torch.cat([part @ each for part, each in zip(read.split(of_planes), kernel, strict=True)])
        steps = torch.arange(3, device=low.device)
        row, column = (first[:, axis, None] + steps[: 3 - odd[axis]] for axis in (0, 1))
        inside = ((row >= 0) & (row < side))[:, :, None] & ((column >= 0) & (column < side))[:, None]
        cells = row.clamp(0, side - 1)[:, :, None] * side + column.clamp(0, side - 1)[:, None]
        entries = ((cells.flatten(1) * planes + plane[:, None]) * inputs)[:, :, None] + feature
        weights = by_input.view(*entries.shape) * inside.flatten(1)[:, :, None]
        parts.append(
            nn.functional.embedding_bag(entries.flatten(1), moved, per_sample_weights=weights.flatten(1), mode="sum")
        )
    found = moved.new_empty(planes * count, moved.shape[1])
    found[order] = torch.cat(parts)
    return found.view(planes, count, moved.shape[1]).sum(dim=0)


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
