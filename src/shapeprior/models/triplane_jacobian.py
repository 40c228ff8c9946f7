"""Derivatives of tri-planes by the code, and through them of the field at points.

The generator is linear but for its activations, so that a direction of the code can be pushed through it as another
shape would (forward mode). The last upsampling would take longest, and a point reads few of the many cells that it
makes. So the derivative of a point's value by the features that it reads is carried back through that upsampling
(reverse mode), and meets the directions there.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from shapeprior.models.device import matmul_dtype
from shapeprior.models.upsampling import PLAIN_SIDE, Upsampling, upsample

KERNEL_SIZE = 6
"""Side of a smooth last upsampling's kernel; a plain one is padded to it. Output r is the sum of inputs i times kernel
entry r + 2 - 2 i, along each axis."""
NUM_INPUTS = (3, 4)
"""Inputs, along an axis, of two neighbouring outputs of which the lower is even or odd. The first of them is the one
before half of the lower output."""
PARITIES = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Parities, along rows and columns, of the lower of the two outputs between which a point reads: 0 for even, 1 for
odd."""


def push_forward(
    layers: Iterable[nn.Module],
    values: Float[Tensor, "1 features side side"],
    tangents: Float[Tensor, "directions features side side"],
) -> Float[Tensor, "cells directions"]:
    """Push directional derivatives through some layers of a generator, in rows of (row, column, feature).

    `values` are the features of the code itself before the layers, and `tangents` their derivatives along each
    direction.

    On devices that are fast at bfloat16, single-precision tangents are computed in it. Least squares measures the worth
    of its steps exactly, so that half a per cent of a derivative costs no step, nor does it matter for a deviation.
    """
    dtype = tangents.dtype
    if dtype == torch.float32:
        tangents = tangents.to(matmul_dtype(tangents.device, "auto"))
    # In channels-last layout, all of this takes half the time. SiLU works in place, since a fresh tensor of this size
    # costs as much as a layer.
    tangents, values = (part.clone(memory_format=torch.channels_last) for part in (tangents, values))
    for layer in layers:
        if isinstance(layer, nn.SiLU):
            sigmoid = torch.sigmoid(values)
            tangents = tangents.mul_((sigmoid * (1.0 + values * (1.0 - sigmoid))).to(tangents.dtype))
        elif isinstance(layer, Upsampling):
            kernel = layer.kernel.to(tangents.dtype)
            tangents = upsample(tangents, kernel, None, groups=layer.groups)
        else:
            if not isinstance(layer, nn.Conv2d) or layer.kernel_size != (1, 1):
                raise TypeError(f"a layer {layer} in the generator; expected SiLU, 1 x 1 convolutions and upsamplings")
            weight = layer.weight[:, :, 0, 0].to(tangents.dtype)
            tangents = nn.functional.linear(tangents.permute(0, 2, 3, 1), weight).permute(0, 3, 1, 2)
        values = layer(values)
    return tangents.permute(0, 2, 3, 1).flatten(1).T.to(dtype).contiguous()


def upsampling_pullbacks(weight: Float[Tensor, "inputs outputs size size"]) -> list[Float[Tensor, "_reads _cells"]]:
    """Return matrices from derivatives by the outputs that a point reads to those by the upsampling's inputs.

    A bilinear reading takes four outputs, lower and upper along each axis, with all their features. They come from
    `NUM_INPUTS` input cells along an axis. There is one matrix for each of `PARITIES`, from (row, column, feature) of
    the outputs to (row, column, feature) of the input cells.
    """
    if weight.shape[-1] == PLAIN_SIDE:
        weight = nn.functional.pad(weight, (1, 1, 1, 1))
    entries = _kernel_entries().to(weight)
    matrices = []
    for odd_row, odd_column in PARITIES:
        row, column = (entries[:, odd, : NUM_INPUTS[odd]] for odd in (odd_row, odd_column))
        kernel = torch.einsum("uia,vjb,coab->uvoijc", row, column, weight)
        matrices.append(kernel.reshape(4 * weight.shape[1], -1))
    return matrices


def directional_derivatives(
    places: Float[Tensor, "planes points 2"],
    by_feature: Float[Tensor, "planes points outputs"],
    kernels: Sequence[Float[Tensor, "planes _reads _cells"]],
    tangents: Float[Tensor, "inputs directions"],
) -> Float[Tensor, "points directions"]:
    """Return the derivatives of a value at each point along some directions of the code.

    Args:
        places: (row, column) of each point in [-1, 1], as `grid_sample` reads them with align_corners=False and border
            padding.
        by_feature: Derivatives of the value by the features that the point reads behind the upsampling.
        kernels: The results of `upsampling_pullbacks` for all planes.
        tangents: Derivatives of the upsampling's input along the directions (`push_forward`).

    Points are grouped by their parities, which makes the products few and large. A small product for each point takes
    several times as long.
    """
    planes, count = by_feature.shape[:2]
    inputs = kernels[0].shape[2] // NUM_INPUTS[0] ** 2
    side = math.isqrt(len(tangents) // (planes * inputs))
    place = (((places.flatten(0, 1) + 1.0) * 2 * side - 1.0) / 2.0).clamp(0.0, 2 * side - 1.0)
    low = place.floor().clamp(max=2 * side - 2.0)
    shares = torch.stack([low + 1.0 - place, place - low], dim=-1)
    low = low.long()
    plane = torch.arange(planes, device=low.device).repeat_interleave(count)
    group = planes * (2 * (low[:, 0] % 2) + low[:, 1] % 2) + plane
    order = group.argsort()
    sizes = torch.bincount(group, minlength=4 * planes).view(4, planes).tolist()
    weights = (shares[:, 0, :, None] * shares[:, 1, None, :]).flatten(1)
    by_output = weights[:, :, None] * by_feature.flatten(0, 1)[:, None]
    by_parity = [sum(of_planes) for of_planes in sizes]
    sorted_parts = (part[order].split(by_parity) for part in (by_output.flatten(1), low // 2 - 1, plane))
    feature = torch.arange(inputs, device=low.device)
    parts = []
    for kernel, odd, of_planes, reads, first, plane in zip(kernels, PARITIES, sizes, *sorted_parts, strict=True):
        by_input = torch.cat([part @ each for part, each in zip(reads.split(of_planes), kernel, strict=True)])
        steps = torch.arange(max(NUM_INPUTS), device=low.device)
        row, column = (first[:, axis, None] + steps[: NUM_INPUTS[odd[axis]]] for axis in (0, 1))
        inside = ((row >= 0) & (row < side))[:, :, None] & ((column >= 0) & (column < side))[:, None]
        cells = row.clamp(0, side - 1)[:, :, None] * side + column.clamp(0, side - 1)[:, None]
        entries = ((cells.flatten(1) * planes + plane[:, None]) * inputs)[:, :, None] + feature
        weights = by_input.view(*entries.shape) * inside.flatten(1)[:, :, None]
        parts.append(
            nn.functional.embedding_bag(entries.flatten(1), tangents, per_sample_weights=weights.flatten(1), mode="sum")
        )
    result = tangents.new_empty(planes * count, tangents.shape[1])
    result[order] = torch.cat(parts)
    return result.view(planes, count, tangents.shape[1]).sum(dim=0)


def _kernel_entries() -> Float[Tensor, "output parity input entry"]:
    """Return a mask of the kernel entries through which inputs reach outputs, along one axis.

    It is 1 where an input, counted from the first, goes through a kernel entry into the lower (0) or the upper (1) of
    two neighbouring outputs, of which the lower is even (0) or odd (1).
    """
    mask = torch.zeros((2, 2, max(NUM_INPUTS), KERNEL_SIZE))
    for upper in (0, 1):
        for odd in (0, 1):
            for place in range(NUM_INPUTS[odd]):
                entry = odd + upper + 4 - 2 * place
                if 0 <= entry < KERNEL_SIZE:
                    mask[upper, odd, place, entry] = 1.0
    return mask
