"""Training in processes of its own: as a program, the command line with tiny presets; as a module, what starts and
watches it."""

import functools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from helpers.processes import CEILING_SECONDS, environment, wait_until

from shapeprior.models.deepsdf import DeepSdfConfig
from shapeprior.models.presets import Preset, TrainConfig
from shapeprior.models.triplane import TriplaneConfig

PRESETS = {
    "tiny": Preset(
        decoder=DeepSdfConfig(code_size=4, width=32, layers=4, skip_layer=2),
        train=TrainConfig(epochs=6, shapes_per_batch=3, points_per_shape=100),
    ),
    "planes": Preset(
        decoder=TriplaneConfig(code_size=4, base=2, channels=(6, 4), width=16),
        train=TrainConfig(epochs=6, shapes_per_batch=3, points_per_shape=100, loss="banded", matrix_rate=2e-2),
    ),
    "long": Preset(
        decoder=DeepSdfConfig(code_size=4, width=32, layers=4, skip_layer=2),
        train=TrainConfig(epochs=150, shapes_per_batch=3, points_per_shape=100),
    ),
}
HOLD_EPOCH = 100
"""Where a process is held, if it is told to be: beyond all epochs that tests wait for, and before the end of the preset
"long"."""
LEFT_BY_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def start(
    data: Path | str,
    run: Path,
    preset: str,
    *,
    checkpoint_seconds: float,
    rank: int = 0,
    size: int = 1,
    port: int = 0,
    flags: Sequence[str] = (),
    hold: Path | None = None,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.Popen[str]:
    """`shapeprior train` of a tiny preset with seed 1; one of several processes if size > 1.

    With `hold`, the process waits after `HOLD_EPOCH` epochs until that file exists, so that a test that is slow to act
    still finds it training.
    """
    inherited = environment(OMP_NUM_THREADS="1").items()
    own = {name: value for name, value in inherited if name not in LEFT_BY_TORCHRUN}
    if size > 1:
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        own |= {name: str(value) for name, value in names.items()}
        own["GLOO_SOCKET_IFNAME"] = "lo"
    if hold is not None:
        own["HOLD_UNTIL"] = str(hold)
    own |= variables
    arguments = [
        str(checkpoint_seconds),
        "train",
        str(data),
        "--out",
        str(run),
        "--preset",
        preset,
        "--seed",
        "1",
        "--encoder-steps",
        "0",
        *flags,
    ]
    return subprocess.Popen(
        [sys.executable, __file__, *arguments],
        env=own,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_two(
    data: Sequence[Path | str], run: Path, preset: str, *, checkpoint_seconds: float, hold: Path | None = None
) -> list[subprocess.Popen[str]]:
    """Two processes that train together, each with its own path to the data."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        start(path, run, preset, checkpoint_seconds=checkpoint_seconds, rank=rank, size=2, port=port, hold=hold)
        for rank, path in enumerate(data)
    ]


def ends(processes: Sequence[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Exit code and the last line on standard error of each process, when all have ended."""
    found = []
    for process in processes:
        _, errors = process.communicate(timeout=CEILING_SECONDS)
        # A progress bar writes over its own line.
        found.append((process.returncode, errors.replace("\r", "\n").strip().split("\n")[-1]))
    return found


def epochs_of(run: Path) -> list[int]:
    """What whole lines of the log say."""
    try:
        lines = (run / "log.jsonl").read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [json.loads(line)["epoch"] for line in lines if line.endswith("\n")]


def _main() -> None:
    import torch

    from shapeprior.cli import main as cli
    from shapeprior.models import presets
    from shapeprior.training import run, train
    from shapeprior.training.run import EpochReport

    if "COMPILE_WITH" in os.environ:  # Something quick stands for the compiler.
        compile_ = functools.partialmethod(torch.nn.Module.compile, backend=os.environ["COMPILE_WITH"])
        setattr(torch.nn.Module, "compile", compile_)  # noqa: B010
    presets.presets = lambda: PRESETS
    # However slow an epoch is, Ctrl-C waits for its end.
    run.GRACE_SECONDS = float("inf")
    train_prior, checkpoint_seconds = train.train_prior, float(sys.argv.pop(1))

    def train_and_hold(*arguments: Any, progress: Callable[[EpochReport], None] | None = None, **options: Any) -> Path:
        def report(epoch: EpochReport) -> None:
            if progress:
                progress(epoch)
            if epoch.epoch == HOLD_EPOCH and "HOLD_UNTIL" in os.environ:
                wait_until(Path(os.environ["HOLD_UNTIL"]).exists)

        return train_prior(*arguments, progress=report, checkpoint_seconds=checkpoint_seconds, **options)

    train.train_prior = train_and_hold
    cli.main()


if __name__ == "__main__":
    _main()
