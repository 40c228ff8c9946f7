"""Devices and precision: a GPU agrees with the CPU up to rounding, and bfloat16 leaves coordinates exact.

Tests that need a GPU are skipped where there is none.
"""

import dataclasses
from pathlib import Path

import igl
import numpy as np
import pytest
import torch
from helpers.training_runs import TINY, StoppedRun, checkpoint_bytes, log_of, stop_after

from shapeprior.completion.batch import complete_folder
from shapeprior.completion.encoding import EncodeConfig, RefineConfig
from shapeprior.completion.registry import load
from shapeprior.completion.scan_job import CompletionSettings
from shapeprior.datasets.dataset import Dataset
from shapeprior.datasets.procedural import synthesize
from shapeprior.errors import ConfigError
from shapeprior.evaluation.ground_truth import shape_view
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.transforms import Similarity
from shapeprior.models import device as device_module
from shapeprior.models.checkpoint import RunConfig, read_checkpoint
from shapeprior.models.deepsdf import DeepSdfConfig, DeepSdfDecoder
from shapeprior.models.device import autocast, has_fast_bfloat16, usable_device
from shapeprior.models.presets import Preset, preset
from shapeprior.training.train import train_prior
from shapeprior.training.train_encoder import EncoderTraining, train_encoder

GPU = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else None
on_gpu = pytest.mark.skipif(GPU is None, reason="no GPU that PyTorch can use")
MISSING = "cuda:63"


def between(first: TriangleMesh, second: TriangleMesh) -> float:
    """Return the mean distance of one surface's vertices from the other surface, the larger of both directions."""
    each = []
    for of, to in ((first, second), (second, first)):
        squared, *_ = igl.point_mesh_squared_distance(of.vertices, to.vertices, to.faces.astype(np.int64))
        each.append(float(np.sqrt(squared).mean()))
    return max(each)


def small(name: str) -> Preset:
    recipe = preset(name)
    shapes, points = (2, 256) if name == "triplane-64" else (4, 256)
    return dataclasses.replace(
        recipe, train=dataclasses.replace(recipe.train, epochs=4, shapes_per_batch=shapes, points_per_shape=points)
    )


@pytest.mark.parametrize("name", [MISSING, "no-such-device", "meta", ""])
def test_a_device_that_is_not_there_is_refused_by_its_name(name: str, tmp_path: Path, tiny_data: Dataset) -> None:
    with pytest.raises(ConfigError, match=f"device '{name}' cannot be used"):
        usable_device(name)
    with pytest.raises(ConfigError, match=f"device '{name}'"):
        load("can", device=name)
    with pytest.raises(ConfigError, match=f"device '{name}'"):
        load("can").to(name)
    with pytest.raises(ConfigError, match=f"device '{name}'"):
        train_encoder(tmp_path, device=name)
    with pytest.raises(ConfigError, match=f"device '{name}'"):
        complete_folder(tmp_path, tmp_path / "out", prior="can", settings=CompletionSettings(device=name))
    with pytest.raises(ConfigError, match=f"device '{name}'"):
        train_prior(tiny_data, tmp_path / "run", preset=small("triplane-64"), seed=0, device=name)


@pytest.mark.slow
def test_a_moved_prior_is_a_copy_with_the_same_results() -> None:
    prior = load("can")
    _ = prior.space
    moved = prior.to("cpu")
    mesh = prior.extract(prior.codes[3], resolution=32)
    assert np.array_equal(moved.extract(moved.codes[3], resolution=32).vertices, mesh.vertices)
    with torch.no_grad():
        for parameter in (*moved.decoder.parameters(), *(moved.encoder or moved.decoder).parameters()):
            parameter.zero_()
    assert np.array_equal(prior.extract(prior.codes[3], resolution=32).vertices, mesh.vertices)
    assert prior.encoder is not None
    assert all(bool(parameter.any()) for parameter in prior.encoder.parameters())


@on_gpu
@pytest.mark.parametrize("family", ["mug", "bowl"])
def test_completions_agree(family: str) -> None:
    assert GPU is not None
    here, there = load(family), load(family, device=GPU)
    assert {parameter.device.type for parameter in there.decoder.parameters()} == {GPU}
    for index in range(2):
        mesh = synthesize(family, seed=1, index=index)
        view = shape_view(
            TriangleMesh(vertices=Similarity.to_unit_sphere(mesh.vertices).apply(mesh.vertices), faces=mesh.faces),
            f"{family}_{index}", views=1, sensor=None, resolution=128, seed=0,
        ).observation  # fmt: skip
        for placement in (None, "upright"):
            known = {} if placement else {"T_unit_world": Similarity.identity()}
            first, second = (
                prior.complete(view, placement=placement, resolution=96, **known)  # pyright: ignore[reportArgumentType]
                for prior in (here, there)
            )
            assert second.mesh.is_watertight
            assert second.verdict.kind == first.verdict.kind
            assert between(first.mesh_unit, second.mesh_unit) < 0.003
            assert second.code.dtype == np.float64
            assert abs(second.T_unit_world.scale / first.T_unit_world.scale - 1.0) < 0.02


@on_gpu
def test_fields_and_codes_agree() -> None:
    assert GPU is not None
    here, there = load("mug"), load("mug", device=GPU)
    points = np.random.default_rng(0).uniform(-1, 1, (100_000, 3))
    code = here.codes[5]
    assert np.abs(here.field(code)(points) - there.field(code)(points)).max() < 1e-4
    mesh = synthesize("mug", seed=1, index=0)
    config = EncodeConfig(steps=60)
    first, second = (prior.encode(mesh, config=config, refine=RefineConfig(steps=20)) for prior in (here, there))
    assert abs(first.error - second.error) < 2e-4
    assert first.refined is not None
    assert second.refined is not None
    assert between(
        here.extract_prepared(first.refined, resolution=64), there.extract_prepared(second.refined, resolution=64)
    ) < 0.003  # fmt: skip
    assert [near.id for near in here.nearest(code, count=3)] == [near.id for near in there.nearest(code, count=3)]
    assert np.allclose(here.sample(4), there.sample(4).cpu(), atol=1e-4)
    ways = [prior.interpolate(prior.codes[0], prior.codes[1], path="spherical").cpu() for prior in (here, there)]
    assert np.allclose(*ways, atol=1e-4)


@on_gpu
@pytest.mark.parametrize("name", ["deepsdf-256", "triplane-64"])
def test_a_run_changes_devices(name: str, tmp_path: Path, tiny_data: Dataset) -> None:
    """A run that goes from the GPU to the CPU and back has the losses of one that stays, and nearly its codes."""
    assert GPU is not None
    recipe = small(name)
    part = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, precision="float32"))
    losses = {"cpu": [], "both": []}
    train_prior(
        tiny_data, tmp_path / "cpu", preset=part, seed=0, progress=lambda report: losses["cpu"].append(report.loss)
    )

    class Stop(Exception):
        pass

    for stop, device in ((1, GPU), (2, "cpu"), (4, GPU)):

        def told(report, stop=stop) -> None:
            losses["both"].append(report.loss)
            if report.epoch == stop and stop < 4:
                raise Stop

        try:
            train_prior(
                tiny_data, tmp_path / "both", preset=part, seed=0, device=device, progress=told, checkpoint_seconds=0.0
            )
        except Stop:
            continue
    assert len(losses["both"]) == 4
    assert np.allclose(losses["both"], losses["cpu"], rtol=0.02)
    first, second = (read_checkpoint(tmp_path / run, RunConfig.read(tmp_path / run)).codes for run in ("cpu", "both"))
    assert float((first - second).norm() / first.norm()) < 0.05


@on_gpu
def test_an_encoder_is_trained_on_the_gpu(tmp_path: Path, tiny_data: Dataset) -> None:
    assert GPU is not None
    run = tmp_path / "run"
    train_prior(tiny_data, run, preset=small("triplane-64"), seed=0, device=GPU)
    losses = []
    train_encoder(
        run, data=tiny_data, device=GPU,
        recipe=EncoderTraining(steps=60, max_shapes=4, min_shapes=4, views_per_shape=8),
        progress=lambda report: losses.append(report.loss),
    )  # fmt: skip
    told = [loss for loss in losses if loss is not None]
    assert np.mean(told[-10:]) < np.mean(told[:10]) - 0.5
    assert load(run).encoder is not None


CPU = torch.device("cpu")


def field(decoder: DeepSdfDecoder, codes: torch.Tensor, points: torch.Tensor, kind: str) -> torch.Tensor:
    with torch.no_grad(), autocast(CPU, kind):  # pyright: ignore[reportArgumentType]
        return decoder(codes, points)


def test_bfloat16_reaches_the_hidden_layers_but_neither_coordinates_nor_distances() -> None:
    decoder = DeepSdfDecoder(DeepSdfConfig(code_size=8, width=128), seed=0)
    generator = torch.Generator().manual_seed(1)
    codes, points = torch.randn((1, 8), generator=generator), torch.rand((1, 4000, 3), generator=generator) * 2 - 1
    exact = field(decoder, codes, points, "float32")
    found = field(decoder, codes, points, "bfloat16")
    assert found.dtype == torch.float32
    # For comparison, everything in bfloat16's eight bits.
    rounded = decoder.to(torch.bfloat16)(codes.bfloat16(), points.bfloat16()).float().detach()
    error, coarse = (found - exact).abs().mean(), (rounded - exact).abs().mean()
    assert 0.0 < error < 0.6 * coarse
    # Two points nearer than bfloat16 can tell apart have different distances.
    assert found.unique().numel() > 10 * rounded.unique().numel()


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({}, False),
        ({"avx2": True}, False),
        ({"neon": True, "bf16": True}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True, "avx512_bf16": False}, True),
    ],
)
def test_auto_goes_by_the_processors_instructions(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, bool], expected: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    assert has_fast_bfloat16(CPU) is expected
    with autocast(CPU, "auto"):
        assert torch.is_autocast_enabled("cpu") is expected
        with device_module.without_autocast(CPU):
            assert not torch.is_autocast_enabled("cpu")


def test_a_run_in_bfloat16_learns_and_resumes_to_the_same_bytes(tiny_data: Dataset, tmp_path: Path) -> None:
    tiny = TINY["deepsdf"]
    preset = dataclasses.replace(tiny, train=dataclasses.replace(tiny.train, precision="bfloat16", epochs=6))
    train_prior(tiny_data, tmp_path / "whole", preset=preset, seed=0)
    with pytest.raises(StoppedRun):
        train_prior(tiny_data, tmp_path / "cut", preset=preset, seed=0, progress=stop_after(3), checkpoint_seconds=0.0)
    train_prior(tiny_data, tmp_path / "cut", preset=preset, seed=0)
    assert checkpoint_bytes(tmp_path / "whole") == checkpoint_bytes(tmp_path / "cut")
    losses = [entry["loss"] for entry in log_of(tmp_path / "whole")]
    assert losses[-1] < losses[0]
    plain = dataclasses.replace(tiny, train=dataclasses.replace(preset.train, precision="float32"))
    train_prior(tiny_data, tmp_path / "plain", preset=plain, seed=0)
    assert log_of(tmp_path / "plain")[-1]["loss"] == pytest.approx(losses[-1], rel=0.02)
    assert log_of(tmp_path / "plain")[-1]["loss"] != losses[-1]
    checkpoint = read_checkpoint(tmp_path / "whole", RunConfig.read(tmp_path / "whole"))
    assert {parameter.dtype for parameter in checkpoint.decoder.parameters()} == {torch.float32}
