"""Many jobs over processes that die: none lost, none done twice, nothing left running."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from helpers.processes import children, environment, kill, needs_proc, wait_until
from helpers.worker_functions import act

from shapeprior.parallel.pool import WorkerPool, run_in_processes
from shapeprior.parallel.system import peak_memory_gib
from shapeprior.parallel.worker import JobFailure, WorkerLimits

LIMITS = WorkerLimits(timeout=20.0, memory=2.0)


def run(jobs: list[str], *, workers: int, limits: WorkerLimits = LIMITS) -> dict[str, str | JobFailure]:
    outcomes = list(run_in_processes(act, jobs, workers=workers, limits=limits))
    assert Counter(job for job, _ in outcomes) == Counter(jobs)
    return dict(outcomes)


def text(outcome: str | JobFailure) -> str:
    """What a job returned, without the process."""
    assert isinstance(outcome, str)
    return outcome.rpartition(" by ")[0]


@pytest.mark.parametrize("workers", [1, 3])
def test_each_job_gets_its_own_result(workers: int) -> None:
    jobs = [f"job {number}" for number in range(20)]
    outcomes = run(jobs, workers=workers)
    assert [text(outcomes[job]) for job in jobs] == jobs
    pids = {str(outcome).rpartition(" ")[2] for outcome in outcomes.values()}
    assert len(pids) <= workers
    assert str(os.getpid()) not in pids


def test_no_jobs_need_no_process() -> None:
    assert run([], workers=2) == {}


@pytest.mark.parametrize("workers", [1, 3])
def test_deadly_jobs_cost_only_themselves(workers: int) -> None:
    deadly = {"exit 3": "crashed", "signal SIGSEGV": "crashed", "signal SIGKILL": "crashed", "sleep 60": "timeout"}
    jobs = [f"job {number}" for number in range(30)]
    for place, job in zip((2, 9, 17, 30), deadly, strict=True):
        jobs.insert(place, job)
    outcomes = run(jobs, workers=workers, limits=WorkerLimits(timeout=1.0, memory=2.0))
    lost = {job: outcome.kind for job, outcome in outcomes.items() if isinstance(outcome, JobFailure)}
    assert lost == deadly
    assert all(text(outcomes[job]) == job for job in jobs if job not in deadly)


def test_jobs_are_taken_as_they_are_needed() -> None:
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield f"job {taken}"

    running = run_in_processes(act, endless(), workers=2, limits=LIMITS)
    for done in range(1, 11):
        next(running)
        assert taken <= done + 4
    running.close()


@needs_proc
def test_what_a_job_raises_ends_the_run_and_its_processes() -> None:
    seen: list[tuple[str, str | JobFailure]] = []
    with pytest.raises(OSError, match="disk full"):
        seen.extend(run_in_processes(act, ["raise disk full", *map(str, range(100_000))], workers=2, limits=LIMITS))
    assert len(seen) < 50_000
    assert not children()


@needs_proc
def test_closing_ends_jobs_that_run() -> None:
    running = run_in_processes(act, ["first", "sleep 60", "sleep 60", "sleep 60"], workers=2, limits=LIMITS)
    assert next(running)[0] == "first"
    assert children()
    running.close()
    assert not children()


@needs_proc
def test_an_interrupt_leaves_no_process() -> None:
    program = (
        "from shapeprior.parallel.worker import WorkerLimits; from shapeprior.parallel.pool import run_in_processes\n"
        "from helpers.worker_functions import act\n"
        "for job, outcome in run_in_processes(act, ['first', *['sleep 60'] * 9], workers=2, limits=WorkerLimits()):\n"
        "    print(outcome, flush=True)\n"
    )
    # A session of its own, all of which gets the signal, as a terminal's Ctrl-C does.
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment(),
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline().rpartition(" ")[2])
    os.killpg(parent.pid, signal.SIGINT)
    _, errors = parent.communicate(timeout=20.0)
    assert parent.returncode == -signal.SIGINT
    # One traceback, the parent's.
    assert errors.count("KeyboardInterrupt") == 1
    wait_until(lambda: not Path(f"/proc/{pid}").exists())


@needs_proc
@pytest.mark.parametrize(
    ("count", "every"), [(60, 12), pytest.param(1000, 20, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_killed_processes_cost_no_job(count: int, every: int) -> None:
    # The oldest dies, so that none dies at a second attempt; it may be at work, idle, or sending its result.
    jobs = [f"job {number}" for number in range(count)]
    done, killed = [], set()
    for job, outcome in run_in_processes(act, jobs, workers=3, limits=LIMITS):
        assert text(outcome) == job
        done.append(job)
        # One that was killed may still be dying, and gone before it can be killed again.
        living = [pid for pid in children() if pid not in killed]
        if len(done) % every == 0 and len(living) == 3:
            kill(living[0])
            killed.add(living[0])
    assert sorted(done) == sorted(jobs)
    assert len(killed) >= count // every // 3
    assert not children()


@needs_proc
@pytest.mark.slow
def test_processes_killed_at_any_moment_lose_no_job_but_those_hit_twice() -> None:
    rng, stop = random.Random(4), threading.Event()
    killed = 0

    def kill_some() -> None:
        nonlocal killed
        while not stop.wait(0.2 * rng.random()):
            living = children()
            # Any of them, which may be gone by now.
            with contextlib.suppress(ProcessLookupError):
                kill(rng.choice(living or [2**30]))
                killed += 1

    killer = threading.Thread(target=kill_some)
    killer.start()
    try:
        outcomes = run([f"job {number}" for number in range(30_000)], workers=3)
    finally:
        stop.set()
        killer.join()
    lost = [job for job, outcome in outcomes.items() if isinstance(outcome, JobFailure)]
    assert killed > 10
    assert len(lost) <= killed // 5
    assert all(text(outcome) == job for job, outcome in outcomes.items() if job not in lost)
    assert not children()


def test_a_stopped_pool_starts_no_process() -> None:
    pool = WorkerPool(act, LIMITS)
    pool.stop()
    with pytest.raises(RuntimeError):
        pool.run("job")


@needs_proc
def test_peak_memory_is_that_of_ended_processes() -> None:
    run(["grow 0.2"], workers=1)
    peak = peak_memory_gib()
    assert peak is not None
    assert 0.2 < peak < 64.0
