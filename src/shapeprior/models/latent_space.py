"""The Gaussian that a prior's training codes follow, and coordinates in which it is the standard normal.

Codes between two codes.

The training shapes whose codes are nearest to a code.

Codes that are like the training shapes' and are none of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from shapeprior.errors import ConfigError

FLOOR = 0.02
"""Directions that the training codes hardly use keep this share of the largest deviation, so that none is closed."""


@dataclass(frozen=True, eq=False)
class CodeSpace:
    """z = mean + whitened · axes: a code is likely if its whitened coordinates are short.

    DeepSDF assumes N(0, sigma² I) (equation 3); the codes that training ends with are neither centred nor equally wide in
    all directions, and inference is better conditioned where they are.
    """

    mean: Float[Tensor, "code"]
    axes: Float[Tensor, "code code"]
    """Rows are principal directions, scaled by their standard deviations."""

    @classmethod
    def fit(cls, codes: Float[Tensor, "shapes code"]) -> "CodeSpace":
        """Principal axes of the training codes; they lie where these do."""
        place, codes = codes.device, codes.cpu()
        mean = codes.mean(dim=0)
        size = codes.shape[1]
        if codes.shape[0] < 2:
            return cls(mean=mean.to(place), axes=torch.eye(size).to(place))
        _, deviations, directions = torch.linalg.svd(
            (codes - mean).double(),
            # All directions are needed; with more shapes than dimensions, the full matrices add only a large, unused one.
            full_matrices=len(codes) < size,
        )
        spread = torch.zeros(size, dtype=torch.float64)
        spread[: len(deviations)] = deviations / (codes.shape[0] - 1) ** 0.5
        spread = torch.maximum(spread, FLOOR * spread.max().clamp_min(1e-6))
        return cls(mean=mean.to(place), axes=(spread[:, None] * directions).float().to(place))

    def codes(self, whitened: Float[Tensor, "starts code"]) -> Float[Tensor, "starts code"]:
        """Codes of whitened coordinates."""
        return self.mean + whitened @ self.axes

    def whiten(self, codes: Float[Tensor, "starts code"]) -> Float[Tensor, "starts code"]:
        """Whitened coordinates of codes."""
        return torch.linalg.solve(self.axes.T, (codes - self.mean).T).T


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


@dataclass(frozen=True, kw_only=True)
class NearbyShape:
    """A training shape and how far its code is."""

    id: str
    distance: float
    """Distance of Mahalanobis between the codes: 1 is one standard deviation of the training codes."""


def nearest_shapes(
    space: CodeSpace,
    codes: Float[Tensor, "shapes code"],
    shape_ids: Sequence[str],
    code: Float[Tensor, "code"],
    *,
    count: int,
) -> list[NearbyShape]:
    """The `count` training shapes (all, if there are fewer) nearest in whitened coordinates, nearest first.

    Raises ConfigError if `count` is below 1.
    """
    if count < 1:
        raise ConfigError(f"count = {count}; expected at least 1")
    gaps = (space.whiten(codes) - space.whiten(code[None])).cpu().double().norm(dim=1)
    # Stable, so that equal distances come in the order of training.
    order = [int(row) for row in gaps.argsort(stable=True)[:count]]
    return [NearbyShape(id=shape_ids[row], distance=float(gaps[row])) for row in order]


NEIGHBOURS = 8
"""Codes nearest to one's own towards which others are made."""
SHARES = (0.2, 0.8)
"""How far on the way to a neighbour they lie."""


def codes_between(
    whitened: Float[Tensor, "shapes code"], count: int, rng: np.random.Generator
) -> Float[Tensor, "count code"]:
    """Codes on the straight way from random ones of these to one of the few nearest to each, in whitened coordinates.

    None if there are no two codes.
    """
    if len(whitened) < 2:
        return whitened[:0]
    first = torch.from_numpy(rng.integers(0, len(whitened), count))
    away = torch.cdist(whitened[first], whitened)
    away[torch.arange(count), first] = torch.inf
    near = away.topk(min(NEIGHBOURS, len(whitened) - 1), largest=False).indices
    last = near[torch.arange(count), torch.from_numpy(rng.integers(0, near.shape[1], count))]
    shares = torch.from_numpy(rng.uniform(*SHARES, (count, 1))).to(whitened)
    return whitened[first].lerp(whitened[last], shares)
