"""Run a function over many jobs on the machines of a Dask cluster.

Each thread of a Dask worker does its jobs in a worker process of ours (`shapeprior.parallel.pool.WorkerPool`), so that
limits, second attempts and losses are the same as locally, and Dask's own processes survive any job.
"""

import asyncio
import contextlib
import importlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from typing import Any

from shapeprior.errors import ConfigError, error_text
from shapeprior.parallel.pool import WorkerPool
from shapeprior.parallel.worker import Job, JobFailure, Result, WorkerLimits

CONNECT_SECONDS = 20.0
"""Seconds that a scheduler may take to answer the first time, and to close the connection."""
ANSWER_SECONDS = 60.0
"""Seconds that a scheduler, which may be busy, may take to answer later. One that takes longer counts as lost."""
CHECK_SECONDS = 5.0
"""Seconds between two questions whether the scheduler is still there, while no job ends."""
_POLL_SECONDS = 0.02
_pools: dict[str, WorkerPool[Any, Any]] = {}
"""In a Dask worker: the pool of each run, by the run's id. Dask offers no place for what tasks share."""
_lock = threading.Lock()


def run_on_cluster(
    function: Callable[[Job], Result], jobs: Iterable[Job], *, address: str, limits: WorkerLimits
) -> Generator[tuple[Job, Result | JobFailure], None, None]:
    """Yield each job with its result, or with how it was lost, in the order in which they end; see `run_in_processes`.

    `address` names a running scheduler, such as ``tcp://host:8786``. Its workers need this package, and see the same
    files under the same paths. A job whose machine is lost goes to another machine, as often as the scheduler's setting
    ``allowed-failures`` says, and is then reported as crashed. Two jobs for each thread are under way at a time,
    however many there are.

    Raises what the function raises. Raises ConfigError if Dask is not installed, if the scheduler does not answer, or
    if it is lost before the end. Jobs that are under way then may still be done, but are not reported.
    """
    try:
        importlib.import_module("distributed")
    except ImportError:
        raise ConfigError(
            f"cluster = {address!r}: needs Dask, which is missing; expected it; `pip install 'shapeprior[cluster]'`"
        ) from None
    run, numbers, waiting = uuid.uuid4().hex, count(), iter(jobs)
    running: dict[str, Job] = {}
    with _quiet(), contextlib.closing(_Cluster(address, run)) as cluster:
        while True:
            room = 2 * max(1, cluster.threads()) - len(running)
            for job in islice(waiting, max(0, room)):
                key = f"shapeprior-{run}-{next(numbers)}"
                cluster.submit(key, _run_here, run, function, limits, job)
                running[key] = job
            if not running:
                return
            key, outcome = cluster.next_outcome()
            yield running.pop(key), outcome


class _Cluster:
    """The connection to a scheduler. No method waits forever for one that is gone or has stopped answering.

    All methods raise ConfigError if the scheduler is lost.
    """

    def __init__(self, address: str, run: str) -> None:
        from distributed import as_completed

        self.address, self.run = address, run
        self.client = _connect(address)
        # Empty now; `submit` adds the futures.
        self.completed = as_completed([], loop=self.client.loop)
        self.lost = False

    def threads(self) -> int:
        """Return the number of threads of all workers that are there now."""
        with self._answering():
            if self.client.status != "running":
                # All tasks under way are forgotten, even if the client finds the scheduler again.
                raise OSError
            return sum(self.client.nthreads(callback_timeout=ANSWER_SECONDS).values())

    def submit(self, key: str, function: Callable[..., object], *arguments: object) -> None:
        """Submit a task."""
        with self._answering():
            self.completed.add(self.client.submit(function, *arguments, key=key, pure=False))

    def next_outcome(self) -> tuple[str, Any]:
        """Wait for the next task that ends, and return its key and its result. Raises what the task raises."""
        from distributed import KilledWorker

        while True:
            self._wait()
            future = next(self.completed)
            try:
                # An error is here already, without the network.
                if future.status == "error":
                    return future.key, future.result()
            except KilledWorker:
                reason = "the machines of the cluster that had it died, one after the other"
                return future.key, JobFailure(kind="crashed", reason=reason)
            with self._answering():
                try:
                    return future.key, future.result(timeout=ANSWER_SECONDS)
                except OSError:
                    if future.status not in ("pending", "error"):
                        raise
            # The machine that held the result died before we fetched it; the scheduler repeats the task.
            logging.getLogger("shapeprior").warning(
                "%s: a machine died with a result, which is computed again", self.address
            )
            self.completed.add(future)

    def close(self) -> None:
        """End the processes of this run on all workers that can be reached, and close the connection."""
        # Without the scheduler they cannot be reached. They end with the Dask worker, or when they have been idle for
        # long.
        with contextlib.suppress(OSError):
            if not self.lost:
                self.client.run(_stop, self.run, on_error="ignore", callback_timeout=ANSWER_SECONDS)
        with contextlib.suppress(OSError):
            self.client.close(timeout=CONNECT_SECONDS)

    def _wait(self) -> None:
        """Wait until a task has ended, and check now and then that the scheduler is still there."""
        checked = time.monotonic()
        while not self.completed.has_ready():
            time.sleep(_POLL_SECONDS)
            if time.monotonic() > checked + CHECK_SECONDS:
                self.threads()
                checked = time.monotonic()

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        from distributed import CancelledError

        try:
            yield
        except (OSError, CancelledError) as error:
            self.lost = True
            if isinstance(error, TimeoutError):
                found = f"the scheduler did not answer for {ANSWER_SECONDS:g} seconds"
            elif isinstance(error, OSError) or self.client.status != "running":
                found = "the connection to the scheduler broke"
            else:
                found = "the scheduler dropped the jobs"
            raise ConfigError(
                f"cluster = {self.address!r}: {found}; expected one that runs until the end; start it again, then the "
                "same command, which goes on where it stopped"
            ) from None


def _run_here(run: str, function: Callable[[Job], Result], limits: WorkerLimits, job: Job) -> Result | JobFailure:
    """Do a job in a worker process. Runs in a thread of a Dask worker."""
    with _lock:
        pool = _pools.get(run) or _pools.setdefault(run, WorkerPool(function, limits))
    return pool.run(job)


def _stop(run: str) -> None:
    """End the worker processes of a run. Runs in a Dask worker."""
    with _lock:
        pool = _pools.pop(run, None)
    if pool is not None:
        pool.stop()


def _connect(address: str) -> Any:
    from distributed import Client

    try:
        # We connect first, since a client waits forever for a silent server, and is never closed if it fails.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, _greet(address)).result()
        return Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        found = error_text(error) if str(error) else f"waited {CONNECT_SECONDS:g} seconds"
        raise ConfigError(
            f"cluster = {address!r}: no scheduler answers ({found}); expected the address of one, as tcp://host:8786; "
            "check that it runs"
        ) from None


async def _greet(address: str) -> None:
    from distributed import Security
    from distributed.comm.core import connect

    settings = Security().get_connection_args("client")
    comm = await asyncio.wait_for(connect(address, timeout=CONNECT_SECONDS, **settings), CONNECT_SECONDS)
    comm.abort()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask from logging lost connections with tracebacks, since an error reports them."""
    loggers = [logging.getLogger(name) for name in ("distributed.client", "distributed.batched")]

    def drop(_record: logging.LogRecord) -> bool:
        return False

    for logger in loggers:
        logger.addFilter(drop)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(drop)
