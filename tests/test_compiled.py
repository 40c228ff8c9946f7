"""A compiled decoder trains the same; one that cannot be compiled is one line."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_train import log_of
from train_process import PRESETS

from shapeprior.dataset import Dataset
from shapeprior.errors import ConfigError
from shapeprior.train import train_prior

pytestmark = pytest.mark.slow


def compile_with(backend: str | Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch take the decoder apart as ever, and something quick stand for the compiler that comes behind."""
    monkeypatch.setattr(torch.nn.Module, "compile", functools.partialmethod(torch.nn.Module.compile, backend=backend))


def test_it_trains_the_same(tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = train_prior(tiny_data, tmp_path / "plain", preset=PRESETS["tiny"], seed=1)
    calls = 0

    def count(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        nonlocal calls
        calls += 1
        return graph.forward

    compile_with(count, monkeypatch)
    ours = train_prior(tiny_data, tmp_path / "compiled", preset=PRESETS["tiny"], seed=1, compiled=True)
    assert calls >= 1
    for one, other in zip(log_of(ours), log_of(plain), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
    # It is no other checkpoint: the same weights by the same names.
    assert (ours / "config.json").read_bytes() == (plain / "config.json").read_bytes()


def test_a_decoder_that_cannot_be_compiled(tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        raise RuntimeError("no C++ compiler\nanywhere")

    compile_with(no_compiler, monkeypatch)
    with pytest.raises(
        ConfigError, match="cannot be compiled here .*no C.. compiler anywhere.*without --compile"
    ) as caught:
        train_prior(tiny_data, tmp_path / "run", preset=PRESETS["tiny"], seed=1, compiled=True)
    assert "\n" not in str(caught.value)
