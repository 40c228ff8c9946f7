"""Points of the zero level set with their normals."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from shapeprior.errors import MeshError
from shapeprior.geometry.sampling import sample_surface
from shapeprior.signed_distance import SignedDistance

STEP = 1e-4
"""How far on both sides of a point the distance is asked for, in unit-sphere radii; thinner walls get no samples."""
TOLERANCE = 1e-3
"""How far those distances may be from the step, as a share of it: normals are off by acos(1 - 0.001) = 2.6° at most."""
MAX_ROUNDS = 8
"""A shape of which less than about a quarter passes is refused."""


@dataclass(frozen=True, kw_only=True)
class OnSurface:
    """Points where the field is zero, with the outward unit normal there, for losses on both.

    Such as those of Gropp et al. 2020, "Implicit geometric regularization for learning shapes", and Sitzmann et al. 2020,
    "Implicit neural representations with periodic activation functions". The winding of the faces is not believed: the field
    itself says, at a step along the normal on both sides, which one is outside. A sheet has two, the sides of its plate;
    both are drawn. A point is only taken if the distance grows along its normal as it does along a gradient, so that none
    lies within about a step of an edge, inside other parts or plates, or on the round rim of a plate.
    """

    def draw(
        self, distance: SignedDistance, count: int, *, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "samples 3"], Float[np.ndarray, "samples 3"]]:
        """`count` points of the unit frame, uniform by area of what is learned, and their normals.

        Raises MeshError if little of the surface has the inside on one side and the outside on the other.
        """
        points, normals, tried = np.zeros((0, 3)), np.zeros((0, 3)), 0
        for _ in range(MAX_ROUNDS):
            if len(points) >= count:
                break
            # A few more than are missing, since some are on edges.
            tries = count - len(points) + count // 10 + 1
            more_points, more_normals = _try(distance, tries, rng=rng)
            points, normals = np.concatenate([points, more_points]), np.concatenate([normals, more_normals])
            tried += tries
        if len(points) < count:
            raise MeshError(
                f"{len(points)} of {tried} points of the surface have the outside on one side only and a normal there; "
                f"expected {count}; check the mesh, or draw no surface samples"
            )
        # Pairs of points on both sides of a sheet come in a block, and the first round's should not be preferred.
        chosen = rng.permutation(len(points))[:count]
        return points[chosen], normals[chosen]


def _try(
    distance: SignedDistance, count: int, *, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "taken 3"], Float[np.ndarray, "taken 3"]]:
    """Draw points of the learned surface's faces, bring them to the zero level, and keep what passes."""
    points, face = sample_surface(distance.surface, count, rng=rng)
    normals = distance.surface.face_normals[face]
    front, behind = distance(points + STEP * normals), distance(points - STEP * normals)
    outward = np.sign(front - behind)[:, None] * normals
    skin = _steps_to(front, np.sign(front - behind)) & _steps_to(behind, np.sign(behind - front))

    depth = distance.sheet_half_thickness
    sheet = np.flatnonzero(_steps_to(front + depth, 1.0) & _steps_to(behind + depth, 1.0))
    sides = np.concatenate([normals[sheet], -normals[sheet]])
    beside = np.tile(points[sheet], (2, 1)) + depth * sides
    free = _steps_to(distance(beside + STEP * sides), 1.0) & _steps_to(distance(beside - STEP * sides), -1.0)
    return np.concatenate([points[skin], beside[free]]), np.concatenate([outward[skin], sides[free]])


def _steps_to(
    values: Float[np.ndarray, "points"], sign: Float[np.ndarray, "points"] | float
) -> Bool[np.ndarray, "points"]:
    """Whether distances are a step, with that sign."""
    return np.abs(values - STEP * sign) <= TOLERANCE * STEP
