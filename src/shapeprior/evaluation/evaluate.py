"""Evaluation of a prior beside baselines: every shape, method and condition is a row, and every row counts.

Rows are made by the same processes that `prepare` uses, and kept one by one, so that a run that was ended goes on where it was.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from shapeprior.completion.prior import ShapePrior
from shapeprior.completion.registry import load
from shapeprior.datasets.dataset import Dataset
from shapeprior.errors import ConfigError
from shapeprior.evaluation.config import EvaluateConfig
from shapeprior.evaluation.methods import require_runnable
from shapeprior.evaluation.plan import planned_jobs, planned_methods, planned_shapes
from shapeprior.evaluation.result_files import Evaluated, document_of, write_documents
from shapeprior.evaluation.row import RowJob, cached_row, evaluate_row, forget_case, row_of, worst_scores
from shapeprior.evaluation.training_grids import Run
from shapeprior.parallel.dask_cluster import run_on_cluster
from shapeprior.parallel.pool import run_jobs
from shapeprior.parallel.system import usable_cores
from shapeprior.parallel.worker import JobFailure, WorkerLimits

LIMITS = WorkerLimits(timeout=600.0)
"""What one row may take, unless told."""

Progress = Callable[[int, int, str], None]
"""Told the rows that are done, how many there are, and which one was done last."""


def evaluate_prior(
    prior: ShapePrior | str | os.PathLike[str],
    data: Dataset,
    out: str | os.PathLike[str],
    *,
    config: EvaluateConfig,
    seed: int,
    against: Sequence[str | os.PathLike[str]] = (),
    workers: int | None = None,
    cluster: str | None = None,
    limits: WorkerLimits | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score a prior, the priors `against` and baselines on a data set; write a report folder, return what metrics.json holds.

    The folder gets metrics.json, metrics.csv, report.md, meshes in the unit frame and pictures (docs/evaluation.md). Views are
    drawn from the seed and the shape's id. The work is done by `workers` processes, by default one a core, or by those of the Dask
    scheduler at `cluster`, which see the same files under the same paths; 0 workers are none, and a `ShapePrior` that is given
    itself is always evaluated so. Whatever goes wrong with a row, to the death of its process, is a row with the worst scores. Run
    again, it makes only the rows that are missing, were lost with their process, or depend on something that has changed; the
    files are then the same as of one run, but for times.

    Raises DatasetError if there is nothing to evaluate, CheckpointError if there is no such prior, ConfigError for a baseline that
    was asked for and cannot be run, or a cluster that does not answer, OutputError if `out` cannot be written.
    """
    started, out = time.perf_counter(), Path(out).absolute()
    require_runnable(config)
    if isinstance(prior, ShapePrior):
        held = source = prior
        if workers or cluster:
            raise ConfigError("a prior in memory cannot be sent to other processes; expected its path, or workers=0")
        workers = 0
    else:
        # Workers of a cluster may stand in another folder; a name of a bundled prior is no path.
        held, source = load(prior), str(Path(prior).absolute()) if Path(prior).exists() else os.fspath(prior)
    shapes = planned_shapes(data, held, config)
    run = _runner(workers, cluster, limits or LIMITS)
    methods = planned_methods(held, source, data, out, config, against=against, run=run)
    rows = _rows(planned_jobs(methods, shapes, data, out, config, seed), run, progress)
    evaluated = Evaluated(
        prior=source if isinstance(source, str) else "(in memory)",
        prior_settings=held.config.to_json(),
        data=data.root,
        refused=data.refused,
        config=config,
        seed=seed,
        methods={method.name: {"text": method.text, "not_run": method.not_run} for method in methods},
    )
    document = document_of(evaluated, rows, seconds=time.perf_counter() - started)
    write_documents(out, document, evaluated)
    return document


def _runner(workers: int | None, cluster: str | None, limits: WorkerLimits) -> Run:
    """What does a function over many jobs."""
    if workers is not None and workers < 0:
        raise ConfigError(f"workers = {workers}; expected 0 or more processes")
    if cluster is not None:
        return partial(run_on_cluster, address=cluster, limits=limits)
    return partial(run_jobs, workers=usable_cores() if workers is None else workers, limits=limits)


def _rows(jobs: Sequence[RowJob], run: Run, progress: Progress | None) -> list[dict[str, Any]]:
    """The rows of all jobs, in their order; those that an earlier run has made are taken as they are."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    pending = []
    for job in jobs:
        kept = cached_row(job)
        if kept is None:
            pending.append(job)
        else:
            rows[_name(job)] = kept
    logging.getLogger("shapeprior").info("%d of %d rows are already scored", len(rows), len(jobs))
    # Closed here, so that no process outlives an interrupt.
    with contextlib.closing(run(evaluate_row, pending)) as running:
        for job, outcome in running:
            if isinstance(outcome, JobFailure):
                outcome = row_of(job, worst_scores(job), failure=f"{job.shape_id}: {outcome.reason}")
            rows[_name(job)] = outcome
            if progress:
                progress(len(rows), len(jobs), job.shape_id)
    forget_case()
    return [rows[_name(job)] for job in jobs]


def _name(job: RowJob) -> tuple[str, str, str]:
    return job.place, job.slug, job.shape_id
