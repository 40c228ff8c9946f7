"""Normals for shading that keep sharp edges sharp."""

import numpy as np
from jaxtyping import Float
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from shapeprior.geometry.mesh import TriangleMesh


def crease_normals(mesh: TriangleMesh, *, crease_deg: float = 40.0) -> Float[np.ndarray, "faces 3 3"]:
    """Unit normals at the corners of each face: smooth over edges that bend less than `crease_deg`, sharp elsewhere.

    The faces around a vertex fall into groups that are joined by smooth edges; a corner's normal is the area-weighted
    mean of its group's. Edges of one face, or of more than two, are sharp. Zero for a corner without area around it.
    """
    corner = np.arange(3 * len(mesh.faces)).reshape(-1, 3)
    # Each row is one side of a face: its two vertices, lower first, then the face's corners there.
    sides = np.stack([mesh.faces, np.roll(mesh.faces, -1, 1), corner, np.roll(corner, -1, 1)], axis=-1).reshape(-1, 4)
    sides = np.where(sides[:, :1] > sides[:, 1:2], sides[:, [1, 0, 3, 2]], sides)
    sides = sides[np.lexsort((sides[:, 1], sides[:, 0]))]
    _, starts, counts = np.unique(sides[:, 0] * len(mesh.vertices) + sides[:, 1], return_index=True, return_counts=True)
    first, second = sides[starts[counts == 2]], sides[starts[counts == 2] + 1]
    cosine = np.einsum("ij,ij->i", mesh.face_normals[first[:, 2] // 3], mesh.face_normals[second[:, 2] // 3])
    smooth = cosine > np.cos(np.deg2rad(crease_deg))

    rows, columns = first[smooth, 2:].ravel(), second[smooth, 2:].ravel()
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(corner.size, corner.size))
    group = connected_components(graph, directed=False)[1]
    weights = np.repeat(mesh.face_area_vectors, 3, axis=0)
    total = np.stack([np.bincount(group, weights=weights[:, axis]) for axis in range(3)], axis=1)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    normals = np.divide(total, length, out=np.zeros(total.shape), where=length > 0)
    return normals[group].reshape(-1, 3, 3)
