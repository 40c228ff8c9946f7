"""Directions of a mesh at its vertices."""

import numpy as np
from jaxtyping import Float

from shapeprior.mesh import TriangleMesh


def vertex_normals(mesh: TriangleMesh) -> Float[np.ndarray, "vertices 3"]:
    """Sums of the area vectors of each vertex's faces; not of unit length."""
    vectors = mesh.face_area_vectors
    normals = np.zeros_like(mesh.vertices)
    for corner in range(3):
        for axis in range(3):
            normals[:, axis] += np.bincount(
                mesh.faces[:, corner], weights=vectors[:, axis], minlength=len(mesh.vertices)
            )
    return normals
