"""One way to run jobs: each back end is chosen by the user's settings, and the end of a block ends its processes."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from helpers.processes import children, needs_proc, wait_until
from helpers.worker_functions import act

from shapeprior.errors import ConfigError
from shapeprior.parallel import runner as runner_module
from shapeprior.parallel.runner import JobRunner
from shapeprior.parallel.worker import JobFailure, WorkerLimits

LIMITS = WorkerLimits(timeout=3600.0, memory=2.0)


class Stop(Exception):
    """Stands for whatever ends a run early."""


def process_of(outcome: str | JobFailure) -> int:
    assert isinstance(outcome, str)
    return int(outcome.rpartition(" ")[2])


def test_local_processes_do_each_job_once() -> None:
    jobs = [f"job {number}" for number in range(10)]
    with JobRunner(workers=2, limits=LIMITS).run(act, jobs) as outcomes:
        found = dict(outcomes)
    assert sorted(found) == jobs
    assert os.getpid() not in {process_of(outcome) for outcome in found.values()}


def test_no_workers_mean_this_process_and_one_job_after_another() -> None:
    taken: list[str] = []

    def jobs() -> Iterator[str]:
        for number in range(3):
            taken.append(f"job {number}")
            yield taken[-1]

    # A local function, which no other process could import.
    def echo(job: str) -> str:
        return f"{job} in {os.getpid()}"

    with JobRunner(workers=0).run(echo, jobs()) as outcomes:
        for number, (job, outcome) in enumerate(outcomes):
            assert taken == [f"job {earlier}" for earlier in range(number + 1)]
            assert outcome == f"{job} in {os.getpid()}"
    assert len(taken) == 3


def test_the_default_is_one_process_for_each_core(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def note(
        function: Callable[[str], str], jobs: Iterable[str], *, workers: int, limits: WorkerLimits
    ) -> Iterator[tuple[str, str]]:
        asked.append(workers)
        assert limits == LIMITS
        yield from ((job, function(job)) for job in jobs)

    monkeypatch.setattr(runner_module, "usable_cores", lambda: 7)
    monkeypatch.setattr(runner_module, "run_in_processes", note)
    with JobRunner(limits=LIMITS).run(str.upper, ["a"]) as outcomes:
        assert list(outcomes) == [("a", "A")]
    assert asked == [7]


def test_a_cluster_is_taken_in_place_of_local_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    def remote(
        function: Callable[[str], str], jobs: Iterable[str], *, address: str, limits: WorkerLimits
    ) -> Iterator[tuple[str, str]]:
        assert limits == LIMITS
        yield from ((job, f"{function(job)} at {address}") for job in jobs)

    monkeypatch.setattr(runner_module, "run_on_cluster", remote)
    with JobRunner(workers=0, cluster="tcp://host:1", limits=LIMITS).run(str.upper, ["a"]) as outcomes:
        assert list(outcomes) == [("a", "A at tcp://host:1")]


def test_a_negative_number_of_workers_is_refused_before_anything_is_done() -> None:
    for cluster in (None, "tcp://host:1"):
        with pytest.raises(ConfigError, match=r"^workers = -2; expected 0 or more processes"):
            JobRunner(workers=-2, cluster=cluster)


@needs_proc
@pytest.mark.parametrize("raises", [False, True])
def test_the_end_of_the_block_ends_jobs_that_run(raises: bool, tmp_path: Path) -> None:
    begun = [tmp_path / str(number) for number in range(9)]
    expected = pytest.raises(Stop) if raises else contextlib.nullcontext()
    with expected, JobRunner(workers=2, limits=LIMITS).run(act, ["first", *map("hang {}".format, begun)]) as outcomes:
        assert next(outcomes)[0] == "first"
        wait_until(lambda: begun[0].exists() and begun[1].exists())
        if raises:
            raise Stop
    assert not children()
    assert not any(path.exists() for path in begun[2:])


@needs_proc
@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_job_raises_ends_the_run(workers: int) -> None:
    with (
        pytest.raises(OSError, match="disk full"),
        JobRunner(workers=workers, limits=LIMITS).run(act, ["raise disk full", "job"]) as outcomes,
    ):
        list(outcomes)
    assert not children()
