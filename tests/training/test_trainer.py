"""A compiled decoder trains the same, and one that cannot be compiled gives an error of one line.

The trainings run in processes of their own, because the type checks of these tests cannot be compiled.
"""

from pathlib import Path

import pytest
from helpers.train_process import PRESETS, ends, start
from helpers.training_runs import log_of

from shapeprior.datasets.dataset import Dataset
from shapeprior.training.train import train_prior

pytestmark = pytest.mark.slow


def test_it_trains_the_same(tiny_data: Dataset, tmp_path: Path) -> None:
    """torch traces the decoder and rebuilds it; only the compiler behind that is left out."""
    plain = train_prior(tiny_data, tmp_path / "plain", preset=PRESETS["tiny"], seed=1)
    ours = tmp_path / "compiled"
    process = start(
        tiny_data.root,
        ours,
        "tiny",
        checkpoint_seconds=1e6,
        flags=["--compile"],
        variables={"COMPILE_WITH": "aot_eager"},
    )
    assert ends([process])[0][0] == 0
    for one, other in zip(log_of(ours), log_of(plain), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
    # Compilation is no setting of the run: it can be resumed without.
    assert (ours / "config.json").read_bytes() == (plain / "config.json").read_bytes()
    train_prior(tiny_data, ours, preset=PRESETS["tiny"], seed=1)


def test_without_a_compiler(tiny_data: Dataset, tmp_path: Path) -> None:
    variables = {"CXX": "/nowhere/c++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    process = start(
        tiny_data.root, tmp_path / "run", "tiny", checkpoint_seconds=1e6, flags=["--compile"], variables=variables
    )
    ((code, line),) = ends([process])
    assert code == 1
    assert line.startswith("shapeprior: this decoder cannot be compiled here (")
    assert line.endswith("train without --compile")
