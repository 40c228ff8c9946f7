"""What was seen of a surface, on a sphere that one camera looks at: the truth is in the angles."""

import numpy as np
import pytest
from helpers.plain_geometry import box, sphere

from shapeprior.completion.result import IMAGINED_COLOR, SEEN_COLOR, Support
from shapeprior.scans.observation import Observation

BALL = sphere(radius=0.8, subdivisions=4)
EYE = np.array([0.0, 0.0, 4.0])


def seen_points(count: int = 4000) -> np.ndarray:
    """Points of the sphere that the eye sees: its cap towards the eye, whose rim is where the line of sight is
    tangent."""
    points = np.random.default_rng(0).normal(size=(6 * count, 3))
    points *= 0.8 / np.linalg.norm(points, axis=1, keepdims=True)
    return points[points[:, 2] > 0.8 * 0.8 / 4.0][:count]


def test_the_cap_is_seen_and_the_far_side_imagined() -> None:
    support = Support.of(BALL, Observation.from_points(seen_points(), EYE))
    height = BALL.vertices[:, 2]
    rim = 0.8 * 0.8 / 4.0
    assert np.all(support.value[height > rim + 0.02] == 1.0)
    # Behind the rim, distance along the sphere is at least the drop in height.
    assert np.all(support.value[height < rim - 0.2] == 0.0)
    assert np.all(support.value[height < rim - 0.01] <= 0.5)
    # By area, a sphere's zones are as their heights.
    assert support.seen_share == pytest.approx((0.8 - rim) / 1.6, abs=0.03)
    assert support.imagined_share == pytest.approx((rim - 0.17 + 0.8) / 1.6, abs=0.04)


def test_without_a_sensor_distance_alone_decides() -> None:
    support = Support.of(BALL, Observation.from_points(seen_points()))
    rim = 0.8 * 0.8 / 4.0
    assert np.all(support.value[BALL.vertices[:, 2] > rim - 0.02] == 1.0)
    assert np.all(support.value[BALL.vertices[:, 2] < rim - 0.2] == 0.0)


def test_the_back_of_a_thin_plate_is_not_seen_through_it() -> None:
    plate = box(extents=(1.0, 1.0, 0.02))
    grid = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, 60)] * 2), axis=-1).reshape(-1, 2)
    front = np.concatenate([grid, np.full((len(grid), 1), 0.01)], axis=1)
    support = Support.of(plate, Observation.from_points(front, EYE))
    assert np.all(support.value[plate.vertices[:, 2] > 0] == 1.0)
    assert np.all(support.value[plate.vertices[:, 2] < 0] == 0.5)


@pytest.mark.parametrize("count", [1, 2, 30])
def test_between_few_points_nothing_was_seen(count: int) -> None:
    """A point tells of what lies within 0.06 of it at most, and of nothing beyond 0.15."""
    points = seen_points(count)
    support = Support.of(BALL, Observation.from_points(points, EYE))
    assert 0.0 < support.value.max() <= 1.0
    apart = np.linalg.norm(BALL.vertices[:, None] - points, axis=2).min(axis=1)
    assert np.all(support.value[apart > 0.06] < 1.0)
    assert np.all(support.value[apart > 0.15] == 0.0)
    assert support.seen_share < count * 0.06**2 / (4.0 * 0.8**2) * 1.5


def test_a_sparse_scan_is_measured_by_its_own_spacing() -> None:
    dense, sparse = (Support.of(BALL, Observation.from_points(seen_points(count), EYE)) for count in (4000, 1500))
    assert sparse.seen_share == pytest.approx(dense.seen_share, abs=0.03)


def test_points_that_are_there_twice_are_one() -> None:
    points = seen_points(600)
    once, twice = (
        Support.of(BALL, Observation.from_points(each, EYE)) for each in (points, np.concatenate([points, points]))
    )
    np.testing.assert_array_equal(once.value, twice.value)


def test_colours_go_from_imagined_to_seen() -> None:
    support = Support.of(BALL, Observation.from_points(seen_points(), EYE))
    assert {tuple(c) for c in support.colors[support.value == 1.0].tolist()} == {SEEN_COLOR}
    assert {tuple(c) for c in support.colors[support.value == 0.0].tolist()} == {IMAGINED_COLOR}


def test_the_bounded_search_gives_what_a_search_without_bound_does() -> None:
    points = seen_points(300)  # So sparse that its spacing decides what counts as seen.
    distance = np.linalg.norm(BALL.vertices[:, None] - points, axis=2)
    between = np.linalg.norm(points[:, None] - points, axis=2) + 10.0 * np.eye(len(points))
    seen = min(max(0.03, 4.0 * float(np.median(between.min(axis=1)))), 0.06)
    expected = np.clip((0.15 - distance.min(axis=1)) / (0.15 - seen), 0.0, 1.0)
    outward = np.einsum("ij,ij->i", BALL.vertices, EYE - BALL.vertices)
    expected[outward < -1e-3] = np.minimum(expected[outward < -1e-3], 0.5)
    sure = np.abs(outward) > 0.02  # At the rim, the faces' normals decide.
    value = Support.of(BALL, Observation.from_points(points, EYE)).value
    np.testing.assert_allclose(value[sure], expected[sure], atol=1e-12)
    assert seen > 0.05
    assert 0.1 < np.mean(value == 0.0) < 0.8
