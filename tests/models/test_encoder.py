"""The encoder: its views, its training, its file, and what is made of its word.

The frame of a view: the same for views that differ by a turn about +y, a scale and an offset.
"""

import json
import math
import struct
from pathlib import Path

import igl
import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial.transform import Rotation

from shapeprior.completion.initialization import encoder_proposals, likely_turns
from shapeprior.errors import CheckpointError, ConfigError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.transforms import Similarity
from shapeprior.models.encoder import (
    CODE_LOG_DEVIATION_RANGE,
    EncoderConfig,
    EncoderOutput,
    ViewEncoder,
    read_encoder,
    view_frame,
    view_frames,
    write_encoder,
)
from shapeprior.scans.observation import Observation
from shapeprior.scans.placement import up_directions
from shapeprior.training.encoder_views import POINTS_PER_VIEW, ShapeViews, ViewConfig
from shapeprior.training.train_encoder import EncoderTraining, fit_encoder

SMALL = EncoderConfig(code_size=3, points=64, width=32, whole=48, turns=36)
CLEAN = ViewConfig(
    max_noise=0.0,
    max_outlier_share=0.0,
    cropped_share=0.0,
    no_sensor_share=0.0,
    two_views_share=0.0,
    tilted_share=0.0,
    fallen_share=0.0,
)


def jug(height: float) -> TriangleMesh:
    """A flat box with a box for a handle on +x: no turn leaves it as it is."""
    body = trimesh.creation.box(extents=(0.8, height, 0.4))
    handle = trimesh.creation.box(extents=(0.4, 0.3 * height, 0.15))
    handle.apply_translation((0.55, 0.0, 0.0))
    both = trimesh.util.concatenate([body, handle])
    return TriangleMesh(vertices=np.array(both.vertices), faces=np.array(both.faces, dtype=np.int64))


def distances(mesh: TriangleMesh, points: np.ndarray) -> np.ndarray:
    """From points to the nearest face, by libigl."""
    return np.sqrt(igl.point_mesh_squared_distance(points.astype(np.float64), mesh.vertices, mesh.faces)[0])


def views_of(heights: list[float], *, count: int, config: ViewConfig = CLEAN) -> ShapeViews:
    rng = np.random.default_rng(0)
    parts = [ShapeViews.render(jug(h), row, count=count, config=config, rng=rng) for row, h in enumerate(heights)]
    return ShapeViews.concatenated([part for part in parts if part is not None])


def test_views_lie_on_the_shape_and_show_the_side_of_their_sensor() -> None:
    views = views_of([1.0], count=12)
    assert views.points_unit.shape == (12, POINTS_PER_VIEW, 3)
    assert distances(jug(1.0), views.points_unit[:, ::40].reshape(-1, 3)).max() < 1e-5
    assert (np.linalg.norm(views.sensors_unit, axis=1) > CLEAN.min_distance - 1e-9).all()
    # Of a box, a face is seen only from before it.
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
        turn = Rotation.from_rotvec([0.0, batch.turns[row], 0.0]).as_matrix()
        T_view_unit = Similarity(
            scale=float(np.exp(batch.placement[row, 0])), rotation=turn, offset=batch.placement[row, 1:].astype(float)
        )
        points = T_view_unit.inverse().apply(batch.points_view[row].astype(float))
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
        turn = Rotation.from_rotvec([0.0, batch.turns[row], 0.0]).as_matrix()
        offset = batch.placement[row, 1:].astype(float)
        T_view_unit = Similarity(scale=float(np.exp(batch.placement[row, 0])), rotation=turn, offset=offset)
        points = T_view_unit.inverse().apply(batch.points_view[row].astype(float))
        far.append((distances(jug(1.0), points) > 0.2).mean())
    # Half of the views have none; of strays some lie near the surface.
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
        # Without the tilt, which the batch does not tell, points lie off the shape: the more, the larger the tilt.
        turn = Rotation.from_rotvec([0.0, batch.turns[row], 0.0]).as_matrix()
        offset = batch.placement[row, 1:].astype(float)
        T_view_unit = Similarity(scale=float(np.exp(batch.placement[row, 0])), rotation=turn, offset=offset)
        far.append(distances(jug(1.0), T_view_unit.inverse().apply(batch.points_view[row].astype(float))).max())
    # Nothing of the jug is farther from its middle than 0.9.
    assert max(np.array(far)[batch.upright]) < 0.9 * np.radians(15.0)
    assert np.median(np.array(far)[~batch.upright]) > 0.25


def test_the_order_of_the_points_does_not_matter() -> None:
    encoder = ViewEncoder(SMALL).initialise(0)
    points, sensors = torch.randn(2, 64, 3), torch.nn.functional.normalize(torch.randn(2, 3), dim=1)
    one, other = encoder(points, sensors), encoder(points[:, torch.randperm(64)], sensors)
    for name in ("whitened", "placement", "placement_deviation", "turns"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(one.turns.exp().sum(dim=1), torch.ones(2))


def test_it_learns_turns_sizes_and_codes_of_views_that_it_has_not_seen() -> None:
    heights = np.linspace(0.5, 1.3, 8)
    whitened = torch.zeros(8, 3)
    whitened[:, 0] = torch.linspace(-1.5, 1.5, 8)
    views = views_of(list(heights), count=80)
    unseen = np.arange(len(views.shapes)) % 5 == 0
    training = ShapeViews(views.points_unit[~unseen], views.sensors_unit[~unseen], views.shapes[~unseen])
    encoder = fit_encoder(
        training,
        whitened,
        config=SMALL,
        recipe=EncoderTraining(steps=1000, views_per_batch=32),
        view_config=CLEAN,
        seed=0,
    )
    batch = views.batch(np.flatnonzero(unseen), points=64, config=CLEAN, rng=np.random.default_rng(2))
    with torch.no_grad():
        found = encoder(torch.from_numpy(batch.points_view), torch.from_numpy(batch.sensors_view))
    turns = np.array([likely_turns(row.double().numpy())[0] for row in found.turns])
    off = np.abs((turns - batch.turns + np.pi) % (2 * np.pi) - np.pi)
    # The handle is hidden in some views; in a quarter of them a guess is right by chance.
    assert np.mean(off < math.radians(15.0)) > 0.6
    assert np.median(np.abs(found.placement[:, 0].numpy() - batch.placement[:, 0])) < 0.06
    error = (found.whitened[:, 0] - whitened[torch.from_numpy(batch.shapes), 0]).abs()
    assert float(error.median()) < 0.5
    # What the codes do not vary in, it says to be as sure of as it may be, and of the rest less so.
    first, second = (float(found.whitened_deviation[:, column].median()) for column in (0, 1))
    assert second < 1.05 * math.exp(CODE_LOG_DEVIATION_RANGE[0])
    assert first > 1.3 * second


@pytest.mark.parametrize(("points", "shown"), [(16, 16), (1000, SMALL.points)])
def test_training_shows_as_many_points_as_it_is_told_and_no_more_than_the_encoder_takes(
    points: int, shown: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, batch = [], ShapeViews.batch

    def counted(self: ShapeViews, rows: np.ndarray, *, points: int, **others: object) -> object:
        asked.append(points)
        return batch(self, rows, points=points, **others)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(ShapeViews, "batch", counted)
    recipe = EncoderTraining(steps=1, views_per_batch=2, points_per_view=points)
    fit_encoder(views_of([1.0], count=2), torch.zeros(1, 3), config=SMALL, recipe=recipe, view_config=CLEAN, seed=0)
    assert asked == [shown]


def test_turns_are_the_peaks_of_their_probabilities() -> None:
    steps = np.arange(36) * 10.0
    log = np.full(36, -8.0)
    for center, height in ((42.0, 0.0), (200.0, -1.0), (310.0, -6.0)):
        away = np.abs((steps - center + 180.0) % 360.0 - 180.0)
        log = np.maximum(log, height - (away / 12.0) ** 2)
    # The third is too unlikely.
    np.testing.assert_allclose(np.degrees(likely_turns(log)), [42.0, 200.0], atol=0.5)
    assert len(likely_turns(np.zeros(36))) == 1


class Oracle(ViewEncoder):
    """Says what it is told, in the view frame of what it is shown."""

    def __init__(self, T_view_unit: Similarity, turn: float) -> None:
        super().__init__(SMALL)
        self.initialise(0)
        self.truth, self.turn = T_view_unit, turn
        self.seen: list[torch.Tensor] = []

    def forward(self, points_view: torch.Tensor, sensors_view: torch.Tensor) -> EncoderOutput:
        del sensors_view
        self.seen.append(points_view)
        count = len(points_view)
        place = torch.tensor([math.log(self.truth.scale), *self.truth.offset]).float().expand(count, 4)
        steps = torch.arange(36) * (2.0 * math.pi / 36)
        turns = (20.0 * torch.cos(steps - self.turn)).log_softmax(dim=0).expand(count, 36)
        return EncoderOutput(
            torch.zeros(count, 3), torch.ones(count, 3), place, torch.full((count, 4), 0.1), turns, torch.zeros(count)
        )


def test_what_it_says_becomes_placements_in_the_world() -> None:
    rng = np.random.default_rng(3)
    T_world_unit = Similarity(
        scale=40.0, rotation=Rotation.from_rotvec([0.0, 0.6, 0.0]).as_matrix(), offset=np.array([10.0, 2.0, -30.0])
    )
    points_unit = rng.uniform(-0.6, 0.6, (64, 3))
    points_unit[:, 2] = np.abs(points_unit[:, 2])
    sensor_unit = np.array([0.4, 0.3, 3.0])
    view = Observation.from_points(T_world_unit.apply(points_unit), T_world_unit.apply(sensor_unit[None])[0])
    T_view_world = view_frame(view.points_world, T_world_unit.apply(sensor_unit[None])[0])
    T_view_unit = T_view_world @ T_world_unit
    turn = math.atan2(T_view_unit.rotation[0, 2], T_view_unit.rotation[0, 0])
    oracle = Oracle(T_view_unit, turn)
    (look, *_) = encoder_proposals(oracle, view, T_unit_world=None, mode="upright", seed=0)
    np.testing.assert_allclose((look.T_unit_world @ T_world_unit).matrix(), np.eye(4), atol=0.02)
    assert look.offset_deviation == pytest.approx(0.1 / T_view_unit.scale, rel=1e-3)
    shown = np.sort(oracle.seen[0][0].numpy(), axis=0)
    np.testing.assert_allclose(shown, np.sort(T_view_world.apply(view.points_world), axis=0), atol=1e-5)
    # With the axes known, its word on the turn is not asked for; with all known, none on the placement.
    (aligned,) = encoder_proposals(oracle, view, T_unit_world=None, mode="aligned", seed=0)
    np.testing.assert_allclose(aligned.T_unit_world.rotation, np.eye(3), atol=1e-9)
    given = T_world_unit.inverse()
    (known,) = encoder_proposals(oracle, view, T_unit_world=given, mode="known", seed=0)
    assert known.T_unit_world is given


def test_directions_of_up_cover_the_sphere() -> None:
    ups = np.stack([rotation.T @ [0.0, 1.0, 0.0] for rotation in up_directions()])
    directions = np.random.default_rng(0).normal(size=(500, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    assert np.degrees(np.arccos((directions @ ups.T).max(axis=1))).max() < 20.0


def test_a_file_gives_the_same_words(tmp_path: Path) -> None:
    encoder, codes = ViewEncoder(SMALL).initialise(1), torch.randn(5, 3)
    write_encoder(tmp_path, encoder, codes)
    again = read_encoder(tmp_path, codes)
    assert again is not None
    points, sensors = torch.randn(1, 64, 3), torch.zeros(1, 3)
    torch.testing.assert_close(
        again(points, sensors).placement, encoder(points, sensors).placement, atol=5e-3, rtol=5e-3
    )
    assert again.config == SMALL
    # Codes that were stored in half precision are the same codes.
    assert read_encoder(tmp_path, codes.half().float()) is not None
    first = (tmp_path / "encoder.safetensors").read_bytes()
    write_encoder(tmp_path, encoder, codes)
    assert (tmp_path / "encoder.safetensors").read_bytes() == first


def test_no_file_is_no_encoder_and_a_wrong_one_an_error(tmp_path: Path) -> None:
    codes = torch.randn(5, 3)
    assert read_encoder(tmp_path, codes) is None
    path = write_encoder(tmp_path, ViewEncoder(SMALL).initialise(1), codes)
    whole = path.read_bytes()
    with pytest.raises(CheckpointError, match="trained for other codes than the checkpoint's"):
        read_encoder(tmp_path, codes + 1.0)
    for length in (0, 7, 200, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"encoder\.safetensors"):
            read_encoder(tmp_path, codes)


def test_a_header_that_asks_for_a_giant_network_is_refused_without_its_memory(tmp_path: Path) -> None:
    codes = torch.randn(5, 3)
    path = write_encoder(tmp_path, ViewEncoder(SMALL).initialise(1), codes)
    whole = path.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + length])
    for name, value in (("whole", 10**9), ("width", 10**12), ("turns", -1), ("turns", 1.5), ("whole", 49)):
        config = json.loads(header["__metadata__"]["config"]) | {name: value}
        changed = header | {"__metadata__": header["__metadata__"] | {"config": json.dumps(config)}}
        text = json.dumps(changed).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + whole[8 + length :])
        with pytest.raises(CheckpointError, match=r"encoder\.safetensors"):
            read_encoder(tmp_path, codes)


def test_settings_are_checked() -> None:
    for wrong in (
        {"cropped_share": 1.5},
        {"min_distance": 0.9},
        {"min_distance": 4.0, "max_distance": 3.0},
        {"max_noise": -1.0},
    ):
        with pytest.raises(ConfigError):
            ViewConfig(**wrong)
    for name in ("steps", "points_per_view"):
        with pytest.raises(ConfigError):
            EncoderTraining(**{name: 0})


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
