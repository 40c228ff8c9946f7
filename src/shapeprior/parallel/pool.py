"""Run a function over many jobs in several local worker processes.

`run_in_processes` is the loop over the jobs. `WorkerPool` holds the processes; the workers of a Dask cluster use it,
too. A job that crashes, hangs or takes too much memory costs its own process only.
"""

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Generic, TypeVar

from shapeprior.parallel.worker import Job, JobFailure, Result, WorkerLimits, WorkerProcess, WorkerStoppedError

Ended = TypeVar("Ended")
WAIT_SECONDS = 0.5
"""Seconds after which a wait for the next outcome begins anew, so that Ctrl-C is noticed in time."""


class WorkerPool(Generic[Job, Result]):
    """Worker processes, one for each thread that calls `run` at the same time, started when first needed."""

    def __init__(self, function: Callable[[Job], Result], limits: WorkerLimits) -> None:
        self.function = function
        self.limits = limits
        self._idle: queue.SimpleQueue[WorkerProcess[Job, Result]] = queue.SimpleQueue()
        self._all: list[WorkerProcess[Job, Result]] = []
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, job: Job) -> Result | JobFailure:
        """Return the function's result, or how the job was lost; see `WorkerProcess.run`."""
        worker = self._borrow()
        try:
            return worker.run(job)
        finally:
            self._idle.put(worker)

    def stop(self) -> None:
        """End all processes at once. The threads that wait for them get a WorkerStoppedError."""
        with self._lock:
            self._stopped = True
        for worker in self._all:
            worker.stop()

    def _borrow(self) -> WorkerProcess[Job, Result]:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            pass
        with self._lock:
            if self._stopped:
                raise WorkerStoppedError
            worker = WorkerProcess(self.function, self.limits)
            self._all.append(worker)
            return worker


def run_in_processes(
    function: Callable[[Job], Result], jobs: Iterable[Job], *, workers: int, limits: WorkerLimits
) -> Generator[tuple[Job, Result | JobFailure], None, None]:
    """Yield each job with its result, or with how it was lost, in the order in which they end.

    `workers` processes work at once, and jobs are taken from `jobs` as they are needed. Close the iterator to stop
    early; then, as after an exception or an interrupt, no process is left running.

    Raises what the function raises, for any job, and ConfigError if no process can be started.
    """
    waiting, running = iter(jobs), 0
    pool = WorkerPool(function, limits)
    # A queue and not `concurrent.futures.wait`: Ctrl-C in that may leave its locks taken, so that threads wait forever.
    done: queue.SimpleQueue[tuple[Job, Future[Result | JobFailure]]] = queue.SimpleQueue()
    # Threads suffice, since they only wait for processes.
    threads = ThreadPoolExecutor(workers)

    def work(job: Job) -> None:
        outcome: Future[Result | JobFailure] = Future()
        try:
            outcome.set_result(pool.run(job))
        except BaseException as error:
            outcome.set_exception(error)
        done.put((job, outcome))

    try:
        while True:
            # One job in reserve for each thread keeps the processes busy while the caller handles an outcome.
            for job in islice(waiting, 2 * workers - running):
                running += 1
                threads.submit(work, job)
            if not running:
                return
            job, outcome = _next(done)
            running -= 1
            yield job, outcome.result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        pool.stop()
        threads.shutdown()


def _next(done: queue.SimpleQueue[Ended]) -> Ended:
    """Return the next item. Ctrl-C just before a wait begins does not end that wait, so each wait is short."""
    while True:
        with contextlib.suppress(queue.Empty):
            return done.get(timeout=WAIT_SECONDS)
