"""Many jobs over processes that die: none lost, none done twice, nothing left running."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.processes import CEILING_SECONDS, children, environment, kill, needs_proc, wait_until, watch_by
from helpers.worker_functions import act

from shapeprior.parallel.pool import WorkerPool, run_in_processes
from shapeprior.parallel.system import peak_memory_gib
from shapeprior.parallel.worker import JobFailure, WorkerLimits

LIMITS = WorkerLimits(timeout=3600.0, memory=2.0)


def run(jobs: list[str], *, workers: int) -> dict[str, str | JobFailure]:
    outcomes = list(run_in_processes(act, jobs, workers=workers, limits=LIMITS))
    assert Counter(job for job, _ in outcomes) == Counter(jobs)
    return dict(outcomes)


def text(outcome: str | JobFailure) -> str:
    """What a job returned, without the process."""
    assert isinstance(outcome, str)
    return outcome.rpartition(" by ")[0]


def process_of(outcome: str | JobFailure) -> int:
    """The process that did a job."""
    assert isinstance(outcome, str)
    return int(outcome.rpartition(" ")[2])


@pytest.mark.parametrize("workers", [1, 3])
def test_each_job_gets_its_own_result(workers: int) -> None:
    jobs = [f"job {number}" for number in range(20)]
    outcomes = run(jobs, workers=workers)
    assert [text(outcomes[job]) for job in jobs] == jobs
    pids = set(map(process_of, outcomes.values()))
    assert len(pids) <= workers
    assert os.getpid() not in pids


def test_no_jobs_need_no_process() -> None:
    assert run([], workers=2) == {}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_deadly_jobs_cost_only_themselves(workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "hangs"
    deadly = {"exit 3": "crashed", "signal SIGSEGV": "crashed", "signal SIGKILL": "crashed", f"hang {mark}": "timeout"}
    jobs = [f"job {number}" for number in range(30)]
    for place, job in zip((2, 9, 17, 30), deadly, strict=True):
        jobs.insert(place, job)
    outcomes: list[tuple[str, str | JobFailure]] = []
    # One process does the jobs behind the one that hangs when that is ended; several do them meanwhile.
    watch_by(monkeypatch, lambda: mark.exists() and (workers == 1 or len(outcomes) == len(jobs) - 1))
    outcomes.extend(run_in_processes(act, jobs, workers=workers, limits=LIMITS))
    assert Counter(job for job, _ in outcomes) == Counter(jobs)
    lost = {job: outcome.kind for job, outcome in outcomes if isinstance(outcome, JobFailure)}
    assert lost == deadly
    assert all(text(outcome) == job for job, outcome in outcomes if job not in deadly)


def test_jobs_are_taken_as_they_are_needed() -> None:
    taken = 0

    def endless() -> Iterator[str]:
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
def test_what_a_job_raises_ends_the_run_and_its_processes(tmp_path: Path) -> None:
    seen: list[tuple[str, str | JobFailure]] = []
    others = [f"hang {tmp_path / str(number)}" for number in range(9)]
    with pytest.raises(OSError, match="disk full"):
        seen.extend(run_in_processes(act, [others[0], "raise disk full", *others[1:]], workers=2, limits=LIMITS))
    assert not seen
    assert not children()


@needs_proc
def test_closing_ends_jobs_that_run(tmp_path: Path) -> None:
    begun = [tmp_path / str(number) for number in range(3)]
    running = run_in_processes(act, ["first", *map("hang {}".format, begun)], workers=2, limits=LIMITS)
    assert next(running)[0] == "first"
    wait_until(lambda: begun[0].exists() and begun[1].exists())
    assert len(children()) == 2
    running.close()
    assert not children()
    assert not begun[2].exists()


@needs_proc
def test_an_interrupt_leaves_no_process(tmp_path: Path) -> None:
    program = (
        "import sys; from shapeprior.parallel.runner import JobRunner; from helpers.worker_functions import act\n"
        "jobs = ['first', *(f'hang {sys.argv[1]}/{number}' for number in range(9))]\n"
        "with JobRunner(workers=2).run(act, jobs) as outcomes:\n"
        "    for job, outcome in outcomes:\n"
        "        print(outcome, flush=True)\n"
    )
    # A session of its own, all of which gets the signal, as a terminal's Ctrl-C does.
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment(),
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline().rpartition(" ")[2])
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2, process=parent)
    os.killpg(parent.pid, signal.SIGINT)
    _, errors = parent.communicate(timeout=CEILING_SECONDS)
    assert parent.returncode == -signal.SIGINT
    # One traceback, the parent's.
    assert errors.count("KeyboardInterrupt") == 1
    wait_until(lambda: not Path(f"/proc/{pid}").exists())


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize(
    ("kills", "every"), [(4, 12), pytest.param(50, 20, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_killed_processes_cost_no_job(kills: int, every: int) -> None:
    done, killed, known, given = [], set(), set(), []

    def jobs() -> Iterator[str]:
        while len(killed) < kills:
            given.append(f"job {len(given)}")
            yield given[-1]

    for job, outcome in run_in_processes(act, jobs(), workers=3, limits=LIMITS):
        assert text(outcome) == job
        done.append(job)
        known.add(process_of(outcome))
        # One that has done a job is at no second attempt; it may be at work, idle, or sending its result.
        living = [pid for pid in children() if pid in known - killed]
        if len(done) >= every * (len(killed) + 1) and living:
            kill(living[0])
            killed.add(living[0])
    assert sorted(done) == sorted(given)
    assert len(killed) == kills
    assert not children()


@needs_proc
@pytest.mark.slow
def test_processes_killed_at_any_moment_lose_no_job_but_those_hit_twice() -> None:
    rng, stop = random.Random(4), threading.Event()
    outcomes: list[tuple[str, str | JobFailure]] = []
    killed: set[int] = set()
    known: set[int] = set()
    given: list[str] = []

    def jobs() -> Iterator[str]:
        while len(killed) < 100:
            given.append(f"job {len(given)}")
            yield given[-1]

    def kill_some() -> None:
        # When all have begun: a run whose processes never begin is given up.
        while not stop.is_set() and (len(known) < 3 or len(killed) < 100):
            pause = len(outcomes) + rng.randrange(300)
            while len(known) < 3 or len(outcomes) < pause:
                if stop.wait(0.001 * rng.random()):
                    return
            # A job is lost with a process that has not done any. One kill in five may hit such a process.
            any_of_them = len(killed) % 5 == 4
            living = [pid for pid in children() if pid not in killed and (any_of_them or pid in known)]
            if living:
                # It may be gone by now.
                with contextlib.suppress(ProcessLookupError):
                    kill(pid := rng.choice(living))
                    killed.add(pid)

    killer = threading.Thread(target=kill_some)
    killer.start()
    try:
        for job, outcome in run_in_processes(act, jobs(), workers=3, limits=LIMITS):
            outcomes.append((job, outcome))
            if not isinstance(outcome, JobFailure):
                known.add(process_of(outcome))
    finally:
        stop.set()
        killer.join()
    assert sorted(job for job, _ in outcomes) == sorted(given)
    lost = [job for job, outcome in outcomes if isinstance(outcome, JobFailure)]
    assert len(killed) == 100
    assert len(lost) <= len(killed) // 5
    assert all(text(outcome) == job for job, outcome in outcomes if not isinstance(outcome, JobFailure))
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
