"""The same jobs on a Dask cluster of several processes, some of which die, its scheduler too."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.plain_geometry import sphere
from helpers.processes import CEILING_SECONDS, environment, needs_proc, wait_until
from helpers.worker_functions import act, let_limits_pass_by, let_limits_pass_by_time

from shapeprior.datasets.prepare import prepare_dataset
from shapeprior.datasets.prepare_mesh import PrepareConfig
from shapeprior.errors import ConfigError
from shapeprior.io.meshes import save_mesh
from shapeprior.parallel.dask_cluster import run_on_cluster
from shapeprior.parallel.worker import JobFailure, WorkerLimits
from shapeprior.sdf.sampling import SamplingConfig

distributed = pytest.importorskip("distributed")
# Dask's own loops end when they like.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]

LIMITS = WorkerLimits(timeout=3600.0, memory=2.0)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three processes of one thread on this machine, each watched by another that replaces it."""
    with distributed.LocalCluster(n_workers=3, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster:
        yield cluster


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """A scheduler with one worker of two threads, both processes started as a user starts them: its address and its
    id."""
    place = tmp_path / "scheduler.json"
    programs = (
        ("scheduler", "--host", "127.0.0.1", "--port", "0"),
        ("worker", "--nthreads", "2", "--no-nanny", "--local-directory", str(tmp_path)),
    )
    with contextlib.ExitStack() as stack:
        processes = []
        for name, *options in programs:
            command = [sys.executable, "-m", f"distributed.cli.dask_{name}", "--no-dashboard", *options]
            command += ["--scheduler-file", str(place)]
            process = stack.enter_context(subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL))
            stack.callback(process.kill)
            processes.append(process)
            wait_until(lambda: place.exists() and place.stat().st_size > 0)
        yield json.loads(place.read_text())["address"], processes[0].pid


def worker_pids(cluster: Any) -> list[int]:
    with distributed.Client(cluster, set_as_default=False) as client:
        return list(client.run(os.getpid).values())


def text(outcome: str | JobFailure) -> str:
    assert isinstance(outcome, str)
    return outcome.rpartition(" by ")[0]


def test_each_job_gets_its_own_result(cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "3").mkdir()
    # The first jobs go on when each of the three processes has begun one.
    jobs = [*[f"meet {tmp_path / '3'}"] * 6, *(f"job {number}" for number in range(44))]
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


def test_deadly_jobs_are_lost_as_they_are_locally_and_dasks_processes_live_on(cluster: Any, tmp_path: Path) -> None:
    before = sorted(worker_pids(cluster))
    hang = f"hang {tmp_path / 'hangs'}"
    deadly = {"exit 3": "crashed", "signal SIGSEGV": "crashed", hang: "timeout", "promise": "memory"}
    jobs = [*deadly, *(f"job {number}" for number in range(20))]
    with distributed.Client(cluster, set_as_default=False) as client:
        client.run(let_limits_pass_by, str(tmp_path))
        outcomes = dict(run_on_cluster(act, jobs, address=cluster.scheduler_address, limits=LIMITS))
        client.run(let_limits_pass_by_time)
    assert {job: outcome.kind for job, outcome in outcomes.items() if isinstance(outcome, JobFailure)} == deadly
    assert outcomes["signal SIGSEGV"] == JobFailure(kind="crashed", reason="the process was ended by SIGSEGV, twice")
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
    assert isinstance(lost, JobFailure)
    assert lost.kind == "crashed"
    assert "the machines of the cluster" in lost.reason
    wait_until(lambda: len(worker_pids(cluster)) == 3)
    # One that was beside it on all of them is lost, too, and done by the next run.
    beside = [job for job, outcome in outcomes.items() if outcome == lost]
    outcomes.update(run_on_cluster(act, beside, address=cluster.scheduler_address, limits=LIMITS))
    assert len(beside) < 10
    assert all(text(outcome) == job for job, outcome in outcomes.items())


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nowhere:at:all", "gopher://127.0.0.1:8786"])
def test_a_scheduler_that_does_not_answer_is_said(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shapeprior.parallel.dask_cluster.CONNECT_SECONDS", 0.5)
    with pytest.raises(ConfigError, match="no scheduler answers") as caught:
        list(run_on_cluster(act, ["job"], address=address, limits=LIMITS))
    assert address in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("busy", [True, False], ids=["between results", "while jobs run"])
def test_a_scheduler_that_dies_is_said(busy: bool, scheduler: tuple[str, int]) -> None:
    address, pid = scheduler
    jobs = [f"job {number}" for number in range(100)] if busy else ["job 0", *["sleep 3"] * 20]
    running = run_on_cluster(act, jobs, address=address, limits=LIMITS)
    next(running)
    os.kill(pid, signal.SIGKILL)
    outcomes = []
    with pytest.raises(ConfigError, match=r"connection to the scheduler broke; .* on where it stopped") as caught:
        outcomes.extend(running)
    assert address in str(caught.value)
    assert "\n" not in str(caught.value)
    # What was on its way to the client at most.
    assert len(outcomes) < 4


@pytest.mark.parametrize("busy", [True, False], ids=["between results", "while jobs run"])
def test_a_scheduler_that_hangs_is_said(
    busy: bool, scheduler: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, pid = scheduler
    jobs = [f"job {number}" for number in range(100)] if busy else ["job 0", *["sleep 3"] * 20]
    running = run_on_cluster(act, jobs, address=address, limits=LIMITS)
    next(running)
    os.kill(pid, signal.SIGSTOP)
    # From now on: however busy the machine is, a scheduler that is stopped does not answer in time.
    monkeypatch.setattr("shapeprior.parallel.dask_cluster.ANSWER_SECONDS", 1.0)
    monkeypatch.setattr("shapeprior.parallel.dask_cluster.CHECK_SECONDS", 0.1)
    with pytest.raises(ConfigError, match="the scheduler did not answer for 1 seconds"):
        list(running)


def test_a_scheduler_that_forgets_the_jobs_is_said(cluster: Any) -> None:
    def waiting(dask_scheduler: Any) -> list[str]:
        return list(dask_scheduler.tasks)

    running = run_on_cluster(act, ["first", *["sleep 2"] * 20], address=cluster.scheduler_address, limits=LIMITS)
    # Others may end before it.
    assert any(job == "first" for job, _ in running)
    with distributed.Client(cluster, set_as_default=False) as client:
        # As when somebody restarts the cluster.
        client.cancel([distributed.Future(key, client) for key in client.run_on_scheduler(waiting)], force=True)
        with pytest.raises(ConfigError, match="the scheduler dropped the jobs"):
            list(running)


def test_a_lost_scheduler_ends_the_command_in_one_line_and_a_later_run_goes_on(
    scheduler: tuple[str, int], tmp_path: Path
) -> None:
    address, pid = scheduler
    # Two that are done, then those whose preparation does not end while the cluster is there.
    for number in range(12):
        name = f"ball{number}" if number < 2 else f"held{number}"
        save_mesh(tmp_path / "meshes" / f"{name}.ply", sphere(radius=1.0 + number))
    out = tmp_path / "out"
    program = (
        "from shapeprior.datasets import prepare; from helpers.worker_functions import prepare_or_hang\n"
        "from shapeprior.cli.main import main\n"
        "prepare.prepare_shape = prepare_or_hang\n"
        "main()\n"
    )
    command = [sys.executable, "-c", program, "prepare", str(tmp_path / "meshes"), "--out", str(out)]
    command += ["--samples", "20000", "--cluster", address]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment(), text=True, **pipes) as process:
        wait_until(lambda: len(list((out / "records").glob("*.json"))) == 2, process=process)
        os.kill(pid, signal.SIGKILL)
        _, errors = process.communicate(timeout=CEILING_SECONDS)
    assert process.returncode == 1
    assert "Traceback" not in errors
    (line,) = [line for line in errors.replace("\r", "\n").splitlines() if line.startswith("shapeprior:")]
    assert f"cluster = '{address}': the connection to the scheduler broke" in line
    assert not (out / "manifest.json").exists()
    config = PrepareConfig(sampling=SamplingConfig.deepsdf(20_000))
    seen: list[str] = []
    data = prepare_dataset(
        tmp_path / "meshes", out, config=config, seed=0, workers=0, progress=lambda *call: seen.append(call[2])
    )
    assert len(data.shapes) == 12
    assert len(seen) == 10
    assert data.verify() == []


def test_a_server_that_is_no_scheduler_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shapeprior.parallel.dask_cluster.CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ConfigError, match="no scheduler answers") as caught:
            list(run_on_cluster(act, ["job"], address=address, limits=LIMITS))
    assert address in str(caught.value)


def test_a_missing_dask_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"needs Dask.*pip install 'shapeprior\[cluster\]'"):
        list(run_on_cluster(act, ["job"], address="tcp://127.0.0.1:9", limits=LIMITS))
