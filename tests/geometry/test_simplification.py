"""Decimated meshes keep their shape approximately, subdivided ones exactly."""

import numpy as np
import pytest
import trimesh
from helpers.plain_geometry import sphere

from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.proximity import FaceTree
from shapeprior.geometry.simplification import decimate, join_vertices, subdivide


def test_a_sphere_stays_one() -> None:
    mesh = sphere(radius=0.8, subdivisions=4)
    small = decimate(mesh, 500)
    assert len(small.faces) <= 500
    assert small.is_watertight
    assert small.volume == pytest.approx(mesh.volume, rel=0.02)
    assert FaceTree(mesh).distance(small.vertices).max() < 0.01
    assert decimate(mesh, len(mesh.faces)) is mesh


def test_what_is_not_manifold_is_thinned_all_the_same() -> None:
    mesh = sphere(radius=0.8, subdivisions=4)
    fin = np.array([[*mesh.faces[0, :2], len(mesh.vertices)]])
    winged = TriangleMesh(vertices=np.vstack([mesh.vertices, [[1.0, 0, 0]]]), faces=np.vstack([mesh.faces, fin]))
    assert winged.edge_counts.max() == 3
    small = decimate(winged, 800)
    assert 50 < len(small.faces) <= 800
    assert FaceTree(winged).distance(small.vertices).max() < 0.1


def test_joined_vertices_are_within_their_cell() -> None:
    mesh = sphere(radius=1.0, subdivisions=4)
    joined = join_vertices(mesh, 10)
    assert len(joined.vertices) < 0.5 * len(mesh.vertices)
    assert FaceTree(mesh).distance(joined.vertices).max() < 0.2 * np.sqrt(3.0)
    assert set(np.unique(joined.faces)) == set(range(len(joined.vertices)))


def test_halved_edges_change_no_place_of_the_surface() -> None:
    box = trimesh.creation.box((1.0, 2.0, 0.3))
    mesh = TriangleMesh(vertices=np.array(box.vertices), faces=np.array(box.faces, dtype=np.int64))
    fine = subdivide(mesh, max_edge=0.2, max_faces=20_000)
    assert fine.is_watertight
    assert fine.volume == pytest.approx(mesh.volume, rel=1e-12)
    assert fine.face_areas.sum() == pytest.approx(mesh.face_areas.sum(), rel=1e-12)
    corners = fine.corners
    assert np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max() <= 0.2
    assert subdivide(mesh, max_edge=10.0, max_faces=20_000).faces.tolist() == mesh.faces.tolist()
    some = subdivide(mesh, max_edge=0.01, max_faces=1000)
    assert 900 < len(some.faces) <= 1000
    assert some.is_watertight
    # The faces that are allowed go where edges are longest.
    lengths = np.linalg.norm(some.corners - np.roll(some.corners, 1, axis=1), axis=2)
    assert lengths.max() < 0.3
