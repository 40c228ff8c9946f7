"""The frame of a view: the same for views that differ by a turn about +y, a scale and an offset."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from shapeprior.geometry.transforms import Similarity
from shapeprior.models.encoder import view_frame, view_frames

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(300, 3)) * [0.5, 0.2, 0.3] + [3.0, -1.0, 2.0]
SENSOR = np.array([6.0, 2.0, -1.0])


def test_points_are_centred_and_of_unit_size_and_the_sensor_stands_above_z() -> None:
    frame = view_frame(POINTS, SENSOR)
    seen = frame.apply(POINTS)
    np.testing.assert_allclose(seen.mean(axis=0), 0.0, atol=1e-12)
    assert np.square(seen).sum(axis=1).mean() == pytest.approx(1.0)
    x, y, z = frame.apply(SENSOR[None])[0]
    assert abs(x) < 1e-9
    assert z > 0.0
    # Up stays up.
    np.testing.assert_allclose(frame.rotation[1], [0.0, 1.0, 0.0], atol=1e-12)
    assert y == pytest.approx(frame.scale * (SENSOR - POINTS.mean(axis=0))[1])


@pytest.mark.parametrize("degrees", [0.0, 37.0, 180.0, 271.0])
def test_turned_scaled_and_moved_views_look_the_same(degrees: float) -> None:
    turn = Rotation.from_rotvec([0.0, np.radians(degrees), 0.0]).as_matrix()
    other = Similarity(scale=7.3, rotation=turn, offset=np.array([-4.0, 9.0, 1.0]))
    again = view_frame(other.apply(POINTS), other.apply(SENSOR[None])[0])
    np.testing.assert_allclose(again.apply(other.apply(POINTS)), view_frame(POINTS, SENSOR).apply(POINTS), atol=1e-9)


@pytest.mark.parametrize("sensor", [None, np.full(3, np.nan), POINTS.mean(axis=0) + np.array([0.0, 5.0, 0.0])])
def test_without_a_heading_the_turn_is_kept(sensor: np.ndarray | None) -> None:
    np.testing.assert_allclose(view_frame(POINTS, sensor).rotation, np.eye(3))


def test_many_views_at_once_are_as_one_by_one() -> None:
    points, sensors = RNG.normal(size=(5, 40, 3)), RNG.normal(size=(5, 3)) * 4.0
    scale, rotation, offset = view_frames(points, sensors)
    for row in range(5):
        one = view_frame(points[row], sensors[row])
        np.testing.assert_allclose((scale[row], *offset[row]), (one.scale, *one.offset))
        np.testing.assert_allclose(rotation[row], one.rotation)
