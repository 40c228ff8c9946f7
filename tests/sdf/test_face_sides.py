"""The sides of faces and the signs of points, against analytic solids and the inside test itself."""

from collections.abc import Callable

import numpy as np
import pytest
from helpers.plain_geometry import (
    box,
    box_sdf,
    brute_force_winding,
    flip,
    join,
    lathe,
    points_around,
    sphere,
    torus,
    torus_sdf,
)

from shapeprior.geometry.cleaning import clean_mesh
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.proximity import FaceTree
from shapeprior.sdf.face_sides import FaceSides, classify_face_sides
from shapeprior.sdf.inside_test import InsideTest
from shapeprior.sdf.self_intersections import split_self_intersections

POINTS = points_around(np.random.default_rng(0), 4000)


def sides_of(mesh: TriangleMesh) -> tuple[FaceSides, FaceTree]:
    mesh = clean_mesh(mesh, name="a")[0]
    pieces, crossed = split_self_intersections(mesh)
    sides = classify_face_sides(pieces, crossed, InsideTest(mesh, FaceTree(pieces)))
    return sides, FaceTree(sides.pieces)


def signs(mesh: TriangleMesh, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sides, tree = sides_of(mesh)
    return sides.sign_at(points, *tree.nearest(points))


@pytest.mark.parametrize(
    ("mesh", "sdf"),
    [
        (box(extents=(1.4, 0.7, 0.2)), lambda p: box_sdf(p, extents=(1.4, 0.7, 0.2))),
        (torus(major=0.6, minor=0.2, sections=96), lambda p: torus_sdf(p, major=0.6, minor=0.2)),
    ],
    ids=["box", "torus"],
)
def test_faces_edges_and_corners_tell_the_sign(mesh: TriangleMesh, sdf: Callable[[np.ndarray], np.ndarray]) -> None:
    inside, told = signs(mesh, POINTS)
    clear = np.abs(sdf(POINTS)) > 0.003
    assert told.all()
    np.testing.assert_array_equal(inside[clear], sdf(POINTS)[clear] < 0.0)


def test_two_cones_that_touch_at_their_tips() -> None:
    # The pseudonormal of a vertex with two fans means nothing; beside the vertex, the nearer fan decides.
    cones = lathe([(0.0, -0.8), (0.6, -0.8), (0.0, 0.0), (0.6, 0.8), (0.0, 0.8)], sections=24)
    inside, told = signs(cones, POINTS * 0.5)
    truth = brute_force_winding(clean_mesh(cones, name="a")[0], POINTS * 0.5) > 0.5
    np.testing.assert_array_equal(inside[told], truth[told])
    assert told.mean() > 0.7


@pytest.mark.slow
def test_what_is_told_about_a_union_is_right() -> None:
    union = join(box(extents=(1.0, 0.6, 0.5)), sphere(radius=0.45, center=(0.4, 0.1, 0.0)), torus(major=0.7, minor=0.1))
    inside, told = signs(union, POINTS)
    np.testing.assert_array_equal(inside[told], brute_force_winding(union, POINTS)[told] > 0.5)
    assert told.mean() > 0.8


def test_hidden_faces_sheets_and_skin_by_area() -> None:
    # The mesh is a cube with a smaller one inside it and a plate above it.
    plate = TriangleMesh(
        vertices=np.array([[-0.4, -0.4, 0.65], [0.4, -0.4, 0.65], [0.4, 0.4, 0.65], [-0.4, 0.4, 0.65]]),
        faces=np.array([[0, 1, 2], [0, 2, 3]]),
    )
    sides, _ = sides_of(join(box(), box(extents=(0.5, 0.5, 0.5)), plate))
    area = sides.pieces.face_areas
    assert area[sides.skin].sum() == pytest.approx(6.0)
    assert area[sides.sheet].sum() == pytest.approx(0.64)
    assert area[~sides.skin & ~sides.sheet].sum() == pytest.approx(1.5)


@pytest.mark.slow
def test_a_part_that_slips_into_another_without_touching_it_is_cut() -> None:
    # A rod in a slightly wider hole: faces of both go from outside to inside without an intersection.
    hole = lathe([(0.104, 0.5), (0.6, 0.5), (0.6, -0.5), (0.0, -0.5)], sections=48)
    rod = lathe([(0.0, -0.3), (0.1, -0.3), (0.1, 0.9), (0.0, 0.9)], sections=48)
    sides, _ = sides_of(join(hole, rod))
    center, area = sides.pieces.corners.mean(axis=1), sides.pieces.face_areas
    on_rod = np.hypot(center[:, 0], center[:, 1]) < 0.102
    in_the_open, buried = on_rod & (center[:, 2] > 0.6), on_rod & (center[:, 2] < 0.4)
    assert sides.skin[in_the_open].all()
    assert area[buried & sides.skin].sum() < 0.02 * area[buried].sum()


@pytest.mark.parametrize("seed", range(3))
def test_winding_and_confidence(seed: int) -> None:
    mesh = torus(major=0.6, minor=0.25)
    turned = flip(mesh, np.random.default_rng(seed).random(len(mesh.faces)) < 0.5)
    sides, _ = sides_of(turned)
    assert sides.skin.all()
    assert sides.confidence == 1.0
    assert sides.winding_trusted


def test_few_points_at_the_hub_of_a_fan_are_told_their_side() -> None:
    # All faces of a bipyramid meet at two corners, so that the faces around any face are all faces.
    around = np.linspace(0.0, 2.0 * np.pi, 400, endpoint=False)
    ring = np.stack([np.cos(around), np.zeros_like(around), np.sin(around)], axis=1)
    index = np.arange(400)
    upper = np.stack([index, np.full(400, 400), (index + 1) % 400], axis=1)
    lower = np.stack([(index + 1) % 400, np.full(400, 401), index], axis=1)
    mesh = TriangleMesh(np.concatenate([ring, [[0.0, 0.8, 0.0], [0.0, -0.8, 0.0]]]), np.concatenate([upper, lower]))
    points = np.array([[0.0, 0.9, 0.0], [0.0, 0.7, 0.01], [0.02, -0.7, 0.0], [0.3, -0.79, 0.0]])
    inside, told = signs(mesh, points)
    np.testing.assert_array_equal(inside[told], [False, True, True, False])
    assert told.all()
