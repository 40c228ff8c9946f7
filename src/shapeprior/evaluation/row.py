"""One row of an evaluation: what one method makes of one shape under one condition, scored against the truth.

Whatever goes wrong with it is a row with the worst scores and the reason.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import trimesh

from shapeprior.completion.prior import ShapePrior
from shapeprior.datasets.dataset import Dataset
from shapeprior.errors import MeshError, OutputError, ShapePriorError
from shapeprior.evaluation.config import BaselineName, Condition, EvaluateConfig, Task
from shapeprior.evaluation.ground_truth import GroundTruth, ShapeView, load_ground_truth, score_view, shape_view
from shapeprior.evaluation.mesh_metrics import TruePoints, require_surface
from shapeprior.evaluation.methods import PRIOR_METHOD, Prediction, predict_by_baseline, predict_by_prior
from shapeprior.evaluation.metrics import Metrics, Scores, SurfaceMetrics
from shapeprior.evaluation.training_grids import TrainingGrids
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.io.files import write_bytes
from shapeprior.io.meshes import save_mesh
from shapeprior.io.result_row import ResultRow
from shapeprior.scans.observation import Observation
from shapeprior.scans.simulation import SensorModel
from shapeprior.visualization.pictures import comparison_picture, completion_panels, save_picture

SHOWN_POINTS = 20_000
"""Points of a view that are written beside the meshes, at most."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RowJob:
    """What a worker needs to make one row."""

    out: Path
    """The report's folder."""
    data: Dataset
    """The data set with this shape alone."""
    shape_id: str
    task: Task
    condition: Condition | None
    method: str
    """Its name in the report."""
    slug: str
    """Its name in names of files."""
    baseline: BaselineName | None
    """Which baseline it is; None for a prior."""
    prior: ShapePrior | str | None
    """The prior that makes the row, or how to load it; None for a baseline."""
    training: TrainingGrids | None
    config: EvaluateConfig
    seed: int
    key: str
    """Of everything that the row depends on."""

    @property
    def place(self) -> str:
        """Task and condition as part of a file's name."""
        return self.condition.slug if self.condition else self.task

    @property
    def row_file(self) -> ResultRow:
        """Where the row is kept."""
        path = self.out / "rows" / self.place / self.slug / f"{self.shape_id}.json"
        return ResultRow(path=path, dependencies=self.key, dependencies_name="key", result_name="row")

    @property
    def mesh_name(self) -> str:
        """The predicted mesh, below the report's folder."""
        return f"meshes/{self.place}/{self.slug}/{self.shape_id}.ply"

    @property
    def truth_name(self) -> str:
        """The true mesh."""
        return f"meshes/truth/{self.shape_id}.ply"

    @property
    def view_name(self) -> str:
        """The points that were seen."""
        return f"meshes/{self.place}/observation/{self.shape_id}.ply"


@dataclass(frozen=True, eq=False)
class _Case:
    """A true shape, its view, and the points that everything is compared on."""

    truth: GroundTruth
    view: ShapeView | None
    points: TruePoints


_cases: dict[tuple[object, ...], _Case] = {}
"""The last case of this process: methods that follow each other have the same."""


def evaluate_row(job: RowJob) -> dict[str, Any]:
    """Make a row, write its meshes and keep it in its file. Raises OutputError; anything else is a row that says so."""
    case, prediction, failure, seconds = None, None, None, None
    scores, usable = worst_scores(job), False
    try:
        case = _case(job)
        started = time.perf_counter()
        try:
            prediction = _predict(job, case)
        finally:
            seconds = time.perf_counter() - started
        require_surface(prediction.mesh_unit)
        usable = True
        scores = _scored(job, case, prediction.mesh_unit)
    except OutputError:
        raise
    except ShapePriorError as error:
        failure = str(error)
    except Exception as error:  # A fault of any library, and of this package, costs its shape and is told.
        failure = f"{type(error).__name__}: {error}"
    if failure is not None and case is not None:
        scores = case.points.worst()
    written = _write_files(job, case, prediction, usable=usable)
    row = row_of(job, scores, failure=failure, seconds=seconds, prediction=prediction, view=case and case.view)
    row |= written
    job.row_file.write(row)
    return row


def worst_scores(job: RowJob) -> Scores:
    """Of a shape of which nothing is known, not even its truth."""
    if job.condition is None:
        return Scores(whole=Metrics.worst())
    part = SurfaceMetrics.worst_surface(edges=True)
    return Scores(whole=Metrics.worst(), seen=part, unseen=part)


def row_of(
    job: RowJob,
    scores: Scores,
    *,
    failure: str | None,
    seconds: float | None = None,
    prediction: Prediction | None = None,
    view: ShapeView | None = None,
) -> dict[str, Any]:
    """The row as metrics.json has it; what files it has is added by whoever wrote them."""
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


def cached_row(job: RowJob) -> dict[str, Any] | None:
    """The row of an earlier run, if nothing it depends on has changed and its files are there."""
    row = job.row_file.read()
    # Not the names in the file: it may say anything.
    files = {"mesh": job.mesh_name, "truth": job.truth_name, "observation": job.view_name}
    if row is None or not files.keys() <= row.keys():
        return None
    whole = all(row[kind] is None or (row[kind] == name and (job.out / name).is_file()) for kind, name in files.items())
    return row if whole else None


def _case(job: RowJob) -> _Case:
    (shape,) = job.data.shapes
    name = (
        job.data.root,
        shape.id,
        shape.mesh_sha256,
        job.place,
        job.seed,
        job.config.view_resolution,
        job.config.metrics,
    )
    if name not in _cases:
        _cases.clear()
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
            truth.surface_unit,
            seed=job.seed,
            config=job.config.metrics,
            origins_unit=None if view is None else view.origins_unit,
        )
        _cases[name] = _Case(truth, view, points)
    return _cases[name]


def forget_case() -> None:
    """Let go of the last true shape; the trees of native libraries complain when they are alive at the end of a process."""
    _cases.clear()


def _predict(job: RowJob, case: _Case) -> Prediction:
    if job.baseline is None:
        assert job.prior is not None
        return predict_by_prior(job.prior, job.task, job.shape_id, job.data, case.view, job.config, job.seed)
    return predict_by_baseline(job.baseline, case.truth, case.view, job.training, job.config.resolution, job.seed)


def _scored(job: RowJob, case: _Case, mesh: TriangleMesh) -> Scores:
    return score_view(mesh, case.truth, None, seed=job.seed, config=job.config.metrics, points=case.points)


def _write_files(
    job: RowJob, case: _Case | None, prediction: Prediction | None, *, usable: bool
) -> dict[str, str | None]:
    """Write what there is to see; returns the names by their keys in the row."""
    found: dict[str, str | None] = {}
    if case is None:
        return found
    mesh = prediction.mesh_unit if prediction and usable else None
    if job.config.meshes:
        if mesh is not None:
            save_mesh(job.out / job.mesh_name, mesh)
            found["mesh"] = job.mesh_name
        found["truth"] = job.truth_name
        # Files of an earlier run may be of other shapes; the prior's row, which is always there, replaces them.
        first = job.method == PRIOR_METHOD
        if first or not (job.out / job.truth_name).is_file():
            save_mesh(job.out / job.truth_name, case.truth.surface_unit)
        if case.view is not None:
            found["observation"] = job.view_name
            if first or not (job.out / job.view_name).is_file():
                _save_points(job.out / job.view_name, case.view.observation)
    if job.config.pictures and mesh is not None and case.view is not None and job.method == PRIOR_METHOD:
        panels = completion_panels(case.view.observation, mesh, case.truth.surface_unit)
        save_picture(job.out / "pictures" / job.place / f"{job.shape_id}.png", comparison_picture(panels))
    return found


def _save_points(path: Path, view: Observation) -> None:
    cloud = trimesh.PointCloud(view.subsampled(SHOWN_POINTS, seed=0).points_world)
    data = cloud.export(file_type="ply")
    assert isinstance(data, bytes)
    write_bytes(path, data)
