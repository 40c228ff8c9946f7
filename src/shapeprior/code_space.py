"""The Gaussian that a prior's training codes follow, and coordinates in which it is the standard normal."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

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
