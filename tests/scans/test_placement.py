"""First guesses of where an object is, on spheres of which one side is seen."""

import numpy as np
import pytest

from shapeprior.errors import ScanError
from shapeprior.geometry.transforms import UNIT_SPHERE_BUFFER, Similarity
from shapeprior.scans.observation import Observation
from shapeprior.scans.placement import initial_placements


def seen_side(
    distance: float, *, radius: float = 1.0, center: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> Observation:
    """The points of a sphere that a sensor at `distance` radii from its centre, in direction +z, sees."""
    rng = np.random.default_rng(0)
    height = rng.uniform(1.0 / distance, 1.0, size=3000)
    angle = rng.uniform(0.0, 2.0 * np.pi, size=3000)
    level = np.sqrt(1.0 - height**2)
    points = np.stack([level * np.cos(angle), level * np.sin(angle), height], axis=1)
    sensor = np.array([0.0, 0.0, distance])
    return Observation.from_points(radius * points + center, radius * sensor + center)


def misplacements(candidates: list[Similarity], radius: float, center: tuple[float, float, float]) -> np.ndarray:
    """Of each candidate: |log of the size's error| and the centre's error in radii. Shape (candidates, 2)."""
    rows = []
    for T_unit_world in candidates:
        size = T_unit_world.scale * radius * UNIT_SPHERE_BUFFER
        off = np.linalg.norm(T_unit_world.apply(np.array(center))) / (T_unit_world.scale * radius)
        rows.append((abs(np.log(size)), off))
    return np.array(rows)


@pytest.mark.parametrize("distance", [2.0, 3.0, 100.0])
@pytest.mark.parametrize(("radius", "center"), [(1.0, (0.0, 0.0, 0.0)), (45.0, (300.0, -20.0, 800.0))])
def test_one_candidate_is_near_the_truth(distance: float, radius: float, center: tuple[float, float, float]) -> None:
    errors = misplacements(initial_placements(seen_side(distance, radius=radius, center=center)), radius, center)
    assert np.any((errors[:, 0] < 0.2) & (errors[:, 1] < 0.35))


def test_candidates_bracket_the_size() -> None:
    """Between a half and a third of the surface seen, some guesses are too large and none is far off."""
    for distance in (2.0, 3.0, 100.0):
        sizes = [T.scale * UNIT_SPHERE_BUFFER for T in initial_placements(seen_side(distance))]
        assert 0.7 < min(sizes) < max(sizes) < 1.25


def test_centres_recede_from_the_sensor() -> None:
    view = seen_side(3.0)
    middle = 0.5 * (view.points_world.min(axis=0) + view.points_world.max(axis=0))
    for T_unit_world in initial_placements(view):
        guess = T_unit_world.inverse().offset
        assert guess[2] < middle[2]
        np.testing.assert_allclose(guess[:2], middle[:2], atol=0.02)
        np.testing.assert_array_equal(T_unit_world.rotation, np.eye(3))


def test_without_a_sensor_the_centre_is_that_of_the_points() -> None:
    candidates = initial_placements(Observation.from_points(seen_side(3.0).points_world))
    guesses = np.array([T_unit_world.inverse().offset for T_unit_world in candidates])
    assert len(candidates) >= 2
    np.testing.assert_allclose(guesses, np.tile([0.0, 0.0, 2.0 / 3.0], (len(candidates), 1)), atol=0.03)


def test_guesses_move_with_the_scan_and_its_unit() -> None:
    view = seen_side(3.0)
    moved = Similarity(scale=1000.0, rotation=np.eye(3), offset=np.array([5.0, -7.0, 11.0]))
    for plain, other in zip(initial_placements(view), initial_placements(view.transformed(moved)), strict=True):
        np.testing.assert_allclose((other @ moved).matrix(), plain.matrix(), atol=1e-9)


def test_a_few_stray_points_do_not_decide_the_size() -> None:
    view = seen_side(3.0)
    points = view.points_world.copy()
    points[:10] *= 20.0
    strayed = Observation.from_points(points, np.array([0.0, 0.0, 3.0]))
    for plain, other in zip(initial_placements(view), initial_placements(strayed), strict=True):
        assert other.scale == pytest.approx(plain.scale, rel=0.05)


def test_points_in_one_place_say_nothing_about_the_size() -> None:
    with pytest.raises(ScanError, match="one place"):
        initial_placements(Observation.from_points(np.ones((5, 3))))
