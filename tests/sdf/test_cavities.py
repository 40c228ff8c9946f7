"""Regions of free space, against solids whose hollows are known."""

import numpy as np
import pytest
from helpers.plain_geometry import join, keep, lathe, points_around, random_rotation, sphere, sphere_sdf

from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.proximity import FaceTree
from shapeprior.geometry.raycasting import RayScene
from shapeprior.sdf.cavities import MIN_CLEARANCE, NO_REGION, OUTSIDE, FreeSpaceRegions

POINTS = points_around(np.random.default_rng(0), 1000)
BALL = sphere(radius=0.9, subdivisions=4)


def pockets_of(mesh: TriangleMesh) -> FreeSpaceRegions:
    return FreeSpaceRegions(FaceTree(mesh), RayScene(mesh))


def labels_at(mesh: TriangleMesh, points: np.ndarray) -> np.ndarray:
    tree = FaceTree(mesh)
    return pockets_of(mesh).reached_from(points, points - tree.nearest(points)[2])


def test_a_ball_parts_inside_from_outside_right_up_to_its_surface() -> None:
    directions = POINTS / np.linalg.norm(POINTS, axis=1, keepdims=True)
    points = np.concatenate([POINTS, 0.8985 * directions, 0.9015 * directions])
    labels, outside = labels_at(BALL, points), sphere_sdf(points, radius=0.9) > 0.0
    assert (labels != NO_REGION).all()
    np.testing.assert_array_equal(labels == OUTSIDE, outside)
    assert len(np.unique(labels[~outside])) == 1


def test_nested_balls_make_three_pockets_none_of_them_open() -> None:
    pockets = pockets_of(join(BALL, sphere(radius=0.5, subdivisions=3)))
    assert pockets.is_open.tolist() == [True, False, False]
    radii = [np.linalg.norm(centers, axis=1) for centers in pockets.centers]
    assert (radii[OUTSIDE] > 0.9).all()
    assert sorted([radii[1].max() < 0.5, radii[2].max() < 0.5]) == [False, True]
    assert max(radii[1].max(), radii[2].max()) < 0.9


@pytest.mark.parametrize("seed", range(3))
def test_a_narrow_hole_parts_and_a_wide_mouth_joins(seed: int) -> None:
    turned = TriangleMesh(BALL.vertices @ random_rotation(np.random.default_rng(seed)).T, BALL.faces)
    top = turned.corners.mean(axis=1)[:, 2]
    # The hole's radius is 0.24 of the ball's; the hemisphere's mouth is as wide as the hemisphere.
    holed = pockets_of(keep(turned, top < 0.875))
    assert holed.is_open.tolist() == [True, True]
    assert labels_at(keep(turned, top < 0.875), np.zeros((1, 3)))[0] != OUTSIDE
    assert labels_at(keep(turned, top < 0.1), np.array([[0.0, 0.0, -0.6]])).tolist() == [OUTSIDE]


def test_a_deep_cup_belongs_to_the_outside_to_its_bottom() -> None:
    cup = lathe([(0.0, -0.7), (0.6, -0.7), (0.6, 0.7)])
    heights = np.linspace(-0.69, 0.6, 20)
    inside_cup = np.stack([np.full(20, 0.3), np.zeros(20), heights], axis=1)
    assert (labels_at(cup, inside_cup) == OUTSIDE).all()


def test_a_slot_narrower_than_the_clearance_is_no_pocket() -> None:
    wall = 0.8 * MIN_CLEARANCE
    slot = join(
        lathe([(0.5, -0.6), (0.5, 0.6)], sections=64), lathe([(0.5 - wall, -0.6), (0.5 - wall, 0.6)], sections=64)
    )
    assert labels_at(slot, np.array([[0.5 - wall / 2, 0.0, 0.0]])).tolist() == [NO_REGION]
