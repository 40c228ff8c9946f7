"""Products in bfloat16: where they are chosen, and that coordinates, codes and distances stay exact."""

import dataclasses
from pathlib import Path

import pytest
import torch
from test_train import TINY, checkpoint_bytes, log_of, stop_after
from test_train import Interruption as Stop

from shapeprior.datasets.dataset import Dataset
from shapeprior.models import device as precision
from shapeprior.models.checkpoint import RunConfig, read_checkpoint
from shapeprior.models.deepsdf import DeepSdfConfig, DeepSdfDecoder
from shapeprior.models.device import autocast, multiplies_bfloat16
from shapeprior.training.train import train_prior

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
    # All of it in eight bits: the twin that the comparison is with.
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
    assert multiplies_bfloat16(CPU) is expected
    with autocast(CPU, "auto"):
        assert torch.is_autocast_enabled("cpu") is expected
        with precision.exact(CPU):
            assert not torch.is_autocast_enabled("cpu")


def test_a_run_in_bfloat16_learns_and_resumes_to_the_same_bytes(tiny_data: Dataset, tmp_path: Path) -> None:
    tiny = TINY["deepsdf"]
    preset = dataclasses.replace(tiny, train=dataclasses.replace(tiny.train, precision="bfloat16", epochs=6))
    train_prior(tiny_data, tmp_path / "whole", preset=preset, seed=0)
    with pytest.raises(Stop):
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
