"""Signed distance to a mesh: exact distance, robust sign."""

from dataclasses import dataclass

import igl
import numpy as np
from jaxtyping import Bool, Float

from shapeprior.inside import InsideTest
from shapeprior.mesh import TriangleMesh

SIDE_STEP = 5e-4
"""How far in front of and behind a face its two sides are tested, in units of the mesh's frame (unit sphere)."""
SHEET_HALF_THICKNESS = 0.01
"""Half the thickness that a surface without an inside is given, in unit-sphere radii."""
MAX_PIECE = 0.1
"""Faces are classified in pieces with edges no longer than this, in unit-sphere radii."""


@dataclass(frozen=True, kw_only=True)
class SurfaceReport:
    """What the surface of a shape is made of, by area; the three shares add up to 1."""

    skin_share: float
    """Faces with the inside on one side and the outside on the other."""
    hidden_share: float
    """Faces inside the object, such as walls where parts overlap; the field ignores them."""
    sheet_share: float
    """Faces with the outside on both sides, such as a wing drawn as one polygon; they are given a thickness."""


class SignedDistance:
    """Signed distance to a cleaned mesh in the unit frame: negative inside, in unit-sphere radii.

    The distance is exact (libigl's tree of the faces), to the faces that are a border between inside and outside. Faces
    hidden inside are left out; where parts overlap, this goes by the centroids of pieces, so that beside such a seam the
    distance, but not the sign, may be wrong by half of `MAX_PIECE`. Faces with the outside on both sides have no inside to
    represent; they become plates of half thickness `sheet_half_thickness`, so that a tail fin drawn as one polygon is still
    there afterwards.
    (libigl's own ``signed_distance`` with fast winding numbers scales the distance by 1 − 2|w| on open meshes.)
    """

    def __init__(self, mesh_unit: TriangleMesh, *, sheet_half_thickness: float = SHEET_HALF_THICKNESS) -> None:
        self.mesh = mesh_unit
        self.inside = InsideTest(mesh_unit)
        self.sheet_half_thickness = sheet_half_thickness
        if self.inside.is_closed and not mesh_unit.part_labels.any():
            # A single closed part is skin all over; this is worth a branch, since clean meshes are common.
            pieces, skin = mesh_unit, np.ones(len(mesh_unit.faces), dtype=bool)
            sheet = ~skin
        else:
            pieces = _subdivide(mesh_unit, MAX_PIECE)
            skin, sheet = self._classify(pieces)
        area = pieces.face_areas
        total = float(area.sum())
        self.report = SurfaceReport(
            skin_share=float(area[skin].sum()) / total,
            hidden_share=float(area[~skin & ~sheet].sum()) / total,
            sheet_share=float(area[sheet].sum()) / total,
        )
        self.surface = TriangleMesh(vertices=pieces.vertices, faces=pieces.faces[skin | sheet])
        self._is_sheet = sheet[skin | sheet]
        self._skin = _Tree(pieces, skin)
        self._sheet = _Tree(pieces, sheet)

    def __call__(self, points_unit: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
        """Signed distance at each point."""
        points = np.ascontiguousarray(points_unit, dtype=np.float64)
        sdf = np.full(len(points), np.inf)
        if self._skin.size:
            sdf = self._skin.distance(points)
            sdf[self.inside(points)] *= -1.0
        if self._sheet.size:
            sdf = np.minimum(sdf, self._sheet.distance(points) - self.sheet_half_thickness)
        return sdf

    def _classify(self, pieces: TriangleMesh) -> tuple[Bool[np.ndarray, "faces"], Bool[np.ndarray, "faces"]]:
        """Which pieces are skin and which are sheets, by the side tests of their centroids."""
        centroids, step = pieces.corners.mean(axis=1), SIDE_STEP * pieces.face_normals
        front, behind = self.inside(centroids + step), self.inside(centroids - step)
        return front != behind, ~front & ~behind


class _Tree:
    """libigl's bounding volume tree over some faces of a mesh."""

    def __init__(self, mesh: TriangleMesh, chosen: Bool[np.ndarray, "faces"]) -> None:
        self.faces = np.ascontiguousarray(mesh.faces[chosen])
        self.vertices = mesh.vertices
        self.size = len(self.faces)
        self._tree = igl.AABB()
        if self.size:
            self._tree.init(self.vertices, self.faces)

    def distance(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
        squared, _, _ = self._tree.squared_distance(self.vertices, self.faces, points)
        return np.sqrt(np.asarray(squared).reshape(-1))


def _subdivide(mesh: TriangleMesh, max_edge: float) -> TriangleMesh:
    """Split faces until no edge is longer; the surface stays the same, only the pieces get small."""
    import trimesh

    vertices, faces, *_ = trimesh.remesh.subdivide_to_size(mesh.vertices, mesh.faces, max_edge=max_edge, max_iter=12)
    return TriangleMesh(vertices=np.asarray(vertices), faces=np.asarray(faces, dtype=np.int64))
