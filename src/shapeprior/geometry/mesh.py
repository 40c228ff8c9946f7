"""The triangle mesh that every stage passes on, and what can be read off its vertices and faces alone.

Beside `TriangleMesh` there are its connected components, its vertex normals, and the integer keys of rows that make
edges and faces quick to compare.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

FACES_PER_BATCH = 2**14
"""Faces whose area vectors are computed together, so that the intermediate arrays stay in the processor's cache."""


@dataclass(frozen=True, eq=False)
class TriangleMesh:
    """A triangle mesh. The variable that holds it names its frame (``mesh_world``, ``mesh_unit``).

    Faces run counter-clockwise seen from outside if the source was right;
    `shapeprior.geometry.cleaning.clean_mesh` repairs those that do not.
    """

    vertices: Float[np.ndarray, "vertices 3"]
    """Positions (float64), in the frame's length unit."""
    faces: Int[np.ndarray, "faces 3"]
    """Vertex indices of each face (int64)."""

    # Not cached: for two million faces this takes 144 MB, and it is quick to compute.
    @property
    def corners(self) -> Float[np.ndarray, "faces 3 3"]:
        """Positions of the three corners of each face."""
        return self.vertices[self.faces]

    @property
    def face_area_vectors(self) -> Float[np.ndarray, "faces 3"]:
        """Normals of the faces, as long as the faces' areas."""
        out = np.zeros((len(self.faces), 3))
        for batch in _face_batches(len(self.faces)):
            out[batch] = self._area_vectors(batch)
        return out

    @cached_property
    def face_areas(self) -> Float[np.ndarray, "faces"]:
        """Area of each face, in squared length units."""
        out = np.zeros(len(self.faces))
        for batch in _face_batches(len(self.faces)):
            x, y, z = self._area_vectors(batch).T
            out[batch] = np.sqrt(x * x + y * y + z * z)
        return out

    def _area_vectors(self, batch: slice) -> Float[np.ndarray, "batch 3"]:
        a, b, c = (self.vertices.take(self.faces[batch, corner], axis=0) for corner in range(3))
        b -= a
        c -= a
        # The same bits as `np.cross` in half the time.
        out = a
        for axis in range(3):
            y, z = (axis + 1) % 3, (axis + 2) % 3
            out[:, axis] = 0.5 * (b[:, y] * c[:, z] - b[:, z] * c[:, y])
        return out

    @cached_property
    def face_normals(self) -> Float[np.ndarray, "faces 3"]:
        """Unit normals of the faces; zero for a face without area."""
        areas, vectors = self.face_areas[:, None], self.face_area_vectors
        return np.divide(vectors, areas, out=np.zeros_like(vectors), where=areas > 0)

    @property
    def longest_edges(self) -> Float[np.ndarray, "faces"]:
        """Length of the longest edge of each face."""
        corners = self.corners
        return np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1, initial=0.0)

    @property
    def bounds(self) -> Float[np.ndarray, "2 3"]:
        """Smallest and largest coordinate along each axis, over the vertices that faces use."""
        is_used = np.zeros(len(self.vertices), dtype=bool)
        is_used[self.faces] = True
        used = self.vertices[is_used]
        return np.stack([used.min(axis=0), used.max(axis=0)])

    @property
    def volume(self) -> float:
        """Signed volume in cubed length units; it means something for closed, consistently oriented meshes only."""
        a, b, c = np.moveaxis(self.corners, 1, 0)
        return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6.0)

    @cached_property
    def edge_counts(self) -> Int[np.ndarray, "edges"]:
        """Number of faces at each undirected edge: 2 everywhere on a closed manifold mesh."""
        return np.unique(row_keys(face_edges(self.faces)), return_counts=True)[1]

    @property
    def is_watertight(self) -> bool:
        """True if exactly two faces share every edge and run along it in opposite directions."""
        if len(self.faces) == 0 or not np.all(self.edge_counts == 2):
            return False
        directed = self.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
        return len(np.unique(row_keys(directed))) == len(directed)

    @cached_property
    def part_labels(self) -> Int[np.ndarray, "faces"]:
        """The part that each face belongs to, from 0. Faces that share a vertex belong to one part."""
        a, b, c = self.faces.T
        links = np.stack([np.concatenate([a, b]), np.concatenate([b, c])], axis=1)
        labels = connected_labels(links, len(self.vertices))
        return np.unique(labels[a], return_inverse=True)[1].reshape(-1).astype(np.int64)

    def without_unused_vertices(self) -> "TriangleMesh":
        """Return the same surface without the vertices that no face uses; the others keep their order."""
        used, faces = np.unique(self.faces, return_inverse=True)
        return TriangleMesh(vertices=self.vertices[used], faces=faces.reshape(self.faces.shape).astype(np.int64))


def _face_batches(num_faces: int) -> Iterator[slice]:
    for start in range(0, num_faces, FACES_PER_BATCH):
        yield slice(start, start + FACES_PER_BATCH)


_MAX_INT64 = np.iinfo(np.int64).max


def row_keys(rows: Int[np.ndarray, "rows columns"]) -> Int[np.ndarray, "rows"]:
    """Return one integer for each row of non-negative integers.

    Keys are equal for equal rows and sort like the rows do. Sorting keys is ten times faster than sorting rows.
    """
    keys = np.zeros(len(rows), dtype=np.int64)
    for column in rows.T:
        bound = int(column.max(initial=0)) + 1
        if int(keys.max(initial=0)) > (_MAX_INT64 - bound) // bound:
            # The product would overflow: replace keys and column by their ranks, which keep the order.
            keys, column = (
                np.unique(part, return_inverse=True)[1].reshape(-1).astype(np.int64) for part in (keys, column)
            )
            bound = len(keys)
        keys = keys * bound + column
    return keys


def face_edges(faces: Int[np.ndarray, "faces 3"]) -> Int[np.ndarray, "halfedges 2"]:
    """Return the two vertices of each side of each face, the lower index first.

    Row ``3 * face + k`` is the side from corner k of the face to the next one. The integer type stays that of `faces`.
    """
    edges = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    edges.sort(axis=1)
    return edges


def connected_labels(links: Int[np.ndarray, "links 2"], num_nodes: int) -> Int[np.ndarray, "nodes"]:
    """Label the connected components of an undirected graph, from 0 in the order of their first nodes."""
    graph = coo_array((np.ones(len(links), dtype=np.int8), tuple(links.T)), shape=(num_nodes, num_nodes))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def sum_by_label(
    vectors: Float[np.ndarray, "rows 3"], labels: Int[np.ndarray, "rows"], *, num_labels: int = 0
) -> Float[np.ndarray, "labels 3"]:
    """Add up the vectors of each label from 0 to the largest label, or to ``num_labels - 1`` if that is larger."""
    sums = [np.bincount(labels, weights=column, minlength=num_labels) for column in vectors.T]
    return np.stack(sums, axis=1).astype(np.float64, copy=False)  # numpy counts nothing in integers.


def vertex_normals(mesh: TriangleMesh) -> Float[np.ndarray, "vertices 3"]:
    """Return the sum of the area vectors of the faces around each vertex; these normals are not of unit length."""
    vectors = mesh.face_area_vectors
    normals = np.zeros_like(mesh.vertices)
    for corner in range(3):
        normals += sum_by_label(vectors, mesh.faces[:, corner], num_labels=len(mesh.vertices))
    return normals


def keep_components(mesh: TriangleMesh, *, min_area_share: float, largest_only: bool) -> tuple[TriangleMesh, int]:
    """Drop small connected components and the vertices that only they use.

    Args:
        mesh: Any triangle mesh.
        min_area_share: Components with less than this share of the total area are dropped; the largest always stays.
        largest_only: Keep the largest component alone.

    Returns:
        The mesh that is left, and the number of components that were dropped.
    """
    if len(mesh.faces) == 0 or (min_area_share == 0 and not largest_only):
        return mesh, 0
    count, of_faces, of_vertices = components_of(mesh)
    if count == 1:
        return mesh, 0
    areas = np.bincount(of_faces, weights=mesh.face_areas, minlength=count)
    keep = areas >= min_area_share * areas.sum()
    keep[np.argmax(areas)] = True
    if largest_only:
        keep = np.arange(len(areas)) == np.argmax(areas)
    if keep.all():
        return mesh, 0
    used = keep[of_vertices]
    renumbered = np.cumsum(used) - 1
    kept = renumbered.take(mesh.faces[keep[of_faces]])
    return TriangleMesh(vertices=mesh.vertices[used], faces=kept), int(np.count_nonzero(~keep))


def components_of(mesh: TriangleMesh) -> tuple[int, Int[np.ndarray, "faces"], Int[np.ndarray, "vertices"]]:
    """Return the number of connected components, and the component of each face and of each vertex.

    A vertex without a face is a component of its own.
    """
    # Faces and vertices are the nodes of one sparse graph. Its rows need no sorting, as those of vertices are empty.
    num_faces, num_nodes = len(mesh.faces), len(mesh.faces) + len(mesh.vertices)
    row_starts = np.full(num_nodes + 1, 3 * num_faces, dtype=np.int32)
    row_starts[:num_faces] = np.arange(0, 3 * num_faces, 3)
    columns = (mesh.faces + num_faces).astype(np.int32).reshape(-1)
    graph = csr_array((np.ones(len(columns)), columns, row_starts), shape=(num_nodes, num_nodes))
    count, labels = connected_components(graph, directed=False)
    return count, labels[:num_faces], labels[num_faces:]
