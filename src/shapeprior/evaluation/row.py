"""One row of an evaluation: one method's prediction of one shape under one condition, scored against the truth.

An error anywhere in a row does not end the evaluation: the row gets the worst scores and the reason.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict, cast

import trimesh

from shapeprior.completion.prior import ShapePrior
from shapeprior.datasets.dataset import Dataset
from shapeprior.errors import MeshError, OutputError, ShapePriorError
from shapeprior.evaluation.config import PRIOR_METHOD, BaselineName, Condition, EvaluateConfig, Task
from shapeprior.evaluation.ground_truth import GroundTruth, ShapeView, load_ground_truth, score_view, shape_view
from shapeprior.evaluation.mesh_metrics import TruePoints, require_surface
from shapeprior.evaluation.methods import Prediction, predict_by_baseline, predict_by_prior
from shapeprior.evaluation.metrics import Metrics, Scores, SurfaceMetrics
from shapeprior.evaluation.training_grids import TrainingGrids
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.io.files import ResultRow, write_bytes
from shapeprior.io.meshes import save_mesh
from shapeprior.scans.observation import Observation
from shapeprior.scans.simulation import SensorModel
from shapeprior.visualization.pictures import comparison_picture, completion_panels, save_picture

MAX_VIEW_POINTS = 20_000
"""Points of a view that are written beside the meshes, at most."""


class EvaluationRow(TypedDict):
    """One entry of `rows` in metrics.json; docs/evaluation.md describes it."""

    id: str
    method: str
    task: Task
    condition: dict[str, Any]
    """The fields of `Condition`; empty for tasks without views."""
    views: list[dict[str, float]]
    """Azimuth and elevation of each camera, in degrees."""
    metrics: dict[str, float | None]
    seen: dict[str, float | None] | None
    unseen: dict[str, float | None] | None
    seconds: float | None
    """Time from the view or shape to the predicted mesh."""
    verdict: str | None
    explained: float | None
    placement: dict[str, float] | None
    """The fields of `PlacementDifference`."""
    failure: str | None
    """Why the row has the worst scores; None if nothing failed."""
    mesh: str | None
    """File of the predicted mesh, below the report's folder. `truth` and `observation` are such files, too."""
    truth: str | None
    observation: str | None


@dataclass(frozen=True, kw_only=True, eq=False)
class RowJob:
    """The job to make one row, with everything that a worker process needs."""

    out: Path
    """The report's folder."""
    data: Dataset
    """The data set with this shape as its only one."""
    shape_id: str
    task: Task
    condition: Condition | None
    method: str
    """The method's name in the report."""
    slug: str
    """The method's name in file names."""
    baseline: BaselineName | None
    """The baseline's name; None for a prior."""
    prior: ShapePrior | str | None
    """The prior itself, or the name by which the worker loads it; None for a baseline."""
    training: TrainingGrids | None
    """The training shapes, for a baseline that knows them."""
    config: EvaluateConfig
    seed: int
    key: str
    """Hash of everything that the row depends on."""

    @property
    def place(self) -> str:
        """The task and condition as part of a file's name."""
        return self.condition.slug if self.condition else self.task

    @property
    def row_file(self) -> ResultRow:
        """Where the row is kept."""
        path = self.out / "rows" / self.place / self.slug / f"{self.shape_id}.json"
        return ResultRow(path=path, dependencies=self.key, dependencies_name="key", result_name="row")

    @property
    def mesh_name(self) -> str:
        """The file of the predicted mesh, below the report's folder."""
        return f"meshes/{self.place}/{self.slug}/{self.shape_id}.ply"

    @property
    def truth_name(self) -> str:
        """The file of the true mesh, below the report's folder."""
        return f"meshes/truth/{self.shape_id}.ply"

    @property
    def view_name(self) -> str:
        """The file of the observed points, below the report's folder."""
        return f"meshes/{self.place}/observation/{self.shape_id}.ply"


@dataclass(frozen=True, eq=False)
class _Case:
    """A true shape, its view, and the points of the truth that every prediction is compared with."""

    truth: GroundTruth
    view: ShapeView | None
    points: TruePoints


_case_cache: dict[tuple[object, ...], _Case] = {}
"""The last case of this process, by what decides it: methods that follow each other share it."""


def evaluate_row(job: RowJob) -> EvaluationRow:
    """Predict, score and write one row with its meshes; returns the row.

    Raises OutputError if a file cannot be written. Every other error becomes the row's `failure`.
    """
    case, prediction, failure, seconds = None, None, None, None
    scores, usable = failure_scores(job), False
    try:
        case = _load_case(job)
        started = time.perf_counter()
        try:
            prediction = _predict(job, case)
        finally:
            seconds = time.perf_counter() - started
        require_surface(prediction.mesh_unit)
        usable = True
        scores = _score(job, case, prediction.mesh_unit)
    except OutputError:
        raise
    except ShapePriorError as error:
        failure = str(error)
    except Exception as error:  # A defect in any library or in this package costs its row and is reported there.
        failure = f"{type(error).__name__}: {error}"
    if failure is not None and case is not None:
        scores = case.points.worst()
    row = make_row(job, scores, failure=failure, seconds=seconds, prediction=prediction, view=case and case.view)
    _write_files(job, row, case, prediction, usable=usable)
    job.row_file.write(row)
    return row


def failure_scores(job: RowJob) -> Scores:
    """Return the scores of a row whose ground truth could not be loaded: the worst value of every metric."""
    if job.condition is None:
        return Scores(whole=Metrics.worst())
    part = SurfaceMetrics.worst_surface(edges=True)
    return Scores(whole=Metrics.worst(), seen=part, unseen=part)


def make_row(
    job: RowJob,
    scores: Scores,
    *,
    failure: str | None,
    seconds: float | None = None,
    prediction: Prediction | None = None,
    view: ShapeView | None = None,
) -> EvaluationRow:
    """Return a row that has no files yet."""
    angles = [] if view is None else zip(view.azimuths_deg, view.elevations_deg, strict=True)
    return {
        "id": job.shape_id,
        "method": job.method,
        "task": job.task,
        "condition": asdict(job.condition) if job.condition else {},
        "views": [{"azimuth_deg": azimuth, "elevation_deg": elevation} for azimuth, elevation in angles],
        "metrics": asdict(scores.whole),
        "seen": asdict(scores.seen) if scores.seen else None,
        "unseen": asdict(scores.unseen) if scores.unseen else None,
        "seconds": seconds,
        "verdict": prediction.verdict if prediction else None,
        "explained": prediction.explained if prediction else None,
        "placement": asdict(prediction.placement) if prediction and prediction.placement else None,
        "failure": failure,
        "mesh": None,
        "truth": None,
        "observation": None,
    }


def cached_row(job: RowJob) -> EvaluationRow | None:
    """Return the row of an earlier run, if nothing that it depends on has changed and its files are there."""
    row = job.row_file.read()
    # The names in the file are not trusted: only those that this job would write are looked for.
    files = {"mesh": job.mesh_name, "truth": job.truth_name, "observation": job.view_name}
    if row is None or not files.keys() <= row.keys():
        return None
    whole = all(row[kind] is None or (row[kind] == name and (job.out / name).is_file()) for kind, name in files.items())
    return cast(EvaluationRow, row) if whole else None


def _load_case(job: RowJob) -> _Case:
    """Return the true shape, view and points of a job, from the cache if the last job had the same."""
    (shape,) = job.data.shapes
    cache_key = (
        job.data.root,
        shape.id,
        shape.mesh_sha256,
        job.place,
        job.seed,
        job.config.view_resolution,
        job.config.metrics,
    )
    if cache_key not in _case_cache:
        _case_cache.clear()
        if shape.mesh_sha256 is None:
            raise MeshError(
                "no mesh, only samples that were made elsewhere; expected one, to take a view of and to score against; "
                "prepare the shape from its mesh"
            )
        truth = load_ground_truth(job.data, job.shape_id)
        view = None
        if job.condition is not None:
            sensor = None if job.condition.sensor == "clean" else SensorModel.level(job.condition.sensor)
            view = shape_view(
                truth.surface_unit, job.shape_id, views=job.condition.views, sensor=sensor,
                resolution=job.config.view_resolution, seed=job.seed,
            )  # fmt: skip
        points = TruePoints.draw(
            truth.distance,
            seed=job.seed,
            config=job.config.metrics,
            origins_unit=None if view is None else view.origins_unit,
        )
        _case_cache[cache_key] = _Case(truth, view, points)
    return _case_cache[cache_key]


def forget_case() -> None:
    """Release the last true shape: native libraries complain if their trees are alive when a process ends."""
    _case_cache.clear()


def _predict(job: RowJob, case: _Case) -> Prediction:
    if job.baseline is None:
        assert job.prior is not None
        return predict_by_prior(job.prior, job.task, job.shape_id, job.data, case.view, job.config, job.seed)
    return predict_by_baseline(job.baseline, case.truth, case.view, job.training, job.config.resolution, job.seed)


def _score(job: RowJob, case: _Case, mesh: TriangleMesh) -> Scores:
    return score_view(mesh, case.truth, None, seed=job.seed, config=job.config.metrics, points=case.points)


def _write_files(
    job: RowJob, row: EvaluationRow, case: _Case | None, prediction: Prediction | None, *, usable: bool
) -> None:
    """Write meshes, points and picture, and enter their names in the row."""
    if case is None:
        return
    mesh = prediction.mesh_unit if prediction and usable else None
    if job.config.meshes:
        if mesh is not None:
            save_mesh(job.out / job.mesh_name, mesh)
            row["mesh"] = job.mesh_name
        row["truth"] = job.truth_name
        # Files of an earlier run may be of other shapes. The prior has a row in every case, so its row replaces them.
        replaces = job.method == PRIOR_METHOD
        if replaces or not (job.out / job.truth_name).is_file():
            save_mesh(job.out / job.truth_name, case.truth.surface_unit)
        if case.view is not None:
            row["observation"] = job.view_name
            if replaces or not (job.out / job.view_name).is_file():
                _save_points(job.out / job.view_name, case.view.observation)
    if job.config.pictures and mesh is not None and case.view is not None and job.method == PRIOR_METHOD:
        panels = completion_panels(case.view.observation, mesh, case.truth.surface_unit)
        save_picture(job.out / "pictures" / job.place / f"{job.shape_id}.png", comparison_picture(panels))


def _save_points(path: Path, view: Observation) -> None:
    cloud = trimesh.PointCloud(view.subsampled(MAX_VIEW_POINTS, seed=0).points_world)
    data = cloud.export(file_type="ply")
    assert isinstance(data, bytes)
    write_bytes(path, data)
