"""Samples across thin walls: inside, in front of and behind them in equal measure.

Beside a thin wall, samples with Gaussian offsets lie outside for the most part. A network that cannot resolve the wall
learns their median, which is outside, and the wall tears. These samples give both sides of the wall the same weight.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from shapeprior.errors import ConfigError
from shapeprior.geometry.raycasting import RayScene
from shapeprior.geometry.sampling import sample_surface
from shapeprior.sdf.signed_distance import SignedDistance

PROBE_STEP = 1e-4
"""Distance from a surface point at which the field tells where the inside is, in unit-sphere radii."""
SAMPLES_PER_LINE = 4
"""Samples on each line across a wall. Finding a line takes as long as measuring a few samples."""
MIN_LINES = 500
"""At least this many lines are tried, since a solid shape may be thin in a few places only."""


@dataclass(frozen=True, kw_only=True)
class AcrossWalls:
    """Points on lines across thin walls, uniform from before the front side to behind the back side.

    A line starts at a point of the surface, uniform by area, and goes inward along the normal to the next side, which
    is the local thickness (as in the shape diameter function, Shapira et al. 2008, "Consistent mesh partitioning and
    skeletonisation using the shape diameter function", with one ray). Walls thicker than `reach` are left out. On a
    sheet, the wall is the plate that `SignedDistance` makes of it. A shape without thin walls gets points across its
    thickest allowed wall, which lie on both sides of its surface.
    """

    reach: float = 0.12
    """Largest thickness of a wall, in unit-sphere radii."""
    margin: float = 0.5
    """The lines begin and end this far outside, as a share of the wall's thickness. At 0.5, half of the samples lie
    inside."""

    def __post_init__(self) -> None:
        if not 0.0 < self.reach < np.inf:
            raise ConfigError(f"reach = {self.reach}; expected a positive number of radii")
        if not 0.0 <= self.margin < np.inf:
            raise ConfigError(f"margin = {self.margin}; expected 0 or a positive share of the thickness")

    def draw(self, distance: SignedDistance, count: int, *, rng: np.random.Generator) -> Float[np.ndarray, "samples 3"]:
        """Return `count` points of the unit frame."""
        front, inward, thickness = self.lines(distance, max(-(-count // SAMPLES_PER_LINE), MIN_LINES), rng=rng)
        thin = np.flatnonzero(thickness <= self.reach)
        if len(thin) == 0:
            thin, thickness = np.arange(len(front)), np.minimum(thickness, self.reach)
        chosen = thin[np.arange(count) % len(thin)]
        along = rng.uniform(-self.margin, 1.0 + self.margin, count) * thickness[chosen]
        return front[chosen] + along[:, None] * inward[chosen]

    def lines(
        self, distance: SignedDistance, count: int, *, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "lines 3"], Float[np.ndarray, "lines 3"], Float[np.ndarray, "lines"]]:
        """Cast `count` lines inward. Returns where they enter, their unit directions, and the thickness of the wall."""
        points, face = sample_surface(distance.surface, count, rng=rng)
        normals = distance.surface.face_normals[face]
        behind = distance(points - PROBE_STEP * normals)
        # Behind the middle of a sheet, the field is a plate's half thickness below zero.
        sheet = behind < -2.0 * PROBE_STEP
        inward = np.where(behind < 0.0, -1.0, 1.0)[:, None] * normals
        hit, _ = RayScene(distance.surface).first_hit(points + PROBE_STEP * inward, inward)
        half = distance.sheet_half_thickness
        thickness = np.where(sheet, 2.0 * half, hit + PROBE_STEP)
        return np.where(sheet[:, None], points - half * inward, points), inward, thickness
