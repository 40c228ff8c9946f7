"""Extended marching cubes: the surface's sharp edges and corners, which marching cubes would cut off, are kept.

Source: Kobbelt, Botsch, Schwanecke and Seidel, SIGGRAPH 2001, "Feature sensitive surface extraction from volume data",
section 4. In a cell whose normals differ too much for a smooth surface, a vertex is put where the tangent planes meet,
and edges between cells are flipped so that they run along the feature. This differs from the paper in three ways: the
vertex stays near its cell; it is left out if it lies on the rim of its patch; and an edge is flipped only if that gives
neither the same edge twice nor a fold. So the mesh stays closed and manifold whatever the field is.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from shapeprior.geometry.mesh import TriangleMesh, vertex_normals
from shapeprior.sdf.isosurface.adaptive_grid import Evaluate
from shapeprior.sdf.isosurface.marching_cubes import EdgeCrossings

SHARP_COSINE = 0.86
"""Normals in one cell whose cosine is below this belong to different sides of an edge; it is that of 31 degrees."""
CORNER_SINE = 0.7
"""Three sides meet where a normal leaves the plane of the two most different ones by more than this sine."""
BENT_COSINE = 0.985
"""The field's normals are evaluated only where normals of the plain mesh differ by more than this cosine (10
degrees)."""
GRADIENT_STEP = 0.02
"""Distance from a vertex at which the field is evaluated for its gradient there, in cells."""
MAX_OUTSIDE_CELL = 0.5
"""Largest distance of a new vertex from its cell, in cells. An edge can reach into a cell whose corners it misses."""
MIN_FACE_AREA = 1e-7
"""Smallest area of a triangle at a new vertex, in squared cells."""

_TETRAHEDRON = np.array([[1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0], [1.0, 1.0, 1.0]])
"""Corners of a regular tetrahedron; the values at them give a gradient."""


def keep_sharp_edges(mesh: TriangleMesh, crossings: EdgeCrossings, evaluate: Evaluate) -> TriangleMesh:
    """Add vertices on the sharp edges of the field; `mesh` must have the faces of `crossings`, in their order."""
    if len(mesh.faces) == 0:
        return mesh
    patches = crossings.patches()
    bent = _bent_faces(mesh)
    chosen = np.zeros(int(patches[-1]) + 1, dtype=np.bool_)
    chosen[patches[bent]] = True
    # Where a wall was mended, the field has no tangent plane.
    chosen[patches[crossings.mended[mesh.faces].any(axis=1)]] = False
    # Each vertex of each patch that may hold a sharp edge, once.
    faces = np.flatnonzero(chosen[patches])
    members = np.unique(patches[faces].repeat(3) * len(mesh.vertices) + mesh.faces[faces].reshape(-1))
    owners, vertices = members // len(mesh.vertices), members % len(mesh.vertices)
    unique_vertices, which = np.unique(vertices, return_inverse=True)
    planes = _tangent_planes(mesh.vertices[unique_vertices], crossings.width, evaluate)
    features = _features(
        mesh.vertices[vertices],
        _TangentPlanes(planes.normals[which], planes.offsets[which]),
        owners,
        crossings,
        vertices,
    )
    return _insert_features(mesh, patches, features, 2.0 * MIN_FACE_AREA * crossings.width**2)


@dataclass(frozen=True, eq=False)
class _TangentPlanes:
    """Tangent planes, each the points with normal · point = offset."""

    normals: Float[np.ndarray, "planes 3"]
    """Unit normals; zero where there is no plane."""
    offsets: Float[np.ndarray, "planes"]


@dataclass(frozen=True, eq=False)
class _Features:
    """New vertices on sharp features, each in the middle of a patch."""

    patches: Int[np.ndarray, "features"]
    """The patch of each new vertex, ascending."""
    points: Float[np.ndarray, "features 3"]


def _bent_faces(mesh: TriangleMesh) -> Bool[np.ndarray, "faces"]:
    """Mark the faces whose vertices have normals of different directions."""
    normals = vertex_normals(mesh)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    corners = normals[mesh.faces]
    return np.any(np.einsum("fij,fij->fi", corners, np.roll(corners, 1, axis=1)) < BENT_COSINE, axis=1)


def _tangent_planes(points: Float[np.ndarray, "planes 3"], width: float, evaluate: Evaluate) -> _TangentPlanes:
    """Return the planes on which the field is zero if it is linear around each point."""
    step = GRADIENT_STEP * width
    values = evaluate((points[:, None] + step * _TETRAHEDRON).reshape(-1, 3)).reshape(-1, 4)
    gradients = values @ _TETRAHEDRON / (4.0 * step)
    length = np.linalg.norm(gradients, axis=1)
    normals = np.divide(gradients, length[:, None], out=np.zeros_like(gradients), where=length[:, None] > 1e-9)
    off = np.divide(values.mean(axis=1), length, out=np.zeros(len(points)), where=length > 1e-9)
    # A vertex lies on a crossed edge of the grid, so that the surface is at most the edge's length away.
    return _TangentPlanes(normals, np.einsum("ij,ij->i", normals, points) - np.clip(off, -width, width))


def _features(
    points: Float[np.ndarray, "members 3"],
    planes: _TangentPlanes,
    owners: Int[np.ndarray, "members"],
    crossings: EdgeCrossings,
    vertices: Int[np.ndarray, "members"],
) -> _Features:
    """Return the point nearest to all planes of each patch with different normals; members are sorted by patch."""
    patches, first, counts = np.unique(owners, return_index=True, return_counts=True)
    if len(patches) == 0:
        return _Features(patches, np.zeros((0, 3)))
    # One row for each patch, padded with planes whose normals are zero.
    row, column = np.repeat(np.arange(len(patches)), counts), np.arange(len(owners)) - np.repeat(first, counts)
    normals = np.zeros((len(patches), int(counts.max()), 3))
    normals[row, column] = planes.normals
    there = np.any(normals != 0, axis=2)
    cosines = np.where(there[:, :, None] & there[:, None], normals @ normals.transpose(0, 2, 1), 1.0)
    most = cosines.reshape(len(patches), -1).argmin(axis=1)
    sharp = np.flatnonzero(cosines.reshape(len(patches), -1).min(axis=1) < SHARP_COSINE)
    i, j = most[sharp] // normals.shape[1], most[sharp] % normals.shape[1]
    normals = normals[sharp]
    rows = np.arange(len(sharp))
    edge = np.cross(normals[rows, i], normals[rows, j])
    length = np.linalg.norm(edge, axis=1, keepdims=True)
    edge = np.divide(edge, length, out=np.zeros_like(edge), where=length > 1e-9)
    corner = np.abs(np.einsum("pki,pi->pk", normals, edge)).max(axis=1) > CORNER_SINE
    centers = np.add.reduceat(points, first)[sharp] / counts[sharp, None]
    offsets = np.zeros((len(patches), int(counts.max())))
    offsets[row, column] = planes.offsets
    residuals = np.where(there[sharp], offsets[sharp] - np.einsum("pki,pi->pk", normals, centers), 0.0)
    found = centers + _step_onto_planes(normals, residuals, corner)
    low = np.full((len(patches), 3), np.inf)
    np.minimum.at(low, row, crossings.start[vertices])
    beyond = MAX_OUTSIDE_CELL * crossings.width
    return _Features(patches[sharp], np.clip(found, low[sharp] - beyond, low[sharp] + crossings.width + beyond))


def _step_onto_planes(
    normals: Float[np.ndarray, "patches planes 3"], residuals: Float[np.ndarray, "patches planes"],
    corner: Bool[np.ndarray, "patches"],
) -> Float[np.ndarray, "patches 3"]:  # fmt: skip
    """Return the least squares step onto all planes, in the three directions of a corner or the two across an edge."""
    values, vectors = np.linalg.eigh(normals.transpose(0, 2, 1) @ normals)
    right = np.einsum("pki,pk->pi", normals, residuals)
    along = np.einsum("pij,pi->pj", vectors, right)
    use = values > 1e-3 * values[:, 2:]
    use[:, 0] &= corner
    return np.einsum("pij,pj->pi", vectors, np.divide(along, values, out=np.zeros_like(along), where=use))


def _insert_features(
    mesh: TriangleMesh, patches: Int[np.ndarray, "faces"], features: _Features, smallest: float
) -> TriangleMesh:
    """Replace each feature's patch by a fan around the new vertex, and flip the sides between two fans."""
    number = np.full(int(patches[-1]) + 1, -1)
    number[features.patches] = np.arange(len(features.patches))
    of_face = number[patches]
    replaced = of_face >= 0
    sides = mesh.faces[replaced][:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    owner = of_face[replaced].repeat(3)
    count = len(mesh.vertices)
    # The rim of a patch is the sides whose reverse is not in the same patch.
    rim = np.flatnonzero(_find_reverse(sides, count, same=owner) < 0)
    fans = np.column_stack([count + owner[rim], sides[rim]])
    vertices = np.concatenate([mesh.vertices, features.points])
    flat = np.linalg.norm(_area_vectors(vertices, *fans.T), axis=1) < smallest
    if flat.any():
        kept = np.ones(len(features.patches), dtype=np.bool_)
        kept[owner[rim[flat]]] = False
        return _insert_features(mesh, patches, _Features(features.patches[kept], features.points[kept]), smallest)
    _flip_sides(fans, vertices, count, smallest)
    return TriangleMesh(vertices=vertices, faces=np.concatenate([mesh.faces[~replaced], fans]))


def _find_reverse(
    sides: Int[np.ndarray, "sides 2"], count: int, *, same: Int[np.ndarray, "sides"] | None = None
) -> Int[np.ndarray, "sides"]:
    """Return the row of the side that runs the other way; -1 if there is none, or if its label in `same` differs."""
    codes, wanted = sides[:, 0] * count + sides[:, 1], sides[:, 1] * count + sides[:, 0]
    order = np.argsort(codes, kind="stable")
    at = np.searchsorted(codes[order], wanted).clip(max=max(len(order) - 1, 0))
    found = order[at] if len(order) else at
    ok = codes[found] == wanted
    if same is not None:
        ok &= same[found] == same
    return np.where(ok, found, -1)


def _flip_sides(
    fans: Int[np.ndarray, "fans 3"], vertices: Float[np.ndarray, "v 3"], count: int, smallest: float
) -> None:
    """Flip the sides between two fans, in place, so that they join the fans' middles."""
    other = _find_reverse(fans[:, 1:], count)
    first = np.flatnonzero(other > np.arange(len(fans)))
    second = other[first]
    p, a, b = fans[first].T
    q = fans[second, 0]
    low, high = np.minimum(p, q), np.maximum(p, q)
    _, at, times = np.unique(low * len(vertices) + high, return_inverse=True, return_counts=True)
    before = _area_vectors(vertices, p, a, b) + _area_vectors(vertices, q, b, a)
    # A flip must not give a side twice, nor a triangle that turns over.
    turned = times[at] == 1
    for part in (_area_vectors(vertices, p, a, q), _area_vectors(vertices, q, b, p)):
        size = np.linalg.norm(part, axis=1)
        towards = np.einsum("ij,ij->i", part, before)
        turned &= (towards > 1e-3 * size * np.linalg.norm(before, axis=1)) & (size > smallest)
    first, second, a, b, p, q = (x[turned] for x in (first, second, a, b, p, q))
    fans[first] = np.column_stack([p, a, q])
    fans[second] = np.column_stack([q, b, p])


def _area_vectors(
    vertices: Float[np.ndarray, "vertices 3"], a: Int[np.ndarray, "n"], b: Int[np.ndarray, "n"], c: Int[np.ndarray, "n"]
) -> Float[np.ndarray, "n 3"]:
    return np.cross(vertices[b] - vertices[a], vertices[c] - vertices[a])
