"""Nearest points, against brute force over all triangles."""

import numpy as np
from helpers.plain_geometry import brute_force_distance, points_around, torus

from shapeprior.geometry.proximity import POINTS_PER_BATCH, FaceTree

MESH = torus(major=0.6, minor=0.25, sections=16)
POINTS = points_around(np.random.default_rng(0), 300)


def test_distance_foot_and_face_fit_together() -> None:
    distance, face, foot = FaceTree(MESH).nearest(POINTS)
    np.testing.assert_allclose(distance, brute_force_distance(MESH, POINTS), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(POINTS - foot, axis=1), distance, atol=1e-12)
    corner, normal = MESH.corners[face][:, 0], MESH.face_normals[face]
    np.testing.assert_allclose(np.einsum("ij,ij->i", foot - corner, normal), 0.0, atol=1e-12)


def test_a_tree_of_some_faces_names_them_by_their_place_in_the_mesh() -> None:
    chosen = MESH.corners.mean(axis=1)[:, 0] > 0.3
    distance, face, _ = FaceTree(MESH, chosen).nearest(POINTS)
    assert chosen[face].all()
    expected = brute_force_distance(type(MESH)(MESH.vertices, MESH.faces[chosen]), POINTS)
    np.testing.assert_allclose(distance, expected, atol=1e-12)


def test_more_points_than_a_batch() -> None:
    many = np.tile(POINTS, (POINTS_PER_BATCH // len(POINTS) + 2, 1))
    tree = FaceTree(MESH)
    np.testing.assert_array_equal(tree.distance(many), np.resize(tree.distance(POINTS), len(many)))
    assert len(FaceTree(MESH, np.zeros(len(MESH.faces), dtype=bool))) == 0
