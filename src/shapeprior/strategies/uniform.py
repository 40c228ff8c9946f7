"""Samples everywhere in the unit ball."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from shapeprior.signed_distance import SignedDistance


@dataclass(frozen=True, kw_only=True)
class UniformBall:
    """Points uniform in the unit ball, as in DeepSDF's released sampler; they look at no surface."""

    def draw(self, distance: SignedDistance, count: int, *, rng: np.random.Generator) -> Float[np.ndarray, "samples 3"]:
        """`count` points of the unit frame: directions of normal vectors, radii as cube roots."""
        del distance  # Every strategy is given it.
        directions = rng.standard_normal((count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return directions * np.cbrt(rng.random((count, 1)))
