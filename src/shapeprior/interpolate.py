"""Codes between two codes."""

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from shapeprior.code_space import CodeSpace
from shapeprior.errors import ConfigError

CodePath = Literal["straight", "spherical"]


def interpolate_codes(
    space: CodeSpace,
    first: Float[Tensor, "code"],
    last: Float[Tensor, "code"],
    *,
    steps: int,
    path: CodePath = "straight",
) -> Float[Tensor, "steps code"]:
    """`steps` codes from `first` to `last`, both included, at equal distances in whitened coordinates.

    `straight` is the segment between the two, which whitening keeps straight. Its middle is nearer to the mean than its ends, by
    a factor of about √½ for two random codes: shorter than codes usually are in many dimensions, but likelier under the
    Gaussian. `spherical` (Shoemake 1985) turns one into the other around the mean and keeps the length between those of
    the ends; for codes in the same or in opposite directions it is straight. Raises ConfigError for fewer than two steps.
    """
    if steps < 2:
        raise ConfigError(f"steps = {steps}; expected at least 2, the two ends")
    if path not in get_args(CodePath):
        raise ConfigError(f"path = {path!r}; expected one of {', '.join(map(repr, get_args(CodePath)))}")
    share = torch.linspace(0.0, 1.0, steps, dtype=torch.float64)[:, None]
    if path == "straight":
        codes = (1.0 - share) * first.cpu().double() + share * last.cpu().double()
    else:
        start, end = space.whiten(torch.stack([first, last])).cpu().double()
        codes = space.codes(_turned(start, end, share).to(first)).double()
    codes = codes.to(first)
    # The ends are the codes that were given, to the last bit.
    codes[0], codes[-1] = first, last
    return codes


def _turned(
    start: Float[Tensor, "code"], end: Float[Tensor, "code"], share: Float[Tensor, "steps 1"]
) -> Float[Tensor, "steps code"]:
    """Directions along the great circle, lengths evenly from one to the other."""
    lengths = start.norm(), end.norm()
    cosine = (start @ end / (lengths[0] * lengths[1]).clamp_min(1e-12)).clamp(-1.0, 1.0)
    angle = cosine.acos()
    if min(lengths) < 1e-6 or angle.sin() < 1e-4:
        return (1.0 - share) * start + share * end
    first, last = start / lengths[0], end / lengths[1]
    direction = (((1.0 - share) * angle).sin() * first + (share * angle).sin() * last) / angle.sin()
    return ((1.0 - share) * lengths[0] + share * lengths[1]) * direction
