"""Plain shapes and plain, slow second implementations that the tests measure the package against."""

from collections.abc import Sequence

import numpy as np
import trimesh
from scipy.spatial.transform import Rotation

from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.transforms import Similarity


def from_trimesh(solid: trimesh.Trimesh) -> TriangleMesh:
    """The same mesh as the package's own class."""
    return TriangleMesh(
        vertices=np.array(solid.vertices, dtype=np.float64), faces=np.array(solid.faces, dtype=np.int64)
    )


def to_trimesh(mesh: TriangleMesh) -> trimesh.Trimesh:
    """The same mesh, unprocessed, as trimesh's class."""
    return trimesh.Trimesh(vertices=mesh.vertices, faces=mesh.faces, process=False)


def sphere(*, radius: float = 1.0, center: Sequence[float] = (0.0, 0.0, 0.0), subdivisions: int = 2) -> TriangleMesh:
    """Icosphere with its vertices on the sphere, so that its faces lie slightly inside."""
    solid = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return TriangleMesh(vertices=np.array(solid.vertices) + np.asarray(center), faces=np.array(solid.faces, np.int64))


def box(*, extents: Sequence[float] = (1.0, 1.0, 1.0), center: Sequence[float] = (0.0, 0.0, 0.0)) -> TriangleMesh:
    """Axis-aligned box of 12 faces."""
    solid = from_trimesh(trimesh.creation.box(extents=extents))
    return TriangleMesh(vertices=solid.vertices + np.asarray(center), faces=solid.faces)


def torus(*, major: float, minor: float, sections: int = 48) -> TriangleMesh:
    """Torus around z."""
    return from_trimesh(
        trimesh.creation.torus(
            major_radius=major, minor_radius=minor, major_sections=sections, minor_sections=sections // 2
        )
    )


def lathe(profile: Sequence[tuple[float, float]], *, sections: int = 32) -> TriangleMesh:
    """Surface of revolution around z through (radius, z) points, in their order; open where the profile is."""
    points = np.asarray(profile, dtype=np.float64)
    angles = 2.0 * np.pi * np.arange(sections) / sections
    vertices = np.stack(
        [
            points[None, :, 0] * np.cos(angles)[:, None],
            points[None, :, 0] * np.sin(angles)[:, None],
            np.tile(points[:, 1], (sections, 1)),
        ],
        axis=-1,
    )
    faces = []
    for turn in range(sections):
        here, there = turn * len(points), (turn + 1) % sections * len(points)
        for row in range(len(points) - 1):
            faces.append((here + row, there + row, there + row + 1))
            faces.append((here + row, there + row + 1, here + row + 1))
    return TriangleMesh(vertices=vertices.reshape(-1, 3), faces=np.array(faces, dtype=np.int64))


def join(*meshes: TriangleMesh) -> TriangleMesh:
    """All parts in one mesh, unwelded."""
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    return TriangleMesh(
        vertices=np.concatenate([mesh.vertices for mesh in meshes]),
        faces=np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=False)]),
    )


def flip(mesh: TriangleMesh, chosen: np.ndarray | None = None) -> TriangleMesh:
    """Turn the winding of all faces, or of the chosen ones."""
    faces = mesh.faces.copy()
    chosen = np.ones(len(faces), dtype=bool) if chosen is None else chosen
    faces[chosen] = faces[chosen][:, ::-1]
    return TriangleMesh(vertices=mesh.vertices, faces=faces)


def keep(mesh: TriangleMesh, chosen: np.ndarray) -> TriangleMesh:
    """Only the chosen faces; vertices stay."""
    return TriangleMesh(vertices=mesh.vertices, faces=mesh.faces[chosen])


def moved(mesh: TriangleMesh, placement: Similarity) -> TriangleMesh:
    """The mesh in another frame."""
    return TriangleMesh(vertices=placement.apply(mesh.vertices), faces=mesh.faces)


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    """Uniform over all rotations; shape (3, 3)."""
    quaternion = rng.standard_normal(4)
    return Rotation.from_quat(quaternion).as_matrix()


def random_similarity(rng: np.random.Generator, *, scale: float = 1.0, reach: float = 1.0) -> Similarity:
    """A random rotation with the given scale, and an offset of about `reach`."""
    return Similarity(scale=scale, rotation=random_rotation(rng), offset=reach * rng.standard_normal(3))


def points_around(rng: np.random.Generator, count: int, *, reach: float = 1.2) -> np.ndarray:
    """Points uniform in a cube; shape (count, 3)."""
    return rng.uniform(-reach, reach, (count, 3))


def brute_force_distance(mesh: TriangleMesh, points: np.ndarray) -> np.ndarray:
    """Exact distance of each point to the nearest triangle: its plane if the foot lies inside, else its edges."""
    best = np.full(len(points), np.inf)
    for a, b, c in mesh.corners:
        normal = np.cross(b - a, c - a)
        normal /= np.linalg.norm(normal)
        height = (points - a) @ normal
        over = np.ones(len(points), dtype=bool)
        for start, end in ((a, b), (b, c), (c, a)):
            edge = end - start
            along = np.clip((points - start) @ edge / (edge @ edge), 0.0, 1.0)
            best = np.minimum(best, np.linalg.norm(points - start - along[:, None] * edge, axis=1))
            over &= (points - start) @ np.cross(normal, edge) >= 0.0
        best = np.where(over, np.minimum(best, np.abs(height)), best)
    return best


def brute_force_winding(mesh: TriangleMesh, points: np.ndarray) -> np.ndarray:
    """Generalised winding number as a plain sum of solid angles (Van Oosterom and Strackee 1983)."""
    total = np.zeros(len(points))
    for corners in mesh.corners:
        a, b, c = (corner - points for corner in corners)
        la, lb, lc = (np.linalg.norm(side, axis=1) for side in (a, b, c))
        volume = np.einsum("ij,ij->i", a, np.cross(b, c))
        dots = [np.einsum("ij,ij->i", u, v) for u, v in ((a, b), (b, c), (c, a))]
        total += 2.0 * np.arctan2(volume, la * lb * lc + dots[0] * lc + dots[1] * la + dots[2] * lb)
    return total / (4.0 * np.pi)


def sphere_sdf(points: np.ndarray, *, radius: float) -> np.ndarray:
    """Analytic signed distance, negative inside."""
    return np.linalg.norm(points, axis=1) - radius


def box_sdf(points: np.ndarray, *, extents: Sequence[float]) -> np.ndarray:
    """Analytic signed distance of a centred box, negative inside."""
    q = np.abs(points) - 0.5 * np.asarray(extents)
    return np.linalg.norm(np.maximum(q, 0.0), axis=1) + np.minimum(q.max(axis=1), 0.0)


def torus_sdf(points: np.ndarray, *, major: float, minor: float) -> np.ndarray:
    """Analytic signed distance of a torus around z, negative inside."""
    ring = np.hypot(points[:, 0], points[:, 1]) - major
    return np.hypot(ring, points[:, 2]) - minor


def sorted_corners(mesh: TriangleMesh, *, decimals: int = 9) -> np.ndarray:
    """Faces as rows of corner positions, each begun at its smallest corner, rows sorted: equal iff the oriented soups
    are."""
    rows = []
    for corners in np.round(mesh.corners, decimals) + 0.0:
        first = min(range(3), key=lambda index: tuple(corners[index]))
        rows.append(tuple(np.roll(corners, -first, axis=0).reshape(-1)))
    return np.array(sorted(rows))
