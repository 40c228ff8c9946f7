"""The training objective: losses per sample, and their combination into one value for each shape of a batch."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from shapeprior.models.decoder import Decoder
from shapeprior.models.device import autocast
from shapeprior.models.presets import TrainConfig

SLOPE_STEP = 0.01
"""Distance from a surface point to both sides at which its slope is measured, in unit-sphere radii. It is a third of a
cell of the default's planes, whose ripples it shall see."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingBatch:
    """Samples of some training shapes in the unit frame, as float32 on the decoder's device."""

    rows: Int[Tensor, "shapes"]
    """Index of each shape among the training shapes."""
    points_unit: Float[Tensor, "shapes points 3"]
    sdf: Float[Tensor, "shapes points"]
    """Signed distances in unit-sphere radii, negative inside."""
    surface_points_unit: Float[Tensor, "shapes surface 3"] | None = None
    """Points on the true surfaces; None if the recipe or the data set has none."""
    surface_normals_unit: Float[Tensor, "shapes surface 3"] | None = None
    """Outward unit normals at these points."""


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
    points, pairs = batch.points_unit, 0
    if settings.surface_weight and batch.surface_points_unit is not None and batch.surface_normals_unit is not None:
        ahead, behind = beside_along(batch.surface_points_unit, batch.surface_normals_unit)
        points, pairs = torch.cat([points, ahead, behind], dim=1), ahead.shape[1]
    with autocast(batch.sdf.device, settings.precision):
        predicted, *beside = decoder(codes, points).split(
            [batch.sdf.shape[1], *((pairs, pairs) if pairs else ())], dim=1
        )
    loss = clamped_l1 if settings.loss == "clamped" else banded_l1
    errors = loss(predicted, batch.sdf, settings.clamp)
    if settings.inside_weight != 1.0:
        lost = (batch.sdf < 0) & (predicted > batch.sdf)
        errors = torch.where(lost, settings.inside_weight * errors, errors)
    value = errors.mean(dim=1)
    if beside:
        value = value + settings.surface_weight * slope_along(*beside).mean(dim=1)
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


def beside_along(
    points: Float[Tensor, "shapes surface 3"], normals: Float[Tensor, "shapes surface 3"]
) -> tuple[Float[Tensor, "shapes surface 3"], Float[Tensor, "shapes surface 3"]]:
    """Return the points at `SLOPE_STEP` to both sides of each surface point, in its tangent plane.

    The directions are those of two perpendicular tangents in turn. A field whose slope vanishes along both has its
    gradient along the normal.
    """
    # The axis along which the normal is shortest is never parallel to it.
    axis = nn.functional.one_hot(normals.abs().argmin(dim=-1), 3).to(normals)
    first = nn.functional.normalize(torch.linalg.cross(normals, axis, dim=-1), dim=-1)
    second = torch.linalg.cross(normals, first, dim=-1)
    turn = (torch.arange(points.shape[1], device=points.device) % 2 == 0)[:, None]
    step = SLOPE_STEP * torch.where(turn, first, second)
    return points + step, points - step


def slope_along(ahead: Float[Tensor, "*batch"], behind: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Return the field's slope along the surface, from its values at the two points of `beside_along`.

    It is the sine of the angle between the field's gradient and the normal, if the gradient has length 1. On a curved
    surface both values are alike, so that curvature costs nothing. Normals are a target of Gropp et al. 2020, "Implicit
    geometric regularization for learning shapes"; differences of values need no second derivatives of the network.
    """
    return (ahead - behind).abs() / (2.0 * SLOPE_STEP)


def code_prior(codes: Float[Tensor, "shapes code"]) -> Float[Tensor, "shapes"]:
    """Return the squared length of each code.

    Up to scale, it is the negative logarithm of a zero-mean Gaussian (DeepSDF, equation 9).
    """
    return codes.square().sum(dim=-1)
