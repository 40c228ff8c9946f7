"""What training minimises: one value a shape, from a batch of samples.

Losses, one value a sample: the caller reduces.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from shapeprior.models.decoder import Decoder
from shapeprior.models.device import autocast
from shapeprior.models.presets import TrainConfig


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingBatch:
    """Samples of some training shapes, all in the unit frame and on the decoder's device, float32."""

    rows: Int[Tensor, "shapes"]
    """Place of each shape among the training shapes."""
    points_unit: Float[Tensor, "shapes points 3"]
    sdf: Float[Tensor, "shapes points"]
    """Signed distances in unit-sphere radii, negative inside."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Objective:
    """Values of a batch, one a shape."""

    value: Float[Tensor, "shapes"]
    """What is minimised, the prior on codes included; gradients flow."""
    error: Float[Tensor, "shapes"]
    """Mean |f − s|, both clamped, in unit-sphere radii (DeepSDF, equation 4), whatever is minimised; no gradient."""


def batch_objective(
    decoder: Decoder,
    codes: Float[Tensor, "shapes code"],
    batch: TrainingBatch,
    settings: TrainConfig,
) -> Objective:
    """Evaluate the recipe on a batch."""
    with autocast(batch.sdf.device, settings.precision):
        predicted = decoder(codes, batch.points_unit)
    measure = clamped_l1 if settings.loss == "clamped" else banded_l1
    value = measure(predicted, batch.sdf, settings.clamp).mean(dim=1)
    value = value + settings.code_prior * code_prior(codes)
    with torch.no_grad():
        error = clamped_l1(predicted, batch.sdf, settings.clamp).mean(dim=1)
    return Objective(value=value, error=error)


def clamped_l1(
    predicted: Float[Tensor, "*batch"], target: Float[Tensor, "*batch"], clamp: float
) -> Float[Tensor, "*batch"]:
    """|clamp(f) − clamp(s)| (DeepSDF, equation 4): accuracy is spent near the surface. Units of the distances."""
    return (predicted.clamp(-clamp, clamp) - target.clamp(-clamp, clamp)).abs()


def banded_l1(
    predicted: Float[Tensor, "*batch"], target: Float[Tensor, "*batch"], clamp: float
) -> Float[Tensor, "*batch"]:
    """As `clamped_l1`, but a prediction beyond the clamp still feels the pull of a target within it.

    |f − s| where |s| < clamp; beyond, only what f lacks to the clamp on the side of s. Both losses agree wherever the prediction
    is within the clamp; this one has no region from which a bad start cannot return.
    """
    band = (predicted - target).abs()
    beyond = torch.relu(clamp - predicted * torch.sign(target))
    return torch.where(target.abs() < clamp, band, beyond)


def code_prior(codes: Float[Tensor, "shapes code"]) -> Float[Tensor, "shapes"]:
    """Squared length of each code: the negative logarithm of a zero-mean Gaussian, up to scale (DeepSDF, equation 9)."""
    return codes.square().sum(dim=-1)


def outside(predicted: Float[Tensor, "*batch"], margin: float) -> Float[Tensor, "*batch"]:
    """How far the field falls short of `margin` where space was seen to be free; 0 where it does not."""
    return torch.relu(margin - predicted)
