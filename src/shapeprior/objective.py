"""What training minimises: one value a shape, from a batch of samples."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from shapeprior.decoder import Decoder
from shapeprior.losses import banded_l1, clamped_l1, code_prior
from shapeprior.precision import autocast
from shapeprior.train_config import TrainConfig


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
