"""Cleaning: weld, drop degenerate faces, twin faces and stray parts, and orient every patch outward.

Outward orientation of patches: by volume where a patch is closed, by what rays see where it is open.
"""

from dataclasses import dataclass

import igl
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from shapeprior.errors import MeshError
from shapeprior.geometry.mesh import TriangleMesh, row_keys
from shapeprior.geometry.raycasting import RayScene
from shapeprior.geometry.sampling import fibonacci_directions

WELD_TOLERANCE = 1e-7
"""Vertices closer than this share of the bounding box's diagonal become one."""
SIZES = (1e-50, 1e50)
"""Extents between which areas and volumes neither vanish nor overflow."""
STRAY_AREA_SHARE = 0.1
"""Parts that together have less than this share of the surface ..."""
STRAY_GAP = 0.1
"""... and lie farther than this share of the diagonal from the box of the rest are stray, not the object."""


@dataclass(frozen=True, kw_only=True)
class CleanReport:
    """What cleaning found; stored beside each shape's samples."""

    source_faces: int
    """Faces in the file."""
    faces: int
    """Faces left."""
    degenerate_faces: int
    """Faces without area, dropped."""
    twin_faces: int
    """Second copies of a face, in either winding, dropped (every ShapeNet file holds each face twice)."""
    stray_faces: int
    """Faces of tiny parts far from the object, dropped: they would spoil the normalisation."""
    flipped_faces: int
    """Faces whose winding was turned, so that their patch looks outward."""
    patches: int
    """Orientable pieces that are joined across manifold edges."""
    boundary_edges: int
    """Edges with one face: the rims of holes."""
    nonmanifold_edges: int
    """Edges with more than two faces."""


def clean_mesh(mesh: TriangleMesh, *, name: str) -> tuple[TriangleMesh, CleanReport]:
    """Repair what every file of this field may have wrong; the frame stays as it is.

    `name` is the file that errors name. Raises MeshError if no face with area is left.
    """
    source_faces = len(mesh.faces)
    with np.errstate(over="ignore"):
        size = float(np.ptp(mesh.bounds, axis=0).max())
    if size > 0 and not SIZES[0] < size < SIZES[1]:
        raise MeshError(f"{name}: {size:.3g} units across; expected {SIZES[0]} to {SIZES[1]}; choose another unit")
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
    mesh = _drop_unused_vertices(TriangleMesh(vertices=mesh.vertices, faces=mesh.faces[~stray]))
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
    """Join vertices by position; normals and texture coordinates split them in many files."""
    low, high = mesh.bounds
    diagonal = float(np.linalg.norm(high - low))
    step = max(diagonal * WELD_TOLERANCE, np.finfo(np.float64).tiny)
    used, faces = np.unique(mesh.faces, return_inverse=True)
    vertices = mesh.vertices[used]
    # A grid joins nearly all, however many lie in one place; pairs across its cells' borders are left for a tree.
    grid = np.round((vertices - low) / step).astype(np.int64)
    _, first, cell = np.unique(row_keys(grid), return_index=True, return_inverse=True)
    pairs = KDTree(vertices[first]).query_pairs(step, output_type="ndarray")
    graph = coo_array((np.ones(len(pairs), dtype=np.int8), tuple(pairs.T)), shape=(len(first), len(first)))
    group = connected_components(graph, directed=False)[1][cell.reshape(-1)]
    # Keep file order, so that the result does not depend on where the mesh lies.
    _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.zeros_like(order)
    rank[order] = np.arange(len(order))
    welded = rank[inverse.reshape(-1)][faces.reshape(mesh.faces.shape)]
    return TriangleMesh(vertices=vertices[first[order]], faces=welded.astype(np.int64))


def _has_area(mesh: TriangleMesh) -> Bool[np.ndarray, "faces"]:
    a, b, c = mesh.faces.T
    distinct = (a != b) & (b != c) & (c != a)
    corners = mesh.corners
    edges = corners - np.roll(corners, 1, axis=1)
    longest = np.linalg.norm(edges, axis=2).max(axis=1)
    # A sliver's height below 1e-9 of its length is rounding, and its normal is noise.
    return distinct & (2.0 * mesh.face_areas > 1e-9 * longest**2)


def _stray_faces(mesh: TriangleMesh) -> Bool[np.ndarray, "faces"]:
    """Faces of parts that lie well away from the object and are little beside it.

    The object grows from its largest part: a part of any size whose box is near the object's box belongs to it. If a tenth of the
    surface or more does not, the file may show several things on purpose, and nothing is dropped.
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
        reach = STRAY_GAP * np.linalg.norm(box_high - box_low)
        gap = np.linalg.norm(np.maximum(np.maximum(low - box_high, box_low - high), 0.0), axis=1)
        grown = belongs | (gap <= reach)
        if np.array_equal(grown, belongs):
            break
        belongs = grown
    return ~belongs[labels] if area[~belongs].sum() < STRAY_AREA_SHARE * area.sum() else none


def _drop_unused_vertices(mesh: TriangleMesh) -> TriangleMesh:
    used, faces = np.unique(mesh.faces, return_inverse=True)
    return TriangleMesh(vertices=mesh.vertices[used], faces=faces.reshape(mesh.faces.shape).astype(np.int64))


def _winding(faces: Int[np.ndarray, "faces 3"]) -> Bool[np.ndarray, "faces"]:
    """Parity of each face's corner order: two rows with the same corners agree on it iff they wind the same way."""
    a, b, c = faces.T
    return (a < b) ^ (b < c) ^ (c < a)


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
    edge = row_keys(edges)
    del edges
    code = row_keys(np.column_stack([owner, edge]))
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
