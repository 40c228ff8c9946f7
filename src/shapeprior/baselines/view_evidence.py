"""What a partial view says to the baselines: where the surface is, and where there is none."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from shapeprior.scans.observation import Observation

SURFACE_POINTS = 3000
FREE_POINTS = 6000
STOP_SHORT = 0.02
"""Free space ends so far before a measured point, in unit-sphere radii: sensors are not exact."""


@dataclass(frozen=True, eq=False)
class ViewEvidence:
    """Some points of a view in the unit frame."""

    surface: Float[np.ndarray, "points 3"]
    """Where the field is zero."""
    free: Float[np.ndarray, "free 3"]
    """Where it is positive; may be empty."""

    @classmethod
    def of(cls, view_unit: Observation, *, seed: int) -> "ViewEvidence":
        """At most `SURFACE_POINTS` measured points and `FREE_POINTS` points that were looked through, drawn from the seed."""
        rng = np.random.default_rng([seed, 3])
        thin = view_unit.thinned(SURFACE_POINTS, seed=seed)
        free = thin.free_space_samples(per_ray=2, rng=rng, radius=1.0, stop_short=STOP_SHORT)
        if len(free) > FREE_POINTS:
            free = free[np.sort(rng.choice(len(free), FREE_POINTS, replace=False))]
        return cls(thin.points_world, free)
