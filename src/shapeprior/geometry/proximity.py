"""The nearest point of a mesh: libigl's bounding-box tree."""

import igl
import numpy as np
from jaxtyping import Bool, Float, Int

from shapeprior.geometry.mesh import TriangleMesh

BATCH = 200_000
"""Points a call, so that memory stays bounded; libigl uses all cores from 10,000 on."""
CURVE_BITS = 10
"""Cells along each axis of the grid whose Morton curve orders the points, as a power of two."""


class FaceTree:
    """A tree over some faces of a mesh, for exact distances in double precision."""

    def __init__(self, mesh: TriangleMesh, chosen: Bool[np.ndarray, "faces"] | None = None) -> None:
        """Use the faces that `chosen` marks, or all."""
        self.indices = np.arange(len(mesh.faces)) if chosen is None else np.flatnonzero(chosen)
        """Which faces of the mesh the tree holds."""
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
        """Distance to the nearest face, that face's index in the mesh, and its nearest point."""
        distance, face, foot = np.zeros(len(points)), np.zeros(len(points), dtype=np.int64), np.zeros((len(points), 3))
        for start in range(0, len(points), BATCH):
            batch = points[start : start + BATCH]
            rows = start + _along_curve(batch)
            squared, nearest, place = self._tree.squared_distance(self._vertices, self._faces, points[rows])
            distance[rows] = np.sqrt(np.asarray(squared).reshape(-1))
            face[rows] = self.indices[np.asarray(nearest).reshape(-1).astype(np.int64)]
            foot[rows] = np.asarray(place).reshape(-1, 3)
        return distance, face, foot

    def distance(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
        """Distance to the nearest face."""
        return self.nearest(points)[0]


def _along_curve(points: Float[np.ndarray, "points 3"]) -> Int[np.ndarray, "points"]:
    """Order in which points that follow each other are near each other (Morton 1966).

    The tree's nodes are then still in the cache: 1.5 times faster with 5,000 faces, 2.7 times with 80,000.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    size = np.maximum(high - low, np.finfo(np.float64).tiny)
    cells = ((points - low) / size * (2**CURVE_BITS - 1)).astype(np.int64)
    code = np.zeros(len(points), dtype=np.int64)
    for bit in range(CURVE_BITS):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return np.argsort(code, kind="stable")
