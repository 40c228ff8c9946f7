"""How well normals near sharp edges are kept."""

from dataclasses import dataclass

import numpy as np
import trimesh
from jaxtyping import Float
from scipy.spatial import KDTree

from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.sampling import sample_surface

BEND_DEG = 30.0
"""An edge is sharp if its faces' normals differ by more than this."""
REACH = 0.02
"""How near to a sharp edge a point counts, in unit-sphere radii."""
POINTS = 40_000
"""Points that are drawn on the true surface; twice as many on the other."""


@dataclass(frozen=True, eq=False)
class EdgePoints:
    """Points of a true surface near its sharp edges, with the surface's unit normals there."""

    points: Float[np.ndarray, "near 3"]
    normals: Float[np.ndarray, "near 3"]

    @classmethod
    def of(cls, true: TriangleMesh, *, seed: int, count: int = POINTS) -> "EdgePoints | None":
        """Of `count` points drawn by area, those near sharp edges; None if the surface has no such edge."""
        mesh = trimesh.Trimesh(true.vertices, true.faces, process=False)
        sharp = mesh.face_adjacency_edges[np.degrees(mesh.face_adjacency_angles) > BEND_DEG]
        if len(sharp) == 0:
            return None
        a, b = true.vertices[sharp[:, 0]], true.vertices[sharp[:, 1]]
        steps = np.maximum(np.ceil(np.linalg.norm(b - a, axis=1) / (REACH / 4)), 1).astype(int)
        owner = np.repeat(np.arange(len(sharp)), steps + 1)
        share = (np.arange(len(owner)) - np.repeat(np.cumsum(steps + 1) - steps - 1, steps + 1)) / steps[owner]
        on_edges = a[owner] + share[:, None] * (b - a)[owner]
        points, faces = sample_surface(true, count, rng=np.random.default_rng(seed))
        near = KDTree(on_edges).query(points, distance_upper_bound=REACH)[0] < np.inf
        return cls(points[near], true.face_normals[faces[near]]) if near.any() else None

    def errors(self, found: TriangleMesh, *, seed: int, count: int = 2 * POINTS) -> Float[np.ndarray, "near"]:
        """Angle in degrees between each point's normal and that of the nearest of `count` points of another surface.

        Raises MeshError if that has no area.
        """
        others, faces = sample_surface(found, count, rng=np.random.default_rng(seed + 1))
        nearest = KDTree(others).query(self.points)[1]
        cosine = np.einsum("ij,ij->i", self.normals, found.face_normals[faces[nearest]])
        return np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))


def edge_normal_error(true: TriangleMesh, found: TriangleMesh, *, seed: int) -> float | None:
    """Mean of `EdgePoints.errors`, in degrees; None if the true surface has no sharp edge."""
    edges = EdgePoints.of(true, seed=seed)
    return None if edges is None else float(edges.errors(found, seed=seed).mean())
