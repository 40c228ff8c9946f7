"""Roughness: how much predicted normals waver where the true surface is flat or round."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from shapeprior.evaluation.structure.true_surface import TrueSurface
from shapeprior.geometry.edges import are_sharp, paired_halfedges
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.proximity import FaceTree
from shapeprior.geometry.sampling import sample_surface
from shapeprior.sdf.signed_distance import SignedDistance

DISC_RADIUS = 0.03
"""Radius of the discs within which normals are compared, in unit-sphere radii."""
EDGE_MARGIN = 0.06
"""Discs have their centres at least this far from sharp edges, creases and rims, in radii."""
DISCS, POINTS_PER_DISC = 600, 16
"""Discs of a shape, and points of a disc."""
CANDIDATES = 4000
"""Points of the true surface that are tried as centres of discs, at most."""
MAX_BEND_DEG = 30.0
"""Normals of a disc that lean more than this from the centre's, in degrees, belong to an edge or a rim."""
FRONTS = (0.005, 0.02, 0.04)
"""Distances before the true surface, in radii, from which the nearest predicted face is looked for. A point of a thin
wall finds its own side of the predicted wall from the first of them, unless the wall is displaced by more."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SmoothDiscs:
    """Small discs on the flat and round places of a true surface."""

    points: Float[np.ndarray, "discs points 3"]
    normals: Float[np.ndarray, "discs points 3"]

    @classmethod
    def of(cls, distance: SignedDistance, *, seed: int) -> "SmoothDiscs | None":
        """Lay discs at random places of a true surface, uniformly by area; returns None if none of it is smooth."""
        surface = TrueSurface.of(distance)
        mesh, rng = surface.mesh, np.random.default_rng(seed)
        centers, face = sample_surface(mesh, CANDIDATES, rng=rng)
        lines = _edge_points(surface)
        if len(lines):
            far = KDTree(lines).query(centers, distance_upper_bound=EDGE_MARGIN)[0] == np.inf
            centers, face = centers[far], face[far]
        tree = FaceTree(mesh)
        points, faces = np.zeros((0, POINTS_PER_DISC, 3)), np.zeros((0, POINTS_PER_DISC), dtype=np.int64)
        for start in range(0, len(centers), DISCS):
            batch = slice(start, start + DISCS)
            more = _lay_discs(mesh, tree, centers[batch], mesh.face_normals[face[batch]], rng)
            points, faces = np.concatenate([points, more[0]])[:DISCS], np.concatenate([faces, more[1]])[:DISCS]
            if len(points) == DISCS:
                break
        if len(points) == 0:
            return None
        normals = mesh.face_normals[faces]
        # A sheet is the middle of its plate.
        height = surface.sheet[faces] * surface.sheet_half_thickness
        return cls(points=points + height[..., None] * normals, normals=normals)

    def roughness_deg(self, predicted: TriangleMesh, tree: FaceTree) -> float:
        """Return the root mean square of the angles between predicted and true normals, in degrees.

        The predicted normal is that of the nearest face, or of the nearest one farther out if that looks the other way.
        Before they are compared, the true normals of each disc are turned so that their mean is the predicted one's: a
        tilt of the whole disc is not rough.
        """
        found = self._predicted_normals(predicted, tree).reshape(self.normals.shape)
        turned = _turned(self.normals, _mean_direction(self.normals), _mean_direction(found))
        cosine = np.clip(np.einsum("dpx,dpx->dp", turned, found), -1.0, 1.0)
        # One of the points of each disc went into its mean.
        square = float((np.arccos(cosine) ** 2).mean()) * POINTS_PER_DISC / (POINTS_PER_DISC - 1)
        return float(min(np.degrees(np.sqrt(square)), 180.0))

    def _predicted_normals(self, predicted: TriangleMesh, tree: FaceTree) -> Float[np.ndarray, "all 3"]:
        points, normals = self.points.reshape(-1, 3), self.normals.reshape(-1, 3)
        found = predicted.face_normals[tree.nearest(points + FRONTS[0] * normals)[1]]
        for front in FRONTS[1:]:
            behind = np.flatnonzero(np.einsum("ij,ij->i", found, normals) < 0.0)
            if len(behind) == 0:
                break
            again = predicted.face_normals[tree.nearest(points[behind] + front * normals[behind])[1]]
            own_side = np.einsum("ij,ij->i", again, normals[behind]) > 0.0
            found[behind[own_side]] = again[own_side]
        return found


def _lay_discs(
    mesh: TriangleMesh,
    tree: FaceTree,
    centers: Float[np.ndarray, "discs 3"],
    normals: Float[np.ndarray, "discs 3"],
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, "smooth points 3"], Int[np.ndarray, "smooth points"]]:
    """Draw points of discs around the centres; returns those of the discs on smooth places, and their faces.

    Beside the points of the disc, as many on a circle of radius `EDGE_MARGIN` are looked at.
    """
    axis = np.where(np.abs(normals[:, :1]) < 0.6, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    u = np.cross(normals, axis)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    v = np.cross(normals, u)
    shape = (len(centers), 2 * POINTS_PER_DISC)
    angle = rng.uniform(0.0, 2.0 * np.pi, shape)
    radius = DISC_RADIUS * np.sqrt(rng.random(shape))
    radius[:, POINTS_PER_DISC:] = EDGE_MARGIN
    flat = centers[:, None] + radius[..., None] * (
        np.cos(angle)[..., None] * u[:, None] + np.sin(angle)[..., None] * v[:, None]
    )
    gap, face, foot = tree.nearest(flat.reshape(-1, 3))
    around = mesh.face_normals[face].reshape(*shape, 3)
    upright = np.einsum("dpx,dx->dp", around, normals) > np.cos(np.deg2rad(MAX_BEND_DEG))
    near = gap.reshape(shape) < radius * np.tan(np.deg2rad(MAX_BEND_DEG))
    smooth = (upright & near).all(axis=1)
    disc = slice(POINTS_PER_DISC)
    return foot.reshape(*shape, 3)[smooth, disc], face.reshape(shape)[smooth, disc]


def _edge_points(surface: TrueSurface) -> Float[np.ndarray, "points 3"]:
    """Return points, half a margin apart at most, on the sharp edges of the skin and on the rims of sheets."""
    faces, vertices = surface.mesh.faces, surface.mesh.vertices
    pairs = paired_halfedges(faces)
    sharp = pairs[are_sharp(surface.mesh.face_normals, pairs), 0]
    free = np.repeat(surface.sheet, 3)
    free[pairs.reshape(-1)] = False
    halfedges = np.concatenate([sharp, np.flatnonzero(free)])
    a = vertices[faces.reshape(-1)[halfedges]]
    b = vertices[np.roll(faces, -1, axis=1).reshape(-1)[halfedges]]
    steps = np.maximum(np.ceil(np.linalg.norm(b - a, axis=1) / (EDGE_MARGIN / 4)), 1).astype(int)
    owner = np.repeat(np.arange(len(a)), steps + 1)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(steps + 1) - steps - 1, steps + 1)
    return a[owner] + (place / steps[owner])[:, None] * (b - a)[owner]


def _mean_direction(normals: Float[np.ndarray, "discs points 3"]) -> Float[np.ndarray, "discs 1 3"]:
    total = normals.sum(axis=1, keepdims=True)
    return total / np.maximum(np.linalg.norm(total, axis=2, keepdims=True), 1e-12)


def _turned(
    vectors: Float[np.ndarray, "discs points 3"],
    start: Float[np.ndarray, "discs 1 3"],
    end: Float[np.ndarray, "discs 1 3"],
) -> Float[np.ndarray, "discs points 3"]:
    """Turn the vectors of each disc by the smallest rotation that takes one direction to another (Rodrigues)."""
    axis = np.cross(start, end)
    cosine = np.sum(start * end, axis=2, keepdims=True)
    once = np.cross(axis, vectors)
    return vectors + once + np.cross(axis, once) / np.maximum(1.0 + cosine, 1e-6)
