"""Cleaning: weld, drop degenerate faces, twin faces and stray parts, and orient every patch outward."""

from dataclasses import dataclass

import igl
import numpy as np
from jaxtyping import Bool, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from shapeprior.errors import MeshError
from shapeprior.mesh import TriangleMesh
from shapeprior.orient import orient_outward
from shapeprior.row_codes import row_codes

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
    _, first = np.unique(row_codes(np.sort(faces, axis=1)), return_index=True)
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
    _, first, cell = np.unique(row_codes(grid), return_index=True, return_inverse=True)
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
