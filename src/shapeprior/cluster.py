"""A function over many jobs on the machines of a Dask cluster; it is done there as it is here."""

import threading
import uuid
from collections.abc import Callable, Generator, Iterable
from itertools import count, islice
from typing import Any

from shapeprior.errors import ConfigError
from shapeprior.worker_loop import Lost
from shapeprior.worker_process import Job, Result, WorkerLimits
from shapeprior.workers import WorkerPool

CONNECT_SECONDS = 20.0
"""How long a scheduler may take to answer."""
_pools: dict[str, WorkerPool[Any, Any]] = {}
"""In a process of the cluster: the processes that do its work, by run. Dask has no place of its own for what tasks share."""
_lock = threading.Lock()


def run_on_cluster(
    function: Callable[[Job], Result], jobs: Iterable[Job], *, address: str, limits: WorkerLimits
) -> Generator[tuple[Job, Result | Lost], None, None]:
    """Yield each job with its result, or with how it was lost, in the order in which they end; see `run_jobs`.

    `address` is that of a running scheduler, as ``tcp://host:8786``, whose workers have this package and see the same files
    under the same paths. Each thread of a worker does its jobs in a process beside, so that a bad job is tried twice and
    lost as it is locally, and Dask's own processes live on. A job whose machine is lost is given to another one, as often
    as the scheduler's setting ``allowed-failures`` says, then reported as crashed. Two jobs a thread are on their way
    at a time, however many there are.

    Raises what the function raises; ConfigError if Dask is missing, or if the scheduler does not answer or is lost.
    """
    try:
        from distributed import KilledWorker, as_completed
    except ImportError:
        raise ConfigError(
            f"cluster = {address!r}: needs Dask, which is missing; expected it; `pip install 'shapeprior[cluster]'`"
        ) from None
    client = _connect(address)
    run, numbers, waiting = uuid.uuid4().hex, count(), iter(jobs)
    running: dict[str, Job] = {}
    # One that is empty now and is given futures later.
    completed = as_completed([], loop=client.loop)
    try:
        while True:
            room = 2 * max(1, sum(client.nthreads().values())) - len(running)
            for job in islice(waiting, max(0, room)):
                key = f"shapeprior-{run}-{next(numbers)}"
                completed.add(client.submit(_run_here, run, function, limits, job, key=key, pure=False))
                running[key] = job
            if not running:
                return
            future = next(completed)
            job = running.pop(future.key)
            try:
                outcome = future.result()
            except KilledWorker:
                outcome = Lost(
                    kind="crashed", reason="the machines of the cluster that had it died, one after the other"
                )
            yield job, outcome
    finally:
        client.run(_stop, run, on_error="ignore")
        client.close()


def _run_here(run: str, function: Callable[[Job], Result], limits: WorkerLimits, job: Job) -> Result | Lost:
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
        return Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cluster = {address!r}: no scheduler answers ({' '.join(str(error).split())[:120]}); expected the address of "
            "one, as tcp://host:8786; check that it runs"
        ) from None
