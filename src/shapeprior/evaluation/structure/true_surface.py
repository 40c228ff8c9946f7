"""The true surface as walls are measured on it: outward faces, cut open at creases, with edges of bounded length."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from shapeprior.geometry.edges import are_sharp, paired_halfedges
from shapeprior.geometry.mesh import TriangleMesh, connected_labels, face_edges, row_keys, vertex_normals
from shapeprior.sdf.signed_distance import SignedDistance

MAX_FACES = 1_000_000
"""Faces of a refined surface, at most: refinement ends when there are more."""
MAX_ROUNDS = 16
"""Times that the long edges are halved, at most."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrueSurface:
    """The faces of a true shape that border the outside, with their normals outwards."""

    mesh: TriangleMesh
    sheet: Bool[np.ndarray, "faces"]
    """Faces with the outside on both sides. They are plates, whose middle they are."""
    sheet_half_thickness: float
    """Half the thickness of these plates, in unit-sphere radii."""

    @classmethod
    def of(cls, distance: SignedDistance) -> "TrueSurface":
        """Take the surface from a shape's signed distance."""
        mesh, sheet = distance.outward_surface()
        return cls(mesh=mesh, sheet=sheet, sheet_half_thickness=distance.sheet_half_thickness)

    @property
    def vertices_on_sheets(self) -> Bool[np.ndarray, "vertices"]:
        """True for the vertices of sheets."""
        found = np.zeros(len(self.mesh.vertices), dtype=bool)
        found[self.mesh.faces[self.sheet]] = True
        return found

    def refined(self, max_edge: float) -> "TrueSurface":
        """Halve edges until none is longer than `max_edge`, in the mesh's unit, or there are `MAX_FACES` faces.

        Neighbours share the midpoints, so that what was connected stays so.
        """
        vertices, faces, sheet = self.mesh.vertices, self.mesh.faces, self.sheet
        for _ in range(MAX_ROUNDS):
            edges = face_edges(faces)
            length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
            long = length > max_edge
            if not long.any() or len(faces) > MAX_FACES:
                break
            keys = row_keys(edges)
            _, first, inverse = np.unique(keys[long], return_index=True, return_inverse=True)
            midpoint = np.full(len(edges), -1)
            midpoint[long] = len(vertices) + inverse.reshape(-1)
            ends = edges[long][first]
            vertices = np.concatenate([vertices, 0.5 * (vertices[ends[:, 0]] + vertices[ends[:, 1]])])
            faces, parent = _split_faces(faces, midpoint.reshape(-1, 3), length.reshape(-1, 3))
            sheet = sheet[parent]
        return replace(self, mesh=TriangleMesh(vertices, faces), sheet=sheet)

    def restricted(self, chosen: Bool[np.ndarray, "faces"]) -> "TrueSurface":
        """Return the chosen faces, with the vertices that they use."""
        mesh = TriangleMesh(self.mesh.vertices, self.mesh.faces[chosen]).without_unused_vertices()
        return replace(self, mesh=mesh, sheet=self.sheet[chosen])

    def creased(self) -> "TrueSurface":
        """Cut the surface open along sharp edges, so that each vertex has one normal."""
        faces = self.mesh.faces
        pairs = paired_halfedges(faces)
        smooth = pairs[
            ~are_sharp(self.mesh.face_normals, pairs) & (self.sheet[pairs[:, 0] // 3] == self.sheet[pairs[:, 1] // 3])
        ]
        start = faces.reshape(-1)
        ahead = np.arange(faces.size).reshape(-1, 3)[:, [1, 2, 0]].reshape(-1)
        first, second = smooth.T
        opposed = start[first] != start[second]
        first, second = first[opposed], second[opposed]
        links = np.concatenate([np.stack([first, ahead[second]], axis=1), np.stack([ahead[first], second], axis=1)])
        corner = connected_labels(links, faces.size)
        vertices = np.zeros((int(corner.max(initial=-1)) + 1, 3))
        vertices[corner] = self.mesh.vertices[start]
        return replace(self, mesh=TriangleMesh(vertices, corner.reshape(-1, 3)))


def unit_vertex_normals(mesh: TriangleMesh) -> Float[np.ndarray, "vertices 3"]:
    """Return the unit normals of the vertices, from those of the faces around them weighted by area; zero if these
    cancel."""
    total = vertex_normals(mesh)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.divide(total, length, out=np.zeros_like(total), where=length > 0)


def _split_faces(
    faces: Int[np.ndarray, "faces 3"], midpoint: Int[np.ndarray, "faces 3"], length: Float[np.ndarray, "faces 3"]
) -> tuple[Int[np.ndarray, "pieces 3"], Int[np.ndarray, "pieces"]]:
    """Split faces at the midpoints of their sides, -1 where a side stays whole; returns the pieces and their faces.

    `length` are the lengths of the sides.
    """
    marked = midpoint >= 0
    count = marked.sum(axis=1)
    pieces, parents = [faces[count == 0]], [np.flatnonzero(count == 0)]

    def add(rows: np.ndarray, *triangles: np.ndarray) -> None:
        for triangle in triangles:
            pieces.append(triangle)
            parents.append(rows)

    def turned(rows: np.ndarray, slot: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the corners and midpoints of the faces, from the given side on."""
        around = (slot[:, None] + np.arange(3)) % 3
        corners, middles = np.take_along_axis(faces[rows], around, 1), np.take_along_axis(midpoint[rows], around, 1)
        return (*corners.T, *middles.T)

    rows = np.flatnonzero(count == 1)
    a, b, c, ab, _, _ = turned(rows, marked[rows].argmax(axis=1))
    add(rows, np.stack([a, ab, c], axis=1), np.stack([ab, b, c], axis=1))
    rows = np.flatnonzero(count == 2)
    slot = (np.argmin(marked[rows], axis=1) + 1) % 3
    a, b, c, ab, bc, _ = turned(rows, slot)
    add(rows, np.stack([ab, b, bc], axis=1))
    # The rest is a quadrangle a, ab, bc, c, whose diagonal starts at the middle of the longer side.
    here = np.arange(len(rows))
    ab_longer = (length[rows][here, slot] >= length[rows][here, (slot + 1) % 3])[:, None]
    add(
        rows,
        np.where(ab_longer, np.stack([a, ab, c], axis=1), np.stack([a, ab, bc], axis=1)),
        np.where(ab_longer, np.stack([ab, bc, c], axis=1), np.stack([a, bc, c], axis=1)),
    )
    rows = np.flatnonzero(count == 3)
    a, b, c, ab, bc, ca = turned(rows, np.zeros(len(rows), dtype=np.int64))
    add(
        rows,
        np.stack([a, ab, ca], axis=1),
        np.stack([ab, b, bc], axis=1),
        np.stack([ca, bc, c], axis=1),
        np.stack([ab, bc, ca], axis=1),
    )
    return np.concatenate(pieces).astype(np.int64), np.concatenate(parents)
