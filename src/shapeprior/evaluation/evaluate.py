"""Evaluation of a prior beside other priors and baselines.

Every combination of shape, method and condition is a row, and failed rows count with the worst scores. Each row is
written when it is done, so that an interrupted run continues where it stopped.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from shapeprior.completion.prior import ShapePrior
from shapeprior.completion.registry import load
from shapeprior.datasets.dataset import Dataset
from shapeprior.errors import ConfigError
from shapeprior.evaluation.config import EvaluateConfig
from shapeprior.evaluation.methods import require_runnable
from shapeprior.evaluation.plan import planned_jobs, planned_methods, planned_shapes
from shapeprior.evaluation.result_files import EvaluationInfo, make_document, write_documents
from shapeprior.evaluation.row import (
    EvaluationRow,
    RowJob,
    cached_row,
    evaluate_row,
    failure_scores,
    forget_case,
    make_row,
)
from shapeprior.parallel.runner import JobRunner
from shapeprior.parallel.worker import JobFailure, WorkerLimits

LIMITS = WorkerLimits(timeout=600.0)
"""Default limits of one row: ten minutes, and the default memory of a worker."""

Progress = Callable[[int, int, str], None]
"""Called after each row with the number of rows that are done, the number of all rows, and the id of the last shape."""


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
    """Score a prior, other priors and baselines; writes a report folder and returns the content of metrics.json.

    The folder gets metrics.json, metrics.csv, report.md, meshes in the unit frame and pictures (docs/evaluation.md). A
    row that fails, even by the death of its process, gets the worst scores. Run again on the same folder, this makes
    only the rows that are missing, were lost with their process, or depend on something that has changed. The files are
    then the same as those of one run, except for times.

    Args:
        prior: A run folder, the name of a bundled prior, or a loaded prior, which is evaluated in this process.
        data: The data set.
        out: The report's folder.
        config: What is evaluated.
        seed: Seed of views, placements and methods; the views of a shape also depend on its id.
        against: Run folders or names of other priors to compare with.
        workers: Worker processes, by default one for each core; 0 works in this process.
        cluster: Address of a Dask scheduler whose workers do the work instead. They must see the same files under the
            same paths.
        limits: Time and memory that one row may take.
        progress: Called after each row.

    Raises:
        DatasetError: If there is nothing to evaluate.
        CheckpointError: If there is no such prior.
        ConfigError: If a requested baseline cannot be run, or the cluster does not answer.
        OutputError: If `out` cannot be written.
    """
    started, out = time.perf_counter(), Path(out).absolute()
    require_runnable(config)
    if isinstance(prior, ShapePrior):
        loaded_prior = source = prior
        if workers or cluster:
            raise ConfigError("a prior in memory cannot be sent to other processes; expected its path, or workers=0")
        workers = 0
    else:
        # Workers of a cluster may run in another folder, so paths become absolute. The name of a bundled prior is no
        # path.
        loaded_prior = load(prior)
        source = str(Path(prior).absolute()) if Path(prior).exists() else os.fspath(prior)
    shapes = planned_shapes(data, loaded_prior, config)
    runner = JobRunner(workers=workers, cluster=cluster, limits=limits or LIMITS)
    methods = planned_methods(loaded_prior, source, data, out, config, against=against, runner=runner)
    rows = _rows(planned_jobs(methods, shapes, data, out, config, seed), runner, progress)
    info = EvaluationInfo(
        prior=source if isinstance(source, str) else "(in memory)",
        prior_settings=loaded_prior.config.to_json(),
        data=data.root,
        refused=data.refused,
        config=config,
        seed=seed,
        methods={method.name: {"text": method.text, "not_run": method.not_run} for method in methods},
    )
    document = make_document(info, rows, seconds=time.perf_counter() - started)
    write_documents(out, document, info)
    return document


def _rows(jobs: Sequence[RowJob], runner: JobRunner, progress: Progress | None) -> list[EvaluationRow]:
    """Return the rows of all jobs, in their order; rows of an earlier run are taken from their files."""
    rows: dict[tuple[str, str, str], EvaluationRow] = {}
    pending = []
    for job in jobs:
        cached = cached_row(job)
        if cached is None:
            pending.append(job)
        else:
            rows[_row_key(job)] = cached
    logging.getLogger("shapeprior").info("%d of %d rows are already scored", len(rows), len(jobs))
    with runner.run(evaluate_row, pending) as outcomes:
        for job, outcome in outcomes:
            if isinstance(outcome, JobFailure):
                outcome = make_row(job, failure_scores(job), failure=f"{job.shape_id}: {outcome.reason}")
            rows[_row_key(job)] = outcome
            if progress:
                progress(len(rows), len(jobs), job.shape_id)
    forget_case()
    return [rows[_row_key(job)] for job in jobs]


def _row_key(job: RowJob) -> tuple[str, str, str]:
    return job.place, job.slug, job.shape_id
