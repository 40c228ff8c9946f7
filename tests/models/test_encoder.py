"""The view encoder: its file, its view frames, and the placements that follow from its output.

The view frame is the same for views that differ by a turn about +y, a scale and an offset.
"""

import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.jug_views import SMALL
from scipy.spatial.transform import Rotation

from shapeprior.completion.initialization import encoder_proposals, likely_turns
from shapeprior.errors import CheckpointError
from shapeprior.geometry.transforms import Similarity
from shapeprior.models.encoder import (
    EncoderOutput,
    ViewEncoder,
    read_encoder,
    view_frame,
    view_frames,
    write_encoder,
)
from shapeprior.scans.observation import Observation
from shapeprior.scans.placement import up_directions


def test_the_order_of_the_points_does_not_matter() -> None:
    encoder = ViewEncoder(SMALL).initialise(0)
    points, sensors = torch.randn(2, 64, 3), torch.nn.functional.normalize(torch.randn(2, 3), dim=1)
    one, other = encoder(points, sensors), encoder(points[:, torch.randperm(64)], sensors)
    for name in ("whitened", "placement", "placement_deviation", "turns"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(one.turns.exp().sum(dim=1), torch.ones(2))


def test_turns_are_the_peaks_of_their_probabilities() -> None:
    steps = np.arange(36) * 10.0
    log = np.full(36, -8.0)
    for center, height in ((42.0, 0.0), (200.0, -1.0), (310.0, -6.0)):
        away = np.abs((steps - center + 180.0) % 360.0 - 180.0)
        log = np.maximum(log, height - (away / 12.0) ** 2)
    # The third peak is too unlikely.
    np.testing.assert_allclose(np.degrees(likely_turns(log)), [42.0, 200.0], atol=0.5)
    assert len(likely_turns(np.zeros(36))) == 1


class Oracle(ViewEncoder):
    """An encoder that answers with a given placement and turn, and keeps what it was shown."""

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
    # With known axes its turn is not used; with a known placement nothing of its placement is.
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
