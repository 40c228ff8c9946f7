"""The thin walls of a true shape, and how much of them a prediction keeps: their area, thickness and torn borders.

A wall's thickness at a point of the surface is the length of the line from there, against the normal, through the solid
to the opposite face: the shape diameter (Shapira et al. 2008, "Consistent mesh partitioning and skeletonisation using
the shape diameter function") along the axis of its cone. The middle of that line is the point's mid-wall point.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

from shapeprior.evaluation.structure.true_surface import TrueSurface, unit_vertex_normals
from shapeprior.geometry.edges import paired_halfedges
from shapeprior.geometry.mesh import TriangleMesh, sum_by_label
from shapeprior.geometry.raycasting import RayScene
from shapeprior.sdf.signed_distance import SignedDistance

THIN = 0.04
"""Walls below this thickness, in unit-sphere radii, are thin."""
REACH = 0.02
"""A wall that is predicted within this distance of the true one, in unit-sphere radii, counts as covered."""
MIN_THIN_SHARE = 0.01
"""A shape with a smaller share of thin surface has no scores of thin walls."""
COARSE_EDGE, FINE_EDGE = 0.04, 0.01
"""Longest edges of the true surface, in radii: where thin walls are looked for, and where they are measured."""
FINE_FACES = 200_000
"""About how many faces the walls may have: walls of more area are measured with longer edges."""
THICKNESS_POINTS = 4000
"""Points, evenly spread over the thin surface, whose predicted thickness is measured."""
BISECTIONS = 4
"""Times that the place of a torn border on an edge is halved: to a sixteenth of `FINE_EDGE`."""
RAY_OFFSET = 1e-4
"""Distance from the surface at which rays start, in radii, so that they do not stop at their own face."""

InsideTest = Callable[[Float[np.ndarray, "points 3"]], Bool[np.ndarray, "points"]]


@dataclass(frozen=True, kw_only=True)
class ThinWallScores:
    """What a prediction keeps of the thin walls of a true shape."""

    covered: float
    """Share, by area, of the thin surface where the line through the wall meets the predicted solid between `REACH`
    before the wall and `REACH` behind it: 1 - q for a plate with holes of area share q, and 1 for one that is moved by
    less."""
    thickness: float
    """Median, over covered points, of the predicted thickness along that line over the true one; NaN if nothing is
    covered. The same holds for the border."""
    torn_border: float
    """Length of the border between covered and other parts, on the middle of the wall, in radii: about 2πr for a round
    hole of radius r. What lies within `REACH` of the wall's own rim does not count."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ThinWalls:
    """The thin walls of a true shape, as a fine mesh of the faces of these walls.

    Each vertex carries the mid-wall point behind it. Both faces of a wall are there, so that a wall's middle is there
    twice; a sheet, which is a plate of a given thickness, is there once and counts twice.
    """

    share: float
    """Share of the whole surface's area that is thin."""
    faces: Int[np.ndarray, "faces 3"]
    middle: Float[np.ndarray, "vertices 3"]
    """The mid-wall points."""
    normals: Float[np.ndarray, "vertices 3"]
    """Unit normals, outwards."""
    thickness: Float[np.ndarray, "vertices"]
    """Of the wall, in radii."""
    areas: Float[np.ndarray, "vertices"]
    """Area of the surface around each vertex."""
    copies: Float[np.ndarray, "faces"]
    """1 where the wall is there once (sheets), ½ where both of its faces are there."""
    rim: Float[np.ndarray, "rims 3"]
    """The mid-wall points where the walls end, at edges or where they become thick."""

    @classmethod
    def of(cls, distance: SignedDistance) -> "ThinWalls | None":
        """Find the thin walls of a true shape; returns None if less than `MIN_THIN_SHARE` of its surface is thin."""
        surface = TrueSurface.of(distance)
        total = float((surface.mesh.face_areas * (1 + surface.sheet)).sum())
        scene = RayScene(surface.restricted(~surface.sheet).mesh)
        coarse = surface.refined(COARSE_EDGE).creased()
        thin = wall_thickness(coarse, scene) < THIN
        near = np.asarray(thin[coarse.mesh.faces].any(axis=1))
        if not near.any():
            return None
        close = coarse.restricted(near)
        fine = close.refined(max(FINE_EDGE, 2.2 * float(np.sqrt(close.mesh.face_areas.sum() / FINE_FACES))))
        thickness = wall_thickness(fine, scene)
        kept = np.asarray((thickness < THIN)[fine.mesh.faces].all(axis=1))
        fine_and_thin = fine.restricted(kept)
        mesh, sheet = fine_and_thin.mesh, fine_and_thin.sheet
        areas = mesh.face_areas * (1 + sheet)
        share = float(areas.sum()) / total
        if share < MIN_THIN_SHARE:
            return None
        used = np.unique(fine.mesh.faces[kept])
        thickness, normals = thickness[used], unit_vertex_normals(mesh)
        depth = np.where(fine_and_thin.vertices_on_sheets, 0.0, 0.5 * thickness)
        middle = _drawn_in(mesh) - depth[:, None] * normals
        free = np.ones(mesh.faces.size, dtype=bool)
        free[paired_halfedges(mesh.faces).reshape(-1)] = False
        return cls(
            share=share,
            faces=mesh.faces,
            middle=middle,
            rim=middle[np.unique(mesh.faces.reshape(-1)[free])],
            normals=normals,
            thickness=thickness,
            areas=np.bincount(mesh.faces.reshape(-1), np.repeat(areas / 3.0, 3), len(mesh.vertices)),
            copies=np.where(sheet, 1.0, 0.5),
        )

    def scores(self, scene: RayScene, inside: InsideTest) -> ThinWallScores:
        """Return what a prediction keeps of these walls.

        Args:
            scene: The predicted mesh, in the unit frame of the true shape.
            inside: The inside of the predicted shape.
        """
        covered = _covered(self.middle, self.normals, self.thickness, scene, inside)
        if not covered.any():
            return ThinWallScores(covered=0.0, thickness=math.nan, torn_border=math.nan)
        return ThinWallScores(
            covered=float(self.areas[covered].sum() / self.areas.sum()),
            thickness=self._thickness_ratio(covered, scene, inside),
            torn_border=self._torn_border(covered, scene, inside),
        )

    def _thickness_ratio(self, covered: Bool[np.ndarray, "vertices"], scene: RayScene, inside: InsideTest) -> float:
        """Return the median of predicted over true thickness, at covered points that are spread evenly by area."""
        chosen = np.flatnonzero(covered)
        filled = np.cumsum(self.areas[chosen])
        places = (np.arange(THICKNESS_POINTS) + 0.5) / THICKNESS_POINTS * filled[-1]
        chosen = chosen[np.minimum(np.searchsorted(filled, places), len(chosen) - 1)]
        middle, normals, thickness = self.middle[chosen], self.normals[chosen], self.thickness[chosen]
        ahead, behind = (scene.first_hit(middle, side)[0] for side in (normals, -normals))
        within = inside(middle)
        # Outside, the nearest wall on the line begins at the nearer hit and ends at the next one.
        forward = ahead <= behind
        to_wall = np.minimum(ahead, behind)
        found = ahead + behind
        outside = np.flatnonzero(~within & np.isfinite(to_wall))
        direction = np.where(forward[outside, None], normals[outside], -normals[outside])
        start = middle[outside] + (to_wall[outside, None] + RAY_OFFSET) * direction
        found[outside] = scene.first_hit(start, direction)[0] + RAY_OFFSET
        return float(np.median(found / thickness))

    def _torn_border(self, covered: Bool[np.ndarray, "vertices"], scene: RayScene, inside: InsideTest) -> float:
        """Return the length of the border, by marching triangles whose crossings are found by bisection."""
        kept = covered[self.faces]
        torn = np.flatnonzero(kept.any(axis=1) & ~kept.all(axis=1))
        if len(torn) == 0:
            return 0.0
        faces, kept = self.faces[torn], kept[torn]
        # Two of the sides cross the border: those at the corner that differs from the other two.
        odd = np.where(kept.sum(axis=1) == 1, kept.argmax(axis=1), kept.argmin(axis=1))
        rows = np.arange(len(torn))
        ends = np.stack(
            [np.stack([faces[rows, odd], faces[rows, (odd + turn) % 3]], axis=1) for turn in (1, 2)], axis=1
        ).reshape(-1, 2)
        sides, of_ends = np.unique(np.sort(ends, axis=1), axis=0, return_inverse=True)
        a, b = sides.T
        a, b = np.where(covered[a], a, b), np.where(covered[a], b, a)
        low, high = np.zeros(len(a)), np.ones(len(a))
        for _ in range(BISECTIONS):
            at = 0.5 * (low + high)
            still = _covered(*(_between(values, a, b, at) for values in self._carried()), scene, inside)
            low, high = np.where(still, at, low), np.where(still, high, at)
        crossing = _between(self.middle, a, b, 0.5 * (low + high))[of_ends.reshape(-1)].reshape(-1, 2, 3)
        length = np.linalg.norm(crossing[:, 0] - crossing[:, 1], axis=1) * self.copies[torn]
        # A rim that is rounded off, or a little short, is not torn.
        if len(self.rim):
            length = length[KDTree(self.rim).query(crossing.mean(axis=1), distance_upper_bound=REACH)[0] == np.inf]
        return float(length.sum())

    def _carried(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.middle, self.normals, self.thickness


def wall_thickness(surface: TrueSurface, scene: RayScene) -> Float[np.ndarray, "vertices"]:
    """Return the thickness of the wall behind each vertex of a creased surface, in the mesh's unit.

    It is infinite where the line meets no opposite face, and where the vertex lies hidden in another part of the shape.

    Args:
        surface: The surface, cut open at sharp edges.
        scene: The skin of the whole shape, with its normals outwards.
    """
    mesh = surface.mesh
    normals = unit_vertex_normals(mesh)
    points = _drawn_in(mesh)
    thickness = np.full(len(points), np.inf)
    valid = np.flatnonzero(np.einsum("ij,ij->i", normals, normals) > 0.5)
    along = normals[valid]
    behind, back_face = scene.first_hit(points[valid] - RAY_OFFSET * along, -along)
    _, front_face = scene.first_hit(points[valid] + RAY_OFFSET * along, along)
    # A line that leaves the solid ends at a face that looks its way.
    leaves = _facing(scene, back_face, -along)
    hidden = _facing(scene, front_face, along)
    thickness[valid] = np.where(leaves & ~hidden, behind + RAY_OFFSET, np.inf)
    thickness[surface.vertices_on_sheets] = 2.0 * surface.sheet_half_thickness
    return thickness


def _drawn_in(mesh: TriangleMesh) -> Float[np.ndarray, "vertices 3"]:
    """Return the vertices, those at rims moved in a little: a line down from the edge of a plate would run along it."""
    corners = mesh.faces.reshape(-1)
    centers = sum_by_label(np.repeat(mesh.corners.mean(axis=1), 3, axis=0), corners, num_labels=len(mesh.vertices))
    count = np.bincount(corners, minlength=len(mesh.vertices))
    return 0.98 * mesh.vertices + 0.02 * centers / np.maximum(count, 1)[:, None]


def _facing(
    scene: RayScene, face: Int[np.ndarray, "rays"], direction: Float[np.ndarray, "rays 3"]
) -> Bool[np.ndarray, "rays"]:
    """Tell which rays met a face whose normal points their way."""
    facing = face >= 0
    facing[facing] = np.einsum("ij,ij->i", scene.mesh.face_normals[face[facing]], direction[facing]) > 0.0
    return facing


def _covered(
    middle: Float[np.ndarray, "points 3"],
    normals: Float[np.ndarray, "points 3"],
    thickness: Float[np.ndarray, "points"],
    scene: RayScene,
    inside: InsideTest,
) -> Bool[np.ndarray, "points"]:
    """Tell where the line through the wall, `REACH` longer on both sides, meets the predicted solid."""
    half = 0.5 * thickness + REACH
    covered = scene.first_hit(middle + half[:, None] * normals, -normals)[0] <= 2.0 * half
    # A line that meets no face is wholly outside, or wholly inside a wall that is thicker than it is long.
    rest = np.flatnonzero(~covered)
    covered[rest] = inside(middle[rest])
    return covered


def _between(values: np.ndarray, a: np.ndarray, b: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return values between those of two vertices; normals need not have unit length for a crossing."""
    share = at.reshape(-1, *(1,) * (values.ndim - 1))
    return (1.0 - share) * values[a] + share * values[b]
