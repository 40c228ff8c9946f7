"""One process that does one job after another, and is replaced when a job costs it its life.

The geometry libraries are native code that no exception can stop: a bad mesh may crash them, keep them busy for ever or take
all memory. So they work in a process of their own, which is a fresh Python interpreter (forking a process that runs native
threads can deadlock), started directly rather than by `multiprocessing`, which would run the caller's script again in it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from shapeprior.errors import ConfigError
from shapeprior.worker_loop import Lost, receive, send

Job = TypeVar("Job")
Result = TypeVar("Result")

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "IGL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""What keeps native libraries to one thread a process; what the environment says already stands."""
START_ATTEMPTS = 5
"""Processes may die so many times in a row before their first job. If none has ever begun, none will; else the job is lost."""
_POLL_SECONDS = 0.1
_BOOT = "import sys; sys.path[:] = sys.argv[1:]; from shapeprior.worker_loop import serve; serve()"


@dataclass(frozen=True, kw_only=True)
class WorkerLimits:
    """What one job may take before its process is ended."""

    timeout: float = 120.0
    """Seconds a job, at most a day."""
    memory: float = 8.0
    """GiB of memory a process, in use at once; watched on Linux only."""

    def __post_init__(self) -> None:
        if not 0.0 < self.timeout <= 86400.0:
            raise ConfigError(f"timeout = {self.timeout} seconds; expected more than 0 and at most 86400, a day")
        if not self.memory > 0.0:
            raise ConfigError(f"memory = {self.memory} GiB; expected more than 0")


class WorkerStoppedError(RuntimeError):
    """Raised in a thread whose process was stopped under it."""


class WorkerProcess(Generic[Job, Result]):
    """Calls a function with one job after another in a process of its own; for one thread at a time, but for `stop`.

    The function is sent by name, so that it must be one that a fresh interpreter can import.
    """

    def __init__(self, function: Callable[[Job], Result], limits: WorkerLimits) -> None:
        self.function = function
        self.limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._working = threading.Lock()
        self._starting = threading.Lock()
        self._stopped = False
        self._has_begun = False

    def run(self, job: Job) -> Result | Lost:
        """The function's result. A job whose process dies or is too large is tried once more, in a new process.

        Raises what the function raises; ConfigError if no process can be started.
        """
        with self._working:
            outcome = self._attempt(job)
            if not isinstance(outcome, Lost) or outcome.kind == "timeout":
                # A second try would cost as much time again, most often for nothing.
                return outcome
            # What earlier jobs left behind may be to blame, so that the second process is new.
            self._end()
            first, outcome = outcome, self._attempt(job)
            if not isinstance(outcome, Lost):
                return outcome
            self._end()
        again = ", twice" if outcome.reason == first.reason else f", and before that {first.reason}"
        return replace(outcome, reason=outcome.reason + again)

    def stop(self) -> None:
        """End the process at once, whatever it does; `run` in another thread raises WorkerStoppedError."""
        with self._starting:
            self._stopped = True
            process = self._process
        if process is not None:
            process.kill()
        # Whoever waits for an answer learns of the end now; pipes are not closed under a reader.
        with self._working:
            self._end()

    def _attempt(self, job: Job) -> Result | Lost:
        process = self._send(job)
        if isinstance(process, Lost):
            return process
        killed: list[Lost] = []
        answered = threading.Event()
        watch = threading.Thread(target=self._watch, args=(process, answered, killed), daemon=True)
        watch.start()
        try:
            answer = receive(process.stdout)
        except (EOFError, OSError):
            answer = None
        finally:
            answered.set()
            watch.join()
        if answer is None or killed:
            self._end()
            self._check_not_stopped()
            if killed:
                return killed[0]
            return Lost(kind="crashed", reason=f"the process {_cause_of_death(process.returncode)}")
        kind, value = answer
        if kind == "raised":
            raise value
        return value

    def _send(self, job: Job) -> subprocess.Popen[bytes] | Lost:
        """Hand the job to a process; one that died while it had nothing to do is replaced, and no job is to blame."""
        while True:
            process = self._process or self._start()
            if isinstance(process, Lost):
                return process
            try:
                send(process.stdin, job)
                return process
            except OSError:
                self._end()

    def _start(self) -> subprocess.Popen[bytes] | Lost:
        status = 0
        for _ in range(START_ATTEMPTS):
            with self._starting, _interrupts_blocked():
                self._check_not_stopped()
                process = subprocess.Popen(
                    [sys.executable, "-c", _BOOT, *sys.path],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env={**THREADS, **os.environ},
                )
                self._process = process
            try:
                send(process.stdin, (self.function, self.limits.timeout))
                fault = receive(process.stdout)
            except (EOFError, OSError):
                self._end()
                status = process.returncode
                continue
            except Exception:
                # A function that cannot be sent.
                self._end()
                raise
            if fault is None:
                self._has_begun = True
                return process
            self._end()
            raise fault[1]
        self._check_not_stopped()
        if self._has_begun:
            # Whatever ends them came later, such as a machine that is out of memory; it must not end a long run.
            reason = f"a new process {_cause_of_death(status)} before it could begin, {START_ATTEMPTS} times"
            return Lost(kind="crashed", reason=reason)
        raise ConfigError(
            f"{sys.executable}: a worker process {_cause_of_death(status)} before its first job, {START_ATTEMPTS} "
            "times; expected it to start; with workers=0 the work is done without"
        )

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                # A pipe to a dead process cannot be flushed.
                with contextlib.suppress(OSError):
                    assert pipe is not None
                    pipe.close()

    def _watch(self, process: subprocess.Popen[bytes], answered: threading.Event, killed: list[Lost]) -> None:
        """End a process that takes too long or too much, and say so in `killed`."""
        deadline = time.monotonic() + self.limits.timeout
        while not answered.wait(min(_POLL_SECONDS, max(0.0, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                killed.append(Lost(kind="timeout", reason=f"took more than {self.limits.timeout:g} seconds"))
            elif _memory_bytes(process.pid) > self.limits.memory * 2**30:
                killed.append(Lost(kind="memory", reason=f"took more than {self.limits.memory:g} GiB of memory"))
            if killed:
                process.kill()
                return

    def _check_not_stopped(self) -> None:
        if self._stopped:
            raise WorkerStoppedError


def _memory_bytes(pid: int) -> int:
    """Memory in use by a process; 0 where the system does not say."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _cause_of_death(status: int) -> str:
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"was ended by {name}" + (" (the system may have been out of memory)" if name == "SIGKILL" else "")


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Processes started meanwhile never see Ctrl-C, which goes to all of a terminal's; this one ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
