"""The true surface of a shape of a data set, and how well a mesh matches it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from shapeprior.compare_meshes import TruePoints, compare_with, require_surface
from shapeprior.datasets.dataset import Dataset
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.metrics import Metrics, MetricsConfig, Scores
from shapeprior.sdf.signed_distance import SHEET_HALF_THICKNESS, SignedDistance


@dataclass(frozen=True, eq=False)
class Truth:
    """The true surface of a shape and its inside."""

    surface_unit: TriangleMesh
    distance: SignedDistance


def load_truth(data: Dataset, shape_id: str) -> Truth:
    """The cleaned mesh of a shape, with the faces that border the outside and the sign as it was prepared."""
    distance = SignedDistance(data.mesh_unit(shape_id), sheet_half_thickness=sheet_half_thickness(data))
    return Truth(surface_unit=distance.surface, distance=distance)


def sheet_half_thickness(data: Dataset) -> float:
    """What the data set was prepared with."""
    return float(data.settings.get("prepare", {}).get("sheet_half_thickness", SHEET_HALF_THICKNESS))


def score(predicted_unit: TriangleMesh, truth: Truth, *, seed: int, config: MetricsConfig) -> Metrics:
    """Metrics of a mesh against the truth. Raises MeshError for a mesh that is no surface."""
    return score_view(predicted_unit, truth, None, seed=seed, config=config).whole


def score_view(
    predicted_unit: TriangleMesh,
    truth: Truth,
    origins_unit: Float[np.ndarray, "sensors 3"] | None,
    *,
    seed: int,
    config: MetricsConfig,
    points: TruePoints | None = None,
) -> Scores:
    """The same, with the parts that sensors at `origins_unit` see and do not see; `points` are `TruePoints.draw`'s for these."""
    require_surface(predicted_unit)
    points = points or TruePoints.draw(truth.surface_unit, seed=seed, config=config, origins_unit=origins_unit)
    return compare_with(
        predicted_unit,
        points,
        SignedDistance(predicted_unit).inside,
        lambda asked: truth.distance(asked) < 0.0,
        seed=seed,
        config=config,
    )
