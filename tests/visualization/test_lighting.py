"""Shading normals against analytic surfaces, and light against integrals worked out by hand."""

import numpy as np
import pytest
import trimesh

from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.raycasting import RayScene
from shapeprior.visualization.lighting import crease_normals, ground_shade, shade


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
    # All faces around a vertex then share one normal, which points outward along all axes.
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


WHITE = np.ones(3)
UP, DOWN = np.array([0.0, 1.0, 0.0]), np.array([0.0, -1.0, 0.0])


def plate(normal_up: bool) -> TriangleMesh:
    vertices = np.array([[-1, 0, -1], [-1, 0, 1], [1, 0, 0]], dtype=np.float64)
    return TriangleMesh(vertices=vertices, faces=np.array([[0, 1, 2]] if normal_up else [[0, 2, 1]]))


def light_at_origin(mesh: TriangleMesh, *, face: int, eye: np.ndarray, lamp: np.ndarray, parts: int = 1) -> np.ndarray:
    return shade(
        mesh,
        RayScene(mesh),
        np.zeros((parts, 3)),
        np.full(parts, face),
        np.arange(parts),
        parts=parts,
        eye=eye,
        lamp=lamp,
        color=WHITE,
    )


@pytest.mark.parametrize("normal_up", [True, False])
def test_an_open_sky_gives_its_mean_brightness(normal_up: bool) -> None:
    # Over the upper half, the mean of 0.75 + 0.45 y weighted with the cosine y is 0.75 + 0.45 * 2/3 = 1.05. The lamp is
    # below and the eye straight above, on the face's front or back alike.
    light = light_at_origin(plate(normal_up), face=0, eye=2 * UP, lamp=DOWN)
    np.testing.assert_allclose(light, 0.68 * 1.05, rtol=0.03)
    below = light_at_origin(plate(normal_up), face=0, eye=2 * DOWN, lamp=UP)
    np.testing.assert_allclose(below, 0.68 * 0.45, rtol=0.05)


def test_the_lamp_adds_its_cosine() -> None:
    slanted = np.array([0.6, 0.8, 0.0])
    without = light_at_origin(plate(True), face=0, eye=2 * UP, lamp=DOWN)
    lit = light_at_origin(plate(True), face=0, eye=2 * UP, lamp=slanted)
    assert (lit - without).max() == pytest.approx(0.72 * 0.8, rel=0.05)


def test_what_is_shut_in_gets_a_quarter_of_the_sky_and_no_lamp() -> None:
    floor = plate(True)
    room = convert(trimesh.creation.box(extents=(6, 6, 6)))
    inside = TriangleMesh(
        vertices=np.concatenate([floor.vertices, room.vertices]), faces=np.concatenate([floor.faces, room.faces + 3])
    )
    light = light_at_origin(inside, face=0, eye=2 * UP, lamp=UP)
    np.testing.assert_allclose(light, 0.25 * 0.68 * 1.05, rtol=0.03)


def test_the_parts_of_the_directions_average_to_the_whole() -> None:
    slanted = np.array([0.6, 0.8, 0.0])
    whole = light_at_origin(plate(True), face=0, eye=2 * UP, lamp=slanted)
    parts = light_at_origin(plate(True), face=0, eye=2 * UP, lamp=slanted, parts=4)
    np.testing.assert_allclose(parts.mean(axis=0), whole[0], rtol=0.03)


def test_the_ground_is_dark_under_cover_only() -> None:
    ball = convert(trimesh.creation.icosphere(subdivisions=3, radius=0.5))
    points = np.array([[0.0, -0.5, 0.0], [0.6, -0.5, 0.0], [50.0, -0.5, 0.0]])
    under, beside, far = ground_shade(RayScene(ball), points, lamp=UP)
    assert under > beside > far
    assert far == pytest.approx(0.0, abs=1e-3)
    shell = convert(trimesh.creation.icosphere(subdivisions=3, radius=5.0))
    np.testing.assert_allclose(ground_shade(RayScene(shell), points[:2], lamp=UP), 0.8, atol=1e-9)
