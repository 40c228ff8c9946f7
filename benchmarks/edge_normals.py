"""How well normals near sharp edges are kept."""

import numpy as np
import trimesh
from scipy.spatial import KDTree

from shapeprior.mesh import TriangleMesh
from shapeprior.surface import sample_surface

BEND_DEG, REACH, POINTS = 30.0, 0.02, 40_000


def edge_normal_error(true: TriangleMesh, found: TriangleMesh, *, seed: int) -> float:
    """Mean angle in degrees between the true normal and that of the nearest point of the other surface, at points of the true
    surface within REACH of one of its edges that bend by more than BEND_DEG; NaN if there is no such edge."""
    mesh = trimesh.Trimesh(true.vertices, true.faces, process=False)
    sharp = mesh.face_adjacency_edges[np.degrees(mesh.face_adjacency_angles) > BEND_DEG]
    if len(sharp) == 0:
        return float("nan")
    a, b = mesh.vertices[sharp[:, 0]], mesh.vertices[sharp[:, 1]]
    steps = np.maximum(np.ceil(np.linalg.norm(b - a, axis=1) / (REACH / 4)), 1).astype(int)
    owner = np.repeat(np.arange(len(sharp)), steps + 1)
    share = (np.arange(len(owner)) - np.repeat(np.cumsum(steps + 1) - steps - 1, steps + 1)) / steps[owner]
    on_edges = a[owner] + share[:, None] * (b - a)[owner]
    points, faces = sample_surface(true, POINTS, rng=np.random.default_rng(seed))
    near = KDTree(on_edges).query(points, distance_upper_bound=REACH)[0] < np.inf
    if not near.any():
        return float("nan")
    others, other_faces = sample_surface(found, 2 * POINTS, rng=np.random.default_rng(seed + 1))
    nearest = KDTree(others).query(points[near])[1]
    cosine = np.einsum("ij,ij->i", true.face_normals[faces[near]], found.face_normals[other_faces[nearest]])
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))).mean())
