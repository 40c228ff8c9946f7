"""Nearest points on a mesh, by libigl's tree of axis-aligned bounding boxes."""

import igl
import numpy as np
from jaxtyping import Bool, Float, Int

from shapeprior.geometry.mesh import TriangleMesh

POINTS_PER_BATCH = 200_000
"""Points in one query, which bounds the memory. libigl uses all cores from 10,000 points on."""
MORTON_BITS = 10
"""Bits of each coordinate in a Morton code: the points are ordered on a grid of 2^10 cells along each axis."""


class FaceTree:
    """A tree over all or some faces of a mesh, for exact distances in double precision."""

    def __init__(self, mesh: TriangleMesh, chosen: Bool[np.ndarray, "faces"] | None = None) -> None:
        """Build the tree of the faces that `chosen` marks, or of all faces."""
        self.indices = np.arange(len(mesh.faces)) if chosen is None else np.flatnonzero(chosen)
        """Indices, in the mesh, of the faces that the tree holds."""
        self._vertices = np.ascontiguousarray(mesh.vertices)
        self._faces = np.ascontiguousarray(mesh.faces if chosen is None else mesh.faces[self.indices])
        self._tree = igl.AABB()
        if len(self._faces):
            self._tree.init(self._vertices, self._faces)

    def __len__(self) -> int:
        return len(self._faces)

    def nearest(
        self, points: Float[np.ndarray, "points 3"]
    ) -> tuple[Float[np.ndarray, "points"], Int[np.ndarray, "points"], Float[np.ndarray, "points 3"]]:
        """Return the distance to the nearest face, that face's index in the mesh, and the nearest point on it."""
        distance, face, foot = np.zeros(len(points)), np.zeros(len(points), dtype=np.int64), np.zeros((len(points), 3))
        for start in range(0, len(points), POINTS_PER_BATCH):
            batch = points[start : start + POINTS_PER_BATCH]
            rows = start + _morton_order(batch)
            squared, nearest, place = self._tree.squared_distance(self._vertices, self._faces, points[rows])
            distance[rows] = np.sqrt(np.asarray(squared).reshape(-1))
            face[rows] = self.indices[np.asarray(nearest).reshape(-1).astype(np.int64)]
            foot[rows] = np.asarray(place).reshape(-1, 3)
        return distance, face, foot

    def distance(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
        """Return the distance to the nearest face."""
        return self.nearest(points)[0]


def _morton_order(points: Float[np.ndarray, "points 3"]) -> Int[np.ndarray, "points"]:
    """Return an order in which successive points lie near each other (Morton 1966).

    Successive queries then find the tree's nodes in the processor's cache, which makes them 1.5 times faster with 5,000
    faces and 2.7 times faster with 80,000.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    size = np.maximum(high - low, np.finfo(np.float64).tiny)
    cells = ((points - low) / size * (2**MORTON_BITS - 1)).astype(np.int64)
    code = np.zeros(len(points), dtype=np.int64)
    for bit in range(MORTON_BITS):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return np.argsort(code, kind="stable")
