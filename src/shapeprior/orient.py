"""Outward orientation of patches: by volume where a patch is closed, by what rays see where it is open."""

import numpy as np
from jaxtyping import Bool, Float, Int

from shapeprior.mesh import TriangleMesh
from shapeprior.rays import RayScene, fibonacci_directions
from shapeprior.row_codes import row_codes

RAYS = 32
SAMPLES_A_PATCH = 64


def orient_outward(mesh: TriangleMesh, patches: Int[np.ndarray, "faces"]) -> TriangleMesh:
    """Turn whole patches so that they face the outside; within a patch the winding must already be consistent.

    A closed patch gets a positive volume. An open one turns the side outward from which more rays escape to infinity, in
    the manner of Takayama et al. 2014, "A simple method for correcting facet orientations in polygon meshes
    based on ray casting"; rays and samples are fixed, so that the result is the same every time.
    """
    count = int(patches.max()) + 1
    closed = _closed_patches(mesh, patches, count)
    center = mesh.bounds.mean(axis=0)
    a, b, c = np.moveaxis(mesh.corners - center, 1, 0)
    volume = np.bincount(patches, weights=np.einsum("ij,ij->i", a, np.cross(b, c)), minlength=count)
    flip = closed & (volume < 0)
    if not closed.all():
        flip |= ~closed & (_escape_balance(mesh, patches, ~closed) < 0)
    faces = mesh.faces.copy()
    faces[flip[patches]] = faces[flip[patches]][:, ::-1]
    return TriangleMesh(vertices=mesh.vertices, faces=faces)


def _closed_patches(mesh: TriangleMesh, patches: Int[np.ndarray, "faces"], count: int) -> Bool[np.ndarray, "patches"]:
    """A patch is closed if each of its edges has exactly two of its faces."""
    owner = np.repeat(patches, 3)
    # Small integers, as these arrays are the largest of all.
    edges = mesh.faces.astype(np.int32)[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    edges.sort(axis=1)
    edge = row_codes(edges)
    del edges
    code = row_codes(np.column_stack([owner, edge]))
    del edge
    order = np.argsort(code, kind="stable")
    code = code[order]
    start = np.flatnonzero(np.concatenate([[True], code[1:] != code[:-1]]))
    odd = start[np.diff(np.append(start, len(code))) != 2]
    open_patches = np.zeros(count, dtype=bool)
    open_patches[owner[order[odd]]] = True
    return ~open_patches


def _escape_balance(
    mesh: TriangleMesh, patches: Int[np.ndarray, "faces"], wanted: Bool[np.ndarray, "patches"]
) -> Float[np.ndarray, "patches"]:
    """Rays that escape in front of each wanted patch minus those that escape behind it."""
    faces = _spread_over_patches(mesh, patches, wanted)
    centroids, normals = mesh.vertices[mesh.faces[faces]].mean(axis=1), mesh.face_normals[faces]
    directions = fibonacci_directions(RAYS)
    step = 1e-5 * float(np.linalg.norm(mesh.bounds[1] - mesh.bounds[0]))
    front = np.einsum("fk,rk->fr", normals, directions)
    side = np.where(front >= 0, 1.0, -1.0)
    origins = centroids[:, None, :] + (step * side)[:, :, None] * normals[:, None, :]
    rays = np.broadcast_to(directions, origins.shape).reshape(-1, 3)
    escaped = ~RayScene(mesh).occluded(origins.reshape(-1, 3), np.ascontiguousarray(rays)).reshape(side.shape)
    return np.bincount(patches[faces], weights=(escaped * side).sum(axis=1), minlength=len(wanted))


def _spread_over_patches(
    mesh: TriangleMesh, patches: Int[np.ndarray, "faces"], wanted: Bool[np.ndarray, "patches"]
) -> Int[np.ndarray, "chosen"]:
    """Up to SAMPLES_A_PATCH faces of each wanted patch, the largest first: they speak for most of its surface."""
    faces = np.flatnonzero(wanted[patches])
    order = faces[np.lexsort((-mesh.face_areas[faces], patches[faces]))]
    starts = np.searchsorted(patches[order], np.arange(len(wanted)))
    rank = np.arange(len(order)) - starts[patches[order]]
    return order[rank < SAMPLES_A_PATCH]
