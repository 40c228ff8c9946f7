"""The training objective: losses per sample, and their combination into one value for each shape of a batch."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from shapeprior.models.decoder import Decoder
from shapeprior.models.device import autocast
from shapeprior.models.presets import TrainConfig


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingBatch:
    """Samples of some training shapes in the unit frame, as float32 on the decoder's device."""

    rows: Int[Tensor, "shapes"]
    """Index of each shape among the training shapes."""
    points_unit: Float[Tensor, "shapes points 3"]
    sdf: Float[Tensor, "shapes points"]
    """Signed distances in unit-sphere radii, negative inside."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Objective:
    """Values of a batch, one for each shape."""

    value: Float[Tensor, "shapes"]
    """The value to minimise, with the prior on codes; it carries gradients."""
    error: Float[Tensor, "shapes"]
    """Mean |f − s|, both clamped, in unit-sphere radii (DeepSDF, equation 4), whatever the loss; it carries no
    gradient."""


def batch_objective(
    decoder: Decoder,
    codes: Float[Tensor, "shapes code"],
    batch: TrainingBatch,
    settings: TrainConfig,
) -> Objective:
    """Evaluate the objective of a training recipe on a batch."""
    with autocast(batch.sdf.device, settings.precision):
        predicted = decoder(codes, batch.points_unit)
    loss = clamped_l1 if settings.loss == "clamped" else banded_l1
    value = loss(predicted, batch.sdf, settings.clamp).mean(dim=1)
    value = value + settings.code_prior * code_prior(codes)
    with torch.no_grad():
        error = clamped_l1(predicted, batch.sdf, settings.clamp).mean(dim=1)
    return Objective(value=value, error=error)


def clamped_l1(
    predicted: Float[Tensor, "*batch"], target: Float[Tensor, "*batch"], clamp: float
) -> Float[Tensor, "*batch"]:
    """Return |clamp(f) − clamp(s)| for each sample (DeepSDF, equation 4), in the unit of the distances.

    The clamp makes the network spend its accuracy near the surface.
    """
    return (predicted.clamp(-clamp, clamp) - target.clamp(-clamp, clamp)).abs()


def banded_l1(
    predicted: Float[Tensor, "*batch"], target: Float[Tensor, "*batch"], clamp: float
) -> Float[Tensor, "*batch"]:
    """Return a variant of `clamped_l1` that keeps its gradient where the prediction is beyond the clamp.

    Where |s| < clamp it is |f − s|. Elsewhere it is the amount by which f falls short of the clamp on the side of s.
    Both losses agree where the prediction is within the clamp. Unlike `clamped_l1`, this one has no region without a
    gradient from which a bad start cannot return.
    """
    band = (predicted - target).abs()
    beyond = torch.relu(clamp - predicted * torch.sign(target))
    return torch.where(target.abs() < clamp, band, beyond)


def code_prior(codes: Float[Tensor, "shapes code"]) -> Float[Tensor, "shapes"]:
    """Return the squared length of each code.

    Up to scale, it is the negative logarithm of a zero-mean Gaussian (DeepSDF, equation 9).
    """
    return codes.square().sum(dim=-1)
