"""Self-intersections of a mesh: its faces are split where they pass through each other.

Intersections are found by exact predicates (libigl).
"""

import igl.predicates
import numpy as np
from jaxtyping import Bool, Float, Int

from shapeprior.geometry.mesh import TriangleMesh, face_edges, row_keys

MAX_CROSSING_EDGE = 0.05
"""Faces that cross others are split until no edge is longer, in unit-sphere radii."""
MAX_CONTACT_EDGE = 0.1
"""Faces that only lie flat on others are split until no edge is longer, in unit-sphere radii."""
MAX_PIECES = 8_000
"""Splitting ends when there are more intersecting pieces than this."""
MAX_ROUNDS = 8
"""Times that a face is split into four, at most."""


def split_self_intersections(mesh_unit: TriangleMesh) -> tuple[TriangleMesh, Bool[np.ndarray, "pieces"]]:
    """Split the faces that cross or touch others until the pieces that still do are small.

    Returns:
        The same surface in pieces, and which of them intersect others. All other pieces, of any size, lie wholly on one
        side of every other face.
    """
    vertices, faces, whole = mesh_unit.vertices, mesh_unit.faces, []
    max_edge, pairs = _max_edges(vertices, faces)
    for _ in range(MAX_ROUNDS):
        # Pieces of faces that met nothing meet nothing either, so only the others need another look.
        crossed = np.isfinite(max_edge)
        whole.append(faces[~crossed])
        pairs = (np.cumsum(crossed) - 1)[pairs]
        faces, max_edge = faces[crossed], max_edge[crossed]
        long = TriangleMesh(vertices, faces).longest_edges > max_edge
        if not long.any() or len(faces) > MAX_PIECES:
            break
        vertices, faces, max_edge, pairs = _split_round(vertices, faces, max_edge, pairs, long)
    whole.append(faces[~np.isfinite(max_edge)])
    faces, whole = faces[np.isfinite(max_edge)], np.concatenate(whole)
    pieces = TriangleMesh(vertices=vertices, faces=np.concatenate([whole, faces]))
    return pieces, np.arange(len(pieces.faces)) >= len(whole)


def _split_round(
    vertices: np.ndarray,
    faces: Int[np.ndarray, "faces 3"],
    max_edge: Float[np.ndarray, "faces"],
    pairs: Int[np.ndarray, "pairs 2"],
    long: Bool[np.ndarray, "faces"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Split the faces marked `long`; all the given faces meet others.

    Faces that stay whole still meet what they met before, if now in pieces. So intersections are looked for among the
    new pieces and the faces that their parents met. Returns the vertices, the faces and the result of `_max_edges` for
    them.
    """
    vertices, split = _split_into_four(vertices, faces[long])
    met = np.zeros(len(faces), dtype=bool)
    met[pairs[long[pairs].any(axis=1)].reshape(-1)] = True
    met, kept = met[~long], np.flatnonzero(~long)
    candidates = np.concatenate([np.flatnonzero(met), np.arange(len(kept), len(kept) + len(split))])
    rank = np.zeros(len(faces), dtype=np.int64)
    rank[kept] = np.arange(len(kept))
    pairs = rank[pairs[~long[pairs].any(axis=1)]]
    faces = np.concatenate([faces[kept], split])
    max_edge = np.concatenate([max_edge[kept], np.full(len(split), np.inf)])
    found, new_pairs = _max_edges(vertices, faces[candidates])
    max_edge[len(kept) :] = found[int(met.sum()) :]
    return vertices, faces, max_edge, np.concatenate([pairs, candidates[new_pairs]])


def split_to_size(
    mesh: TriangleMesh, chosen: Bool[np.ndarray, "faces"], max_edge: float
) -> tuple[TriangleMesh, Int[np.ndarray, "pieces"]]:
    """Split the chosen faces until none has an edge longer than `max_edge`, at most `MAX_ROUNDS` times.

    Returns the mesh of all pieces, and the face that each piece comes from.
    """
    vertices, source = mesh.vertices, np.flatnonzero(chosen)
    done, origin = [mesh.faces[~chosen]], [np.flatnonzero(~chosen)]
    faces = mesh.faces[chosen]
    for round_number in range(MAX_ROUNDS + 1):
        long = TriangleMesh(vertices, faces).longest_edges > max_edge
        if round_number == MAX_ROUNDS or len(faces) > MAX_PIECES:
            long[:] = False
        done.append(faces[~long])
        origin.append(source[~long])
        if not long.any():
            break
        vertices, faces = _split_into_four(vertices, faces[long])
        source = np.repeat(source[long], 4)
    return TriangleMesh(vertices=vertices, faces=np.concatenate(done)), np.concatenate(origin)


def _max_edges(
    vertices: np.ndarray, faces: Int[np.ndarray, "faces 3"]
) -> tuple[Float[np.ndarray, "faces"], Int[np.ndarray, "pairs 2"]]:
    """Find the faces that intersect others.

    Returns how long the edges of each face may be, infinite if it meets others in shared corners only, and the pairs of
    faces that meet.
    """
    result = np.full(len(faces), np.inf)
    if len(faces) == 0:
        return result, np.zeros((0, 2), dtype=np.int64)
    _, pairs, flat = igl.predicates.find_self_intersections(
        np.ascontiguousarray(vertices), np.ascontiguousarray(faces), first_only=False
    )
    pairs, flat = np.asarray(pairs).reshape(-1, 2).astype(np.int64), np.asarray(flat).reshape(-1).astype(bool)
    result[pairs[flat].reshape(-1)] = MAX_CONTACT_EDGE
    result[pairs[~flat].reshape(-1)] = MAX_CROSSING_EDGE
    return result, pairs


def _split_into_four(vertices: np.ndarray, faces: Int[np.ndarray, "faces 3"]) -> tuple[np.ndarray, np.ndarray]:
    """Split each face into four at the midpoints of its edges, which neighbours share."""
    edges = face_edges(faces)
    _, first, inverse = np.unique(row_keys(edges), return_index=True, return_inverse=True)
    midpoints = len(vertices) + inverse.reshape(-1, 3)
    a, b, c = faces.T
    ab, bc, ca = midpoints.T
    split = np.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], axis=1).reshape(-1, 3)
    return np.concatenate([vertices, vertices[edges[first]].mean(axis=1)]), split.astype(np.int64)
