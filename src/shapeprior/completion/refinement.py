"""Refines a decoded shape beyond what its code can say, towards targets all over its field.

`Decoder.prepare` turns a code into feature planes or biases. These hold more detail than the code, and moving them
until the field fits its targets adds the details of an unseen shape. The idea of adapting the decoder to one shape
after its code was found comes from pivotal tuning (Roich et al. 2022, "Pivotal tuning for latent-based editing of real
images"). That moving the prepared tensors is enough, without any weight, is our own finding. A single view does not
tell all of the field; `shapeprior.completion.view_refinement` follows one.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from shapeprior.config import check_numbers
from shapeprior.models.decoder import Decoder, seeded
from shapeprior.models.optimizers import RowAdam, cosine_decay
from shapeprior.sdf.sampling import SamplingConfig, sample_sdf
from shapeprior.sdf.signed_distance import SignedDistance

ADAM_BETAS = (0.9, 0.98)
"""These are short memories: over so few steps, averages of a thousand steps would never settle."""
ONLY_ROW = np.zeros(1, dtype=np.int64)
"""Row index of a table that holds one tensor."""


@dataclass(frozen=True, kw_only=True)
class RefineConfig:
    """Settings of the refinement of one shape."""

    samples: int = 50_000
    """Number of samples of the field, where all of it is known. Planes of 64² cells fit the 10,000 samples that a code
    is fitted to, and the noise between them, better than the shape (docs/ablation.md)."""
    steps: int = 200
    """Number of Adam steps. 0 leaves the field as the code makes it."""
    points: int = 8192
    """Number of samples in a step, drawn anew each time."""
    rate: float = 0.2
    """Adam's learning rate at the start, as a share of each prepared tensor's standard deviation. It falls to 0 along
    half a cosine."""

    def __post_init__(self) -> None:
        check_numbers(self, at_least_one=("samples", "points"), positive=("rate",), not_negative=("steps",))


@dataclass(frozen=True, eq=False)
class FieldSamples:
    """Targets for the field of one shape, in the unit frame."""

    points: Float[Tensor, "samples 3"]
    values: Float[Tensor, "samples"]
    """Signed distances in unit-sphere radii."""
    side: Float[Tensor, "samples"]
    """0 where the field has this value, 1 where it has this or more, -1 where it has this or less."""

    @classmethod
    def of_sdf(cls, points: Float[Tensor, "samples 3"], sdf: Float[Tensor, "samples"], clamp: float) -> "FieldSamples":
        """Make targets of signed distances. Beyond the clamp, it is only known that the field is beyond it."""
        side = torch.where(sdf.abs() < clamp, 0.0, torch.sign(sdf))
        return cls(points, sdf.clamp(-clamp, clamp), side)

    @classmethod
    def of_shape(
        cls, distance: SignedDistance, count: int, clamp: float, *, rng: np.random.Generator, like: Tensor
    ) -> "FieldSamples":
        """Draw `count` targets from a shape, a sixth of them beside its sharp edges, in type and device of `like`.

        Raises MeshError if the surface has no area.
        """
        edges, uniform = count // 6, count // 25
        sampling = SamplingConfig(near=count - edges - uniform, uniform=uniform, edges=edges, dtype="float32")
        drawn = sample_sdf(distance, sampling, rng=rng)
        points, sdf = (torch.from_numpy(part).to(like) for part in (drawn.points_unit, drawn.sdf))
        return cls.of_sdf(points, sdf, clamp)

    def error(self, field: Float[Tensor, "drawn"], rows: Tensor) -> Float[Tensor, "drawn"]:
        """Return how far field values at some samples are from their targets."""
        lacking = self.values[rows] - field
        side = self.side[rows]
        return torch.where(side == 0.0, lacking.abs(), torch.relu(side * lacking))


def refine_prepared(
    decoder: Decoder, prepared: tuple[Tensor, ...], samples: FieldSamples, *, config: RefineConfig, seed: int
) -> tuple[Tensor, ...]:
    """Change the prepared tensors of one code so that the field fits its targets. Weights and code stay as they are.

    Where nothing is known, samples of the field as it was must be among the targets, or it drifts. This does not touch
    torch's global random generator.
    """
    first = [tensor.detach() for tensor in prepared]
    if config.steps == 0 or len(samples.points) == 0:
        return tuple(first)
    # torch's own Adam would import its compiler first, which takes longer than a completion.
    tables = [RowAdam(torch.zeros_like(tensor).reshape(1, -1), betas=ADAM_BETAS) for tensor in first]
    rates = [config.rate * max(float(tensor.std(correction=0)), 1e-6) for tensor in first]

    def moved(rows: list[Tensor]) -> tuple[Tensor, ...]:
        return tuple(tensor + row.view_as(tensor) for row, tensor in zip(rows, first, strict=True))

    generator = seeded(seed)
    for step in range(config.steps):
        drawn = torch.randint(len(samples.points), (config.points,), generator=generator).to(samples.points.device)
        changes = [table.take(ONLY_ROW) for table in tables]
        with torch.enable_grad():
            field = decoder.query(moved(changes), samples.points[drawn][None])[0]
            gradients = torch.autograd.grad(samples.error(field, drawn).mean(), changes)
        share = cosine_decay(step, config.steps)
        for table, gradient, rate in zip(tables, gradients, rates, strict=True):
            table.step(ONLY_ROW, gradient, rate=rate * share)
    return moved([table.values for table in tables])
