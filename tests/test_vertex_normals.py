"""Directions at the vertices of a sphere, which are known."""

import numpy as np
from plain_geometry import box, sphere

from shapeprior.geometry.mesh import vertex_normals


def test_on_a_sphere_they_point_away_from_its_middle() -> None:
    ball = sphere(radius=0.7, subdivisions=4)
    normals = vertex_normals(ball)
    cosine = np.einsum("ij,ij->i", normals, ball.vertices) / np.linalg.norm(normals, axis=1) / 0.7
    assert cosine.min() > 0.999


def test_they_sum_the_areas_around_each_vertex() -> None:
    cube = box()
    normals = vertex_normals(cube)
    # Every face is counted at its three vertices, and a closed surface has no direction.
    np.testing.assert_allclose(normals.sum(axis=0), 0.0, atol=1e-12)
    outward = np.sign(cube.vertices - cube.vertices.mean(axis=0))
    assert np.all(normals * outward > 0)
