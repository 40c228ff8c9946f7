"""Which points are inside: winding numbers where the mesh encloses them, visibility where it does not."""

import igl
import numpy as np
from jaxtyping import Bool, Float

from shapeprior.mesh import TriangleMesh
from shapeprior.rays import RayScene, fibonacci_directions

RAYS = 64
BATCH = 16_384


class InsideTest:
    """Inside of a cleaned mesh (`shapeprior.clean.clean_mesh`), in whatever frame the mesh is in.

    Closed meshes: the generalised winding number (Jacobson et al. 2013; evaluated hierarchically after Barill et al.
    2018, "Fast winding numbers for soups and clouds") exceeds one half. Parts that overlap count as their union.

    Open meshes: a point must also be hidden. Winding numbers alone fill a bowl whose wall is a single sheet and anything
    whose patches face the wrong way; visibility alone takes a crack in a fuselage for a window. So a point is inside if it is
    hidden and the winding number does not deny it, or if the winding number says so and no more than a crack's worth of
    rays escapes.
    """

    MAX_ESCAPE = 0.12
    """A point from which more rays than this share escape is seen from outside."""
    SURE_ESCAPE = 0.02
    """A point with at most this share of escaping rays is hidden, give or take a crack."""
    MIN_WINDING = 0.25
    """A hidden point with less winding lies in a deep hollow (a bottle's), not in material."""

    def __init__(self, mesh: TriangleMesh) -> None:
        self.mesh = mesh
        self.is_closed = mesh.is_watertight
        self._winding = igl.FastWindingNumberBVH()
        self._winding.init(mesh.vertices, mesh.faces, 2)
        self._scene = None if self.is_closed else RayScene(mesh)
        self._directions = fibonacci_directions(RAYS)

    def winding_number(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
        """How often the surface wraps around each point; 1 inside a closed outward mesh, 0 outside."""
        return np.asarray(self._winding.winding_number(np.ascontiguousarray(points), 2.0)).reshape(-1)

    def escape_share(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
        """Share of rays from each point that leave the mesh behind; 0 means that nothing outside sees the point."""
        scene = self._scene or RayScene(self.mesh)
        share = np.zeros(len(points))
        for start in range(0, len(points), BATCH):
            batch = points[start : start + BATCH]
            origins = np.repeat(batch, RAYS, axis=0)
            hit = scene.occluded(origins, np.tile(self._directions, (len(batch), 1)))
            share[start : start + BATCH] = 1.0 - hit.reshape(len(batch), RAYS).mean(axis=1)
        return share

    def __call__(self, points: Float[np.ndarray, "points 3"]) -> Bool[np.ndarray, "points"]:
        """True where a point is inside."""
        if len(points) == 0:
            return np.zeros(0, dtype=bool)
        winding = self.winding_number(points)
        if self.is_closed:
            return winding > 0.5
        inside = np.zeros(len(points), dtype=bool)
        # Where hardly any surface wraps around a point, nothing that rays say makes it inside.
        asked = np.flatnonzero(winding > self.MIN_WINDING)
        escape = self.escape_share(points[asked])
        hidden = escape <= self.SURE_ESCAPE
        inside[asked] = hidden | ((winding[asked] > 0.5) & (escape <= self.MAX_ESCAPE))
        return inside
