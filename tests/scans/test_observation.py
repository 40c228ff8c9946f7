"""Observations of analytic spheres: points on them, free space outside them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shapeprior.errors import ConfigError, ScanError
from shapeprior.geometry.camera import PinholeCamera, look_at
from shapeprior.geometry.transforms import Similarity
from shapeprior.scans.free_space import free_space_samples
from shapeprior.scans.observation import Observation

CAMERA = PinholeCamera(fx=70.0, fy=75.0, cx=31.0, cy=24.0, width=64, height=48)
CENTER, RADIUS = np.array([2.0, -1.0, 0.5]), 0.8
POSE = look_at(np.array([3.0, 0.5, 2.5]), np.array([2.1, -0.9, 0.5]))


def sphere_depth(pose: Similarity = POSE, camera: PinholeCamera = CAMERA) -> np.ndarray:
    """z depth of the sphere at CENTER, from the quadratic of |z ray - center| = RADIUS."""
    rays, center = camera.pixel_rays(), pose.inverse().apply(CENTER)
    a, b = np.sum(rays * rays, axis=2), rays @ center
    discriminant = b * b - a * (center @ center - (RADIUS / pose.scale) ** 2)
    return np.where(discriminant > 0, (b - np.sqrt(np.maximum(discriminant, 0))) / a, 0.0)


def from_center(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points - CENTER, axis=1)


@pytest.mark.parametrize("scale", [1.0, 0.01, 40.0])
def test_points_of_a_depth_image_lie_on_the_sphere(scale: float) -> None:
    pose = Similarity(scale=scale, rotation=POSE.rotation, offset=POSE.offset)
    depth = sphere_depth(pose)
    observation = Observation.from_depth(depth, CAMERA, pose)
    assert len(observation.points_world) == np.count_nonzero(depth) > 400
    np.testing.assert_allclose(from_center(observation.points_world), RADIUS, atol=1e-9)
    assert observation.origins_world is not None
    np.testing.assert_array_equal(observation.origins_world, np.tile(POSE.offset, (np.count_nonzero(depth), 1)))
    assert len(observation.background_origins) == 0


def test_without_a_pose_the_camera_frame_is_world() -> None:
    points = Observation.from_depth(sphere_depth(), CAMERA).points_world
    assert points[:, 2].min() > 0
    np.testing.assert_allclose(from_center(POSE.apply(points)), RADIUS, atol=1e-9)


def test_empty_pixels_are_background_only_when_said_so() -> None:
    depth = sphere_depth()
    observation = Observation.from_depth(depth, CAMERA, POSE, background_is_free=True)
    assert len(observation.background_directions) == np.count_nonzero(depth == 0)
    np.testing.assert_allclose(np.linalg.norm(observation.background_directions, axis=1), 1.0)
    # No background ray comes closer to the centre than the radius.
    nearest = np.linalg.norm(np.cross(observation.background_directions, CENTER - POSE.offset), axis=1)
    assert nearest.min() >= RADIUS - 1e-9
    few = Observation.from_depth(depth, CAMERA, POSE, background_is_free=True, max_background_rays=100)
    assert len(few.background_directions) == 100
    assert np.ptp(POSE.inverse().apply_vectors(few.background_directions)[:, 1]) > 0.4  # From top to bottom.


def test_masked_out_pixels_are_unknown_and_not_free() -> None:
    depth, mask = sphere_depth(), np.zeros((48, 64), dtype=bool)
    mask[:, :31] = True
    observation = Observation.from_depth(depth, CAMERA, POSE, mask=mask, background_is_free=True)
    assert len(observation.points_world) == np.count_nonzero(depth[:, :31])
    assert len(observation.background_directions) == np.count_nonzero(depth[:, :31] == 0)
    points = POSE.inverse().apply(observation.points_world)
    assert CAMERA.project(points)[:, 0].max() < 30.5


def test_a_mask_frees_what_lies_beyond_the_object_and_nothing_before_it() -> None:
    depth = np.full((48, 64), 5.0)
    depth[20:28, 28:36] = 2.0  # The object,
    depth[:, :8] = 1.0  # something before it,
    depth[:, 60:] = 0.0  # and a part that the sensor lost.
    mask = np.zeros((48, 64), dtype=bool)
    mask[20:28, 28:36] = True
    observation = Observation.from_depth(depth, CAMERA, mask=mask)
    assert len(observation.points_world) == 64
    assert len(observation.background_directions) == np.count_nonzero(depth == 5.0)


def test_unmeasured_values_of_every_kind_are_skipped() -> None:
    depth = np.full((48, 64), 2.0)
    depth[0, :4] = [0.0, -3.0, np.nan, np.inf]
    assert len(Observation.from_depth(depth, CAMERA).points_world) == 48 * 64 - 4


@pytest.mark.parametrize(
    ("depth", "mask", "text"),
    [
        (np.zeros((48, 64)), None, "0 of 3072 pixels hold a depth"),
        (np.full((48, 64), -1.0), None, "0 of 3072 pixels hold a depth in front of the camera"),
        (np.ones((48, 64)), np.zeros((48, 64), dtype=bool), "the mask keeps 0, and none does both"),
        (np.ones((64, 48)), None, "the depth image is 48 x 64 pixels, the camera's images 64 x 48"),
        (np.ones((48, 64)), np.ones((4, 6), dtype=bool), "the mask is 6 x 4 pixels"),
    ],
)
def test_depth_images_without_the_object_are_refused(depth: np.ndarray, mask: np.ndarray | None, text: str) -> None:
    with pytest.raises(ScanError, match=text):
        Observation.from_depth(depth, CAMERA, mask=mask)


def test_point_clouds_with_and_without_sensor() -> None:
    points = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    known = Observation.from_points(points, np.array([0.0, 0.0, 5.0]))
    assert known.points_world.dtype == np.float64
    np.testing.assert_array_equal(known.origins_world, np.tile([0.0, 0, 5], (20, 1)))
    several = Observation.from_points(points, np.arange(60.0).reshape(20, 3))
    np.testing.assert_array_equal(several.origins_world, np.arange(60.0).reshape(20, 3))
    unknown = Observation.from_points(points)
    assert unknown.origins_world is None
    assert free_space_samples(unknown, per_ray=3, rng=np.random.default_rng(0), radius=1.0).shape == (0, 3)
    assert unknown.transformed(POSE).origins_world is None
    assert unknown.subsampled(3, seed=0).origins_world is None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_points_are_counted(bad: float) -> None:
    points = np.zeros((10, 3))
    points[3, 1] = points[7, 0] = points[7, 2] = bad
    with pytest.raises(ScanError, match="found 2 of 10 points with NaN or infinite"):
        Observation.from_points(points)
    with pytest.raises(ScanError, match="found 10 of 10 sensor positions"):
        Observation.from_points(np.zeros((10, 3)), np.array([0.0, bad, 0.0]))
    with pytest.raises(ScanError, match="found 0 points"):
        Observation.from_points(np.zeros((0, 3)))


def test_transformed_moves_points_and_turns_directions() -> None:
    T_unit_world = Similarity(scale=1 / RADIUS, rotation=np.eye(3), offset=-CENTER / RADIUS)
    observation = Observation.from_depth(sphere_depth(), CAMERA, POSE, background_is_free=True)
    normals = (observation.points_world - CENTER) / RADIUS
    observation = Observation.from_points(observation.points_world, POSE.offset, normals_world=normals)
    turned = Similarity(scale=2.0, rotation=POSE.rotation, offset=np.ones(3)) @ T_unit_world
    moved = observation.transformed(turned)
    np.testing.assert_allclose(np.linalg.norm(moved.points_world - 1.0, axis=1), 2.0)
    assert moved.normals_world is not None
    np.testing.assert_allclose(moved.normals_world, (moved.points_world - 1.0) / 2.0, atol=1e-9)
    back = moved.transformed(turned.inverse())
    np.testing.assert_allclose(back.points_world, observation.points_world, atol=1e-9)
    np.testing.assert_allclose(back.origins_world, observation.origins_world, atol=1e-9)


def test_thinned_is_a_seeded_subset() -> None:
    rng = np.random.default_rng(1)
    observation = Observation.from_points(rng.normal(size=(100, 3)), rng.normal(size=(100, 3)))
    thin, again, other = (observation.subsampled(30, seed=seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(thin.points_world, again.points_world)
    assert not np.array_equal(thin.points_world, other.points_world)
    rows = [np.flatnonzero((observation.points_world == point).all(axis=1)).item() for point in thin.points_world]
    assert len(set(rows)) == 30
    assert thin.origins_world is not None
    assert observation.origins_world is not None
    np.testing.assert_array_equal(thin.origins_world, observation.origins_world[rows])
    assert observation.subsampled(1000, seed=0) is observation
    with pytest.raises(ConfigError, match="expected 1 or more"):
        observation.subsampled(0, seed=0)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    per_ray=st.integers(1, 5),
    stop_short=st.floats(0, 0.19),
    eye=st.tuples(st.floats(-3, 3), st.floats(-3, 3), st.floats(2, 4)),
)
def test_free_space_is_outside_the_object_and_inside_the_bounding_sphere(
    seed: int, per_ray: int, stop_short: float, eye: tuple[float, float, float]
) -> None:
    pose = look_at(CENTER + np.array(eye), CENTER)
    observation = Observation.from_depth(sphere_depth(pose), CAMERA, pose, background_is_free=True)
    samples = free_space_samples(
        observation,
        per_ray=per_ray,
        rng=np.random.default_rng(seed),
        center_world=CENTER,
        radius=1.25 * RADIUS,
        stop_short=stop_short,
    )
    # Every ray to the sphere enters the larger sphere at least 0.25 radii = 0.2 before it.
    assert len(samples) >= per_ray * len(observation.points_world)
    assert len(samples) % per_ray == 0
    distance = from_center(samples)
    assert distance.min() > RADIUS - 1e-9
    assert distance.max() < 1.25 * RADIUS + 1e-9
    to_points = samples[: per_ray * len(observation.points_world)].reshape(-1, per_ray, 3)
    gap = np.linalg.norm(to_points - observation.points_world[:, None], axis=2)
    assert gap.min() >= stop_short - 1e-9
    assert np.all(np.diff(gap, axis=1) < 1e-9)  # One stratum after another, towards the surface.


def test_free_space_by_hand() -> None:
    """Rays along x, to points inside the sphere, beyond it, before it, beside it, and at the sensor itself."""
    points = np.array([[0.5, 0, 0], [9, 0, 0], [-3, 0, 0], [9, 2, 0], [-5, 0, 0]])
    origins = np.array([[-5.0, 0, 0], [-5, 0, 0], [-5, 0, 0], [-5, 2, 0], [-5, 0, 0]])
    observation = Observation.from_points(points, origins)
    samples = free_space_samples(
        observation, per_ray=1000, rng=np.random.default_rng(0), radius=1.0, stop_short=0.1
    ).reshape(-1, 1000, 3)
    assert len(samples) == 2
    np.testing.assert_allclose(samples[0, [0, -1], 0], [-1, 0.4], atol=2e-3)  # From the entry to just before the point.
    np.testing.assert_allclose(samples[1, [0, -1], 0], [-1, 1], atol=3e-3)  # Right through the sphere.
    inside = Observation.from_points(points[:1], np.array([-0.5, 0.0, 0.0]))
    near = free_space_samples(inside, per_ray=1000, rng=np.random.default_rng(0), radius=1.0)
    np.testing.assert_allclose(near[[0, -1], 0], [-0.5, 0.5], atol=2e-3)  # From the sensor inside the sphere.


@pytest.mark.parametrize("bad", [{"per_ray": 0}, {"radius": 0.0}, {"radius": np.nan}, {"stop_short": -0.1}])
def test_free_space_settings_are_checked(bad: dict[str, float]) -> None:
    observation = Observation.from_points(np.zeros((1, 3)), np.ones(3))
    with pytest.raises(ConfigError, match="expected"):
        free_space_samples(observation, **{"per_ray": 1, "radius": 1.0, "rng": np.random.default_rng(0), **bad})
