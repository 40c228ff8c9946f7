"""A mesh without its crumbs."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from shapeprior.mesh import TriangleMesh


def keep_components(mesh: TriangleMesh, *, min_area_share: float, largest_only: bool) -> tuple[TriangleMesh, int]:
    """Drop connected components with less than a share of the total area, and the vertices that only they use; or all but
    the largest. Returns the mesh, and how many components were dropped."""
    if min_area_share == 0 and not largest_only:
        return mesh, 0
    count = len(mesh.vertices)
    starts, ends = mesh.faces[:, [0, 1]].ravel(), mesh.faces[:, [1, 2]].ravel()
    graph = coo_array((np.ones(len(starts), dtype=np.int8), (starts, ends)), shape=(count, count))
    components, labels = connected_components(graph, directed=False)
    if components == 1:
        return mesh, 0
    labels_of_faces = labels[mesh.faces[:, 0]]
    areas = np.bincount(labels_of_faces, weights=mesh.face_areas, minlength=components)
    keep = areas >= min_area_share * areas.sum()
    keep[np.argmax(areas)] = True
    if largest_only:
        keep = np.arange(len(areas)) == np.argmax(areas)
    if keep.all():
        return mesh, 0
    used = keep[labels]
    renumbered = np.cumsum(used) - 1
    faces = renumbered[mesh.faces[keep[labels_of_faces]]]
    return TriangleMesh(vertices=mesh.vertices[used], faces=faces), int(np.count_nonzero(~keep))
