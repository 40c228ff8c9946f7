"""The result of a completion: the mesh, where the object lies, how far to believe it, and how much of it was seen."""

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

SEEN_DISTANCE = 0.03
"""Vertices this near to an observed point, in unit-sphere radii, were seen. For sparse scans it is four times the
spacing of the points, and at most twice this value, because nothing is seen between points that are farther apart."""
IMAGINED_DISTANCE = 0.15
"""Vertices farther than this from all observed points, in unit-sphere radii, are imagined altogether."""
MAX_HIDDEN_SUPPORT = 0.5
"""Largest support of a vertex that faces away from the sensor beside an observed point, such as a thin wall's other
side."""
SEEN_COLOR = (52, 120, 186)
IMAGINED_COLOR = (232, 141, 60)


@dataclass(frozen=True, eq=False)
class Support:
    """How much of a completed surface was seen, as a number for each vertex: 1 where it was seen, 0 where nothing near
    was."""

    mesh: TriangleMesh
    value: Float[np.ndarray, "vertices"]

    @classmethod
    def of(cls, mesh_unit: TriangleMesh, view_unit: Observation) -> "Support":
        """Return the support of a mesh by a view without outliers, both in the unit frame."""
        # The nearest neighbour of a point that is there twice is the point itself, and gives no spacing.
        view_unit = view_unit.without_repeated_points()
        points = view_unit.points_world
        # Large leaves and no medians take half the time of the defaults.
        tree = KDTree(points, leafsize=48, balanced_tree=False)
        # The distances to a point itself and to its nearest neighbour have half the spacing as their mean.
        halves = tree.query(points[:2000], k=min(2, len(points)), workers=-1)[0].reshape(min(2000, len(points)), -1)
        seen = min(max(SEEN_DISTANCE, 8.0 * float(np.median(halves.mean(axis=1)))), 2.0 * SEEN_DISTANCE)
        # The bound saves the longest part of the search. Vertices beyond it have no support.
        distance, nearest = tree.query(mesh_unit.vertices, distance_upper_bound=IMAGINED_DISTANCE, workers=-1)
        value = np.clip((IMAGINED_DISTANCE - distance) / (IMAGINED_DISTANCE - seen), 0.0, 1.0)
        if view_unit.origins_world is not None:
            near = np.flatnonzero(value > 0.0)
            towards = view_unit.origins_world[np.asarray(nearest)[near]] - mesh_unit.vertices[near]
            away = near[np.einsum("ij,ij->i", vertex_normals(mesh_unit)[near], towards) <= 0.0]
            value[away] = np.minimum(value[away], MAX_HIDDEN_SUPPORT)
        return cls(mesh_unit, value)

    @property
    def colors(self) -> UInt8[np.ndarray, "vertices 3"]:
        """Vertex colours: blue where the surface was seen, orange where it is imagined."""
        mixed = self.value[:, None] * np.array(SEEN_COLOR) + (1.0 - self.value[:, None]) * np.array(IMAGINED_COLOR)
        return mixed.round().astype(np.uint8)

    @property
    def seen_share(self) -> float:
        """Share of the surface's area with full support."""
        return self._area_share(self._of_faces >= 1.0)

    @property
    def imagined_share(self) -> float:
        """Share of the surface's area without any support."""
        return self._area_share(self._of_faces <= 0.0)

    @cached_property
    def _of_faces(self) -> Float[np.ndarray, "faces"]:
        return self.value[self.mesh.faces].mean(axis=1)

    def _area_share(self, chosen: Bool[np.ndarray, "faces"]) -> float:
        areas = self.mesh.face_areas
        return float(areas[chosen].sum() / areas.sum()) if areas.sum() > 0 else 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Completion:
    """A completed object.

    Its numbers are those of its `estimate`, in plain arrays and in the scan's own unit.
    """

    mesh: TriangleMesh
    """Closed mesh in the scan's own frame and unit."""
    mesh_unit: TriangleMesh
    """The same mesh in the unit frame."""
    estimate: LatentEstimate
    """The solver's result: code, placement and how well they explain the view."""
    support: Support
    """How much of the surface was seen, vertex by vertex."""
    mended_places: int
    """Number of places where the extraction mended a thin wall that the field only just misses
    (`shapeprior.sdf.isosurface.wall_mending`)."""
    seconds: float
    """Wall time without loading."""

    @property
    def code(self) -> Float[np.ndarray, "code"]:
        """Latent code that was found. Where the surface was seen, the mesh follows the view beyond what the code can
        say."""
        return self.estimate.code.cpu().double().numpy()

    @property
    def T_unit_world(self) -> Similarity:
        """Where the object lies in the scan, given or found."""
        return self.estimate.T_unit_world

    @property
    def residual(self) -> float:
        """Median distance of the observed points from the code's surface, by its field, in the scan's unit."""
        return self.estimate.residual * self.T_unit_world.inverse().scale

    @property
    def explained(self) -> float:
        """Share of observed points within 2 % of the object's radius from the code's surface."""
        return self.estimate.explained

    @property
    def outlier_share(self) -> float:
        """Share of the view's points that lie apart from the others and were left out."""
        return self.estimate.outlier_share

    @property
    def verdict(self) -> Verdict:
        """Whether the shape explains the view."""
        return self.estimate.verdict

    @property
    def deviations(self) -> PlacementDeviations | None:
        """How well the placement is known, near the one that was found. None where it was given."""
        return self.estimate.deviations

    @property
    def alternatives(self) -> tuple[LatentEstimate, ...]:
        """Other answers that explain the view nearly as well. `ShapePrior.completion` makes a mesh of one."""
        return self.estimate.alternatives

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the mesh as PLY, OBJ, STL or GLB, by the suffix. Raises OutputError.

        Vertices are blue where the surface was seen and orange where it is imagined. PLY files also hold the support of
        each vertex as the property `support`.
        """
        return save_mesh(path, self.mesh, colors=self.support.colors, values={"support": self.support.value})
