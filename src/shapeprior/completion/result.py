"""What becomes of a view: the completed object, where it lies, and how far to believe it.

How much of a completed surface was seen, and how much was imagined.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.spatial import KDTree

from shapeprior.completion.estimate import LatentEstimate, PlacementDeviations, Verdict
from shapeprior.geometry.mesh import TriangleMesh, vertex_normals
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.meshes import save_mesh
from shapeprior.scans.observation import Observation

SEEN = 0.03
"""Vertices this near to an observed point, in unit-sphere radii, were seen; of sparse scans, within four spacings of it, and
within twice this at most: between points farther apart nothing was seen."""
NEAR = 0.15
"""Farther than this from all observed points, a vertex is imagined altogether."""
HIDDEN = 0.5
"""Support of vertices beside observed points that face away from the sensor, such as the other side of a thin wall; at most."""
SEEN_COLOR = (52, 120, 186)
IMAGINED_COLOR = (232, 141, 60)


@dataclass(frozen=True, eq=False)
class Support:
    """Of each vertex of a completed mesh: 1 where it was seen, falling to 0 where nothing was seen nearby."""

    mesh: TriangleMesh
    value: Float[np.ndarray, "vertices"]

    @classmethod
    def of(cls, mesh_unit: TriangleMesh, view_unit: Observation) -> "Support":
        """Support of a mesh by a view, both in the unit frame."""
        # Of a point that is there twice, as where scans were joined, the nearest other one says nothing.
        rows = np.sort(np.unique(view_unit.points_world, axis=0, return_index=True)[1])
        view_unit = view_unit.select(rows)
        points = view_unit.points_world
        # Half the time of the default's small leaves and medians.
        tree = KDTree(points, leafsize=48, balanced_tree=False)
        # Of the point itself and the nearest other one, the mean is half the spacing.
        halves = tree.query(points[:2000], k=min(2, len(points)), workers=-1)[0].reshape(min(2000, len(points)), -1)
        seen = min(max(SEEN, 8.0 * float(np.median(halves.mean(axis=1)))), 2.0 * SEEN)
        # Vertices without a point so near have no support, and the search for their nearest would take longest.
        distance, nearest = tree.query(mesh_unit.vertices, distance_upper_bound=NEAR, workers=-1)
        value = np.clip((NEAR - distance) / (NEAR - seen), 0.0, 1.0)
        if view_unit.origins_world is not None:
            near = np.flatnonzero(value > 0.0)
            towards = view_unit.origins_world[np.asarray(nearest)[near]] - mesh_unit.vertices[near]
            away = near[np.einsum("ij,ij->i", vertex_normals(mesh_unit)[near], towards) <= 0.0]
            value[away] = np.minimum(value[away], HIDDEN)
        return cls(mesh_unit, value)

    @property
    def colors(self) -> UInt8[np.ndarray, "vertices 3"]:
        """Blue where seen, orange where imagined."""
        mixed = self.value[:, None] * np.array(SEEN_COLOR) + (1.0 - self.value[:, None]) * np.array(IMAGINED_COLOR)
        return mixed.round().astype(np.uint8)

    @property
    def seen_share(self) -> float:
        """Share of the surface's area with full support."""
        return self._area_share(self._of_faces >= 1.0)

    @property
    def imagined_share(self) -> float:
        """Share of the surface's area without any."""
        return self._area_share(self._of_faces <= 0.0)

    @cached_property
    def _of_faces(self) -> Float[np.ndarray, "faces"]:
        return self.value[self.mesh.faces].mean(axis=1)

    def _area_share(self, chosen: Bool[np.ndarray, "faces"]) -> float:
        areas = self.mesh.face_areas
        return float(areas[chosen].sum() / areas.sum()) if areas.sum() > 0 else 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Completion:
    """A completed object."""

    mesh: TriangleMesh
    """Closed mesh in the scan's own frame and unit."""
    mesh_unit: TriangleMesh
    """The same in the unit frame."""
    code: Float[np.ndarray, "code"]
    """The latent code that was found. The mesh follows the view beyond it, where it was seen (`shapeprior.completion.refinement`)."""
    T_unit_world: Similarity
    """Where the object lies in the scan: given, or found."""
    residual: float
    """Median distance of the observed points from the code's surface, by its field, in the scan's unit."""
    explained: float
    """Share of observed points within 2 % of the object's radius from the code's surface."""
    outlier_share: float
    """Share of the view's points that lie apart from the others, and of which these two numbers and `support` are not."""
    verdict: Verdict
    """Whether the shape explains the view."""
    deviations: PlacementDeviations | None
    """How well the placement is known, near the one that was found; None where it was given."""
    alternatives: tuple[LatentEstimate, ...]
    """Other shapes or placements that explain the view nearly as well: `ShapePrior.completion` makes a mesh of one."""
    support: Support
    """How much of the surface was seen, vertex by vertex."""
    seconds: float
    """Wall time, loading left out."""

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the mesh as PLY, OBJ, STL or GLB, by the suffix. Raises OutputError.

        Vertices are blue where the surface was seen and orange where it is imagined; PLY has their property `support`, too.
        """
        return save_mesh(path, self.mesh, colors=self.support.colors, values={"support": self.support.value})
