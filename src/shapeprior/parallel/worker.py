"""A worker process that does one job after another, and is replaced when a job kills it.

The geometry libraries are native code that no exception can stop: a bad mesh may crash them, keep them busy forever or
take all memory. Jobs therefore run in a process of their own. It is a fresh Python interpreter, since forking a process
that runs native threads can deadlock. `WorkerProcess` starts it directly and not by `multiprocessing`, whose new
processes would run the caller's script again. The two sides send each other pickled values over the standard streams of
the process.
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

Job = TypeVar("Job")
Result = TypeVar("Result")

IDLE_SECONDS = 600.0
"""A worker process without a job ends itself after this many seconds: the process that started it may be gone."""
ORPHAN_SECONDS = 30.0
"""Seconds past the time limit of a job after which a worker process ends itself, in case nobody is left to end it."""
SINGLE_THREADED = dict.fromkeys(("OMP_NUM_THREADS", "IGL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Environment variables that keep native libraries to one thread a process. Those that the user has set stay as they
are."""
MAX_START_ATTEMPTS = 5
"""After this many failed starts in a row, the job is given up, or the whole run if no process has ever begun a job."""
_WATCH_SECONDS = 0.1
"""Seconds between two looks at the time and memory that a job has taken."""
_SIZE = struct.Struct("<Q")
_PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from shapeprior.parallel.worker import serve; serve()"


@dataclass(frozen=True, kw_only=True)
class JobFailure:
    """The outcome of a job that cost its process its life."""

    kind: Literal["crashed", "timeout", "memory"]
    """Why the process ended: it died, exceeded the time limit, or exceeded the memory limit."""
    reason: str
    """What happened, worded to follow the job's name and a colon."""


@dataclass(frozen=True, kw_only=True)
class WorkerLimits:
    """The time and memory that one job may take before its process is ended."""

    timeout: float = 120.0
    """Seconds for each job, at most a day."""
    memory: float = 8.0
    """GiB that a process may use at once; watched on Linux only."""

    def __post_init__(self) -> None:
        if not 0.0 < self.timeout <= 86400.0:
            raise ConfigError(f"timeout = {self.timeout} seconds; expected more than 0 and at most 86400, a day")
        if not self.memory > 0.0:
            raise ConfigError(f"memory = {self.memory} GiB; expected more than 0")


class WorkerStoppedError(RuntimeError):
    """Raised in a thread that waits for a worker process when another thread stops that process."""


class WorkerProcess(Generic[Job, Result]):
    """A process that calls one function with one job after another.

    One thread at a time may call `run`; any thread may call `stop`.

    The function is sent by name, so a fresh interpreter must be able to import it.
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
        """Return the function's result, or how the job was lost.

        A job whose process dies or takes too much memory is tried once more, in a new process.

        Raises what the function raises, and ConfigError if no process can be started.
        """
        with self._working:
            outcome = self._attempt(job)
            if not isinstance(outcome, JobFailure) or outcome.kind == "timeout":
                # A second attempt would cost as much time again, mostly in vain.
                return outcome
            # Earlier jobs of this process may be to blame, so the second attempt gets a new one.
            self._end()
            first, outcome = outcome, self._attempt(job)
            if not isinstance(outcome, JobFailure):
                return outcome
            self._end()
        again = ", twice" if outcome.reason == first.reason else f", and before that {first.reason}"
        return replace(outcome, reason=outcome.reason + again)

    def stop(self) -> None:
        """End the process at once, whatever it does. A `run` in another thread then raises WorkerStoppedError."""
        with self._starting:
            self._stopped = True
            process = self._process
        if process is not None:
            process.kill()
        # A thread that waits for an answer notices the end first: its pipe must not be closed while it reads.
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
        """Send the job to the process. One that died while it was idle is replaced first, since no job is to blame."""
        while True:
            process = self._process or self._start()
            if isinstance(process, JobFailure):
                return process
            try:
                send(process.stdin, job)
                return process
            except OSError:
                self._end()
                self._check_not_stopped()
                logging.getLogger("shapeprior").info("a worker process ended while it had no job; it is replaced")

    def _start(self) -> subprocess.Popen[bytes] | JobFailure:
        status = 0
        for _ in range(MAX_START_ATTEMPTS):
            with self._starting, _interrupts_blocked():
                self._check_not_stopped()
                process = subprocess.Popen(
                    [sys.executable, "-c", _PROGRAM, *sys.path],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env={**SINGLE_THREADED, **os.environ},
                )
                self._process = process
            try:
                send(process.stdin, (self.function, self.limits.timeout))
                fault = receive(process.stdout)
            except (EOFError, OSError):
                self._end()
                self._check_not_stopped()
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
            # The cause came up later, such as a machine that is out of memory, and must not end a long run.
            reason = f"a new process {_cause_of_death(status)} before it could begin, {MAX_START_ATTEMPTS} times"
            return JobFailure(kind="crashed", reason=reason)
        raise ConfigError(
            f"{sys.executable}: a worker process {_cause_of_death(status)} before its first job, {MAX_START_ATTEMPTS} "
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
        """End a process that exceeds its time or memory, and add the reason to `killed`."""
        deadline = time.monotonic() + self.limits.timeout
        while not answered.wait(min(_WATCH_SECONDS, max(0.0, deadline - time.monotonic()))):
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
    """Return the memory in use by a process, in bytes; 0 if the system does not tell."""
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
    """Keep processes that are started meanwhile from seeing Ctrl-C; this process ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve() -> None:
    """Receive a function, then one job after another, and send back the outcome of each: what a worker process does."""
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # What libraries print must not get between the answers.
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
        # The process that started this one has no more jobs, or is gone.
        return
    except Exception as error:
        # A function or a job that this interpreter cannot import.
        send(sink, ("raised", error))


def send(pipe: IO[bytes] | None, value: object) -> None:
    """Write a value to a pipe. Raises OSError if nobody reads it."""
    assert pipe is not None
    data = ForkingPickler.dumps(value)
    pipe.write(_SIZE.pack(len(data)))
    pipe.write(data)
    pipe.flush()


def receive(pipe: IO[bytes] | None) -> Any:
    """Return the next value from a pipe. Raises EOFError if the other side is gone, or dies while it sends."""
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
    """Have the system end this process after so many seconds, native code or not, unless called again before."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)
