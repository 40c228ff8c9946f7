"""Meshes with fewer faces, to look at: edges are collapsed where the surface changes least."""

import igl
import numpy as np

from shapeprior.geometry.mesh import TriangleMesh, row_keys

MAX_COLLAPSED_FACES = 250_000
"""Meshes of more faces have vertices that share a cell of a grid joined first: collapsing takes 1.6 s for 100,000 faces."""
_COARSE_CELLS = 160
"""Cells along the longest side of that grid."""


def decimate(mesh: TriangleMesh, faces: int) -> TriangleMesh:
    """A mesh with at most about `faces` faces that looks the same (Garland and Heckbert 1997, by libigl's qslim).

    Where a surface is not manifold, which qslim refuses, vertices that share a cell of a grid are joined instead; then there may
    be fewer faces than asked for. The same mesh comes back if it has few enough.
    """
    if len(mesh.faces) <= faces:
        return mesh
    if len(mesh.faces) > MAX_COLLAPSED_FACES:
        mesh = join_vertices(mesh, _COARSE_CELLS)
    collapsed = _collapse(mesh, faces)
    if collapsed is not None:
        return collapsed
    cells = _COARSE_CELLS
    while len(mesh.faces) > faces and cells > 2:
        mesh, cells = join_vertices(mesh, cells), int(0.85 * cells)
    return mesh


def join_vertices(mesh: TriangleMesh, cells: int) -> TriangleMesh:
    """Vertices that share a cell of a grid with so many cells along the longest side become one, in their middle.

    Faces without an area that this leaves are dropped (Rossignac and Borrel 1993).
    """
    low, high = mesh.bounds
    place = np.floor((mesh.vertices - low) / max(float((high - low).max()), 1e-12) * cells).astype(np.int64)
    place = np.clip(place, 0, cells)
    _, joined, count = np.unique(row_keys(place), return_inverse=True, return_counts=True)
    joined = joined.reshape(-1)
    middle = np.stack([np.bincount(joined, weights=mesh.vertices[:, axis]) for axis in range(3)], axis=1)
    faces = joined[mesh.faces]
    kept = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    faces = faces[kept]
    # Of faces on the same three vertices one is enough, whichever way it is turned.
    _, first = np.unique(row_keys(np.sort(faces, axis=1)), return_index=True)
    return _used(TriangleMesh(vertices=middle / count[:, None], faces=faces[np.sort(first)]))


def refine(mesh: TriangleMesh, *, longest: float, faces: int) -> TriangleMesh:
    """Edges longer than `longest` are halved, the longest first, until none is left or there are `faces` faces.

    For values that are kept at vertices: a wall of two triangles has none in its middle.
    """
    vertices, corners = mesh.vertices, mesh.faces
    while len(corners) < faces:
        ends = np.sort(corners[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
        # Each edge is halved in all of its faces, so that no crack opens; each of these becomes one face more.
        codes, first, which, shared = np.unique(
            row_keys(ends), return_index=True, return_inverse=True, return_counts=True
        )
        ends, which = ends[first], which.reshape(-1, 3)
        lengths = np.linalg.norm(vertices[ends[:, 0]] - vertices[ends[:, 1]], axis=1)
        order = np.argsort(-lengths, kind="stable")
        # Not much shorter ones than the longest: halving that may yet be needed twice.
        least = max(longest, 0.5 * float(lengths[order[0]]))
        halved = order[(lengths[order] > least) & (len(corners) + np.cumsum(shared[order]) <= faces)]
        if len(halved) == 0:
            break
        middles = np.full(len(codes), -1)
        middles[halved] = len(vertices) + np.arange(len(halved))
        vertices = np.concatenate([vertices, vertices[ends[halved]].mean(axis=1)])
        corners = _split(corners, middles[which])
    return TriangleMesh(vertices=vertices, faces=corners)


def _split(faces: np.ndarray, middles: np.ndarray) -> np.ndarray:
    """Faces cut at the middles of their edges ab, bc, ca; -1 where an edge stays whole."""
    pieces = []
    for turn in range(3):  # One halved edge, turned to be the first.
        (a, b, c), (m, n, k) = np.roll(faces, -turn, axis=1).T, np.roll(middles, -turn, axis=1).T
        one = (m >= 0) & (n < 0) & (k < 0)
        pieces += [np.stack([a, m, c], axis=1)[one], np.stack([m, b, c], axis=1)[one]]
        two = (m >= 0) & (n >= 0) & (k < 0)
        corners = [(m, b, n), (a, m, n), (a, n, c)]
        pieces += [np.stack(corner, axis=1)[two] for corner in corners]
    (a, b, c), (m, n, k) = faces.T, middles.T
    three = (m >= 0) & (n >= 0) & (k >= 0)
    pieces += [np.stack(corner, axis=1)[three] for corner in ((a, m, k), (m, b, n), (k, n, c), (m, n, k))]
    return np.concatenate([faces[(middles < 0).all(axis=1)], *pieces])


def _collapse(mesh: TriangleMesh, faces: int) -> TriangleMesh | None:
    if len(mesh.faces) == 0 or mesh.edge_counts.max() > 2:
        return None
    vertices, corners = np.asfortranarray(mesh.vertices), np.asfortranarray(mesh.faces.astype(np.int32))
    try:
        found, left = (np.ascontiguousarray(part) for part in igl.qslim(vertices, corners, faces)[:2])
    # What libigl raises for surfaces that touch themselves in a vertex.
    except (RuntimeError, ValueError):
        return None
    if len(left) == 0 or not np.isfinite(found).all():
        return None
    return _used(TriangleMesh(vertices=found, faces=left.astype(np.int64)))


def _used(mesh: TriangleMesh) -> TriangleMesh:
    """The same mesh without vertices that no face uses."""
    kept, faces = np.unique(mesh.faces, return_inverse=True)
    return TriangleMesh(vertices=mesh.vertices[kept], faces=faces.reshape(-1, 3).astype(np.int64))
