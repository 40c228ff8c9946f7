"""Views of true shapes, as an evaluation takes them."""

import numpy as np
import pytest
from helpers.plain_geometry import sphere

from shapeprior.evaluation.ground_truth import shape_view
from shapeprior.scans.simulation import SensorModel, camera_around

SURFACE = sphere(radius=0.7, subdivisions=4)


def test_views_are_decided_by_seed_and_shape() -> None:
    first, again = (shape_view(SURFACE, "a", resolution=32, seed=0) for _ in range(2))
    np.testing.assert_array_equal(first.observation.points_world, again.observation.points_world)
    assert shape_view(SURFACE, "a", resolution=32, seed=1).azimuths_deg != first.azimuths_deg
    assert shape_view(SURFACE, "b", resolution=32, seed=0).azimuths_deg != first.azimuths_deg
    # The view is in the unit frame of the shape: its points lie on the sphere of radius 0.7.
    assert np.abs(np.linalg.norm(first.observation.points_world, axis=1) - 0.7).max() < 5e-3


def test_more_views_begin_with_the_fewer() -> None:
    one, three = (shape_view(SURFACE, "a", views=count, resolution=32, seed=0) for count in (1, 3))
    assert three.azimuths_deg[:1] == one.azimuths_deg
    assert three.elevations_deg[:1] == one.elevations_deg
    count = len(one.observation.points_world)
    np.testing.assert_array_equal(three.observation.points_world[:count], one.observation.points_world)
    assert three.origins_unit.shape == (3, 3)
    for azimuth, elevation, origin in zip(three.azimuths_deg, three.elevations_deg, three.origins_unit, strict=True):
        _, pose = camera_around(azimuth_deg=azimuth, elevation_deg=elevation, resolution=32)
        np.testing.assert_allclose(origin, pose.offset)
    assert three.observation.origins_world is not None
    assert {tuple(row) for row in three.observation.origins_world} == {tuple(row) for row in three.origins_unit}


def test_holes_of_a_sensor_are_not_taken_for_free_space() -> None:
    clean = shape_view(SURFACE, "a", resolution=48, seed=0)
    poor = shape_view(SURFACE, "a", sensor=SensorModel(holes=0.5), resolution=48, seed=0)
    assert len(poor.observation.points_world) < 0.8 * len(clean.observation.points_world)
    np.testing.assert_array_equal(poor.observation.background_directions, clean.observation.background_directions)


def test_noise_belongs_to_shape_and_number() -> None:
    sensor = SensorModel.level("consumer")
    one, two = (shape_view(SURFACE, "a", views=n, sensor=sensor, resolution=32, seed=0).observation for n in (1, 2))
    np.testing.assert_array_equal(two.points_world[: len(one.points_world)], one.points_world)
    assert np.abs(np.linalg.norm(one.points_world, axis=1) - 0.7).max() > 1e-3


@pytest.mark.parametrize("mode", ["aligned", "upright", "free"])
def test_a_moved_view_is_undone_by_its_placement(mode: str) -> None:
    view = shape_view(SURFACE, "a", resolution=32, seed=0)
    moved, T_world_unit = view.transformed(mode, rng=np.random.default_rng(3))
    back = T_world_unit.inverse().apply(moved.points_world)
    np.testing.assert_allclose(back, view.observation.points_world, atol=1e-12)
    rotation = T_world_unit.rotation
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    up = rotation @ [0.0, 1.0, 0.0]
    assert (up[1] > 0.999) == (mode != "free")
    assert np.allclose(rotation, np.eye(3)) == (mode == "aligned")
