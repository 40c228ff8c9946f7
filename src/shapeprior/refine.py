"""Beyond what a code can say: the prepared decoder of one shape is moved until its field fits what was seen of it."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from shapeprior.config import check_numbers
from shapeprior.models.decoder import Decoder, seeded
from shapeprior.models.optimizers import RowAdam
from shapeprior.sdf.sampling import SamplingConfig, sample_sdf
from shapeprior.sdf.signed_distance import SignedDistance

BETAS = (0.9, 0.98)
"""Of Adam: so few steps have no use for moments that remember a thousand."""
ROW = np.zeros(1, dtype=np.int64)
"""The one row of a table that is a tensor."""


@dataclass(frozen=True, kw_only=True)
class RefineConfig:
    """Settings of the refinement."""

    samples: int = 50_000
    """Of the shape's field, where all of it is known: planes of 64² cells fit the 10,000 that a code is fitted to, and the noise
    between them, better than the shape (docs/ablation.md)."""
    steps: int = 200
    """Adam steps; 0 leaves the field as the code made it."""
    points: int = 8192
    """Samples in a step, drawn afresh."""
    rate: float = 0.2
    """Adam's learning rate at the start, as a share of each prepared tensor's standard deviation; it falls to 0 along half a
    cosine."""
    huber: float = 0.0
    """Errors below this count squared, in radii, instead of as they are."""
    epsilon: float = 1e-8
    """Adam's: gradients far below it move nothing."""
    local: bool = False
    """Whether only `Decoder.local_part` of the changes is made: a few thousand points of one view say where a surface is, not how
    rough it is, nor where all others are."""

    def __post_init__(self) -> None:
        check_numbers(
            self, at_least_one=("samples", "points"), positive=("rate", "epsilon"), not_negative=("steps", "huber")
        )


@dataclass(frozen=True, eq=False)
class FieldSamples:
    """What is known of one shape's field, in the unit frame."""

    points: Float[Tensor, "samples 3"]
    values: Float[Tensor, "samples"]
    """Signed distances in unit-sphere radii."""
    side: Float[Tensor, "samples"]
    """0 where the field has this value, 1 where it has this or more, -1 where it has this or less."""

    @classmethod
    def of_sdf(cls, points: Float[Tensor, "samples 3"], sdf: Float[Tensor, "samples"], clamp: float) -> "FieldSamples":
        """Samples of a field that is known all around; beyond the clamp only that it is beyond."""
        side = torch.where(sdf.abs() < clamp, 0.0, torch.sign(sdf))
        return cls(points, sdf.clamp(-clamp, clamp), side)

    @classmethod
    def of_shape(
        cls, distance: SignedDistance, count: int, clamp: float, *, rng: np.random.Generator, like: Tensor
    ) -> "FieldSamples":
        """So many fresh samples of a shape, a sixth of them beside its sharp edges, in type and device of `like`.

        Raises MeshError if the surface has no area.
        """
        edges, uniform = count // 6, count // 25
        sampling = SamplingConfig(near=count - edges - uniform, uniform=uniform, edges=edges, dtype="float32")
        drawn = sample_sdf(distance, sampling, rng=rng)
        points, sdf = (torch.from_numpy(part).to(like) for part in (drawn.points_unit, drawn.sdf))
        return cls.of_sdf(points, sdf, clamp)

    def error(self, field: Float[Tensor, "drawn"], rows: Tensor) -> Float[Tensor, "drawn"]:
        """How far values of the field at some samples are from what is known there."""
        lacking = self.values[rows] - field
        side = self.side[rows]
        return torch.where(side == 0.0, lacking.abs(), torch.relu(side * lacking))


def refine_prepared(
    decoder: Decoder, prepared: tuple[Tensor, ...], samples: FieldSamples, *, config: RefineConfig, seed: int
) -> tuple[Tensor, ...]:
    """What `Decoder.prepare` made of one code, changed so that the field fits the samples; weights and code stay.

    A code of 64 numbers holds what shapes of a category have in common; the details of an unseen shape are not in it. What the
    decoder makes of the code before any point is asked for (feature planes, or biases) has room for them. The idea of adapting
    the decoder to one shape after its code: pivotal tuning (Roich et al. 2022, "Pivotal tuning for latent-based editing of real
    images"); that it is enough to move the prepared tensors, and no weight, is ours. Where nothing is known, samples of the
    field as it was must be among `samples`, or it drifts. Does not touch torch's global generator.
    """
    first = [tensor.detach() for tensor in prepared]
    if config.steps == 0 or len(samples.points) == 0:
        return tuple(first)
    # Adam by rows, of one row each: torch's own would import its compiler first, which takes longer than a completion.
    tables = [RowAdam(torch.zeros_like(tensor).reshape(1, -1), betas=BETAS, epsilon=config.epsilon) for tensor in first]
    rates = [config.rate * max(float(tensor.std(correction=0)), 1e-6) for tensor in first]

    def moved(rows: list[Tensor]) -> tuple[Tensor, ...]:
        changes = tuple(row.view_as(tensor) for row, tensor in zip(rows, first, strict=True))
        changes = decoder.local_part(changes) if config.local else changes
        return tuple(map(torch.add, first, changes))

    generator = seeded(seed)
    for step in range(config.steps):
        drawn = torch.randint(len(samples.points), (config.points,), generator=generator).to(samples.points.device)
        changes = [table.take(ROW) for table in tables]
        with torch.enable_grad():
            field = decoder.query(moved(changes), samples.points[drawn][None])[0]
            error = samples.error(field, drawn)
            value = nn.functional.smooth_l1_loss(error, torch.zeros_like(error), beta=config.huber)
            gradients = torch.autograd.grad(value, changes)
        share = 0.5 * (1.0 + math.cos(math.pi * step / config.steps))
        for table, gradient, rate in zip(tables, gradients, rates, strict=True):
            table.step(ROW, gradient, rate=rate * share)
    return moved([table.values for table in tables])
