"""Rendered depth against ray-sphere intersection, and viewpoints against their definition."""

import numpy as np
import pytest
import trimesh

from shapeprior.errors import ConfigError
from shapeprior.geometry.camera import PinholeCamera, look_at
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.raycasting import RayScene
from shapeprior.geometry.transforms import Similarity
from shapeprior.scans.simulation import camera_around, render_depth, render_hits, sample_view, view_direction


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
