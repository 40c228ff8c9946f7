"""Rendered depth against ray-sphere intersection, viewpoints against their definition, and the faults of depth cameras.

The sensor model is measured on a plane that faces the camera and on slanted ones.
"""

import numpy as np
import pytest
import trimesh

from shapeprior.errors import ConfigError
from shapeprior.geometry.camera import PinholeCamera, look_at
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.raycasting import RayScene
from shapeprior.geometry.transforms import Similarity
from shapeprior.scans.simulation import (
    DEPTH_STEP,
    SensorModel,
    camera_around,
    render_depth,
    render_hits,
    sample_view,
    view_direction,
)

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
    step = DEPTH_STEP * 0.7**2 / 0.1
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


def as_mesh(made: trimesh.Trimesh) -> TriangleMesh:
    return TriangleMesh(np.array(made.vertices), np.array(made.faces, dtype=np.int64))


def analytic_sphere_depth(camera: PinholeCamera, center_camera: np.ndarray, radius: float) -> np.ndarray:
    """z depth of a sphere in the camera frame, from the quadratic of |z ray - center| = radius."""
    rays = camera.pixel_rays()
    a, b = np.sum(rays * rays, axis=2), rays @ center_camera
    discriminant = b * b - a * (center_camera @ center_camera - radius * radius)
    return np.where(discriminant > 0, (b - np.sqrt(np.maximum(discriminant, 0))) / a, 0.0)


def test_depth_of_a_sphere_is_z_and_not_the_length_of_the_ray() -> None:
    camera = PinholeCamera(fx=90.0, fy=110.0, cx=40.0, cy=25.0, width=80, height=60)
    sphere = as_mesh(trimesh.creation.icosphere(subdivisions=5))
    pose = look_at(np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.2, 0.0]))
    depth = render_depth(sphere, camera, pose)
    truth = analytic_sphere_depth(camera, pose.inverse().apply(np.zeros(3)), 1.0)
    both = (depth > 0) & (truth > 0)
    assert both.sum() > 500
    assert np.count_nonzero((depth > 0) != (truth > 0)) < 20  # The polyhedron is a little smaller at the silhouette.
    assert np.median(np.abs(depth - truth)[both]) < 5e-4
    assert np.quantile(np.abs(depth - truth)[both], 0.9) < 3e-3


def test_depth_of_a_wall_is_constant() -> None:
    wall = as_mesh(trimesh.creation.box(extents=[50, 50, 2]))
    camera = PinholeCamera(fx=20.0, fy=20.0, cx=15.5, cy=11.5, width=32, height=24)
    depth, face = render_hits(wall, camera, look_at(np.array([0.3, -0.2, 6.0]), np.array([0.3, -0.2, 0.0])))
    np.testing.assert_allclose(depth, 5.0, atol=1e-12)
    assert np.all(wall.face_normals[face] == [0, 0, 1])


def test_depth_is_in_the_camera_frames_unit() -> None:
    sphere = as_mesh(trimesh.creation.icosphere(subdivisions=3))
    camera, T_world_camera = camera_around(azimuth_deg=30.0, elevation_deg=20.0, resolution=24)
    in_centimetres = Similarity(scale=0.01, rotation=T_world_camera.rotation, offset=T_world_camera.offset)
    np.testing.assert_allclose(
        render_depth(sphere, camera, in_centimetres), 100 * render_depth(sphere, camera, T_world_camera), rtol=1e-9
    )


def test_nothing_in_view_is_zero_and_a_scene_can_be_reused() -> None:
    scene = RayScene(as_mesh(trimesh.creation.icosphere(subdivisions=1)))
    camera, pose = camera_around(azimuth_deg=0.0, elevation_deg=0.0, resolution=8)
    away = look_at(pose.offset, 2 * pose.offset)
    depth, face = render_hits(scene, camera, away)
    assert not depth.any()
    assert np.all(face == -1)
    assert render_depth(scene, camera, pose).any()


def test_left_in_the_image_is_left_in_the_world() -> None:
    box = trimesh.creation.box(extents=[0.2, 0.2, 0.2])
    box.apply_translation([-0.5, 0.3, 0.0])  # Seen from +z: left of the middle, above it.
    camera, pose = camera_around(azimuth_deg=0.0, elevation_deg=0.0, resolution=41)
    rows, columns = np.nonzero(render_depth(as_mesh(box), camera, pose))
    assert columns.max() < 20
    assert rows.max() < 20


@pytest.mark.parametrize("distance", [1.2, 3.0, 10.0])
def test_the_unit_sphere_fills_the_image(distance: float) -> None:
    camera, pose = camera_around(azimuth_deg=75.0, elevation_deg=-10.0, distance=distance, resolution=101)
    depth = analytic_sphere_depth(camera, pose.inverse().apply(np.zeros(3)), 1.0)
    assert depth[50, 50] == pytest.approx(distance - 1)
    rows, columns = np.nonzero(depth)
    assert rows.min() <= 1
    assert columns.max() >= 99
    assert not depth[0, 0]


def test_view_directions_by_hand() -> None:
    np.testing.assert_allclose(view_direction(azimuth_deg=0.0, elevation_deg=0.0), [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(view_direction(azimuth_deg=90.0, elevation_deg=0.0), [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(view_direction(azimuth_deg=10.0, elevation_deg=90.0), [0, 1, 0], atol=1e-12)
    camera, pose = camera_around(azimuth_deg=0.0, elevation_deg=90.0, field_of_view_deg=90.0, resolution=10)
    assert camera.fx == pytest.approx(5.0)
    np.testing.assert_allclose(pose.offset, [0, 3, 0], atol=1e-12)


@pytest.mark.parametrize("bad", [{"distance": 1.0}, {"field_of_view_deg": 0.0}, {"field_of_view_deg": 180.0}])
def test_views_from_inside_or_without_angle_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        camera_around(azimuth_deg=0.0, elevation_deg=0.0, resolution=8, **bad)  # pyright: ignore[reportArgumentType]


def test_sampled_views_fill_their_range_and_follow_the_seed() -> None:
    rng = np.random.default_rng(5)
    views = np.array([sample_view(rng) for _ in range(500)])
    assert 0 <= views[:, 0].min() < 10
    assert 350 < views[:, 0].max() < 360
    assert -20 <= views[:, 1].min() < -18
    assert 58 < views[:, 1].max() < 60
    assert sample_view(np.random.default_rng(5)) == tuple(views[0])
