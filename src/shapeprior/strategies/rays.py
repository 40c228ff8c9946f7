"""Samples along the rays of depth sensors, as partial views supervise a field."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from shapeprior.errors import ConfigError
from shapeprior.geometry.raycasting import RayScene
from shapeprior.geometry.sampling import sample_surface
from shapeprior.signed_distance import SignedDistance


@dataclass(frozen=True, kw_only=True)
class DepthRays:
    """Points in the free space before what a depth sensor sees, and just behind it.

    After the samples along depth rays of Ortiz et al. 2022, "iSDF: Real-time neural signed distance fields for robot
    perception", but with a viewpoint of its own and one sample for each ray. Labels are measured like all others, not taken
    from the ray. Sheets stop rays at their middle, so that samples close before one may lie in its plate, inside.
    """

    viewpoint_distance: float = 2.0
    """Viewpoints are uniform on a sphere of this radius around the origin, in unit-sphere radii; more than 1."""
    free_share: float = 0.5
    """Share of samples before the first hit, uniform along the ray from where it enters the unit ball."""
    behind: float = 0.05
    """The other samples are uniform along the ray from the first hit to so far behind it, in unit-sphere radii."""

    def __post_init__(self) -> None:
        if not 1.0 < self.viewpoint_distance < np.inf:
            raise ConfigError(f"viewpoint_distance = {self.viewpoint_distance}; expected more than 1 radius")
        if not 0.0 <= self.free_share <= 1.0:
            raise ConfigError(f"free_share = {self.free_share}; expected 0 to 1")
        if not 0.0 < self.behind < np.inf:
            raise ConfigError(f"behind = {self.behind}; expected a positive number of radii")

    def draw(self, distance: SignedDistance, count: int, *, rng: np.random.Generator) -> Float[np.ndarray, "samples 3"]:
        """`count` points of the unit frame: those before the hit first, then those behind."""
        origins, directions, first_hit = self.cast(distance, count, rng=rng)
        free = round(count * self.free_share)
        enters = np.minimum(_entry_into_unit_ball(origins, directions), first_hit)
        share = rng.random(count)
        reach = np.where(
            np.arange(count) < free, enters + share * (first_hit - enters), first_hit + share * self.behind
        )
        return origins + reach[:, None] * directions

    def cast(
        self, distance: SignedDistance, count: int, *, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "rays 3"], Float[np.ndarray, "rays 3"], Float[np.ndarray, "rays"]]:
        """Rays from random viewpoints to random surface points: origins, unit directions, distances to the first hit."""
        targets, _ = sample_surface(distance.surface, count, rng=rng)
        origins = rng.standard_normal((count, 3))
        origins *= self.viewpoint_distance / np.linalg.norm(origins, axis=1, keepdims=True)
        directions = targets - origins
        lengths = np.linalg.norm(directions, axis=1)
        directions /= lengths[:, None]
        first_hit, _ = RayScene(distance.surface).first_hit(origins, directions)
        # There is something at the target, even where a ray slips between two faces.
        return origins, directions, np.minimum(first_hit, lengths)


def _entry_into_unit_ball(
    origins: Float[np.ndarray, "rays 3"], directions: Float[np.ndarray, "rays 3"]
) -> Float[np.ndarray, "rays"]:
    """Distance along each ray to the unit ball; for rays that pass it by, to where they are closest."""
    along = -np.einsum("ij,ij->i", origins, directions)
    half_chord_squared = 1.0 - np.einsum("ij,ij->i", origins, origins) + along * along
    return np.maximum(along - np.sqrt(np.maximum(half_chord_squared, 0.0)), 0.0)
