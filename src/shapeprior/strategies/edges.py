"""Samples near sharp edges, which samples spread by area mostly miss."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from shapeprior.errors import ConfigError
from shapeprior.geometry.mesh import TriangleMesh, row_codes
from shapeprior.geometry.proximity import FaceTree
from shapeprior.signed_distance import SignedDistance
from shapeprior.strategies.near import NearSurface

BEND_STEP = 1e-3
"""How far beyond an edge of a face the surface is looked for, in unit-sphere radii."""
MIN_TRIES = 1_000
"""Fewer places than this are not tried, since a shape has few sharp edges among many sides of faces."""


@dataclass(frozen=True, kw_only=True)
class SharpEdges:
    """Points on sharp edges of the learned surface, by length, with Gaussian offsets.

    After the sharp edge sampling of Chen et al. 2024, "Dora: Sampling and benchmarking for 3D shape variational
    auto-encoders". What counts is the surface that is left when hidden faces are gone, whatever its faces share: a face that
    is carried on flat across its edge finds the surface again at a small step, one that ends there (the rim of a sheet) finds
    nothing, and one that bends finds it a distance of sin(bend) steps away. So parts that only touch or pass through each
    other have edges, too, and cracks and unshared vertices of a flat wall have none.

    A shape without a sharp edge, such as a finely faceted ball, gets `NearSurface` samples with their own defaults.
    """

    min_bend_deg: float = 30.0
    """Edges whose faces bend by more than this are sharp; flat is 0. More than 0, less than 90."""
    variance: float = 0.0001
    """Variance of the offsets along each axis, in squared unit-sphere radii."""

    def __post_init__(self) -> None:
        if not 0.0 < self.min_bend_deg < 90.0:
            raise ConfigError(f"min_bend_deg = {self.min_bend_deg}; expected more than 0, less than 90 degrees")
        if not 0.0 < self.variance < np.inf:
            raise ConfigError(f"variance = {self.variance}; expected a positive number")

    def draw(self, distance: SignedDistance, count: int, *, rng: np.random.Generator) -> Float[np.ndarray, "samples 3"]:
        """`count` points of the unit frame. As many places are tried, and the sharp ones drawn from with repetition."""
        on_edges = self.places(distance.surface, max(count, MIN_TRIES), rng=rng)
        if len(on_edges) == 0:
            return NearSurface().draw(distance, count, rng=rng)
        chosen = on_edges[rng.integers(len(on_edges), size=count)]
        return chosen + rng.standard_normal((count, 3)) * np.sqrt(self.variance)

    def places(self, surface: TriangleMesh, tries: int, *, rng: np.random.Generator) -> Float[np.ndarray, "places 3"]:
        """Random points of the surface's edges, by length, as far as the edge is sharp there; at most `tries`."""
        sides, weights = _sides_that_may_be_sharp(surface, cosine=float(np.cos(np.deg2rad(self.min_bend_deg))))
        total = weights.sum()
        if total == 0.0:
            return np.zeros((0, 3))
        start, end, opposite = sides[rng.choice(len(sides), size=tries, p=weights / total)].transpose(1, 0, 2)
        points = start + rng.random((tries, 1)) * (end - start)
        # Across the edge, in the plane of the face: away from the face's third corner.
        along = (end - start) / np.linalg.norm(end - start, axis=1, keepdims=True)
        away = start - opposite
        away -= np.einsum("ij,ij->i", away, along)[:, None] * along
        length = np.linalg.norm(away, axis=1, keepdims=True)
        # A face too thin to have a third corner says nothing.
        away = np.divide(away, length, out=np.zeros_like(away), where=length > 0.0)
        found = FaceTree(surface).distance(points + BEND_STEP * away)
        return points[found > BEND_STEP * np.sin(np.deg2rad(self.min_bend_deg))]


def _sides_that_may_be_sharp(
    surface: TriangleMesh, *, cosine: float
) -> tuple[Float[np.ndarray, "sides 3 3"], Float[np.ndarray, "sides"]]:
    """Sides of faces (start, end and the face's third corner) but those of flat edges of two faces, which are most.

    The weights add up to the edge's length over the faces at an edge.
    """
    corners = surface.faces[surface.face_areas > 0.0]
    normals = np.repeat(surface.face_normals[surface.face_areas > 0.0], 3, axis=0)
    sides = corners[:, [0, 1, 2, 1, 2, 0, 2, 0, 1]].reshape(-1, 3)
    _, edge, faces_there = np.unique(row_codes(np.sort(sides[:, :2], axis=1)), return_inverse=True, return_counts=True)
    edge = edge.reshape(-1)
    # Two unit normals with the angle a between them add up to a squared length of 2 + 2 cos a.
    summed = np.stack([np.bincount(edge, weights=normals[:, axis]) for axis in range(3)], axis=1)
    flat = (faces_there == 2) & (np.einsum("ij,ij->i", summed, summed) >= 2.0 + 2.0 * cosine)
    rows = np.flatnonzero(~flat[edge])
    places = surface.vertices[sides[rows]]
    return places, np.linalg.norm(places[:, 1] - places[:, 0], axis=1) / faces_there[edge[rows]]
