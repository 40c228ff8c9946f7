"""The space of latent codes: the Gaussian of a prior's training codes, and paths, neighbours and new codes measured in
it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from shapeprior.errors import ConfigError

MIN_DEVIATION_RATIO = 0.02
"""Directions that the training codes hardly use keep this share of the largest deviation, so that a fit can still move
along them."""
NUM_NEIGHBOURS = 8
"""`codes_between_neighbours` takes the second code from this many nearest neighbours of the first."""
INTERPOLATION_RANGE = (0.2, 0.8)
"""Range of the position of new codes between the two, as a share of the way."""

CodePath = Literal["straight", "spherical"]


@dataclass(frozen=True, eq=False)
class CodeSpace:
    """Coordinates in which the training codes have mean 0 and covariance 1: code = mean + whitened · axes.

    DeepSDF assumes that codes follow N(0, sigma² I) (equation 3). The codes at the end of training are neither centred
    nor equally wide in all directions. A code is likely if its whitened coordinates are short, and inference is better
    conditioned in them.
    """

    mean: Float[Tensor, "code"]
    axes: Float[Tensor, "code code"]
    """Principal directions as rows, scaled by the standard deviations along them."""

    @classmethod
    def fit(cls, codes: Float[Tensor, "shapes code"]) -> "CodeSpace":
        """Fit mean and principal axes to training codes, on the device of the codes."""
        device, codes = codes.device, codes.cpu()
        mean = codes.mean(dim=0)
        size = codes.shape[1]
        if codes.shape[0] < 2:
            return cls(mean=mean.to(device), axes=torch.eye(size).to(device))
        _, singular_values, directions = torch.linalg.svd(
            (codes - mean).double(),
            # All directions are needed. With more shapes than dimensions, full matrices would only add a large, unused
            # one.
            full_matrices=len(codes) < size,
        )
        deviations = torch.zeros(size, dtype=torch.float64)
        deviations[: len(singular_values)] = singular_values / (codes.shape[0] - 1) ** 0.5
        deviations = torch.maximum(deviations, MIN_DEVIATION_RATIO * deviations.max().clamp_min(1e-6))
        return cls(mean=mean.to(device), axes=(deviations[:, None] * directions).float().to(device))

    def codes(self, whitened: Float[Tensor, "starts code"]) -> Float[Tensor, "starts code"]:
        """Return the codes of whitened coordinates."""
        return self.mean + whitened @ self.axes

    def whiten(self, codes: Float[Tensor, "starts code"]) -> Float[Tensor, "starts code"]:
        """Return the whitened coordinates of codes."""
        return torch.linalg.solve(self.axes.T, (codes - self.mean).T).T


def interpolate_codes(
    space: CodeSpace,
    first: Float[Tensor, "code"],
    last: Float[Tensor, "code"],
    *,
    steps: int,
    path: CodePath = "straight",
) -> Float[Tensor, "steps code"]:
    """Return `steps` codes from `first` to `last`, both included, at equal distances in whitened coordinates.

    A straight path is the segment between the two codes. Its middle is nearer to the mean than its ends are, by a
    factor of about √½ for two random codes: shorter than codes usually are in many dimensions, but likelier under the
    Gaussian. A spherical path (Shoemake 1985) turns one code into the other around the mean, with a length between
    those of the ends. For codes in the same or in opposite directions it is straight. Raises ConfigError for fewer than
    two steps or an unknown path.
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
        codes = space.codes(_spherical(start, end, share).to(first)).double()
    codes = codes.to(first)
    # Both ends are exactly the codes that were given.
    codes[0], codes[-1] = first, last
    return codes


def _spherical(
    start: Float[Tensor, "code"], end: Float[Tensor, "code"], share: Float[Tensor, "steps 1"]
) -> Float[Tensor, "steps code"]:
    """Interpolate directions along the great circle, and lengths linearly."""
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
    """A training shape and the distance of its code from a given one."""

    id: str
    distance: float
    """Mahalanobis distance between the codes: 1 is one standard deviation of the training codes."""


def nearest_shapes(
    space: CodeSpace,
    codes: Float[Tensor, "shapes code"],
    shape_ids: Sequence[str],
    code: Float[Tensor, "code"],
    *,
    count: int,
) -> list[NearbyShape]:
    """Return the `count` training shapes (or all, if there are fewer) with the nearest codes, nearest first.

    Raises ConfigError if `count` is below 1.
    """
    if count < 1:
        raise ConfigError(f"count = {count}; expected at least 1")
    distances = (space.whiten(codes) - space.whiten(code[None])).cpu().double().norm(dim=1)
    # A stable sort keeps equal distances in the order of training.
    order = [int(row) for row in distances.argsort(stable=True)[:count]]
    return [NearbyShape(id=shape_ids[row], distance=float(distances[row])) for row in order]


def sample_codes(
    space: CodeSpace, codes: Float[Tensor, "shapes code"], count: int, *, seed: int
) -> Float[Tensor, "count code"]:
    """Draw new codes between training codes that are neighbours (`codes_between_neighbours`).

    A decoder knows the shapes at training codes and near the lines between similar ones. Codes that are drawn from a
    density such as a Gaussian mixture lie between many shapes at once, and thin walls tear there (figures in
    docs/code_space.md). Drawing between neighbours is how Chawla et al. 2002, "SMOTE: synthetic minority over-sampling
    technique", make new members of a class. Raises ConfigError if `count` is below 1, or if there are fewer than two
    training codes.
    """
    if count < 1:
        raise ConfigError(f"count = {count}; expected at least 1")
    if len(codes) < 2:
        raise ConfigError(f"{len(codes)} training codes; expected at least 2 to draw new ones between them")
    return space.codes(codes_between_neighbours(space.whiten(codes), count, np.random.default_rng(seed)))


def codes_between_neighbours(
    whitened: Float[Tensor, "shapes code"], count: int, rng: np.random.Generator
) -> Float[Tensor, "count code"]:
    """Draw codes on straight lines between random codes and their near neighbours, all in whitened coordinates.

    The result is empty if there are fewer than two codes.
    """
    if len(whitened) < 2:
        return whitened[:0]
    first = torch.from_numpy(rng.integers(0, len(whitened), count))
    distances = torch.cdist(whitened[first], whitened)
    distances[torch.arange(count), first] = torch.inf
    nearest = distances.topk(min(NUM_NEIGHBOURS, len(whitened) - 1), largest=False).indices
    last = nearest[torch.arange(count), torch.from_numpy(rng.integers(0, nearest.shape[1], count))]
    shares = torch.from_numpy(rng.uniform(*INTERPOLATION_RANGE, (count, 1))).to(whitened)
    return whitened[first].lerp(whitened[last], shares)
