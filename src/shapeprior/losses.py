"""Losses, one value a sample: the caller reduces."""

import torch
from jaxtyping import Float
from torch import Tensor


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
