"""Where faces of a mesh pass through each other."""

import igl.predicates
import numpy as np
from jaxtyping import Bool, Float, Int

from shapeprior.geometry.mesh import TriangleMesh, row_keys

SPLIT_EDGE = 0.05
"""Faces along a seam are split until no edge is longer, in unit-sphere radii."""
CONTACT_EDGE = 0.1
"""The same for faces that only lie flat on others."""
MAX_PIECES = 8_000
"""No more splitting beyond this many crossed pieces."""
MAX_ROUNDS = 8


def split_self_intersections(mesh_unit: TriangleMesh) -> tuple[TriangleMesh, Bool[np.ndarray, "pieces"]]:
    """Split the faces that cross or touch others until what still does is small.

    Returns the same surface in pieces, and which of them a seam passes through. A piece without a seam lies wholly on one
    side of every other face, whatever its size.
    """
    vertices, faces, whole = mesh_unit.vertices, mesh_unit.faces, []
    limit, pairs = _longest_allowed(vertices, faces)
    for _ in range(MAX_ROUNDS):
        # What crosses something was crossed from the start, so only those faces need another look.
        crossed = np.isfinite(limit)
        whole.append(faces[~crossed])
        pairs = (np.cumsum(crossed) - 1)[pairs]
        faces, limit = faces[crossed], limit[crossed]
        long = _longest_edges(vertices, faces) > limit
        if not long.any() or len(faces) > MAX_PIECES:
            break
        vertices, faces, limit, pairs = _split_round(vertices, faces, limit, pairs, long)
    whole.append(faces[~np.isfinite(limit)])
    faces, whole = faces[np.isfinite(limit)], np.concatenate(whole)
    pieces = TriangleMesh(vertices=vertices, faces=np.concatenate([whole, faces]))
    return pieces, np.arange(len(pieces.faces)) >= len(whole)


def _split_round(
    vertices: np.ndarray,
    faces: Int[np.ndarray, "faces 3"],
    limit: Float[np.ndarray, "faces"],
    pairs: Int[np.ndarray, "pairs 2"],
    long: Bool[np.ndarray, "faces"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Split the long ones of faces that all meet others; returns vertices, faces, and what `_longest_allowed` says of them.

    Faces that stay whole still meet what they met, if now in pieces. So only the new pieces are looked at, with
    the faces that their parents met.
    """
    vertices, split = _split_in_four(vertices, faces[long])
    met = np.zeros(len(faces), dtype=bool)
    met[pairs[long[pairs].any(axis=1)].reshape(-1)] = True
    met, kept = met[~long], np.flatnonzero(~long)
    looked = np.concatenate([np.flatnonzero(met), np.arange(len(kept), len(kept) + len(split))])
    rank = np.zeros(len(faces), dtype=np.int64)
    rank[kept] = np.arange(len(kept))
    pairs = rank[pairs[~long[pairs].any(axis=1)]]
    faces = np.concatenate([faces[kept], split])
    limit = np.concatenate([limit[kept], np.full(len(split), np.inf)])
    found, new_pairs = _longest_allowed(vertices, faces[looked])
    limit[len(kept) :] = found[int(met.sum()) :]
    return vertices, faces, limit, np.concatenate([pairs, looked[new_pairs]])


def split_to_size(
    mesh: TriangleMesh, chosen: Bool[np.ndarray, "faces"], max_edge: float
) -> tuple[TriangleMesh, Int[np.ndarray, "pieces"]]:
    """Split chosen faces until no edge of theirs is longer, or `MAX_ROUNDS` times; returns the face each piece is of."""
    vertices, source = mesh.vertices, np.flatnonzero(chosen)
    done, origin = [mesh.faces[~chosen]], [np.flatnonzero(~chosen)]
    faces = mesh.faces[chosen]
    for round_number in range(MAX_ROUNDS + 1):
        long = _longest_edges(vertices, faces) > max_edge
        if round_number == MAX_ROUNDS or len(faces) > MAX_PIECES:
            long[:] = False
        done.append(faces[~long])
        origin.append(source[~long])
        if not long.any():
            break
        vertices, faces = _split_in_four(vertices, faces[long])
        source = np.repeat(source[long], 4)
    return TriangleMesh(vertices=vertices, faces=np.concatenate(done)), np.concatenate(origin)


def _longest_allowed(
    vertices: np.ndarray, faces: Int[np.ndarray, "faces 3"]
) -> tuple[Float[np.ndarray, "faces"], Int[np.ndarray, "pairs 2"]]:
    """How long the edges of each face may be: infinite if it meets no other one but in shared corners; and what meets what.

    By exact predicates (libigl).
    """
    result = np.full(len(faces), np.inf)
    if len(faces) == 0:
        return result, np.zeros((0, 2), dtype=np.int64)
    _, pairs, flat = igl.predicates.find_self_intersections(
        np.ascontiguousarray(vertices), np.ascontiguousarray(faces), first_only=False
    )
    pairs, flat = np.asarray(pairs).reshape(-1, 2).astype(np.int64), np.asarray(flat).reshape(-1).astype(bool)
    result[pairs[flat].reshape(-1)] = CONTACT_EDGE
    result[pairs[~flat].reshape(-1)] = SPLIT_EDGE
    return result, pairs


def _longest_edges(vertices: np.ndarray, faces: Int[np.ndarray, "faces 3"]) -> np.ndarray:
    corners = vertices[faces]
    return np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1, initial=0.0)


def _split_in_four(vertices: np.ndarray, faces: Int[np.ndarray, "faces 3"]) -> tuple[np.ndarray, np.ndarray]:
    """Each face becomes four, with new vertices in the middle of its edges; neighbours share them."""
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    _, first, inverse = np.unique(row_keys(edges), return_index=True, return_inverse=True)
    middle = len(vertices) + inverse.reshape(-1, 3)
    a, b, c = faces.T
    ab, bc, ca = middle.T
    split = np.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], axis=1).reshape(-1, 3)
    return np.concatenate([vertices, vertices[edges[first]].mean(axis=1)]), split.astype(np.int64)
