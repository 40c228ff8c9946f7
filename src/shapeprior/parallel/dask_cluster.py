"""A function over many jobs on the machines of a Dask cluster; it is done there as it is here."""

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

from shapeprior.errors import ConfigError
from shapeprior.parallel.pool import WorkerPool
from shapeprior.parallel.worker import Job, JobFailure, Result, WorkerLimits

CONNECT_SECONDS = 20.0
"""How long a scheduler may take to answer at first, and to say goodbye."""
ANSWER_SECONDS = 60.0
"""How long it may take later, when it may be busy; one that takes longer is lost."""
CHECK_SECONDS = 5.0
"""How often it is asked whether it is there while no job ends."""
_POLL_SECONDS = 0.02
_pools: dict[str, WorkerPool[Any, Any]] = {}
"""In a process of the cluster: the processes that do its work, by run. Dask has no place of its own for what tasks share."""
_lock = threading.Lock()


def run_on_cluster(
    function: Callable[[Job], Result], jobs: Iterable[Job], *, address: str, limits: WorkerLimits
) -> Generator[tuple[Job, Result | JobFailure], None, None]:
    """Yield each job with its result, or with how it was lost, in the order in which they end; see `run_jobs`.

    `address` is that of a running scheduler, as ``tcp://host:8786``, whose workers have this package and see the same files
    under the same paths. Each thread of a worker does its jobs in a process beside, so that a bad job is tried twice and
    lost as it is locally, and Dask's own processes live on. A job whose machine is lost is given to another one, as often
    as the scheduler's setting ``allowed-failures`` says, then reported as crashed. Two jobs a thread are on their way
    at a time, however many there are.

    Raises what the function raises; ConfigError if Dask is missing, if the scheduler does not answer, or if it is lost before
    the end, however that happens. What was on its way then may still be done, and is not reported.
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
    """A scheduler whose tasks are waited for; no call waits for ever for one that is gone or has stopped answering.

    All raise ConfigError if it is lost.
    """

    def __init__(self, address: str, run: str) -> None:
        from distributed import as_completed

        self.address, self.run = address, run
        self.client = _connect(address)
        # One that is empty now and is given futures later.
        self.completed = as_completed([], loop=self.client.loop)
        self.lost = False

    def threads(self) -> int:
        """Threads of all workers that are there now."""
        with self._answering():
            if self.client.status != "running":
                # All that was on its way is forgotten, even if the client finds the scheduler again.
                raise OSError
            return sum(self.client.nthreads(callback_timeout=ANSWER_SECONDS).values())

    def submit(self, key: str, function: Callable[..., object], *arguments: object) -> None:
        """Hand over a task."""
        with self._answering():
            self.completed.add(self.client.submit(function, *arguments, key=key, pure=False))

    def next_outcome(self) -> tuple[str, Any]:
        """Wait for the next task that ends; returns its key and its result. Raises what the task raises."""
        from distributed import KilledWorker

        while True:
            self._wait()
            future = next(self.completed)
            try:
                # No network is needed for this one.
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
            logging.getLogger("shapeprior").warning(
                "%s: a machine died with a result, which is computed again", self.address
            )
            # The machine that had the result died before it could be fetched: the task is done again.
            self.completed.add(future)

    def close(self) -> None:
        """End the processes of this run in all workers that can be reached, and leave."""
        # Whoever lost the scheduler cannot reach them; they end with Dask's own, or for want of work.
        with contextlib.suppress(OSError):
            if not self.lost:
                self.client.run(_stop, self.run, on_error="ignore", callback_timeout=ANSWER_SECONDS)
        with contextlib.suppress(OSError):
            self.client.close(timeout=CONNECT_SECONDS)

    def _wait(self) -> None:
        """Wait until a task has ended, and ask now and then whether the scheduler is still there."""
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
                f"cluster = {self.address!r}: {found}; expected one that runs until the end; start it again, and the same "
                "command goes on where it stopped"
            ) from None


def _run_here(run: str, function: Callable[[Job], Result], limits: WorkerLimits, job: Job) -> Result | JobFailure:
    """In a thread of a cluster's worker: do the job in a process beside."""
    with _lock:
        pool = _pools.get(run) or _pools.setdefault(run, WorkerPool(function, limits))
    return pool.run(job)


def _stop(run: str) -> None:
    """In a worker of the cluster: end the processes of a run."""
    with _lock:
        pool = _pools.pop(run, None)
    if pool is not None:
        pool.stop()


def _connect(address: str) -> Any:
    from distributed import Client

    try:
        # Asked first, since a client waits for ever for a server that says nothing, and one that fails is never closed.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, _greet(address)).result()
        return Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        found = " ".join(str(error).split())[:120] or f"waited {CONNECT_SECONDS:g} seconds"
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
    """Keep Dask from logging what happens to its connections, with tracebacks: an error says it."""
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
