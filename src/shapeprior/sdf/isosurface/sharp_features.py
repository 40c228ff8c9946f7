"""Marching cubes that keep the surface's sharp edges and corners, which it would cut off.

Source of the method: Kobbelt, Botsch, Schwanecke and Seidel, SIGGRAPH 2001, "Feature sensitive surface extraction from volume
data", section 4: in a cell whose normals differ too much for a smooth surface, a vertex is put where the tangent planes meet, and
edges between cells are turned so that they run along the feature. Departures: the vertex stays near its cell; it is left out if
it lies on its patch's rim; an edge is turned only if that gives neither the same edge twice nor a fold. So the mesh stays closed
and manifold whatever the field is.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from shapeprior.geometry.mesh import TriangleMesh, vertex_normals
from shapeprior.sdf.isosurface.adaptive_grid import Ask
from shapeprior.sdf.isosurface.marching_cubes import EdgeCrossings

SHARP = 0.86
"""Normals in one cell whose cosine is below this belong to different sides of an edge: 31 degrees."""
CORNER = 0.7
"""Three sides meet where a normal leaves the plane of the two most different ones by more than this sine."""
BENT = 0.985
"""The field is asked for its normals only where those of the plain mesh differ so much, 10 degrees, along a side of a face."""
NEAR = 0.02
"""In cells: how far from a vertex the field is asked for its gradient there."""
BEYOND = 0.5
"""In cells: how far new vertices may lie outside of their cells. An edge can reach into a cell whose corners it misses."""

SMALLEST = 1e-7
"""In squared cells: no triangle of a new vertex has less area."""

_AROUND = np.array([[1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0], [1.0, 1.0, 1.0]])
"""A tetrahedron's corners: four values give a gradient."""


def keep_sharp_edges(mesh: TriangleMesh, crossings: EdgeCrossings, ask: Ask) -> TriangleMesh:
    """The mesh with vertices on the sharp edges of the field; `mesh` has the faces of `crossings`, in their order."""
    if len(mesh.faces) == 0:
        return mesh
    patches = crossings.patches()
    bent = _bent(mesh)
    chosen = np.zeros(int(patches[-1]) + 1, dtype=np.bool_)
    chosen[patches[bent]] = True
    # Each vertex of each patch that may hold an edge, once.
    faces = np.flatnonzero(chosen[patches])
    members = np.unique(patches[faces].repeat(3) * len(mesh.vertices) + mesh.faces[faces].reshape(-1))
    owners, vertices = members // len(mesh.vertices), members % len(mesh.vertices)
    asked, which = np.unique(vertices, return_inverse=True)
    planes = _planes(mesh.vertices[asked], crossings.width, ask)
    features = _features(
        mesh.vertices[vertices], _Planes(planes.normals[which], planes.offsets[which]), owners, crossings, vertices
    )
    return _with_features(mesh, patches, features, 2.0 * SMALLEST * crossings.width**2)


@dataclass(frozen=True, eq=False)
class _Planes:
    """Tangent planes: the points with normal · point = offset."""

    normals: Float[np.ndarray, "planes 3"]
    """Of unit length, or zero where there is none."""
    offsets: Float[np.ndarray, "planes"]


@dataclass(frozen=True, eq=False)
class _Features:
    """New vertices, each in the middle of a patch."""

    patches: Int[np.ndarray, "features"]
    """Ascending."""
    points: Float[np.ndarray, "features 3"]


def _bent(mesh: TriangleMesh) -> Bool[np.ndarray, "faces"]:
    """Faces with vertices of different directions."""
    normals = vertex_normals(mesh)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    corners = normals[mesh.faces]
    return np.any(np.einsum("fij,fij->fi", corners, np.roll(corners, 1, axis=1)) < BENT, axis=1)


def _planes(points: Float[np.ndarray, "planes 3"], width: float, ask: Ask) -> _Planes:
    """Where the field, taken as linear around each point, is zero."""
    step = NEAR * width
    values = ask((points[:, None] + step * _AROUND).reshape(-1, 3)).reshape(-1, 4)
    gradients = values @ _AROUND / (4.0 * step)
    length = np.linalg.norm(gradients, axis=1)
    normals = np.divide(gradients, length[:, None], out=np.zeros_like(gradients), where=length[:, None] > 1e-9)
    off = np.divide(values.mean(axis=1), length, out=np.zeros(len(points)), where=length > 1e-9)
    # A vertex lies on an edge of the grid, so that the surface is not farther than that.
    return _Planes(normals, np.einsum("ij,ij->i", normals, points) - np.clip(off, -width, width))


def _features(
    points: Float[np.ndarray, "members 3"], planes: _Planes, owners: Int[np.ndarray, "members"], crossings: EdgeCrossings,
    vertices: Int[np.ndarray, "members"],
) -> _Features:  # fmt: skip
    """Of each patch with different normals, the point nearest to all its planes; members are sorted by their patch."""
    patches, first, counts = np.unique(owners, return_index=True, return_counts=True)
    if len(patches) == 0:
        return _Features(patches, np.zeros((0, 3)))
    # One row a patch, padded with planes that say nothing.
    row, column = np.repeat(np.arange(len(patches)), counts), np.arange(len(owners)) - np.repeat(first, counts)
    normals = np.zeros((len(patches), int(counts.max()), 3))
    normals[row, column] = planes.normals
    there = np.any(normals != 0, axis=2)
    cosines = np.where(there[:, :, None] & there[:, None], normals @ normals.transpose(0, 2, 1), 1.0)
    most = cosines.reshape(len(patches), -1).argmin(axis=1)
    sharp = np.flatnonzero(cosines.reshape(len(patches), -1).min(axis=1) < SHARP)
    i, j = most[sharp] // normals.shape[1], most[sharp] % normals.shape[1]
    normals = normals[sharp]
    rows = np.arange(len(sharp))
    edge = np.cross(normals[rows, i], normals[rows, j])
    length = np.linalg.norm(edge, axis=1, keepdims=True)
    edge = np.divide(edge, length, out=np.zeros_like(edge), where=length > 1e-9)
    corner = np.abs(np.einsum("pki,pi->pk", normals, edge)).max(axis=1) > CORNER
    centers = np.add.reduceat(points, first)[sharp] / counts[sharp, None]
    offsets = np.zeros((len(patches), int(counts.max())))
    offsets[row, column] = planes.offsets
    residuals = np.where(there[sharp], offsets[sharp] - np.einsum("pki,pi->pk", normals, centers), 0.0)
    found = centers + _nearest(normals, residuals, corner)
    low = np.full((len(patches), 3), np.inf)
    np.minimum.at(low, row, crossings.start[vertices])
    beyond = BEYOND * crossings.width
    return _Features(patches[sharp], np.clip(found, low[sharp] - beyond, low[sharp] + crossings.width + beyond))


def _nearest(
    normals: Float[np.ndarray, "patches planes 3"], residuals: Float[np.ndarray, "patches planes"],
    corner: Bool[np.ndarray, "patches"],
) -> Float[np.ndarray, "patches 3"]:  # fmt: skip
    """The least squares step onto all planes, by as many directions as a corner (3) or an edge (2) settles."""
    values, vectors = np.linalg.eigh(normals.transpose(0, 2, 1) @ normals)
    right = np.einsum("pki,pk->pi", normals, residuals)
    along = np.einsum("pij,pi->pj", vectors, right)
    use = values > 1e-3 * values[:, 2:]
    use[:, 0] &= corner
    return np.einsum("pij,pj->pi", vectors, np.divide(along, values, out=np.zeros_like(along), where=use))


def _with_features(
    mesh: TriangleMesh, patches: Int[np.ndarray, "faces"], features: _Features, smallest: float
) -> TriangleMesh:
    """Each feature's patch becomes a fan around it; sides that two fans share across a face of the grid are turned."""
    number = np.full(int(patches[-1]) + 1, -1)
    number[features.patches] = np.arange(len(features.patches))
    of_face = number[patches]
    replaced = of_face >= 0
    sides = mesh.faces[replaced][:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    owner = of_face[replaced].repeat(3)
    count = len(mesh.vertices)
    # The rim of a patch: sides whose reverse is not in the same patch.
    rim = np.flatnonzero(_reverse(sides, count, same=owner) < 0)
    fans = np.column_stack([count + owner[rim], sides[rim]])
    vertices = np.concatenate([mesh.vertices, features.points])
    flat = np.linalg.norm(_areas(vertices, *fans.T), axis=1) < smallest
    if flat.any():
        kept = np.ones(len(features.patches), dtype=np.bool_)
        kept[owner[rim[flat]]] = False
        return _with_features(mesh, patches, _Features(features.patches[kept], features.points[kept]), smallest)
    _turn(fans, vertices, count, smallest)
    return TriangleMesh(vertices=vertices, faces=np.concatenate([mesh.faces[~replaced], fans]))


def _reverse(
    sides: Int[np.ndarray, "sides 2"], count: int, *, same: Int[np.ndarray, "sides"] | None = None
) -> Int[np.ndarray, "sides"]:
    """Of each directed side the row of that which runs the other way, -1 if there is none, or none with the same label."""
    codes, wanted = sides[:, 0] * count + sides[:, 1], sides[:, 1] * count + sides[:, 0]
    order = np.argsort(codes, kind="stable")
    at = np.searchsorted(codes[order], wanted).clip(max=max(len(order) - 1, 0))
    found = order[at] if len(order) else at
    ok = codes[found] == wanted
    if same is not None:
        ok &= same[found] == same
    return np.where(ok, found, -1)


def _turn(fans: Int[np.ndarray, "fans 3"], vertices: Float[np.ndarray, "v 3"], count: int, smallest: float) -> None:
    """Turn the sides between two fans, in place, so that they join the fans' middles."""
    other = _reverse(fans[:, 1:], count)
    first = np.flatnonzero(other > np.arange(len(fans)))
    second = other[first]
    p, a, b = fans[first].T
    q = fans[second, 0]
    low, high = np.minimum(p, q), np.maximum(p, q)
    _, at, times = np.unique(low * len(vertices) + high, return_inverse=True, return_counts=True)
    before = _areas(vertices, p, a, b) + _areas(vertices, q, b, a)
    # No side twice, and no triangle that turns over.
    turned = times[at] == 1
    for part in (_areas(vertices, p, a, q), _areas(vertices, q, b, p)):
        size = np.linalg.norm(part, axis=1)
        towards = np.einsum("ij,ij->i", part, before)
        turned &= (towards > 1e-3 * size * np.linalg.norm(before, axis=1)) & (size > smallest)
    first, second, a, b, p, q = (x[turned] for x in (first, second, a, b, p, q))
    fans[first] = np.column_stack([p, a, q])
    fans[second] = np.column_stack([q, b, p])


def _areas(
    vertices: Float[np.ndarray, "vertices 3"], a: Int[np.ndarray, "n"], b: Int[np.ndarray, "n"], c: Int[np.ndarray, "n"]
) -> Float[np.ndarray, "n 3"]:
    return np.cross(vertices[b] - vertices[a], vertices[c] - vertices[a])
