"""Values between processes: whole or not at all.

A process that may die: what becomes of the job, and what is said of it. The jobs are in worker_functions.py.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.processes import CEILING_SECONDS, children, environment, kill, needs_proc, wait_until, watch_by
from helpers.worker_functions import act, secret

from shapeprior.errors import ConfigError
from shapeprior.parallel.worker import JobFailure, WorkerLimits, WorkerProcess, WorkerStoppedError, receive, send


@pytest.mark.parametrize(
    "value", [None, b"", "ä" * 100_000, Path("a"), JobFailure(kind="memory", reason="large"), {1: (2,)}]
)
def test_values_come_back_one_after_the_other(value: object, tmp_path: Path) -> None:
    with open(tmp_path / "pipe", "w+b") as pipe:
        send(pipe, value)
        send(pipe, "next")
        pipe.seek(0)
        assert receive(pipe) == value
        assert receive(pipe) == "next"
        with pytest.raises(EOFError):
            receive(pipe)


@pytest.mark.parametrize("length", [0, 5, 8, 15])
def test_a_value_cut_short_is_none(length: int, tmp_path: Path) -> None:
    with open(tmp_path / "pipe", "w+b") as pipe:
        send(pipe, "some text")
        pipe.truncate(length)
        pipe.seek(0)
        with pytest.raises(EOFError):
            receive(pipe)


LIMITS = WorkerLimits(timeout=3600.0, memory=2.0)


@pytest.fixture
def worker() -> Iterator[WorkerProcess[str, str]]:
    worker = WorkerProcess(act, LIMITS)
    yield worker
    worker.stop()


def process_of(result: object) -> int:
    assert isinstance(result, str)
    return int(result.rpartition(" ")[2])


def test_jobs_are_done_in_one_other_process(worker: WorkerProcess[str, str]) -> None:
    results = [worker.run(f"job {number}") for number in range(5)]
    assert [str(result).partition(" by ")[0] for result in results] == [f"job {number}" for number in range(5)]
    assert len(set(map(process_of, results))) == 1
    assert process_of(results[0]) != os.getpid()


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        ("exit 3", "the process ended with exit status 3, twice"),
        ("exit 0", "the process ended with exit status 0, twice"),
        ("signal SIGSEGV", "the process was ended by SIGSEGV, twice"),
        ("signal SIGABRT", "the process was ended by SIGABRT, twice"),
        ("signal SIGKILL", "the process was ended by SIGKILL (the system may have been out of memory), twice"),
    ],
)
def test_a_deadly_job_is_lost_and_says_how(job: str, reason: str, worker: WorkerProcess[str, str]) -> None:
    assert worker.run(job) == JobFailure(kind="crashed", reason=reason)
    assert str(worker.run("next")).startswith("next by")


def test_a_job_is_tried_again_in_a_new_process(worker: WorkerProcess[str, str], tmp_path: Path) -> None:
    first = process_of(worker.run("before"))
    second = process_of(worker.run(f"once {tmp_path / 'mark'}"))
    assert second != first
    assert process_of(worker.run("after")) == second
    # One that is lost twice takes both with it, even where the process could go on.
    assert isinstance(worker.run("promise"), JobFailure)
    assert process_of(worker.run("later")) != second


def test_a_job_that_takes_too_long_is_ended_and_not_tried_again(
    worker: WorkerProcess[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, start = watch_by(monkeypatch, (tmp_path / "hangs").exists), subprocess.Popen

    def slow_start(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        clock.now += 1e9
        return start(*arguments, **options)

    # Starting a process does not count.
    monkeypatch.setattr("shapeprior.parallel.worker.subprocess.Popen", slow_start)
    assert worker.run(f"hang {tmp_path / 'hangs'}") == JobFailure(kind="timeout", reason="took more than 3600 seconds")
    assert str(worker.run("next")).startswith("next by")


@pytest.mark.slow
@needs_proc
def test_a_process_that_takes_too_much_memory_is_ended() -> None:
    worker = WorkerProcess(act, WorkerLimits(timeout=3600.0, memory=0.2))
    assert worker.run("hold 0.3") == JobFailure(kind="memory", reason="took more than 0.2 GiB of memory, twice")
    assert str(worker.run("next")).startswith("next by")
    worker.stop()


def test_memory_that_the_system_refuses_is_no_fault_of_this_process(worker: WorkerProcess[str, str]) -> None:
    assert worker.run("promise") == JobFailure(kind="memory", reason="needed more memory than there was, twice")


@needs_proc
def test_a_process_killed_while_idle_costs_no_job(worker: WorkerProcess[str, str]) -> None:
    for number in range(3):
        assert str(worker.run(f"{number}")).startswith(f"{number} by")
        (pid,) = children()
        kill(pid)
        wait_until(lambda: not children())


def test_what_a_job_raises_is_raised_here_with_where_it_was(worker: WorkerProcess[str, str]) -> None:
    with pytest.raises(OSError, match="disk full") as caught:
        worker.run("raise disk full")
    assert "worker_functions.py" in "".join(caught.value.__notes__)
    assert str(worker.run("next")).startswith("next by")


def test_results_that_cannot_be_sent_are_said() -> None:
    worker = WorkerProcess(secret, LIMITS)
    with pytest.raises(RuntimeError, match="cannot be sent between processes"):
        worker.run("job")
    worker.stop()


def test_a_function_without_a_name_cannot_be_sent() -> None:
    worker: WorkerProcess[str, str] = WorkerProcess(lambda job: job, LIMITS)
    with pytest.raises(Exception, match="lambda"):
        worker.run("job")
    worker.stop()


@needs_proc
def test_a_function_that_a_fresh_interpreter_cannot_import_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = WorkerProcess(act, LIMITS)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if Path(entry) != Path(__file__).parents[1]])
    with pytest.raises(ModuleNotFoundError, match="helpers"):
        worker.run("job")
    assert not children()


def test_what_a_job_prints_does_not_get_between_the_answers(worker: WorkerProcess[str, str]) -> None:
    assert str(worker.run("print \x00\x01 noise")).startswith("print")
    assert str(worker.run("next")).startswith("next by")


@pytest.mark.parametrize("variable", ["OMP_NUM_THREADS", "IGL_NUM_THREADS", "OPENBLAS_NUM_THREADS"])
def test_native_libraries_get_one_thread_unless_the_user_says_otherwise(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value, expected in ((None, "1"), ("3", "3")):
        monkeypatch.delenv(variable, raising=False)
        if value:
            monkeypatch.setenv(variable, value)
        worker = WorkerProcess(act, LIMITS)
        assert worker.run(f"environment {variable}") == expected
        assert os.environ.get(variable) == value
        worker.stop()


@needs_proc
def test_stopping_ends_a_job_that_runs(worker: WorkerProcess[str, str], tmp_path: Path) -> None:
    raised: list[BaseException] = []

    def work() -> None:
        try:
            worker.run(f"hang {tmp_path / 'hangs'}")
        except WorkerStoppedError as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    wait_until((tmp_path / "hangs").exists)
    worker.stop()
    thread.join(timeout=CEILING_SECONDS)
    assert len(raised) == 1
    assert not children()
    with pytest.raises(WorkerStoppedError):
        worker.run("one more")


def test_a_process_that_starts_no_more_costs_the_job_and_not_the_run(
    worker: WorkerProcess[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert str(worker.run("first")).startswith("first by")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/bin/false")
        lost = worker.run("exit 3")
    assert isinstance(lost, JobFailure)
    assert lost.kind == "crashed"
    assert lost.reason == (
        "a new process ended with exit status 1 before it could begin, 5 times, "
        "and before that the process ended with exit status 3"
    )
    assert str(worker.run("next")).startswith("next by")


@needs_proc
def test_a_process_that_never_starts_is_said(worker: WorkerProcess[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(
        ConfigError, match=r"/bin/false: a worker process ended with exit status 1 before its first job"
    ):
        worker.run("job")
    assert not children()


@pytest.mark.slow
@needs_proc
def test_the_death_of_who_started_it_ends_a_process(tmp_path: Path) -> None:
    program = (
        "from shapeprior.parallel.worker import WorkerLimits, WorkerProcess; from helpers.worker_functions import act\n"
        "worker = WorkerProcess(act, WorkerLimits())\n"
        "print(worker.run('job'), flush=True)\n"
        "input()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert parent.stdout is not None
    pid = process_of(parent.stdout.readline().strip())
    assert Path(f"/proc/{pid}").exists()
    parent.kill()
    parent.communicate()
    wait_until(lambda: not Path(f"/proc/{pid}").exists())


@pytest.mark.parametrize(
    ("limit", "value"),
    [("timeout", 0.0), ("timeout", -1.0), ("timeout", float("inf")), ("timeout", float("nan"))]
    + [("memory", value) for value in (0.0, -1.0, float("nan"))],
)
def test_senseless_limits_are_refused(limit: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"^{limit} = "):
        WorkerLimits(**{limit: value})
