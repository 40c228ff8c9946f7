"""Shading normals against analytic surfaces."""

import numpy as np
import trimesh

from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.visualization.lighting import crease_normals


def convert(source: trimesh.Trimesh) -> TriangleMesh:
    return TriangleMesh(
        vertices=np.asarray(source.vertices, dtype=np.float64), faces=np.asarray(source.faces, dtype=np.int64)
    )


def test_a_sphere_is_smooth() -> None:
    mesh = convert(trimesh.creation.icosphere(subdivisions=3))
    cosines = np.einsum("fcx,fcx->fc", crease_normals(mesh), mesh.corners)
    assert cosines.min() > np.cos(np.deg2rad(1.0))


def test_a_box_is_sharp_unless_the_limit_is_above_its_edges() -> None:
    mesh = convert(trimesh.creation.box())
    flat = np.repeat(mesh.face_normals[:, None], 3, axis=1)
    np.testing.assert_allclose(crease_normals(mesh), flat, atol=1e-12)
    round_ = crease_normals(mesh, crease_deg=100.0)
    # All faces around a vertex share one normal then, which points outwards along all axes.
    assert (np.sign(round_) == np.sign(mesh.corners)).all()
    for vertex in range(len(mesh.vertices)):
        around = round_[mesh.faces == vertex]
        np.testing.assert_allclose(around, np.broadcast_to(around[0], around.shape), atol=1e-12)


def test_a_cylinder_is_smooth_around_and_sharp_at_its_caps() -> None:
    mesh = convert(trimesh.creation.cylinder(radius=1.0, height=2.0, sections=48))
    normals = crease_normals(mesh)
    cap = np.abs(mesh.face_normals[:, 2]) > 0.5
    np.testing.assert_allclose(np.abs(normals[cap][..., 2]), 1.0, atol=1e-12)
    radial = mesh.corners[~cap] * [1.0, 1.0, 0.0]
    assert np.einsum("fcx,fcx->fc", normals[~cap], radial).min() > np.cos(np.deg2rad(4.0))


def test_edges_of_three_faces_are_sharp_and_faces_without_area_have_no_normal() -> None:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0.5, 1, 0.1], [0.5, -1, 0.1], [0.5, 1, -0.2]], dtype=np.float64)
    fan = TriangleMesh(vertices=vertices, faces=np.array([[0, 1, 2], [1, 0, 3], [0, 1, 4], [0, 0, 1]]))
    normals = crease_normals(fan)
    np.testing.assert_allclose(normals, np.repeat(fan.face_normals[:, None], 3, axis=1), atol=1e-12)
    assert (normals[3] == 0).all()


def test_a_mesh_without_faces_has_no_normals() -> None:
    empty = TriangleMesh(vertices=np.zeros((0, 3)), faces=np.zeros((0, 3), dtype=np.int64))
    assert crease_normals(empty).shape == (0, 3, 3)
