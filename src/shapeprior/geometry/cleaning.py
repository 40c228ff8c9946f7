"""Mesh cleaning: weld vertices, drop degenerate faces, twin faces and stray parts, and orient every patch outward.

`clean_mesh` is the entry point. A closed patch is oriented by its volume. An open patch is oriented by ray casting,
after Takayama et al. 2014, "A simple method for correcting facet orientations in polygon meshes based on ray casting".
"""

from dataclasses import dataclass

import igl
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

from shapeprior.errors import MeshError
from shapeprior.geometry.mesh import TriangleMesh, connected_labels, face_edges, row_keys
from shapeprior.geometry.raycasting import RayScene
from shapeprior.geometry.sampling import fibonacci_directions

WELD_TOLERANCE = 1e-7
"""Vertices closer than this share of the bounding box's diagonal become one vertex."""
EXTENT_RANGE = (1e-50, 1e50)
"""Smallest and largest extent of a mesh. Between them, areas and volumes neither vanish nor overflow."""
STRAY_AREA_SHARE = 0.1
"""Stray parts are dropped only if together they have less than this share of the surface's area."""
STRAY_GAP_RATIO = 0.1
"""A part is stray if its box is farther from the box of the object than this share of that box's diagonal."""
NUM_ESCAPE_RAYS = 32
"""Rays cast from each sampled face to find out which side of an open patch faces outward."""
SAMPLES_PER_PATCH = 64
"""Faces of each open patch, at most, that rays start from."""


@dataclass(frozen=True, kw_only=True)
class CleanReport:
    """Counts of what cleaning found and changed; they are stored beside each shape's samples."""

    source_faces: int
    """Faces in the file."""
    faces: int
    """Faces that are left."""
    degenerate_faces: int
    """Faces without area that were dropped."""
    twin_faces: int
    """Second copies of a face, in either winding, that were dropped. Every ShapeNet file holds each face twice."""
    stray_faces: int
    """Faces of tiny parts far from the object that were dropped, as they would spoil the normalisation."""
    flipped_faces: int
    """Faces whose winding was reversed to turn their patch outward."""
    patches: int
    """Orientable pieces of the surface, each joined across manifold edges."""
    boundary_edges: int
    """Edges with one face, which form the rims of holes."""
    nonmanifold_edges: int
    """Edges with more than two faces."""


def clean_mesh(mesh: TriangleMesh, *, name: str) -> tuple[TriangleMesh, CleanReport]:
    """Clean a mesh and orient it outward; its frame stays as it is.

    Args:
        mesh: The mesh of a file, with any of the usual faults: split vertices, doubled or inverted faces, stray parts.
        name: The file's name, for error messages.

    Returns:
        The cleaned mesh, without unused vertices, and a report of what was changed.

    Raises:
        MeshError: no face with area is left, or the mesh is too small or too large for areas and volumes in float64.
    """
    source_faces = len(mesh.faces)
    with np.errstate(over="ignore"):
        size = float(np.ptp(mesh.bounds, axis=0).max())
    smallest, largest = EXTENT_RANGE
    if size > 0 and not smallest < size < largest:
        raise MeshError(f"{name}: {size:.3g} units across; expected {smallest} to {largest}; choose another unit")
    mesh = _weld(mesh)
    keep = _has_area(mesh)
    degenerate = int(np.count_nonzero(~keep))
    faces = mesh.faces[keep]
    if len(faces) == 0:
        raise MeshError(f"{name}: {source_faces} faces, none with area; expected a surface; export it again")
    _, first = np.unique(row_keys(np.sort(faces, axis=1)), return_index=True)
    twins = len(faces) - len(first)
    faces = faces[np.sort(first)]
    mesh = TriangleMesh(vertices=mesh.vertices, faces=faces)
    stray = _stray_faces(mesh)
    mesh = TriangleMesh(vertices=mesh.vertices, faces=mesh.faces[~stray]).without_unused_vertices()
    oriented, patches = igl.bfs_orient(mesh.faces)
    patches = np.asarray(patches, dtype=np.int64).reshape(-1)
    before = mesh.faces
    mesh = orient_outward(TriangleMesh(vertices=mesh.vertices, faces=np.asarray(oriented, dtype=np.int64)), patches)
    counts = mesh.edge_counts
    return mesh, CleanReport(
        source_faces=source_faces,
        faces=len(mesh.faces),
        degenerate_faces=degenerate,
        twin_faces=twins,
        stray_faces=int(np.count_nonzero(stray)),
        flipped_faces=int(np.count_nonzero(_winding(before) != _winding(mesh.faces))),
        patches=int(patches.max()) + 1,
        boundary_edges=int(np.count_nonzero(counts == 1)),
        nonmanifold_edges=int(np.count_nonzero(counts > 2)),
    )


def _weld(mesh: TriangleMesh) -> TriangleMesh:
    """Join vertices at one position, which many files split to give each face its own normal or texture coordinate."""
    low, high = mesh.bounds
    diagonal = float(np.linalg.norm(high - low))
    step = max(diagonal * WELD_TOLERANCE, np.finfo(np.float64).tiny)
    used, faces = np.unique(mesh.faces, return_inverse=True)
    vertices = mesh.vertices[used]
    # A grid joins nearly all vertices, however many share a place. A tree finds the pairs across the cells' borders.
    grid = np.round((vertices - low) / step).astype(np.int64)
    _, first, cell = np.unique(row_keys(grid), return_index=True, return_inverse=True)
    pairs = KDTree(vertices[first]).query_pairs(step, output_type="ndarray")
    group = connected_labels(pairs, len(first))[cell.reshape(-1)]
    # The order of the file is kept, so that the result does not depend on where the mesh lies.
    _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.zeros_like(order)
    rank[order] = np.arange(len(order))
    welded = rank[inverse.reshape(-1)][faces.reshape(mesh.faces.shape)]
    return TriangleMesh(vertices=vertices[first[order]], faces=welded.astype(np.int64))


def _has_area(mesh: TriangleMesh) -> Bool[np.ndarray, "faces"]:
    a, b, c = mesh.faces.T
    distinct = (a != b) & (b != c) & (c != a)
    # If a sliver's height is below 1e-9 of its length, it is rounding, and the sliver's normal is noise.
    return distinct & (2.0 * mesh.face_areas > 1e-9 * mesh.longest_edges**2)


def _stray_faces(mesh: TriangleMesh) -> Bool[np.ndarray, "faces"]:
    """Mark the faces of small parts that lie far from the object.

    The object grows from its largest part: every part whose box is near the object's box joins it, whatever its size.
    If a tenth of the surface or more does not belong to the object (`STRAY_AREA_SHARE`), the file may well show several
    things, and nothing is dropped.
    """
    labels = mesh.part_labels
    count = int(labels.max()) + 1
    none = np.zeros(len(mesh.faces), dtype=bool)
    if count == 1:
        return none
    area = np.bincount(labels, weights=mesh.face_areas, minlength=count)
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    corners = mesh.corners
    np.minimum.at(low, labels, corners.min(axis=1))
    np.maximum.at(high, labels, corners.max(axis=1))
    belongs = np.arange(count) == int(area.argmax())
    while True:
        box_low, box_high = low[belongs].min(axis=0), high[belongs].max(axis=0)
        reach = STRAY_GAP_RATIO * np.linalg.norm(box_high - box_low)
        gap = np.linalg.norm(np.maximum(np.maximum(low - box_high, box_low - high), 0.0), axis=1)
        grown = belongs | (gap <= reach)
        if np.array_equal(grown, belongs):
            break
        belongs = grown
    return ~belongs[labels] if area[~belongs].sum() < STRAY_AREA_SHARE * area.sum() else none


def _winding(faces: Int[np.ndarray, "faces 3"]) -> Bool[np.ndarray, "faces"]:
    """Return the parity of each face's corner order: two rows with the same corners agree iff they wind the same
    way."""
    a, b, c = faces.T
    return (a < b) ^ (b < c) ^ (c < a)


def orient_outward(mesh: TriangleMesh, patches: Int[np.ndarray, "faces"]) -> TriangleMesh:
    """Turn whole patches outward; within each patch, the winding must be consistent already.

    A closed patch is given a positive volume. An open patch is turned so that more rays escape to infinity from its
    front than from its back (Takayama et al. 2014). Rays and samples are fixed, so that the result is always the same.

    Args:
        mesh: Any triangle mesh.
        patches: The patch that each face belongs to, from 0.
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
    """Tell which patches are closed: each of their edges has exactly two faces of the patch."""
    owner = np.repeat(patches, 3)
    # Small integers, as these arrays are the largest of all.
    edge = row_keys(face_edges(mesh.faces.astype(np.int32)))
    keys = row_keys(np.column_stack([owner, edge]))
    del edge
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    start = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    odd = start[np.diff(np.append(start, len(keys))) != 2]
    is_closed = np.ones(count, dtype=bool)
    is_closed[owner[order[odd]]] = False
    return is_closed


def _escape_balance(
    mesh: TriangleMesh, patches: Int[np.ndarray, "faces"], wanted: Bool[np.ndarray, "patches"]
) -> Float[np.ndarray, "patches"]:
    """Count the rays that escape in front of each wanted patch, less those that escape behind it."""
    faces = _spread_over_patches(mesh, patches, wanted)
    centroids, normals = mesh.vertices[mesh.faces[faces]].mean(axis=1), mesh.face_normals[faces]
    directions = fibonacci_directions(NUM_ESCAPE_RAYS)
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
    """Choose the largest faces of each wanted patch, up to SAMPLES_PER_PATCH: they stand for most of its surface."""
    faces = np.flatnonzero(wanted[patches])
    order = faces[np.lexsort((-mesh.face_areas[faces], patches[faces]))]
    starts = np.searchsorted(patches[order], np.arange(len(wanted)))
    rank = np.arange(len(order)) - starts[patches[order]]
    return order[rank < SAMPLES_PER_PATCH]
