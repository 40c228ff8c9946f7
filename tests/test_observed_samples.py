"""Samples of a view of an analytic sphere: normals, and space that is really free."""

import numpy as np
import pytest

from shapeprior.completion.residuals import observed_samples
from shapeprior.geometry.camera import PinholeCamera, look_at
from shapeprior.scans.observation import Observation

RADIUS, CENTER = 0.7, np.array([0.05, -0.1, 0.1])
POSE = look_at(np.array([1.5, 1.0, 2.0]), np.zeros(3))


def sphere_view(*, background_is_free: bool = True) -> Observation:
    camera = PinholeCamera(fx=110.0, fy=110.0, cx=47.5, cy=47.5, width=96, height=96)
    rays, center = camera.pixel_rays(), POSE.inverse().apply(CENTER)
    a, b = np.sum(rays * rays, axis=2), rays @ center
    inside = b * b - a * (center @ center - RADIUS**2)
    depth = np.where(inside > 0, (b - np.sqrt(np.maximum(inside, 0))) / a, 0.0)
    return Observation.from_depth(depth, camera, POSE, background_is_free=background_is_free)


def from_center(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points - CENTER, axis=1)


def test_normals_are_the_spheres_and_point_to_the_sensor() -> None:
    samples = observed_samples(sphere_view().thinned(4096, seed=0), seed=0)
    expected = (samples.surface - CENTER) / RADIUS
    cosines = np.einsum("ij,ij->i", samples.normals, expected)
    angles = np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))
    assert np.median(angles) < 1.5
    assert np.quantile(angles, 0.95) < 8.0
    np.testing.assert_allclose(np.linalg.norm(samples.normals, axis=1), 1.0)
    assert np.all(np.einsum("ij,ij->i", samples.normals, POSE.offset - samples.surface) >= 0.0)


def test_normals_are_those_of_the_best_plane_through_the_neighbours() -> None:
    points = sphere_view().thinned(400, seed=0).points_world
    found = observed_samples(Observation.from_points(points, POSE.offset), seed=0)
    for point, normal in list(zip(found.surface, found.normals, strict=True))[::20]:
        near = points[np.argsort(np.linalg.norm(points - point, axis=1))[:12]]
        best = np.linalg.svd(near - near.mean(axis=0))[2][-1]
        assert abs(best @ normal) == pytest.approx(1.0, abs=1e-9)


def test_free_samples_are_outside_and_surface_samples_on_the_surface() -> None:
    samples = observed_samples(sphere_view().thinned(500, seed=0), seed=0)
    assert len(samples.surface) == 500
    np.testing.assert_allclose(from_center(samples.surface), RADIUS, atol=1e-9)
    assert from_center(samples.free).min() > RADIUS
    # All around: near the surface, and in the rest of the unit sphere.
    assert np.count_nonzero(from_center(samples.free) < RADIUS + 0.05) > 100
    assert np.count_nonzero(from_center(samples.free) > RADIUS + 0.2) > 100
    assert np.linalg.norm(samples.free, axis=1).max() < 1.3


def test_without_background_free_space_is_before_the_surface_only() -> None:
    samples = observed_samples(sphere_view(background_is_free=False).thinned(500, seed=0), seed=0)
    assert len(samples.free) > 500
    assert from_center(samples.free).min() > RADIUS
    towards = POSE.offset / np.linalg.norm(POSE.offset)
    assert (samples.free @ towards).min() > (samples.surface @ towards).min()


def test_samples_just_before_the_surface_stay_on_the_way_to_a_near_sensor() -> None:
    """A sensor 0.05 from the surface: steps of up to 0.15 would pass it, and leave what it saw."""
    directions = np.random.default_rng(0).standard_normal((300, 3))
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    points = CENTER + RADIUS * directions
    sensors = CENTER + (RADIUS + 0.05) * directions
    samples = observed_samples(Observation.from_points(points, sensors).thinned(300, seed=0), seed=0)
    assert from_center(samples.free).min() > RADIUS
    assert from_center(samples.free).max() < RADIUS + 0.05


def test_an_unknown_sensor_gives_neither_normals_nor_free_space() -> None:
    points = sphere_view().points_world
    samples = observed_samples(Observation.from_points(points).thinned(200, seed=0), seed=0)
    assert np.all(samples.normals == 0.0)
    assert samples.free.shape == (0, 3)
    assert len(samples.surface) == 200


def test_given_normals_are_kept() -> None:
    view = sphere_view()
    normals = (view.points_world - CENTER) / RADIUS
    for sensor in (POSE.offset, None):
        given = Observation.from_points(view.points_world, sensor, normals_world=normals)
        samples = observed_samples(given.thinned(200, seed=0), seed=0)
        np.testing.assert_allclose(samples.normals, (samples.surface - CENTER) / RADIUS)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_a_handful_of_points_is_enough_to_go_on(count: int) -> None:
    points = sphere_view().points_world[:count]
    samples = observed_samples(Observation.from_points(points, POSE.offset).thinned(100, seed=0), seed=0)
    lengths = np.linalg.norm(samples.normals, axis=1)
    np.testing.assert_allclose(lengths, 0.0 if count < 4 else 1.0)
    assert np.isfinite(samples.free).all()


def test_seed_decides() -> None:
    first, again, other = (observed_samples(sphere_view().thinned(300, seed=seed), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.free, again.free)
    np.testing.assert_array_equal(first.surface, again.surface)
    assert not np.array_equal(first.surface, other.surface)
