"""Signed distance to a mesh: the distance is exact, and the sign survives open, overlapping and inside-out meshes."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.proximity import FaceTree
from shapeprior.sdf.face_sides import classify_face_sides
from shapeprior.sdf.inside_test import InsideTest
from shapeprior.sdf.self_intersections import split_self_intersections

SHEET_HALF_THICKNESS = 0.01
"""Half the thickness that a sheet, a surface without an inside, is given, in unit-sphere radii."""


@dataclass(frozen=True, kw_only=True)
class SurfaceReport:
    """Composition of a shape's surface by area; the three shares add up to 1."""

    skin_share: float
    """Share of faces with the inside on one side and the outside on the other."""
    hidden_share: float
    """Share of faces inside the object, such as walls where parts overlap; the field ignores them."""
    sheet_share: float
    """Share of faces with the outside on both sides, such as a wing drawn as one polygon; they are given a
    thickness."""
    confidence: float
    """Share of the surface on whose sides winding numbers and visibility agree, 0 to 1."""


class SignedDistance:
    """Signed distance to a cleaned mesh in the unit frame: negative inside, in unit-sphere radii.

    The distance is exact (libigl's tree of the faces). It is measured to the faces that are a border between inside and
    outside; faces hidden inside are left out. Where parts overlap, faces are cut into pieces with edges of at most
    `shapeprior.sdf.self_intersections.MAX_CROSSING_EDGE` for this. Faces with the outside on both sides have no inside.
    They become plates of half thickness `sheet_half_thickness`, so that a tail fin drawn as one polygon does not
    vanish.

    The sign of a point is that of its side of the nearest face, which `shapeprior.sdf.face_sides` has found once for
    all points. Only at rims and intersections, where no face tells, is the point itself put to the inside test.
    (libigl's own ``signed_distance`` with fast winding numbers scales the distance by 1 − 2|w| on open meshes.)
    """

    def __init__(self, mesh_unit: TriangleMesh, *, sheet_half_thickness: float = SHEET_HALF_THICKNESS) -> None:
        """Prepare the field of a mesh that `shapeprior.geometry.cleaning.clean_mesh` has cleaned."""
        self.mesh = mesh_unit
        self.sheet_half_thickness = sheet_half_thickness
        pieces, intersecting = split_self_intersections(mesh_unit)
        tree = FaceTree(pieces)
        self.inside = InsideTest(mesh_unit, tree)
        self._sides = classify_face_sides(pieces, intersecting, self.inside)
        self._all = tree if self._sides.pieces is pieces else FaceTree(self._sides.pieces)
        pieces = self._sides.pieces
        skin, sheet = self._sides.skin, self._sides.sheet
        area, total = pieces.face_areas, float(pieces.face_areas.sum())
        self.report = SurfaceReport(
            skin_share=float(area[skin].sum()) / total,
            hidden_share=float(area[~skin & ~sheet].sum()) / total,
            sheet_share=float(area[sheet].sum()) / total,
            confidence=self._sides.confidence,
        )
        self.confidence = self._sides.confidence
        self.surface = TriangleMesh(vertices=pieces.vertices, faces=pieces.faces[skin | sheet])
        self._skin = self._all if skin.all() else FaceTree(pieces, skin)
        self._sheet = FaceTree(pieces, sheet)

    def outward_surface(self) -> tuple[TriangleMesh, Bool[np.ndarray, "faces"]]:
        """Return `surface` with the normals of the skin pointing outside, and the mask of its faces that are sheets."""
        chosen = self._sides.skin | self._sides.sheet
        turned = (self._sides.front_inside & self._sides.skin)[chosen]
        faces = np.where(turned[:, None], self.surface.faces[:, ::-1], self.surface.faces)
        return TriangleMesh(vertices=self.surface.vertices, faces=faces), self._sides.sheet[chosen]

    def __call__(self, points_unit: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
        """Return the signed distance at each point."""
        points = np.ascontiguousarray(points_unit, dtype=np.float64)
        if len(points) == 0:
            return np.zeros(0)
        distance, face, foot = self._all.nearest(points)
        inside, decided = self._sides.sign_at(points, distance, face, foot)
        asked = np.flatnonzero(~decided)
        # A point on the surface is on neither side, and any direction will do.
        away = np.where(distance[asked, None] > 0.0, points[asked] - foot[asked], [0.0, 0.0, 1.0])
        inside[asked] = self.inside.judge(points[asked], away=away, trust_winding=self._sides.winding_trusted).inside
        sdf = np.full(len(points), np.inf)
        if len(self._skin):
            sdf = distance
            elsewhere = np.flatnonzero(~self._sides.skin[face])
            sdf[elsewhere] = self._skin.distance(points[elsewhere])
            sdf[inside] *= -1.0
        if len(self._sheet):
            sdf = np.minimum(sdf, self._sheet.distance(points) - self.sheet_half_thickness)
        return sdf
