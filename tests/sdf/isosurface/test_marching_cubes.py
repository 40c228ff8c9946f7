"""Vertices and faces of marching cubes, against the field itself and scikit-image's marching cubes."""

import numpy as np
import pytest
from helpers.analytic_fields import Field, on_the_grid, sphere, squared_sphere, torus, two_spheres
from scipy.spatial import KDTree
from skimage.measure import marching_cubes

from shapeprior.sdf.isosurface.extract import ExtractConfig, extract_mesh


def test_vertices_lie_on_the_surface_and_agree_with_scikit_image() -> None:
    resolution = 64
    mesh = extract_mesh(torus, ExtractConfig(resolution=resolution, project=False)).mesh
    assert np.abs(torus(mesh.vertices)).max() < 0.05 * 2 / resolution
    axis = np.linspace(-1, 1, resolution + 1)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    theirs = marching_cubes(torus(grid.reshape(-1, 3)).reshape(grid.shape[:3]), 0.0, method="lorensen")[0]
    theirs = theirs * 2 / resolution - 1
    assert len(theirs) == len(mesh.vertices)
    # Our vertices keep 0.1 % of an edge away from its ends.
    assert KDTree(theirs).query(mesh.vertices)[0].max() < 1.1e-3 * 2 / resolution
    assert KDTree(mesh.vertices).query(theirs)[0].max() < 1.1e-3 * 2 / resolution


@pytest.mark.parametrize("field", [torus, squared_sphere, two_spheres], ids=lambda field: field.__name__)
def test_projection_brings_vertices_nearer_to_the_surface_and_changes_no_face(field: Field) -> None:
    plain = extract_mesh(field, ExtractConfig(resolution=64, project=False)).mesh
    projected = extract_mesh(field, ExtractConfig(resolution=64)).mesh
    np.testing.assert_array_equal(plain.faces, projected.faces)
    truth = sphere if field is squared_sphere else field
    before, after = (np.abs(truth(mesh.vertices)).max() for mesh in (plain, projected))
    # A vertex that is not projected was within 2 % of an edge.
    assert after < max(0.6 * before, 0.021 * 2 / 64)
    assert after <= before
    assert projected.is_watertight


@pytest.mark.parametrize("beyond", [0.0, 1e-15, -1e-15, 1e-9])
def test_values_near_zero_do_not_shrink_triangles(beyond: float) -> None:
    mesh = extract_mesh(lambda points: on_the_grid(points) - beyond, ExtractConfig(resolution=32)).mesh
    sides = np.linalg.norm(mesh.corners - np.roll(mesh.corners, 1, axis=1), axis=2)
    assert sides.min() > 0.9e-3 * 2 / 32
    assert mesh.is_watertight


def test_normals_point_to_the_positive_side() -> None:
    mesh = extract_mesh(torus, ExtractConfig(resolution=64)).mesh
    centers = mesh.corners.mean(axis=1)
    assert (torus(centers + 0.05 * mesh.face_normals) > torus(centers - 0.05 * mesh.face_normals)).all()
