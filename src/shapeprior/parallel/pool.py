"""A function over many jobs in several local processes; whatever a job does to its process, the others go on."""

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


class WorkerPool(Generic[Job, Result]):
    """As many worker processes as there are threads that call `run` at once; started when first needed."""

    def __init__(self, function: Callable[[Job], Result], limits: WorkerLimits) -> None:
        self.function = function
        self.limits = limits
        self._idle: queue.SimpleQueue[WorkerProcess[Job, Result]] = queue.SimpleQueue()
        self._all: list[WorkerProcess[Job, Result]] = []
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, job: Job) -> Result | JobFailure:
        """The function's result, or how the job was lost; see `WorkerProcess.run`."""
        worker = self._borrow()
        try:
            return worker.run(job)
        finally:
            self._idle.put(worker)

    def stop(self) -> None:
        """End all processes at once; the threads that wait for them get a WorkerStoppedError."""
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

    `workers` processes work at once, and jobs are taken from `jobs` as they are needed. Close the iterator to stop early;
    then, as after an exception or an interrupt, no process is left running.

    Raises what the function raises, for any job, and ConfigError if no process can be started.
    """
    waiting, running = iter(jobs), 0
    pool = WorkerPool(function, limits)
    # Not the futures' own `wait`: Ctrl-C in it may leave their locks taken, and their threads wait for ever.
    done: queue.SimpleQueue[tuple[Job, Future[Result | JobFailure]]] = queue.SimpleQueue()
    # Threads, since all they do is wait for a process.
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
            # One job in reserve for each thread: no process waits while the caller looks at a result.
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
    """What ends next. A Ctrl-C that comes just before a wait begins does not end the wait, so that none is long."""
    while True:
        with contextlib.suppress(queue.Empty):
            return done.get(timeout=WAIT_SECONDS)
