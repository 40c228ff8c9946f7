"""The methods that an evaluation compares: priors and baselines. All of them predict from the same view or the same
shape."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from shapeprior.completion.encoding import EncodeConfig, encode_samples
from shapeprior.completion.prior import ShapePrior
from shapeprior.completion.registry import loaded
from shapeprior.completion.scan_job import CompletionSettings, complete_view
from shapeprior.datasets.dataset import Dataset
from shapeprior.errors import ConfigError
from shapeprior.evaluation.baselines import (
    GRID_CELLS,
    POISSON_DEPTH,
    POISSON_INSTALL,
    GridField,
    LinearModel,
    ViewEvidence,
    has_poisson,
    mean_shape,
    nearest_training_shape,
    screened_poisson,
    upper_bound,
)
from shapeprior.evaluation.config import UPPER_BOUND_METHOD, BaselineName, EvaluateConfig, Task
from shapeprior.evaluation.ground_truth import GroundTruth, ShapeView
from shapeprior.evaluation.training_grids import TrainingGrids
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.sampling import cell_centers, shape_rng
from shapeprior.geometry.transforms import Similarity


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The description of a baseline."""

    name: str
    """Its name in the report."""
    text: str
    """What it does, for the report."""
    tasks: tuple[Task, ...]
    """Tasks that it can do."""
    needs_training: bool
    """Whether it uses the training shapes."""


BASELINES: Mapping[BaselineName, Baseline] = {
    "mean": Baseline(
        name="mean shape",
        text="the mean of the training shapes' signed distances, clamped at 0.2, on a 48³ grid, at the level that "
        "holds their mean volume; the same for every view",
        tasks=("full", "view"),
        needs_training=True,
    ),
    "nearest": Baseline(
        name="nearest training shape",
        text="the training shape with the smallest mean distance from the visible points and depth in free space",
        tasks=("view",),
        needs_training=True,
    ),
    "pca": Baseline(
        name="PCA",
        text="up to 64 principal components of the training shapes' signed distances, clamped at 0.2, on a 48³ grid; "
        "view: regularised least squares on visible points and free space; "
        "full: projection of the true signed distance",
        tasks=("full", "view"),
        needs_training=True,
    ),
    "poisson": Baseline(
        name="screened Poisson",
        text=f"screened Poisson surface of the visible points (Open3D, depth {POISSON_DEPTH}); borders closed by fans",
        tasks=("view",),
        needs_training=False,
    ),
    "upper": Baseline(
        name=UPPER_BOUND_METHOD,
        text="mesh of the true signed distance at the same resolution: what no method on this grid can exceed by much",
        tasks=("full", "view"),
        needs_training=False,
    ),
}


@dataclass(frozen=True, kw_only=True)
class PlacementDifference:
    """The difference between an estimated placement and the true one."""

    turn_deg: float
    """Angle of the rotation between them, in degrees."""
    scale: float
    """Estimated size of the object as a multiple of the true one."""
    offset: float
    """Distance between the origins of the estimated and the true unit frame, in radii of the true unit sphere."""

    @classmethod
    def between(cls, T_unit_world: Similarity, T_world_unit: Similarity) -> "PlacementDifference":
        """Compare an estimated `T_unit_world` with the true `T_world_unit`."""
        T_unit_found = T_world_unit.inverse() @ T_unit_world.inverse()
        cosine = np.clip((np.trace(T_unit_found.rotation) - 1.0) / 2.0, -1.0, 1.0)
        return cls(
            turn_deg=float(np.degrees(np.arccos(cosine))),
            scale=T_unit_found.scale,
            offset=float(np.linalg.norm(T_unit_found.offset)),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """The mesh that a method predicts, and what a prior says of it."""

    mesh_unit: TriangleMesh
    """In the unit frame of the true shape."""
    verdict: str | None = None
    """The prior's own verdict (`shapeprior.completion.estimate`)."""
    explained: float | None = None
    """Share of the observed points that the prior's fit explains, by its own field."""
    placement: PlacementDifference | None = None
    """Error of the placement, where the prior had to estimate it."""


def not_run(baseline: BaselineName) -> str | None:
    """Return why a baseline cannot be run here and how to install what it lacks, or None if it can be run."""
    if baseline == "poisson" and not has_poisson():
        return f"not run: {POISSON_INSTALL}"
    return None


def require_runnable(config: EvaluateConfig) -> None:
    """Raise ConfigError for a requested baseline that cannot be run."""
    for baseline in config.baselines or ():
        reason = not_run(baseline)
        if reason:
            raise ConfigError(
                f"baseline {baseline}: {reason.removeprefix('not run: ')} is needed; expected its library; "
                "install it, or leave the baseline out"
            )


def predict_by_prior(
    prior: ShapePrior | str,
    task: Task,
    shape_id: str,
    data: Dataset,
    view: ShapeView | None,
    config: EvaluateConfig,
    seed: int,
) -> Prediction:
    """Predict a shape by a trained prior. Raises CompletionError, ScanError or DatasetError."""
    prior = loaded(prior)
    if view is not None:
        return _complete(prior, shape_id, view, config, seed)
    code = prior.code(shape_id) if task == "codes" else _encode(prior, data, shape_id, seed)
    return Prediction(mesh_unit=prior.extract(code, resolution=config.resolution))


def predict_by_baseline(
    baseline: BaselineName,
    truth: GroundTruth,
    view: ShapeView | None,
    training: TrainingGrids | None,
    resolution: int,
    seed: int,
) -> Prediction:
    """Predict a shape by a baseline, from a view or, where `view` is None, from the whole shape.

    Raises CompletionError, MeshError or ConfigError.
    """
    if baseline == "upper":
        return Prediction(mesh_unit=upper_bound(truth.distance, resolution=resolution))
    if baseline == "poisson":
        assert view is not None
        return Prediction(mesh_unit=screened_poisson(view.observation, seed=seed))
    assert training is not None
    if baseline == "mean":
        return Prediction(mesh_unit=mean_shape(training.grids()).mesh(resolution))
    if baseline == "nearest":
        assert view is not None
        row = nearest_training_shape(training.grids(), ViewEvidence.of(view.observation, seed=seed))
        return Prediction(mesh_unit=training.mesh(row, resolution=resolution))
    return Prediction(mesh_unit=_fit_linear_model(training.model(), truth, view, seed).mesh(resolution))


def _complete(prior: ShapePrior, shape_id: str, view: ShapeView, config: EvaluateConfig, seed: int) -> Prediction:
    known = config.placement == "known"
    observation, T_world_unit, T_unit_world = view.observation, Similarity.identity(), Similarity.identity()
    if not known:
        observation, T_world_unit = view.transformed(config.placement, rng=shape_rng(seed, f"{shape_id} placement"))
        T_unit_world = None
    settings = CompletionSettings(
        placement=None if known else config.placement, seed=seed, resolution=config.resolution
    )
    completion = complete_view(observation, prior, T_unit_world=T_unit_world, settings=settings).completion
    if known:
        mesh, placement = completion.mesh, None
    else:
        mesh = TriangleMesh(
            vertices=T_world_unit.inverse().apply(completion.mesh.vertices), faces=completion.mesh.faces
        )
        placement = PlacementDifference.between(completion.T_unit_world, T_world_unit)
    return Prediction(
        mesh_unit=mesh, verdict=completion.verdict.kind, explained=completion.explained, placement=placement
    )


def _encode(prior: ShapePrior, data: Dataset, shape_id: str, seed: int) -> Float[torch.Tensor, "code"]:
    samples = data.samples(shape_id)
    points, sdf = (torch.from_numpy(np.float32(part))[None] for part in (samples.points_unit, samples.sdf))
    clamp = prior.config.train.clamp
    return encode_samples(prior.decoder, prior.space, points, sdf, clamp=clamp, config=EncodeConfig(), seed=seed)[0]


def _fit_linear_model(model: LinearModel, truth: GroundTruth, view: ShapeView | None, seed: int) -> GridField:
    if view is None:
        return model.field(model.project(truth.distance(cell_centers(GRID_CELLS))))
    return model.field(model.fit_view(ViewEvidence.of(view.observation, seed=seed)))
