"""The noise of a scan, against noise that was put in."""

import numpy as np
import pytest

from shapeprior.scans.noise import noise_deviation
from shapeprior.scans.observation import Observation

SENSOR = np.array([0.0, 0.0, 3.0])


def seen_points(surface: str, count: int, seed: int = 0) -> np.ndarray:
    """Points of a surface in front of the sensor, on a slanted plane or on half a ball."""
    rng = np.random.default_rng(seed)
    if surface == "plane":
        x, y = rng.uniform(-0.5, 0.5, (2, count))
        return np.stack([x, y, 0.5 * x - 0.3 * y], axis=1)
    points = rng.normal(size=(count, 3))
    points[:, 2] = np.abs(points[:, 2]) + 0.5
    return 0.5 * points / np.linalg.norm(points, axis=1, keepdims=True)


def noisy_view(surface: str, deviation: float, *, count: int = 6000) -> Observation:
    points = seen_points(surface, count)
    rays = points - SENSOR
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    points = points + rays * np.random.default_rng(1).normal(0.0, deviation, (count, 1))
    return Observation(points_world=points, origins_world=np.tile(SENSOR, (count, 1)))


@pytest.mark.parametrize("surface", ["plane", "ball"])
@pytest.mark.parametrize("deviation", [0.002, 0.005, 0.02])
def test_the_noise_that_was_put_in_is_found(surface: str, deviation: float) -> None:
    assert noise_deviation(noisy_view(surface, deviation)) == pytest.approx(deviation, rel=0.15)


@pytest.mark.parametrize("deviation", [0.002, 0.005, 0.01])
def test_without_a_sensor_noise_is_found_along_the_normal(deviation: float) -> None:
    ball = seen_points("ball", 6000)
    points = ball * (1.0 + np.random.default_rng(1).normal(0.0, deviation / 0.5, (len(ball), 1)))
    view = Observation(points_world=points, origins_world=None)
    assert noise_deviation(view) == pytest.approx(deviation, rel=0.15)


@pytest.mark.parametrize("surface", ["plane", "ball"])
def test_a_clean_view_has_next_to_none(surface: str) -> None:
    assert noise_deviation(noisy_view(surface, 0.0)) < 2e-4


def test_outliers_hardly_count() -> None:
    view = noisy_view("ball", 0.005)
    points = view.points_world.copy()
    points[::20] *= 1.5
    assert noise_deviation(Observation(points_world=points, origins_world=view.origins_world)) < 0.008


def test_the_unit_scales_it() -> None:
    view = noisy_view("ball", 0.005)
    assert view.origins_world is not None
    large = Observation(points_world=1000.0 * view.points_world, origins_world=1000.0 * view.origins_world)
    assert noise_deviation(large) == pytest.approx(1000.0 * noise_deviation(view), rel=1e-6)


@pytest.mark.parametrize("count", [1, 5, 23])
def test_too_few_points_say_nothing(count: int) -> None:
    view = noisy_view("plane", 0.1, count=count)
    assert noise_deviation(view) == 0.0
