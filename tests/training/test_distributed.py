"""Several processes train what one process would, and none hangs when another one ends."""

import contextlib
import dataclasses
import json
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.processes import CEILING_SECONDS, kill, wait_until
from helpers.train_process import PRESETS, ends, epochs_of, start_two
from helpers.training_runs import copy_data

from shapeprior.completion.registry import load
from shapeprior.datasets.dataset import Dataset
from shapeprior.datasets.shape_files import write_samples
from shapeprior.errors import CheckpointError, ConfigError
from shapeprior.models.checkpoint import RunConfig, read_checkpoint
from shapeprior.models.decoder import Decoder
from shapeprior.models.objective import Objective, TrainingBatch
from shapeprior.training import train as train_module
from shapeprior.training import trainer
from shapeprior.training.distributed import ProcessGroup
from shapeprior.training.run import EpochReport
from shapeprior.training.train import train_prior


class Stop(Exception):
    """Stop a run from its progress callback."""


def stop_after_three(report: EpochReport) -> None:
    if report.epoch == 3:
        raise Stop


class Threads:
    """Threads that stand for processes and communicate through shared memory; results do not depend on the
    transport."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.barrier = threading.Barrier(size, timeout=CEILING_SECONDS)
        self.told: list[torch.Tensor] = [torch.zeros(0)] * size
        self.mail = {rank: queue.Queue[torch.Tensor]() for rank in range(size)}

    def run(self, work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
        """Run `work` in every thread, each with its own rank."""
        own = threading.local()

        @contextlib.contextmanager
        def joined(device: str) -> Iterator[ProcessGroup]:
            yield ThreadRanks(self, own.rank)

        def begin(rank: int) -> None:
            own.rank = rank
            try:
                work()
            except BaseException:
                self.barrier.abort()
                raise

        monkeypatch.setattr(train_module, "join_process_group", joined)
        with ThreadPoolExecutor(self.size) as pool:
            results = [pool.submit(begin, rank) for rank in range(self.size)]
        monkeypatch.undo()
        errors = [error for result in results if (error := result.exception())]
        for error in errors:
            if not isinstance(error, threading.BrokenBarrierError):
                raise error


class ThreadRanks(ProcessGroup):
    """The process group of one thread."""

    def __init__(self, threads: Threads, rank: int) -> None:
        super().__init__(rank=rank, size=threads.size, device=torch.device("cpu"))
        object.__setattr__(self, "threads", threads)

    def exchange(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        threads: Threads = self.threads  # pyright: ignore[reportAttributeAccessIssue]
        threads.told[self.rank] = tensor
        threads.barrier.wait()
        told = [part.clone() for part in threads.told]
        threads.barrier.wait()
        return told

    def all_gather(self, numbers: torch.Tensor) -> torch.Tensor:
        return torch.stack(self.exchange(numbers))

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        for part in parameters:
            part.grad = sum(self.exchange(torch.zeros_like(part) if part.grad is None else part.grad), torch.zeros(()))

    def send_to_first(self, tensor: torch.Tensor) -> None:
        self.threads.mail[self.rank].put(tensor)  # pyright: ignore[reportAttributeAccessIssue]

    def receive(self, tensor: torch.Tensor, *, rank: int) -> torch.Tensor:
        found = self.threads.mail[rank].get(timeout=CEILING_SECONDS)  # pyright: ignore[reportAttributeAccessIssue]
        assert found.shape == tensor.shape
        assert found.dtype == tensor.dtype
        return found


@pytest.fixture(scope="module")
def alone(tiny_data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run of a single process."""
    return train_prior(tiny_data, tmp_path_factory.mktemp("alone") / "run", preset=PRESETS["tiny"], seed=1)


def require_same(run: Path, alone: Path) -> None:
    """Check that losses and codes agree up to rounding, since sums over processes have another order."""
    logs = [[json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()] for path in (run, alone)]
    assert [line["epoch"] for line in logs[0]] == [1, 2, 3, 4, 5, 6]
    for name in ("loss", "objective", "code_length"):
        ours, theirs = (np.array([line[name] for line in log]) for log in logs)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    torch.testing.assert_close(load(run).codes, load(alone).codes, rtol=1e-3, atol=1e-5)
    states = [read_checkpoint(path, RunConfig.read(path)).optimizer for path in (run, alone)]
    assert states[0].keys() == states[1].keys()
    # Adam's steps hide the scale of a gradient; its moments show it.
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=1e-2, atol=1e-6)
    assert torch.equal(states[0]["codes.step"], torch.full((4,), 6))
    assert torch.equal(states[0]["output.bias.step"], torch.tensor(12.0))


@pytest.mark.parametrize("size", [2, 3])
def test_several_do_what_one_does(
    tiny_data: Dataset, tmp_path: Path, alone: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Four shapes in batches of three: of the second step, only one has a part."""
    run = tmp_path / "run"
    Threads(size).run(lambda: train_prior(tiny_data, run, preset=PRESETS["tiny"], seed=1), monkeypatch)
    require_same(run, alone)


def test_momenta_are_shared_and_gone_on_with(
    tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Muon's steps, which Adam's of the other presets say nothing of: two processes, then one, against one alone."""
    alone = train_prior(tiny_data, tmp_path / "alone", preset=PRESETS["planes"], seed=1)
    run = tmp_path / "run"

    def begin() -> None:
        train_prior(tiny_data, run, preset=PRESETS["planes"], seed=1, progress=stop_after_three, checkpoint_seconds=0.0)

    with pytest.raises(Stop):
        Threads(2).run(begin, monkeypatch)
    train_prior(tiny_data, run, preset=PRESETS["planes"], seed=1)
    states = [read_checkpoint(path, RunConfig.read(path)).optimizer for path in (run, alone)]
    momenta = [name for name in states[0] if name.endswith(".momentum")]
    assert len(momenta) == 4
    assert states[0].keys() == states[1].keys()
    for name in momenta:
        torch.testing.assert_close(states[0][name], states[1][name], rtol=1e-2, atol=1e-5)
        assert states[0][name].any()
    torch.testing.assert_close(load(run).codes, load(alone).codes, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (3, 2)])
def test_others_go_on_where_some_stopped(
    tiny_data: Dataset, tmp_path: Path, alone: Path, monkeypatch: pytest.MonkeyPatch, before: int, after: int
) -> None:
    run = tmp_path / "run"

    def begin() -> None:
        train_prior(tiny_data, run, preset=PRESETS["tiny"], seed=1, progress=stop_after_three, checkpoint_seconds=0.0)

    with pytest.raises(Stop):
        Threads(before).run(begin, monkeypatch)
    assert read_checkpoint(run, RunConfig.read(run)).epoch == 3
    Threads(after).run(lambda: train_prior(tiny_data, run, preset=PRESETS["tiny"], seed=1), monkeypatch)
    require_same(run, alone)


def test_all_name_the_shape_whose_loss_is_not_finite(
    tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps later, every shape of every process is broken; only the first names are said, and all say the same."""
    measure, messages = trainer.batch_objective, []

    def one_bad_shape(decoder: Decoder, codes: torch.Tensor, batch: TrainingBatch, *rest: Any) -> Objective:
        objective = measure(decoder, codes, batch, *rest)
        return dataclasses.replace(
            objective, value=torch.where(batch.rows == 2, torch.nan * codes[:, 0], objective.value)
        )

    def begin() -> None:
        try:
            train_prior(tiny_data, tmp_path / "run", preset=PRESETS["tiny"], seed=1)
        except CheckpointError as error:
            messages.append(str(error))

    monkeypatch.setattr(trainer, "batch_objective", one_bad_shape)
    Threads(2).run(begin, monkeypatch)
    assert len(messages) == 2
    assert messages[0] == messages[1]
    assert f"epoch 1: the loss of shape {tiny_data.split('train')[2].id} is not finite" in messages[0]


@pytest.mark.slow
def test_two_processes_do_what_one_does(tiny_data: Dataset, tmp_path: Path, alone: Path) -> None:
    """Four shapes in batches of three: of the second step, one process has no part."""
    done = ends(start_two([tiny_data.root] * 2, tmp_path / "run", "tiny", checkpoint_seconds=1e6))
    assert [code for code, _ in done] == [0, 0], done
    require_same(tmp_path / "run", alone)


@pytest.mark.slow
def test_two_processes_begin_one_is_killed_and_one_goes_on(tiny_data: Dataset, tmp_path: Path) -> None:
    whole = train_prior(tiny_data, tmp_path / "whole", preset=PRESETS["long"], seed=1)
    run = tmp_path / "run"
    killed = tmp_path / "killed"
    processes = start_two([tiny_data.root] * 2, run, "long", checkpoint_seconds=0.0, hold=killed)
    wait_until(lambda: len(epochs_of(run)) >= 5, process=processes[0])
    kill(processes[1].pid)
    processes[1].wait()
    killed.touch()
    (code, line), (other_code, _) = ends(processes)
    assert (code, other_code) == (1, -9)
    assert "process 0 of 2: another process of this training has ended" in line
    assert "start the same command again" in line
    begun = read_checkpoint(run, RunConfig.read(run)).epoch
    assert 4 <= begun < 150
    train_prior(tiny_data, run, preset=PRESETS["long"], seed=1)
    assert epochs_of(run) == epochs_of(whole)
    # After many epochs roundings have grown, but the beginning is the same.
    losses = [
        [json.loads(line)["loss"] for line in (path / "log.jsonl").read_text().splitlines()] for path in (run, whole)
    ]
    np.testing.assert_allclose(losses[0][:10], losses[1][:10], rtol=1e-4)
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.2)


@pytest.mark.slow
def test_a_fault_of_one_process_ends_all(tiny_data: Dataset, tmp_path: Path) -> None:
    broken = copy_data(tiny_data, tmp_path / "data")
    for shape in broken.split("train"):
        samples = broken.samples(shape.id)
        samples.sdf[5] = np.nan
        write_samples(broken.store, shape.id, samples)
    done = ends(start_two([tiny_data.root, broken.root], tmp_path / "run", "tiny", checkpoint_seconds=0.0))
    assert [code for code, _ in done] == [1, 1]
    assert "process 0 of 2: another process of this training has ended" in done[0][1]
    assert f"{broken.root}: samples of shape " in done[1][1]


def test_more_processes_than_shapes_in_a_batch(
    tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="4 processes for batches of 3 shapes"):
        Threads(4).run(lambda: train_prior(tiny_data, tmp_path / "run", preset=PRESETS["tiny"], seed=1), monkeypatch)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("environment", "device", "text"),
    [
        ({"WORLD_SIZE": "two"}, "cpu", "WORLD_SIZE='two'"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "mps", "device 'mps' for 2 processes; expected one of cpu, cuda"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "cpu", "cannot join the other processes .*MASTER_ADDR"),
    ],
)
def test_environments_that_torchrun_does_not_make(
    tiny_data: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    device: str,
    text: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=text):
        train_prior(tiny_data, tmp_path / "run", preset=PRESETS["tiny"], seed=1, device=device)
    assert not (tmp_path / "run").exists()
