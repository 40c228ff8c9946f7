"""The same jobs on a Dask cluster of several processes, some of which die."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from processes import needs_proc, wait_until
from worker_functions import act

from shapeprior.cluster import run_on_cluster
from shapeprior.errors import ConfigError
from shapeprior.worker_loop import Lost
from shapeprior.worker_process import WorkerLimits

distributed = pytest.importorskip("distributed")
# Dask's own loops end when they like.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]

LIMITS = WorkerLimits(timeout=20.0, memory=2.0)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three processes of one thread on this machine, each watched by another that replaces it."""
    with distributed.LocalCluster(n_workers=3, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster:
        yield cluster


def worker_pids(cluster: Any) -> list[int]:
    with distributed.Client(cluster, set_as_default=False) as client:
        return list(client.run(os.getpid).values())


def text(outcome: str | Lost) -> str:
    assert isinstance(outcome, str)
    return outcome.rpartition(" by ")[0]


def test_each_job_gets_its_own_result(cluster: Any) -> None:
    jobs = [f"job {number}" for number in range(50)]
    outcomes = list(run_on_cluster(act, jobs, address=cluster.scheduler_address, limits=LIMITS))
    assert Counter(job for job, _ in outcomes) == Counter(jobs)
    assert all(text(outcome) == job for job, outcome in outcomes)
    pids = {int(str(outcome).rpartition(" ")[2]) for _, outcome in outcomes}
    assert len(pids) == 3
    assert not pids & {os.getpid(), *worker_pids(cluster)}
    # They were of this run only.
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))


def test_no_jobs_are_done_at_once(cluster: Any) -> None:
    assert list(run_on_cluster(act, [], address=cluster.scheduler_address, limits=LIMITS)) == []


def test_jobs_are_taken_as_they_are_needed(cluster: Any) -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield f"job {taken}"

    running = run_on_cluster(act, endless(), address=cluster.scheduler_address, limits=LIMITS)
    for done in range(1, 11):
        next(running)
        assert taken <= done + 6
    running.close()


def test_deadly_jobs_are_lost_as_they_are_locally_and_dasks_processes_live_on(cluster: Any) -> None:
    before = sorted(worker_pids(cluster))
    deadly = {"exit 3": "crashed", "signal SIGSEGV": "crashed", "sleep 60": "timeout", "promise": "memory"}
    jobs = [*deadly, *(f"job {number}" for number in range(20))]
    limits = WorkerLimits(timeout=1.0, memory=2.0)
    outcomes = dict(run_on_cluster(act, jobs, address=cluster.scheduler_address, limits=limits))
    assert {job: outcome.kind for job, outcome in outcomes.items() if isinstance(outcome, Lost)} == deadly
    assert outcomes["signal SIGSEGV"] == Lost(kind="crashed", reason="the process was ended by SIGSEGV, twice")
    assert all(text(outcomes[job]) == job for job in jobs if job not in deadly)
    assert sorted(worker_pids(cluster)) == before


def test_what_a_job_raises_is_raised_here(cluster: Any) -> None:
    with pytest.raises(OSError, match="disk full"):
        list(run_on_cluster(act, ["raise disk full", "job"], address=cluster.scheduler_address, limits=LIMITS))


@needs_proc
def test_a_machine_that_is_lost_costs_no_job(cluster: Any) -> None:
    victim = worker_pids(cluster)[0]
    jobs = [f"job {number}" for number in range(200)]
    outcomes = []
    for done, (job, outcome) in enumerate(
        run_on_cluster(act, jobs, address=cluster.scheduler_address, limits=LIMITS), start=1
    ):
        outcomes.append((job, outcome))
        if done == 40:
            os.kill(victim, signal.SIGKILL)
    assert Counter(job for job, _ in outcomes) == Counter(jobs)
    assert all(text(outcome) == job for job, outcome in outcomes)
    wait_until(lambda: len(worker_pids(cluster)) == 3)
    assert victim not in worker_pids(cluster)


def test_a_job_whose_machines_all_die_is_reported(cluster: Any) -> None:
    # The process that does the job ends the one of Dask that gave it.
    jobs = ["kill parent", *(f"job {number}" for number in range(10))]
    outcomes = dict(run_on_cluster(act, jobs, address=cluster.scheduler_address, limits=LIMITS))
    lost = outcomes.pop("kill parent")
    assert isinstance(lost, Lost)
    assert lost.kind == "crashed"
    assert "the machines of the cluster" in lost.reason
    assert all(text(outcome) == job for job, outcome in outcomes.items())
    wait_until(lambda: len(worker_pids(cluster)) == 3)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nowhere:at:all", "gopher://127.0.0.1:8786"])
def test_a_scheduler_that_does_not_answer_is_said(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shapeprior.cluster.CONNECT_SECONDS", 0.5)
    with pytest.raises(ConfigError, match="no scheduler answers") as caught:
        list(run_on_cluster(act, ["job"], address=address, limits=LIMITS))
    assert address in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_dask_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"needs Dask.*pip install 'shapeprior\[cluster\]'"):
        list(run_on_cluster(act, ["job"], address="tcp://127.0.0.1:9", limits=LIMITS))
