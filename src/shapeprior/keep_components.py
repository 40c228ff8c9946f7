"""A mesh without its crumbs."""

import numpy as np
from jaxtyping import Int
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from shapeprior.mesh import TriangleMesh


def keep_components(mesh: TriangleMesh, *, min_area_share: float, largest_only: bool) -> tuple[TriangleMesh, int]:
    """Drop connected components with less than a share of the total area, and the vertices that only they use; or all but
    the largest. Returns the mesh, and how many components were dropped."""
    if len(mesh.faces) == 0 or (min_area_share == 0 and not largest_only):
        return mesh, 0
    components, of_faces, of_vertices = components_of(mesh)
    if components == 1:
        return mesh, 0
    areas = np.bincount(of_faces, weights=mesh.face_areas, minlength=components)
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
    """How many connected components there are, and which one each face and each vertex belongs to; vertices without a face are
    components of their own."""
    # Faces and vertices are the nodes of one graph, whose rows need no sorting: those of the vertices are empty.
    faces, nodes = len(mesh.faces), len(mesh.faces) + len(mesh.vertices)
    first = np.full(nodes + 1, 3 * faces, dtype=np.int32)
    first[:faces] = np.arange(0, 3 * faces, 3)
    columns = (mesh.faces + faces).astype(np.int32).reshape(-1)
    graph = csr_array((np.ones(len(columns)), columns, first), shape=(nodes, nodes))
    components, labels = connected_components(graph, directed=False)
    return components, labels[:faces], labels[faces:]
