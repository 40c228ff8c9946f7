"""Completion as users call it, on an analytic decoder: frames, units, closed meshes, and what is refused."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from helpers.ellipsoids import (
    EllipsoidDecoder,
    PositiveDecoder,
    axes_of,
    ellipsoid_prior,
    ellipsoid_view,
    off_ellipsoid,
)

from shapeprior.completion.config import InferConfig
from shapeprior.completion.registry import load
from shapeprior.errors import CheckpointError, CompletionError, ConfigError, OutputError
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.meshes import load_mesh
from shapeprior.models.checkpoint import Checkpoint, RunConfig, write_checkpoint
from shapeprior.models.deepsdf import DeepSdfConfig
from shapeprior.models.presets import TrainConfig, build_decoder
from shapeprior.scans.observation import Observation

CODE = np.array([0.4, -0.9])
CELL = 2.0 / 64
FAST = InferConfig()


def turned(scale: float, offset: tuple[float, float, float]) -> Similarity:
    """A similarity that turns by 100 degrees around a skew axis."""
    axis = np.array([1.0, -2.0, 0.5]) / np.linalg.norm([1.0, -2.0, 0.5])
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    angle = np.radians(100.0)
    rotation = np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross
    return Similarity(scale=scale, rotation=rotation, offset=np.array(offset))


WORLDS = {
    "unit": Similarity.identity(),
    "metres, turned": turned(0.06, (0.4, -0.1, 1.3)),
    "millimetres, turned": turned(60.0, (400.0, -100.0, 1300.0)),
}


@pytest.mark.slow
@pytest.mark.parametrize("world", list(WORLDS))
def test_the_completion_lies_where_the_scan_does_in_its_unit(world: str) -> None:
    T_world_unit = WORLDS[world]
    view = ellipsoid_view(CODE).transformed(T_world_unit)
    done = ellipsoid_prior().complete(view, T_unit_world=T_world_unit.inverse(), resolution=64, infer=FAST)
    assert done.mesh.is_watertight
    assert done.mesh.volume == pytest.approx(4 / 3 * np.pi * axes_of(CODE).prod() * T_world_unit.scale**3, rel=0.03)
    assert off_ellipsoid(done.mesh_unit, CODE).max() < 0.02
    # Every point of the scan is on the mesh, by another library's distance.
    solid = trimesh.Trimesh(done.mesh.vertices, done.mesh.faces, process=False)
    some = view.points_world[::20]
    _, distance, _ = trimesh.proximity.closest_point_naive(solid, some)
    assert distance.max() < 0.02 * T_world_unit.scale
    assert done.residual < 0.005 * T_world_unit.scale
    assert done.explained > 0.99
    np.testing.assert_allclose(done.code, CODE, atol=0.06)
    back = T_world_unit.inverse().apply(done.mesh.vertices)
    np.testing.assert_allclose(back, done.mesh_unit.vertices, atol=1e-9)
    assert done.seconds > 0.0


def test_a_transformed_scan_with_its_pose_gives_the_same_mesh() -> None:
    """Rounding differs, chance does not."""
    plain = ellipsoid_prior().complete(
        ellipsoid_view(CODE), T_unit_world=Similarity.identity(), resolution=32, infer=FAST
    )
    for world in list(WORLDS)[1:]:
        T_world_unit = WORLDS[world]
        view = ellipsoid_view(CODE).transformed(T_world_unit)
        moved = ellipsoid_prior().complete(view, T_unit_world=T_world_unit.inverse(), resolution=32, infer=FAST)
        np.testing.assert_allclose(moved.code, plain.code, atol=2e-3)
        np.testing.assert_array_equal(moved.mesh.faces, plain.mesh.faces)
        expected = T_world_unit.apply(plain.mesh.vertices)
        np.testing.assert_allclose(moved.mesh.vertices, expected, atol=1e-3 * T_world_unit.scale)
        assert moved.residual == pytest.approx(plain.residual * T_world_unit.scale, rel=0.2)


@pytest.mark.slow
def test_unknown_placement_in_millimetres() -> None:
    T_world_unit = Similarity(scale=60.0, rotation=np.eye(3), offset=np.array([400.0, -100.0, 1300.0]))
    view = ellipsoid_view(CODE).transformed(T_world_unit)
    done = ellipsoid_prior().complete(view, resolution=64)
    assert done.mesh.is_watertight
    assert (
        off_ellipsoid(
            dataclasses.replace(done.mesh, vertices=T_world_unit.inverse().apply(done.mesh.vertices)), CODE
        ).max()
        < 0.08
    )
    assert done.T_unit_world.scale == pytest.approx(1 / 60.0, rel=0.05)
    assert done.residual < 0.6  # 0.01 radii of 60 mm.


def test_points_without_a_sensor() -> None:
    view = Observation.from_points(ellipsoid_view(CODE).points_world)
    done = ellipsoid_prior().complete(view, T_unit_world=Similarity.identity(), resolution=64, infer=FAST)
    assert off_ellipsoid(done.mesh_unit, CODE).max() < 0.03


@pytest.mark.slow
def test_the_same_seed_is_the_same_mesh() -> None:
    prior, view = ellipsoid_prior(), ellipsoid_view(CODE)
    first, again, other = (prior.complete(view, seed=seed, resolution=32, infer=FAST) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.mesh.vertices, again.mesh.vertices)
    np.testing.assert_array_equal(first.mesh.faces, again.mesh.faces)
    assert not np.array_equal(first.mesh.vertices, other.mesh.vertices)


@pytest.mark.parametrize("code", [(0.0, 0.0), (-1.5, 1.5)])
def test_extraction_of_a_code_is_its_ellipsoid(code: tuple[float, float]) -> None:
    mesh = ellipsoid_prior().extract(torch.tensor(code), resolution=64)
    assert mesh.is_watertight
    assert off_ellipsoid(mesh, np.array(code)).max() < 0.1 * CELL
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * axes_of(np.array(code)).prod(), rel=0.01)


def test_extraction_does_not_touch_the_decoder() -> None:
    prior = ellipsoid_prior()
    before = {name: value.clone() for name, value in prior.decoder.state_dict().items()}
    prior.extract(torch.zeros(2), resolution=32)
    assert all(torch.equal(value, before[name]) for name, value in prior.decoder.state_dict().items())
    assert prior.decoder.get_parameter("middle").requires_grad


def test_a_field_without_a_surface_is_a_completion_error() -> None:
    with pytest.raises(CompletionError, match="positive"):
        ellipsoid_prior(PositiveDecoder()).complete(
            ellipsoid_view(CODE), T_unit_world=Similarity.identity(), resolution=32, infer=FAST
        )


def test_a_resolution_without_a_corner_inside_is_refused() -> None:
    with pytest.raises(ConfigError, match="resolution"):
        ellipsoid_prior().extract(torch.zeros(2), resolution=1)


def test_saving_a_completion(tmp_path: Path) -> None:
    done = ellipsoid_prior().complete(
        ellipsoid_view(CODE), T_unit_world=Similarity.identity(), resolution=32, infer=FAST
    )
    path = done.save(tmp_path / "out" / "mesh.ply")
    found = load_mesh(path)
    np.testing.assert_allclose(found.vertices, done.mesh.vertices, atol=1e-6)
    np.testing.assert_array_equal(found.faces, done.mesh.faces)
    with pytest.raises(OutputError, match=r"\.xyz"):
        done.save(tmp_path / "mesh.xyz")


def write_run(run: Path) -> RunConfig:
    config = RunConfig(
        decoder=DeepSdfConfig(code_size=2, width=16), train=TrainConfig(), seed=0, shape_ids=("a",), dataset={}
    )
    run.mkdir()
    (run / "config.json").write_text(json.dumps(config.to_json()))
    decoder = build_decoder(config.decoder, seed=3)
    write_checkpoint(run, Checkpoint(epoch=1, decoder=decoder, codes=torch.ones(1, 2), optimizer={}))
    return config


def test_load_reads_a_run_folder_for_use(tmp_path: Path) -> None:
    config = write_run(tmp_path / "run")
    prior = load(tmp_path / "run")
    assert prior.config == config
    assert torch.equal(prior.codes, torch.ones(1, 2))
    assert not prior.decoder.training
    assert not isinstance(prior.decoder, EllipsoidDecoder)


def test_a_folder_is_meant_before_a_bundled_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "mug")
    monkeypatch.chdir(tmp_path)
    assert load("mug").config.decoder == DeepSdfConfig(code_size=2, width=16)


@pytest.mark.parametrize("name", ["nosuchprior", "a/b", ""])
def test_load_of_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="expected a run folder"):
        load(name)
