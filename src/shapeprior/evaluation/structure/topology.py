"""The topology of a shape's surface: how many parts it has, and how many handles.

The handles are counted by the Euler characteristic: a closed surface in one part with V vertices, E edges and F faces
has the genus 1 - (V - E + F) / 2. A ball has 0, a mug with one handle 1, and each pin-hole through a wall adds one.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from shapeprior.errors import CompletionError
from shapeprior.geometry.edges import paired_halfedges
from shapeprior.geometry.mesh import TriangleMesh, connected_labels, keep_components
from shapeprior.sdf.isosurface.extract import ExtractConfig, extract_mesh
from shapeprior.sdf.self_intersections import split_self_intersections
from shapeprior.sdf.signed_distance import SignedDistance

MIN_PART_SHARE = 0.01
"""Parts of a true surface with a smaller share of its area are crumbs and do not count, as in mesh extraction."""
LEVEL_SET_RESOLUTION = 128
"""Cells along each axis of the grid on which the topology of an open or overlapping true shape is read off."""


@dataclass(frozen=True, kw_only=True)
class Topology:
    """The topology of a surface."""

    parts: int
    """Number of connected components."""
    genus: int
    """Number of handles, or holes that go through, summed over the parts."""


def topology(mesh: TriangleMesh) -> Topology:
    """Return the number of parts and the summed genus of a closed mesh.

    Faces are connected across the edges that exactly two of them share, so parts that meet in single vertices or in
    edges of four faces count as apart. A mesh that is not closed is counted as if each of its rims were closed by a
    disc.
    """
    num_faces = len(mesh.faces)
    if num_faces == 0:
        return Topology(parts=0, genus=0)
    halfedges = paired_halfedges(mesh.faces)
    twin = np.arange(3 * num_faces)
    twin[halfedges[:, 0]], twin[halfedges[:, 1]] = halfedges[:, 1], halfedges[:, 0]
    parts = _labels(twin.reshape(-1, 3) // 3).max() + 1
    fans = _corner_fans(mesh.faces, twin)
    free = np.flatnonzero(twin == np.arange(3 * num_faces))
    characteristic = int(fans.max()) + 1 - (len(halfedges) + len(free)) + num_faces + _num_rims(fans, free)
    return Topology(parts=int(parts), genus=max(0, round(int(parts) - characteristic / 2)))


def true_topology(distance: SignedDistance, *, resolution: int = LEVEL_SET_RESOLUTION) -> Topology:
    """Return the topology of a true shape, of which its mesh may be open or made of parts that pass through each other.

    A closed mesh whose faces do not touch, with the inside on one side of all of them, is counted itself. Otherwise the
    zero level set of the signed distance is, where overlapping parts are one, and a sheet is a plate. Crumbs
    (`MIN_PART_SHARE`) do not count.
    """
    mesh = distance.mesh
    plain = distance.report.skin_share == 1.0 and mesh.is_watertight
    if not plain or split_self_intersections(mesh)[1].any():
        try:
            mesh = extract_mesh(distance, ExtractConfig(resolution=resolution, project=False, mending=0.0)).mesh
        except CompletionError:
            # Nothing of the shape is as thick as the grid is fine: its own faces say more than an empty grid.
            mesh = distance.surface
    return topology(keep_components(mesh, min_area_share=MIN_PART_SHARE, largest_only=False)[0])


def _corner_fans(faces: Int[np.ndarray, "faces 3"], twin: Int[np.ndarray, "halfedges"]) -> Int[np.ndarray, "corners"]:
    """Label the corners of the faces: those around a vertex that are connected across edges share a label.

    Fans are what counts as a vertex: where two of them touch in one, the surface is not connected. `twin` is the
    half-edge on the other side of each one's edge, itself at a rim.
    """
    start, following = faces.reshape(-1), _following(np.arange(faces.size))
    # The neighbour runs along the shared edge the other way, unless their windings disagree.
    opposed = start[twin] != start
    links = np.where(opposed, following[twin], twin)[:, None]
    if not opposed.all():
        links = np.concatenate([links, np.arange(faces.size)[:, None]], axis=1)
        askew = np.flatnonzero(~opposed)
        links[following[askew], 1] = following[twin[askew]]
    return _labels(links)


def _num_rims(fans: Int[np.ndarray, "corners"], free: Int[np.ndarray, "sides"]) -> int:
    """Return the number of closed lines that the half-edges without a neighbour make."""
    if len(free) == 0:
        return 0
    ends = np.stack([fans[free], fans[_following(free)]], axis=1)
    used, renumbered = np.unique(ends, return_inverse=True)
    return int(connected_labels(renumbered.reshape(-1, 2).astype(np.int64), len(used)).max()) + 1


def _following(halfedges: Int[np.ndarray, "halfedges"]) -> Int[np.ndarray, "halfedges"]:
    """Return the next half-edge of the same face."""
    return np.where(halfedges % 3 == 2, halfedges - 2, halfedges + 1)


def _labels(neighbours: Int[np.ndarray, "nodes neighbours"]) -> Int[np.ndarray, "nodes"]:
    """Label the connected components of a graph in which every node names equally many neighbours."""
    nodes, each = neighbours.shape
    starts = np.arange(0, nodes * each + 1, each, dtype=np.int32)
    columns = neighbours.astype(np.int32).reshape(-1)
    graph = csr_array((np.ones(len(columns), dtype=np.float64), columns, starts), shape=(nodes, nodes))
    return connected_components(graph, directed=False)[1].astype(np.int64)
