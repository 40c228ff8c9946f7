"""The plan of an evaluation: the shapes of each task, the methods, and one job for each row, in the order of the
report."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_args

from shapeprior.completion.prior import ShapePrior
from shapeprior.completion.registry import load, prior_digest
from shapeprior.config import config_to_json
from shapeprior.datasets.dataset import Dataset
from shapeprior.datasets.manifest import ShapeRecord
from shapeprior.datasets.mesh_source import shape_ids
from shapeprior.errors import DatasetError
from shapeprior.evaluation.config import PRIOR_METHOD, BaselineName, Condition, EvaluateConfig, Task
from shapeprior.evaluation.methods import BASELINES, not_run
from shapeprior.evaluation.metrics import METRIC_DEFINITIONS
from shapeprior.evaluation.result_files import training_log
from shapeprior.evaluation.row import RowJob
from shapeprior.evaluation.training_grids import TrainingGrids, training_grids
from shapeprior.geometry.sampling import select_evenly
from shapeprior.io.store import LocalStore
from shapeprior.parallel.runner import JobRunner

ROW_FORMAT = 2
"""Part of every row's key. Raise it when the meaning of rows changes, so that rows of earlier versions are computed
again."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PlannedMethod:
    """A method of one evaluation."""

    name: str
    """Its name in the report."""
    text: str
    """Its description in the report."""
    tasks: tuple[Task, ...]
    """The requested tasks that it can do."""
    baseline: BaselineName | None = None
    """The baseline's name; None for a prior."""
    prior: ShapePrior | str | None = None
    """The prior itself, or the name by which worker processes load it; None for a baseline."""
    known: frozenset[str] = frozenset()
    """Ids of the shapes that the prior has codes for."""
    digest: str = ""
    """Hash of the prior, or of the training shapes that the baseline knows."""
    training: TrainingGrids | None = None
    """The training shapes, for a baseline that knows them."""
    not_run: str | None = None
    """Why it is not run; None if it is."""


def planned_shapes(data: Dataset, prior: ShapePrior, config: EvaluateConfig) -> dict[Task, list[ShapeRecord]]:
    """Return the shapes of each task. Raises DatasetError if there are none, or none of them has a mesh."""
    split, known = data.split(config.split), set(prior.config.shape_ids)
    unseen = select_evenly(split, config.max_shapes)
    trained = [shape for shape in data.split("train") if shape.id in known]
    trained = select_evenly(trained, config.max_shapes or max(1, len(split)))
    shapes: dict[Task, list[ShapeRecord]] = {task: trained if task == "codes" else unseen for task in config.tasks}
    if not unseen and set(config.tasks) != {"codes"}:
        raise DatasetError(
            f"{data.root}: no shape in split '{config.split}'; expected at least one; prepare more meshes"
        )
    if not any(shapes.values()):
        raise DatasetError(
            f"{data.root}: none of the prior's {len(known)} training shapes in split 'train'; expected the "
            "data set that it was trained on, for the task codes"
        )
    if all(shape.mesh_sha256 is None for found in shapes.values() for shape in found):
        raise DatasetError(
            f"{data.root}: {len(unseen)} shapes of split '{config.split}' and no mesh, only samples that were "
            "made elsewhere; expected meshes, to take views of and to score against; "
            "evaluate on a data set prepared from meshes"
        )
    return shapes


def planned_methods(
    prior: ShapePrior,
    source: ShapePrior | str,
    data: Dataset,
    out: Path,
    config: EvaluateConfig,
    *,
    against: Sequence[str | os.PathLike[str]],
    runner: JobRunner,
) -> list[PlannedMethod]:
    """Return the methods of an evaluation: priors, and baselines with those that cannot be run.

    Args:
        prior: The prior under evaluation.
        source: The prior itself, or the name by which worker processes load it.
        data: The data set.
        out: The report's folder, where the baselines' view of the training shapes is kept.
        config: The settings.
        against: Run folders or names of other priors.
        runner: Does the work of preparing the training shapes.

    Raises:
        CheckpointError: If one of `against` is no prior.
    """
    methods = [_prior_method(PRIOR_METHOD, prior, source, config, data)]
    taken = [PRIOR_METHOD, *(baseline.name for baseline in BASELINES.values())]
    stems = [Path(path).name or "prior" for path in against]
    for name, path in zip(shape_ids(stems, taken=taken), against, strict=True):
        methods.append(_prior_method(name, load(path), os.fspath(path), config, data))
    every: tuple[BaselineName, ...] = get_args(BaselineName)
    chosen = every if config.baselines is None else config.baselines
    wanted: list[BaselineName] = [name for name in chosen if set(BASELINES[name].tasks) & set(config.tasks)]
    training = None
    if any(BASELINES[name].needs_training for name in wanted):
        training = training_grids(
            out / "work", with_absolute_root(data), prior, source,
            digest=methods[0].digest, count=config.training_shapes, runner=runner,
        )  # fmt: skip
    return methods + [_baseline_method(name, training, config) for name in wanted]


def planned_jobs(
    methods: Sequence[PlannedMethod],
    shapes: Mapping[Task, Sequence[ShapeRecord]],
    data: Dataset,
    out: Path,
    config: EvaluateConfig,
    seed: int,
) -> list[RowJob]:
    """Return one job for each row. The methods of a shape and condition are in sequence, since they share its view."""
    without_shapes = replace(with_absolute_root(data), shapes=(), refused=())
    jobs = []
    for task, records in shapes.items():
        for record in records:
            shape_alone = replace(without_shapes, shapes=(record,))
            for condition in config.conditions(task):
                for method in methods:
                    able = task in method.tasks and method.not_run is None
                    if able and (task != "codes" or record.id in method.known):
                        jobs.append(_job(method, shape_alone, task, condition, out, config, seed))
    return jobs


def with_absolute_root(data: Dataset) -> Dataset:
    """Return the data set with an absolute path, for processes that may run in another working directory."""
    store = data.store
    return replace(data, store=LocalStore(store.root.absolute())) if isinstance(store, LocalStore) else data


def _prior_method(
    name: str, prior: ShapePrior, source: ShapePrior | str, config: EvaluateConfig, data: Dataset
) -> PlannedMethod:
    known = frozenset(prior.config.shape_ids)
    text = f"{prior.config.decoder.kind} prior of {len(known)} training shapes"
    if isinstance(source, str):
        text += f", {source}{_training_time(Path(source), prior.config.train.epochs)}"
    if "codes" in config.tasks and not any(shape.id in known for shape in data.split("train")):
        text += "; the data set has none of its training shapes, so that there are no rows of the task codes"
    return PlannedMethod(
        name=name, text=text, tasks=config.tasks, prior=source, known=known, digest=prior_digest(prior)
    )


def _training_time(run: Path, epochs: int) -> str:
    """Return the training time by a run's log, in words; empty if the log is missing or ends before the last epoch."""
    last = next(reversed(training_log(run)), {})
    seconds = last.get("seconds")
    if last.get("epoch") != epochs or not isinstance(seconds, int | float):
        return ""
    return f", trained for {epochs} epochs in {seconds:.0f} s"


def _baseline_method(name: BaselineName, training: TrainingGrids | None, config: EvaluateConfig) -> PlannedMethod:
    baseline = BASELINES[name]
    training = training if baseline.needs_training else None
    text = f"{baseline.text}; of {training.text}" if training else baseline.text
    return PlannedMethod(
        name=baseline.name,
        text=text,
        tasks=tuple(task for task in baseline.tasks if task in config.tasks),
        baseline=name,
        digest=training.digest if training else "",
        training=training,
        not_run=not_run(name),
    )


def _job(
    method: PlannedMethod,
    data: Dataset,
    task: Task,
    condition: Condition | None,
    out: Path,
    config: EvaluateConfig,
    seed: int,
) -> RowJob:
    (shape,) = data.shapes
    # Everything that a row depends on: a row on disk is valid as long as the hash of this stays the same.
    dependencies = {
        "format": ROW_FORMAT,
        "shape": [shape.id, shape.mesh_sha256, shape.samples_sha256],
        "prepared": data.settings.get("prepare"),
        "task": task,
        "condition": asdict(condition) if condition else None,
        "method": [method.name, method.text if method.baseline else "", method.digest],
        "placement": config.placement,
        "view_resolution": config.view_resolution,
        "resolution": config.resolution,
        "metrics": config_to_json(config.metrics),
        "definitions": [asdict(definition) for definition in METRIC_DEFINITIONS.values()],
        "meshes": config.meshes,
        "seed": seed,
    }
    return RowJob(
        out=out,
        data=data,
        shape_id=shape.id,
        task=task,
        condition=condition,
        method=method.name,
        slug=method.name.replace(" ", "-").lower(),
        baseline=method.baseline,
        prior=method.prior,
        training=method.training,
        config=config,
        seed=seed,
        key=hashlib.sha256(json.dumps(dependencies, sort_keys=True).encode()).hexdigest(),
    )
