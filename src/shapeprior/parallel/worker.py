"""What a worker process does, and how it speaks with the process that started it: values over its standard streams.

One process that does one job after another, and is replaced when a job costs it its life.

The geometry libraries are native code that no exception can stop: a bad mesh may crash them, keep them busy for ever or take
all memory. So they work in a process of their own, which is a fresh Python interpreter (forking a process that runs native
threads can deadlock), started directly rather than by `multiprocessing`, which would run the caller's script again in it.
"""

import contextlib
import logging
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.reduction import ForkingPickler
from typing import IO, Any, Generic, Literal, TypeVar

from shapeprior.errors import ConfigError

IDLE_SECONDS = 600.0
"""A process without a job for so long ends itself: whoever started it may be gone."""
ORPHAN_SECONDS = 30.0
"""How much longer than the time limit a process works on if nobody is left to end it."""
_SIZE = struct.Struct("<Q")


@dataclass(frozen=True, kw_only=True)
class JobFailure:
    """A job that ended with its process and not with a result."""

    kind: Literal["crashed", "timeout", "memory"]
    """Whether the process died, was too slow or too large."""
    reason: str
    """What happened, in words that can stand after the job's name and a colon."""


def serve() -> None:
    """Take a function, then jobs, and send back what becomes of each, until there are no more."""
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # Whatever libraries print must not get between the answers.
    os.dup2(2, 1)
    try:
        function, timeout = receive(source)
        send(sink, None)
        while True:
            _end_after(IDLE_SECONDS)
            job = receive(source)
            _end_after(timeout + ORPHAN_SECONDS)
            _answer(sink, function, job)
    except (EOFError, BrokenPipeError):
        # Whoever started this process wants no more, or is gone.
        return
    except Exception as error:
        # A function or a job that this interpreter cannot import.
        send(sink, ("raised", error))


def send(pipe: IO[bytes] | None, value: object) -> None:
    """Write a value; raises OSError if nobody reads."""
    assert pipe is not None
    data = ForkingPickler.dumps(value)
    pipe.write(_SIZE.pack(len(data)))
    pipe.write(data)
    pipe.flush()


def receive(pipe: IO[bytes] | None) -> Any:
    """The next value; raises EOFError if the other side is gone, or dies on the way."""
    assert pipe is not None
    header = pipe.read(_SIZE.size)
    if len(header) < _SIZE.size:
        raise EOFError
    (size,) = _SIZE.unpack(header)
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return ForkingPickler.loads(data)  # pyright: ignore[reportAttributeAccessIssue]  (a static method, untyped)


def _answer(sink: IO[bytes], function: Any, job: Any) -> None:
    try:
        answer = "result", function(job)
    except MemoryError:
        answer = "result", JobFailure(kind="memory", reason="needed more memory than there was")
    except Exception as error:
        error.add_note(f"in a worker process:\n{traceback.format_exc()}")
        answer = "raised", error
    try:
        send(sink, answer)
    except BrokenPipeError:
        raise
    except Exception as error:
        send(sink, ("raised", RuntimeError(f"{answer[1]!r} cannot be sent between processes ({error})")))


def _end_after(seconds: float) -> None:
    """Let the system end this process unless it is called again before; native code cannot put that off."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


Job = TypeVar("Job")
Result = TypeVar("Result")

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "IGL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""What keeps native libraries to one thread a process; what the environment says already stands."""
START_ATTEMPTS = 5
"""Processes may die so many times in a row before their first job. If none has ever begun, none will; else the job is lost."""
_POLL_SECONDS = 0.1
_BOOT = "import sys; sys.path[:] = sys.argv[1:]; from shapeprior.parallel.worker import serve; serve()"


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

    def run(self, job: Job) -> Result | JobFailure:
        """The function's result. A job whose process dies or is too large is tried once more, in a new process.

        Raises what the function raises; ConfigError if no process can be started.
        """
        with self._working:
            outcome = self._attempt(job)
            if not isinstance(outcome, JobFailure) or outcome.kind == "timeout":
                # A second try would cost as much time again, most often for nothing.
                return outcome
            # What earlier jobs left behind may be to blame, so that the second process is new.
            self._end()
            first, outcome = outcome, self._attempt(job)
            if not isinstance(outcome, JobFailure):
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

    def _attempt(self, job: Job) -> Result | JobFailure:
        process = self._send(job)
        if isinstance(process, JobFailure):
            return process
        killed: list[JobFailure] = []
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
            return JobFailure(kind="crashed", reason=f"the process {_cause_of_death(process.returncode)}")
        kind, value = answer
        if kind == "raised":
            raise value
        return value

    def _send(self, job: Job) -> subprocess.Popen[bytes] | JobFailure:
        """Hand the job to a process; one that died while it had nothing to do is replaced, and no job is to blame."""
        while True:
            process = self._process or self._start()
            if isinstance(process, JobFailure):
                return process
            try:
                send(process.stdin, job)
                return process
            except OSError:
                logging.getLogger("shapeprior").info("a worker process ended while it had no job; it is replaced")
                self._end()

    def _start(self) -> subprocess.Popen[bytes] | JobFailure:
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
                logging.getLogger("shapeprior").warning(
                    "a worker process %s before its first job; it is started again", _cause_of_death(status)
                )
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
            return JobFailure(kind="crashed", reason=reason)
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

    def _watch(self, process: subprocess.Popen[bytes], answered: threading.Event, killed: list[JobFailure]) -> None:
        """End a process that takes too long or too much, and say so in `killed`."""
        deadline = time.monotonic() + self.limits.timeout
        while not answered.wait(min(_POLL_SECONDS, max(0.0, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                killed.append(JobFailure(kind="timeout", reason=f"took more than {self.limits.timeout:g} seconds"))
            elif _memory_bytes(process.pid) > self.limits.memory * 2**30:
                killed.append(JobFailure(kind="memory", reason=f"took more than {self.limits.memory:g} GiB of memory"))
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
