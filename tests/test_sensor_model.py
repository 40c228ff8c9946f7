"""The sensor model on a plane that faces the camera and on one that is slanted: every fault is what its number says."""

import numpy as np
import pytest

from shapeprior.errors import ConfigError
from shapeprior.geometry.camera import PinholeCamera
from shapeprior.scans.simulation import QUANTUM, SensorModel

CAMERA = PinholeCamera(fx=300.0, fy=300.0, cx=99.5, cy=99.5, width=200, height=200)
FLAT = np.zeros((200, 200))
FLAT[40:160, 40:160] = 3.0
INSIDE = (slice(50, 150), slice(50, 150))


def measure(depth: np.ndarray = FLAT, seed: int = 0, **faults: float) -> np.ndarray:
    return SensorModel(**faults).measure(depth, CAMERA, rng=np.random.default_rng(seed))


def test_a_perfect_camera_changes_nothing() -> None:
    np.testing.assert_array_equal(measure(), FLAT)
    np.testing.assert_array_equal(SensorModel.level("clean").measure(FLAT, CAMERA, rng=np.random.default_rng(0)), FLAT)
    assert not measure(np.zeros_like(FLAT), noise=1.0, flying=1.0, outliers=1.0, holes=1.0).any()


@pytest.mark.parametrize("stand_off", [0.1, 0.4, 1.5])
def test_noise_has_the_published_deviation(stand_off: float) -> None:
    found = measure(noise=1.0, stand_off=stand_off)[INSIDE]
    metres = 0.3 + stand_off
    sigma = 0.0012 + 0.0019 * (metres - 0.4) ** 2
    assert found.std() == pytest.approx(sigma / 0.1, rel=0.03)
    assert found.mean() == pytest.approx(3.0, abs=5 * sigma / 0.1 / 100)


def test_depth_comes_in_steps() -> None:
    ramp = np.where(FLAT > 0, 3.0 + np.linspace(0, 0.3, 200), 0.0)
    found = measure(ramp, steps=1.0)[INSIDE]
    step = QUANTUM * 0.7**2 / 0.1
    error = np.abs(found - ramp[INSIDE])
    assert error.max() <= 0.5 * step * (0.73 / 0.7) ** 2 + 1e-12
    # Rounding is wrong by a quarter of a step on average.
    assert error.mean() == pytest.approx(0.26 * step, rel=0.1)


def test_flying_pixels_are_at_the_silhouette_and_behind_the_object() -> None:
    found = measure(flying=1.0)
    np.testing.assert_array_equal(found[INSIDE], FLAT[INSIDE])
    moved = found != FLAT
    assert moved.sum() == pytest.approx(4 * 119, abs=2)
    assert found[moved].min() >= 3.0
    assert found[moved].max() <= 3.5


@pytest.mark.parametrize("angle", [30.0, 60.0, 75.0])
def test_slanted_surfaces_are_lost_beyond_the_angle(angle: float) -> None:
    # A plane whose normal leans by the angle from the axis: depth d along the ray (u, 0, 1) meets z + x tan(angle) = 3.
    u = (np.arange(200) - 99.5) / 300.0
    depth = np.where(FLAT > 0, 3.0 / (1.0 + u * np.tan(np.deg2rad(angle))), 0.0)
    ray = np.degrees(np.arctan(u))[50:150]
    truth = np.abs(angle - ray)  # In the middle row.
    for limit in (angle - 10.0, angle + 5.0):
        kept = measure(depth, slant_deg=limit)[100, 50:150] > 0
        clear = np.abs(truth - limit) > 1.0
        np.testing.assert_array_equal(kept[clear], (truth <= limit)[clear])


def test_holes_and_outliers_have_their_share() -> None:
    assert np.mean(measure(holes=0.1)[INSIDE] == 0.0) == pytest.approx(0.1, abs=0.03)
    found = measure(outliers=0.2)[INSIDE]
    assert np.mean(found != 3.0) == pytest.approx(0.2, abs=0.02)
    assert np.abs(found - 3.0).max() <= 1.5


def test_levels_are_graded_and_the_same_seed_is_the_same_image() -> None:
    errors = []
    for name in ("clean", "good", "consumer", "poor"):
        images = [SensorModel.level(name).measure(FLAT, CAMERA, rng=np.random.default_rng(3)) for _ in range(2)]
        np.testing.assert_array_equal(images[0], images[1])
        errors.append(np.abs(images[0] - FLAT)[FLAT > 0].mean())
    assert errors == sorted(errors)
    assert errors[0] == 0.0


@pytest.mark.parametrize("faults", [{"noise": -1.0}, {"flying": 1.5}, {"slant_deg": 0.0}, {"metres_per_unit": 0.0}])
def test_impossible_cameras_are_refused(faults: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(faults))):
        SensorModel(**faults)
