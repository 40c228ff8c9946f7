"""Meshes with fewer faces, by collapsing edges or joining vertices, and meshes with shorter edges, by halving them."""

import igl
import numpy as np
from jaxtyping import Int

from shapeprior.geometry.mesh import TriangleMesh, face_edges, row_keys, sum_by_label

MAX_COLLAPSED_FACES = 250_000
"""Edges of larger meshes are not collapsed before vertices are joined on a grid: collapsing takes 1.6 s for 100,000
faces."""
GRID_CELLS = 160
"""Cells of that grid along the mesh's longest side."""
MIN_GRID_CELLS = 2
"""No coarser grid than this is tried."""


def decimate(mesh: TriangleMesh, max_faces: int) -> TriangleMesh:
    """Return a mesh of at most about `max_faces` faces that looks the same.

    Edges are collapsed where the surface changes least (Garland and Heckbert 1997, by libigl's qslim). qslim refuses
    surfaces that are not manifold; their vertices are joined on a grid instead, which may leave fewer faces than
    allowed. A mesh that has few enough faces is returned as it is.
    """
    if len(mesh.faces) <= max_faces:
        return mesh
    if len(mesh.faces) > MAX_COLLAPSED_FACES:
        mesh = join_vertices(mesh, GRID_CELLS)
    collapsed = _collapse_edges(mesh, max_faces)
    if collapsed is not None:
        return collapsed
    cells = GRID_CELLS
    while len(mesh.faces) > max_faces and cells > MIN_GRID_CELLS:
        mesh, cells = join_vertices(mesh, cells), int(0.85 * cells)
    return mesh


def join_vertices(mesh: TriangleMesh, cells: int) -> TriangleMesh:
    """Join the vertices that share a cell of a grid into one at their mean (Rossignac and Borrel 1993).

    The grid has `cells` cells along the mesh's longest side. Faces that lose their area or become equal are dropped.
    """
    low, high = mesh.bounds
    place = np.floor((mesh.vertices - low) / max(float((high - low).max()), 1e-12) * cells).astype(np.int64)
    place = np.clip(place, 0, cells)
    _, joined, count = np.unique(row_keys(place), return_inverse=True, return_counts=True)
    joined = joined.reshape(-1)
    means = sum_by_label(mesh.vertices, joined) / count[:, None]
    faces = joined[mesh.faces]
    kept = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    faces = faces[kept]
    # One of several faces on the same three vertices is enough, whichever way it winds.
    _, first = np.unique(row_keys(np.sort(faces, axis=1)), return_index=True)
    return TriangleMesh(vertices=means, faces=faces[np.sort(first)]).without_unused_vertices()


def _collapse_edges(mesh: TriangleMesh, max_faces: int) -> TriangleMesh | None:
    """Collapse edges with qslim; None if it refuses the surface or fails."""
    if len(mesh.faces) == 0 or mesh.edge_counts.max() > 2:
        return None
    vertices, corners = np.asfortranarray(mesh.vertices), np.asfortranarray(mesh.faces.astype(np.int32))
    try:
        found, left = (np.ascontiguousarray(part) for part in igl.qslim(vertices, corners, max_faces)[:2])
    # libigl raises these for surfaces that touch themselves in a vertex.
    except (RuntimeError, ValueError):
        return None
    if len(left) == 0 or not np.isfinite(found).all():
        return None
    return TriangleMesh(vertices=found, faces=left.astype(np.int64)).without_unused_vertices()


def subdivide(mesh: TriangleMesh, *, max_edge: float, max_faces: int) -> TriangleMesh:
    """Halve edges longer than `max_edge`, the longest first, until none is left or there are `max_faces` faces.

    The surface stays the same, and a closed mesh stays closed. This serves values that are kept at vertices: a wall of
    two triangles has no vertex in its middle. (`trimesh.remesh.subdivide_to_size` has no limit on the faces; shapes
    that were decimated to 3,000 faces came back from it with 10,600 to 37,700 on average instead of 6,000.)
    """
    vertices, corners = mesh.vertices, mesh.faces
    while len(corners) < max_faces:
        # Each edge is halved in all of its faces, so that no crack opens; each of these faces becomes two.
        ends = face_edges(corners)
        keys, first, edge_of_side, num_faces_at = np.unique(
            row_keys(ends), return_index=True, return_inverse=True, return_counts=True
        )
        ends, edge_of_side = ends[first], edge_of_side.reshape(-1, 3)
        lengths = np.linalg.norm(vertices[ends[:, 0]] - vertices[ends[:, 1]], axis=1)
        order = np.argsort(-lengths, kind="stable")
        # Edges below half the longest wait for a later round, as the longest may have to be halved twice.
        shortest = max(max_edge, 0.5 * float(lengths[order[0]]))
        fits = len(corners) + np.cumsum(num_faces_at[order]) <= max_faces
        halved = order[(lengths[order] > shortest) & fits]
        if len(halved) == 0:
            break
        midpoints = np.full(len(keys), -1)
        midpoints[halved] = len(vertices) + np.arange(len(halved))
        vertices = np.concatenate([vertices, vertices[ends[halved]].mean(axis=1)])
        corners = _split_faces(corners, midpoints[edge_of_side])
    return TriangleMesh(vertices=vertices, faces=corners)


def _split_faces(faces: Int[np.ndarray, "faces 3"], midpoints: Int[np.ndarray, "faces 3"]) -> Int[np.ndarray, "more 3"]:
    """Cut faces at the midpoints of their edges ab, bc, ca; the midpoint is -1 where an edge stays whole."""
    pieces = []
    # One or two halved edges: each face is turned until its first edge is the first halved one.
    for turn in range(3):
        (a, b, c), (m, n, k) = np.roll(faces, -turn, axis=1).T, np.roll(midpoints, -turn, axis=1).T
        one = (m >= 0) & (n < 0) & (k < 0)
        pieces += [np.stack([a, m, c], axis=1)[one], np.stack([m, b, c], axis=1)[one]]
        two = (m >= 0) & (n >= 0) & (k < 0)
        corners = [(m, b, n), (a, m, n), (a, n, c)]
        pieces += [np.stack(corner, axis=1)[two] for corner in corners]
    (a, b, c), (m, n, k) = faces.T, midpoints.T
    three = (m >= 0) & (n >= 0) & (k >= 0)
    pieces += [np.stack(corner, axis=1)[three] for corner in ((a, m, k), (m, b, n), (k, n, c), (m, n, k))]
    return np.concatenate([faces[(midpoints < 0).all(axis=1)], *pieces])
