"""Paired half-edges and sharp edges, on solids whose edges are known and against trimesh."""

import numpy as np
import pytest
import trimesh
from helpers.plain_geometry import box, from_trimesh, join, keep, to_trimesh, torus

from shapeprior.geometry.edges import are_sharp, paired_halfedges
from shapeprior.geometry.mesh import TriangleMesh


def ends(mesh: TriangleMesh, halfedges: np.ndarray) -> np.ndarray:
    """The two vertices of each half-edge."""
    face, corner = halfedges // 3, halfedges % 3
    return np.stack([mesh.faces[face, corner], mesh.faces[face, (corner + 1) % 3]], axis=-1)


@pytest.mark.parametrize("seed", range(3))
def test_pairs_are_the_edges_of_exactly_two_faces(seed: int) -> None:
    mesh = torus(major=0.7, minor=0.2, sections=12)
    opened = keep(mesh, np.random.default_rng(seed).random(len(mesh.faces)) < 0.8)
    halfedges = paired_halfedges(opened.faces)
    first, second = ends(opened, halfedges[:, 0]), ends(opened, halfedges[:, 1])
    np.testing.assert_array_equal(np.sort(first, axis=1), np.sort(second, axis=1))
    expected = to_trimesh(opened).face_adjacency_edges
    assert sorted(map(tuple, np.sort(first, axis=1))) == sorted(map(tuple, np.sort(expected, axis=1)))
    assert len(halfedges) == np.count_nonzero(opened.edge_counts == 2)


def test_edges_of_one_or_three_faces_are_left_out() -> None:
    assert len(paired_halfedges(np.array([[0, 1, 2], [1, 0, 3], [0, 1, 4]]))) == 0
    assert len(paired_halfedges(np.zeros((0, 3), dtype=np.int64))) == 0


def test_the_sharp_edges_of_a_box_are_its_twelve() -> None:
    mesh = join(box(), box(center=(3.0, 0.0, 0.0)))
    halfedges = paired_halfedges(mesh.faces)
    sharp = ends(mesh, halfedges[are_sharp(mesh.face_normals, halfedges)][:, 0])
    assert len(sharp) == 24
    # The diagonals of the flat sides are longer.
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices[sharp[:, 0]] - mesh.vertices[sharp[:, 1]], axis=1), 1.0)


def test_the_limit_is_an_angle() -> None:
    # The sides of a prism bend by 45 degrees, its rims by 90.
    mesh = from_trimesh(trimesh.creation.cylinder(radius=0.5, height=1.0, sections=8))
    halfedges = paired_halfedges(mesh.faces)
    counts = [
        np.count_nonzero(are_sharp(mesh.face_normals, halfedges, min_bend_deg=limit)) for limit in (44.0, 46.0, 91.0)
    ]
    assert counts == [24, 16, 0]
