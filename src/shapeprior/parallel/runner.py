"""Run a function over many jobs: in local worker processes, on a Dask cluster, or in this process.

Every stage that works through many files (preparation, evaluation, completion of a folder) makes one `JobRunner` from
what its user chose, and hands its jobs to it. The runner is the only place that knows which back end does the work.
"""

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field

from shapeprior.errors import ConfigError
from shapeprior.parallel.dask_cluster import run_on_cluster
from shapeprior.parallel.pool import run_in_processes
from shapeprior.parallel.system import usable_cores
from shapeprior.parallel.worker import Job, JobFailure, Result, WorkerLimits


@dataclass(frozen=True, kw_only=True)
class JobRunner:
    """Where jobs are done, and what each may take. Raises ConfigError for a negative number of workers."""

    workers: int | None = None
    """Local worker processes; None is one for each usable core. With 0, jobs are done one after another in this
    process, without limits, and a crash ends everything: for debugging."""
    cluster: str | None = None
    """Address of a running Dask scheduler, such as ``tcp://host:8786``. If given, its workers do the jobs instead."""
    limits: WorkerLimits = field(default_factory=WorkerLimits)
    """What one job may take before its process is ended."""

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 0:
            raise ConfigError(f"workers = {self.workers}; expected 0 or more processes")

    @contextlib.contextmanager
    def run(
        self, function: Callable[[Job], Result], jobs: Iterable[Job]
    ) -> Iterator[Iterator[tuple[Job, Result | JobFailure]]]:
        """Iterate over each job and its outcome, in the order in which jobs end.

            with runner.run(function, jobs) as outcomes:
                for job, outcome in outcomes:
                    ...

        An outcome is the function's result, or a `JobFailure` if the job cost its process its life. Jobs are taken from
        `jobs` only as they are needed. A fresh interpreter must be able to import the function by name, unless it runs
        in this process. When the block ends, also early or by an exception or Ctrl-C, the jobs that still run are ended
        with their processes.

        Raises what the function raises, for any job. Raises ConfigError if no process can be started, if the cluster
        does not answer or is lost, or if Dask is not installed.
        """
        if self.cluster is not None:
            outcomes = run_on_cluster(function, jobs, address=self.cluster, limits=self.limits)
        elif self.workers == 0:
            outcomes = _run_in_this_process(function, jobs)
        else:
            workers = usable_cores() if self.workers is None else self.workers
            outcomes = run_in_processes(function, jobs, workers=workers, limits=self.limits)
        with contextlib.closing(outcomes):
            yield outcomes


def _run_in_this_process(
    function: Callable[[Job], Result], jobs: Iterable[Job]
) -> Generator[tuple[Job, Result | JobFailure], None, None]:
    for job in jobs:
        yield job, function(job)
