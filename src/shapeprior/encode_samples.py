"""Codes of whole shapes: the field is known all around, the decoder is frozen (DeepSDF, equation 10)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from shapeprior.config import check_numbers
from shapeprior.errors import CompletionError
from shapeprior.models.decoder import Decoder, seeded
from shapeprior.models.latent_space import CodeSpace
from shapeprior.models.objective import banded_l1, code_prior


@dataclass(frozen=True, kw_only=True)
class EncodeConfig:
    """Settings of the fit."""

    steps: int = 200
    """Adam steps."""
    points: int = 1024
    """Samples of each shape in a step, drawn afresh; all of them if there are fewer."""
    rate: float = 0.2
    """Adam's learning rate in whitened code coordinates at the start; it falls to 0 along half a cosine."""
    prior_weight: float = 1e-4
    """Weight of the mean squared whitened coordinate. Small: what is known all around needs little guessing."""
    shapes: int = 16
    """Shapes fitted at once; bounds the memory."""

    def __post_init__(self) -> None:
        check_numbers(
            self, at_least_one=("steps", "points", "shapes"), positive=("rate",), not_negative=("prior_weight",)
        )


def encode_samples(
    decoder: Decoder,
    space: CodeSpace,
    points_unit: Float[Tensor, "shapes points 3"],
    sdf: Float[Tensor, "shapes points"],
    *,
    clamp: float,
    config: EncodeConfig,
    seed: int,
) -> Float[Tensor, "shapes code"]:
    """The code of each shape, from samples of its field as in training; all shapes are fitted side by side.

    `points_unit` and `sdf` are samples in the unit frame, distances in unit-sphere radii, negative inside; `clamp` is that of
    training (the paper's delta). Each shape starts at the mean training code, and its result does not depend on the other
    shapes beyond rounding. The work is done on the decoder's device and in its type; the codes lie where `space` does.
    Raises CompletionError if the samples or a fitted code are not all finite, ValueError if there are no samples.
    """
    if points_unit.shape[1] == 0:
        raise ValueError("no samples of the shapes; expected at least one each")
    # Losses may hide a NaN: compared with it, everything is beyond the clamp.
    if not (torch.isfinite(points_unit).all() and torch.isfinite(sdf).all()):
        raise CompletionError(
            "the samples hold NaN or infinity; expected finite points and distances; prepare them again"
        )
    training = decoder.training
    decoder.eval()
    try:
        codes = [
            _fitted(decoder, space, (points, distances), clamp, config, seeded(seed))
            for points, distances in zip(points_unit.split(config.shapes), sdf.split(config.shapes), strict=True)
            if len(points)
        ]
    finally:
        decoder.train(training)
    return torch.cat(codes) if codes else space.mean.new_zeros((0, len(space.mean)))


def _fitted(
    decoder: Decoder,
    space: CodeSpace,
    samples: tuple[Tensor, Tensor],
    clamp: float,
    config: EncodeConfig,
    generator: torch.Generator,
) -> Float[Tensor, "shapes code"]:
    """The codes of one batch of shapes, from their points and distances."""
    weight = next(decoder.parameters())
    mean, axes = space.mean.to(weight), space.axes.to(weight)
    points_unit, sdf = (part.to(weight) for part in samples)
    count, total = min(config.points, points_unit.shape[1]), points_unit.shape[1]
    whitened = mean.new_zeros((len(points_unit), len(mean)), requires_grad=True)
    optimizer = torch.optim.Adam([whitened], lr=config.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    objective = mean.new_zeros(len(points_unit))
    for _ in range(config.steps):
        # The same rows of every shape, so that a shape's result does not depend on its place in the batch.
        rows = torch.randint(total, (count,), generator=generator) if count < total else torch.arange(total)
        rows = rows.to(weight.device)
        error = banded_l1(decoder(mean + whitened @ axes, points_unit[:, rows]), sdf[:, rows], clamp).mean(dim=1)
        objective = error + config.prior_weight * code_prior(whitened) / whitened.shape[1]
        # Only the codes' gradients are asked for: the decoder stays as it is.
        (whitened.grad,) = torch.autograd.grad(objective.sum(), [whitened])
        optimizer.step()
        schedule.step()
    codes = (mean + whitened.detach() @ axes).to(space.mean)
    # NaN weights may leave the codes where they were.
    if not (torch.isfinite(codes).all() and torch.isfinite(objective).all()):
        raise CompletionError("the fit of a code ended without finite numbers; expected weights that were trained")
    return codes
