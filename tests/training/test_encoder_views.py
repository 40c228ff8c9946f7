"""Training views of an encoder: they lie on the shape, and are spoilt as much as their config says."""

import numpy as np
import pytest
from helpers.jug_views import CLEAN, distances, jug, views_of
from scipy.spatial.transform import Rotation

from shapeprior.geometry.transforms import Similarity
from shapeprior.training.encoder_views import POINTS_PER_VIEW, EncoderBatch, ViewConfig


def points_unit(batch: EncoderBatch, row: int) -> np.ndarray:
    """Return the points of a view in the unit frame, by the placement that the batch states."""
    turn = Rotation.from_rotvec([0.0, batch.turns[row], 0.0]).as_matrix()
    offset = batch.placement[row, 1:].astype(float)
    T_view_unit = Similarity(scale=float(np.exp(batch.placement[row, 0])), rotation=turn, offset=offset)
    return T_view_unit.inverse().apply(batch.points_view[row].astype(float))


def test_views_lie_on_the_shape_and_show_the_side_of_their_sensor() -> None:
    views = views_of([1.0], count=12)
    assert views.points_unit.shape == (12, POINTS_PER_VIEW, 3)
    assert distances(jug(1.0), views.points_unit[:, ::40].reshape(-1, 3)).max() < 1e-5
    assert (np.linalg.norm(views.sensors_unit, axis=1) > CLEAN.min_distance - 1e-9).all()
    # A face of a box is visible only from its own side.
    top = views.points_unit[..., 1] > 0.5 - 1e-5
    assert not top[views.sensors_unit[:, 1] < 0.5].any()


@pytest.mark.parametrize(
    "config",
    [
        CLEAN,
        ViewConfig(
            no_sensor_share=1.0,
            max_noise=0.0,
            max_outlier_share=0.0,
            cropped_share=0.5,
            tilted_share=0.0,
            fallen_share=0.0,
        ),
    ],
)
def test_a_batch_says_truly_where_the_unit_frame_lies(config: ViewConfig) -> None:
    views = views_of([0.7, 1.2], count=8, config=config)
    batch = views.batch(np.arange(16), points=64, config=config, rng=np.random.default_rng(1))
    for row in range(16):
        points = points_unit(batch, row)
        mesh = jug([0.7, 1.2][batch.shapes[row]])
        assert distances(mesh, points).max() < 1e-5
        length = np.linalg.norm(batch.sensors_view[row])
        assert length == pytest.approx(0.0 if config.no_sensor_share else 1.0, abs=1e-6)


def test_noise_strays_and_crops_are_as_large_as_they_say() -> None:
    views = views_of([1.0], count=40)
    config = ViewConfig(
        max_noise=0.05,
        max_outlier_share=0.2,
        cropped_share=0.0,
        no_sensor_share=0.0,
        two_views_share=0.0,
        tilted_share=0.0,
        fallen_share=0.0,
    )
    batch = views.batch(np.arange(40), points=256, config=config, rng=np.random.default_rng(1))
    far = []
    for row in range(40):
        points = points_unit(batch, row)
        far.append((distances(jug(1.0), points) > 0.2).mean())
    # Half of the views have no outliers, and some outliers lie near the surface.
    assert 0.01 < np.mean(far) < 0.08
    assert 8 < np.count_nonzero(np.array(far) < 0.004) < 32


def test_fallen_views_are_said_to_be_so_and_tilted_ones_are_upright() -> None:
    views = views_of([1.0], count=40)
    config = ViewConfig(
        max_noise=0.0,
        max_outlier_share=0.0,
        cropped_share=0.0,
        no_sensor_share=0.0,
        two_views_share=0.0,
        tilted_share=0.5,
        fallen_share=0.5,
        any_direction_share=0.0,
    )
    batch = views.batch(np.arange(40), points=64, config=config, rng=np.random.default_rng(1))
    assert 10 < np.count_nonzero(batch.upright) < 30
    far = []
    for row in range(40):
        # The batch does not tell the tilt. Without it, points lie off the shape, farther for larger tilts.
        far.append(distances(jug(1.0), points_unit(batch, row)).max())
    # No point of the jug is farther from its middle than 0.9.
    assert max(np.array(far)[batch.upright]) < 0.9 * np.radians(15.0)
    assert np.median(np.array(far)[~batch.upright]) > 0.25
