"""Evaluation: complete single views of held-out shapes and score them; every shape is a row, failures included."""

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shapeprior.dataset import Dataset, ShapeRecord
from shapeprior.errors import CompletionError, ConfigError, DatasetError, MeshError, ScanError
from shapeprior.frames import Similarity
from shapeprior.mesh import TriangleMesh
from shapeprior.mesh_io import save_mesh, write_bytes
from shapeprior.metrics import METRIC_DEFINITIONS, Metrics, MetricsConfig, compare_meshes, summarize
from shapeprior.observation import Observation
from shapeprior.pictures import Panel, comparison_picture, save_picture
from shapeprior.prepare_shape import shape_rng
from shapeprior.prior import Completion, ShapePrior
from shapeprior.report_table import markdown_report
from shapeprior.signed_distance import SHEET_HALF_THICKNESS, SignedDistance
from shapeprior.views import camera_around, render_depth, sample_view


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """What is evaluated."""

    split: str = "test"
    """Split of the data set; scores on `train` say how well shapes are remembered, not completed."""
    placement: str = "known"
    """known: the view comes in the unit frame; estimated: scale and position are found by the solver."""
    view_resolution: int = 256
    """Pixels along each side of the rendered depth image."""
    resolution: int = 128
    """Cells along each axis in extraction."""
    max_shapes: int | None = None
    """Evaluate only the first so many shapes; None evaluates all."""
    pictures: bool = True
    """Whether to write a picture of each shape."""
    metrics: MetricsConfig = MetricsConfig()
    """How many points the metrics draw."""

    def __post_init__(self) -> None:
        if self.split not in ("train", "test"):
            raise ConfigError(f"split '{self.split}'; expected train or test")
        if self.placement not in ("known", "estimated"):
            raise ConfigError(f"placement '{self.placement}'; expected known or estimated")
        if self.max_shapes is not None and self.max_shapes < 1:
            raise ConfigError(f"max_shapes = {self.max_shapes}; expected at least 1, or None for all")
        if self.view_resolution < 1:
            raise ConfigError(f"view_resolution = {self.view_resolution}; expected at least 1 pixel")


@dataclass(frozen=True, kw_only=True)
class EvaluatedShape:
    """One row of the report."""

    id: str
    azimuth_deg: float
    """Where the camera stood; see `shapeprior.views.view_direction`."""
    elevation_deg: float
    metrics: Metrics
    """The worst scores if there is a failure."""
    residual: float | None
    """Median |f| at the observed points, in unit-sphere radii."""
    explained: float | None
    """Share of the observed points that the completion explains."""
    seconds: float
    """Time of the completion, view to mesh."""
    failure: str | None
    """Why there is no mesh; None if there is one."""


@dataclass(frozen=True, eq=False)
class Truth:
    """The true surface of a shape and its inside."""

    surface_unit: TriangleMesh
    distance: SignedDistance


def evaluate_prior(
    prior: ShapePrior,
    data: Dataset,
    out: str | os.PathLike[str],
    *,
    config: EvaluateConfig,
    seed: int,
    progress: Callable[[EvaluatedShape, int, int], None] | None = None,
) -> list[EvaluatedShape]:
    """Complete one depth view of each shape of a split, score it against the truth, and write the report folder.

    The folder gets metrics.json, report.md, and for each shape its completion (PLY, unit frame) and a picture. Views are
    drawn from the seed and the shape's id. A shape without a mesh, whose samples were made elsewhere, is a failure.

    Raises DatasetError if the split is empty or none of its shapes has a mesh, OutputError if `out` cannot be written.
    """
    out = Path(out)
    shapes = data.split(config.split)[: config.max_shapes]
    if not shapes:
        raise DatasetError(
            f"{data.root}: no shape in split '{config.split}'; expected at least one; prepare more meshes"
        )
    if all(shape.mesh_sha256 is None for shape in shapes):
        raise DatasetError(
            f"{data.root}: {len(shapes)} shapes of split '{config.split}' and no mesh, only samples that were made elsewhere; "
            "expected meshes, to take views of and to score against; evaluate on a data set prepared from meshes"
        )
    rows = []
    for number, shape in enumerate(shapes):
        rows.append(_evaluate_shape(prior, data, shape, out, config, seed))
        if progress:
            progress(rows[-1], number + 1, len(shapes))
    _write_report(out, rows, data, prior, config, seed)
    return rows


def evaluated_view(truth: Truth, shape_id: str, *, resolution: int, seed: int) -> tuple[Observation, float, float]:
    """A depth view of a shape from a direction of its own; returns it with azimuth and elevation in degrees."""
    azimuth, elevation = sample_view(shape_rng(seed, shape_id))
    camera, T_unit_camera = camera_around(azimuth_deg=azimuth, elevation_deg=elevation, resolution=resolution)
    depth = render_depth(truth.surface_unit, camera, T_unit_camera)
    view = Observation.from_depth(depth, camera, T_unit_camera, background_is_free=True)
    return view, azimuth, elevation


def load_truth(data: Dataset, shape_id: str) -> Truth:
    """The cleaned mesh of a shape, with the faces that border the outside and the sign as it was prepared."""
    thickness = data.settings.get("prepare", {}).get("sheet_half_thickness", SHEET_HALF_THICKNESS)
    distance = SignedDistance(data.mesh_unit(shape_id), sheet_half_thickness=float(thickness))
    return Truth(surface_unit=distance.surface, distance=distance)


def score(predicted_unit: TriangleMesh, truth: Truth, *, seed: int, config: MetricsConfig) -> Metrics:
    """Metrics of a closed mesh against the truth."""
    predicted = SignedDistance(predicted_unit)
    return compare_meshes(
        predicted_unit,
        truth.surface_unit,
        inside_predicted=predicted.inside,
        inside_true=lambda points: truth.distance(points) < 0.0,
        seed=seed,
        config=config,
    )


def _evaluate_shape(
    prior: ShapePrior, data: Dataset, shape: ShapeRecord, out: Path, config: EvaluateConfig, seed: int
) -> EvaluatedShape:
    azimuth = elevation = float("nan")
    started = time.perf_counter()
    try:
        if shape.mesh_sha256 is None:
            raise MeshError(
                "no mesh, only samples that were made elsewhere; expected one, to take a view of and to score against; "
                "prepare the shape from its mesh"
            )
        truth = load_truth(data, shape.id)
        view, azimuth, elevation = evaluated_view(truth, shape.id, resolution=config.view_resolution, seed=seed)
        started = time.perf_counter()
        known = Similarity.identity() if config.placement == "known" else None
        completion = prior.complete(view, T_unit_world=known, seed=seed, resolution=config.resolution)
        metrics = score(completion.mesh, truth, seed=seed, config=config.metrics)
    except (CompletionError, MeshError, ScanError) as error:
        return EvaluatedShape(
            id=shape.id,
            azimuth_deg=azimuth,
            elevation_deg=elevation,
            metrics=Metrics.worst(),
            residual=None,
            explained=None,
            seconds=time.perf_counter() - started,
            failure=str(error),
        )
    _write_shape(out, shape.id, view, completion, truth, config)
    return EvaluatedShape(
        id=shape.id,
        azimuth_deg=azimuth,
        elevation_deg=elevation,
        metrics=metrics,
        residual=completion.residual,
        explained=completion.explained,
        seconds=completion.seconds,
        failure=None,
    )


def _write_shape(
    out: Path, shape_id: str, view: Observation, completion: Completion, truth: Truth, config: EvaluateConfig
) -> None:
    save_mesh(out / "meshes" / f"{shape_id}.ply", completion.mesh)
    if config.pictures:
        panels = completion_panels(view, completion.mesh, truth.surface_unit)
        save_picture(out / "pictures" / f"{shape_id}.png", comparison_picture(panels))


def completion_panels(view: Observation, completed: TriangleMesh, true: TriangleMesh | None) -> list[Panel]:
    """Partial view, completion and, where it is known, truth; all in one frame."""
    points = view.thinned(2500, seed=0).points_world
    panels = [Panel(title="partial view", points=points), Panel(title="completion", mesh=completed)]
    if true is not None:
        panels.append(Panel(title="truth", mesh=true))
    return panels


def _write_report(
    out: Path, rows: list[EvaluatedShape], data: Dataset, prior: ShapePrior, config: EvaluateConfig, seed: int
) -> None:
    summary = summarize([row.metrics for row in rows])
    # Nothing was completed, in no time, where there was no view.
    viewed = [row for row in rows if math.isfinite(row.azimuth_deg)]
    document = {
        "format": "shapeprior-report",
        "version": 1,
        "settings": {**asdict(config), "seed": seed, "trained_shapes": len(prior.config.shape_ids)},
        "definitions": {name: asdict(definition) for name, definition in METRIC_DEFINITIONS.items()},
        "count": len(rows),
        "failures": sum(row.failure is not None for row in rows),
        "mean": asdict(summary.mean),
        "median": asdict(summary.median),
        "median_seconds": float(np.median([row.seconds for row in viewed or rows])),
        "rows": [asdict(row) for row in rows],
        "refused": [asdict(refusal) for refusal in data.refused],
    }
    text = json.dumps(_with_null(document), indent=1, allow_nan=False)
    write_bytes(out / "metrics.json", (text + "\n").encode())
    write_bytes(out / "report.md", markdown_report(document).encode())


def _with_null(value: Any) -> Any:
    """The same document with null for numbers that JSON does not have (the view of a shape that was never rendered)."""
    if isinstance(value, dict):
        return {key: _with_null(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_null(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
