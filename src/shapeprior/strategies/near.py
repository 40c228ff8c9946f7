"""Samples near the surface, as DeepSDF draws them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from shapeprior.errors import ConfigError
from shapeprior.geometry.sampling import sample_surface
from shapeprior.signed_distance import SignedDistance


@dataclass(frozen=True, kw_only=True)
class NearSurface:
    """Surface points, uniform by area, with Gaussian offsets (Park et al. 2019, "DeepSDF", section 5).

    Sheets are drawn from their middle, not from the sides of the plate that `SignedDistance` makes of them.
    """

    variances: tuple[float, ...] = (0.0025, 0.00025)
    """Variances of the offsets along each axis, in squared unit-sphere radii; the samples take them in turn."""

    def __post_init__(self) -> None:
        if not self.variances or not all(0.0 < variance < np.inf for variance in self.variances):
            raise ConfigError(f"variances = {self.variances}; expected positive numbers")

    def draw(self, distance: SignedDistance, count: int, *, rng: np.random.Generator) -> Float[np.ndarray, "samples 3"]:
        """`count` points of the unit frame."""
        on_surface, _ = sample_surface(distance.surface, count, rng=rng)
        deviations = np.sqrt(np.resize(np.asarray(self.variances), count))
        return on_surface + rng.standard_normal((count, 3)) * deviations[:, None]
