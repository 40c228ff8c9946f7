"""Edges of a mesh: which faces lie beside each one, and which edges are sharp.

A half-edge is one side of a face: number ``3 * face + k`` runs from corner k of the face to the next corner.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from shapeprior.geometry.mesh import face_edges, row_keys

SHARP_EDGE_DEG = 30.0
"""An edge is sharp if the normals of its two faces differ by more than this angle, in degrees; flat is 0."""


def paired_halfedges(faces: Int[np.ndarray, "faces 3"]) -> Int[np.ndarray, "edges 2"]:
    """Return the two half-edges of each edge that exactly two faces share, in the order of the edges' vertices.

    The faces beside an edge are ``halfedges // 3``. Edges with one face or more than two are left out.
    """
    # Small integers, as these arrays are the largest of all.
    keys = row_keys(face_edges(faces.astype(np.int32)))
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    starts = starts[np.diff(np.append(starts, len(keys))) == 2]
    return np.stack([order[starts], order[starts + 1]], axis=1).astype(np.int64)


def are_sharp(
    face_normals: Float[np.ndarray, "faces 3"],
    halfedges: Int[np.ndarray, "edges 2"],
    *,
    min_bend_deg: float = SHARP_EDGE_DEG,
) -> Bool[np.ndarray, "edges"]:
    """Tell which of the given edges (`paired_halfedges`) bend by more than `min_bend_deg`.

    Two unit normals with an angle a between them add up to a vector of squared length 2 + 2 cos a. Rounding decides for
    edges that bend by exactly the limit, such as those of a prism with twelve sides; another formula would decide
    otherwise for some of them, and so change the samples that are drawn from sharp edges.
    """
    summed = face_normals[halfedges[:, 0] // 3] + face_normals[halfedges[:, 1] // 3]
    limit = 2.0 + 2.0 * float(np.cos(np.deg2rad(min_bend_deg)))
    return np.einsum("ij,ij->i", summed, summed) < limit
