"""How well one shape matches another: the scores, and how many points they are taken from.

All lengths are radii of the unit sphere, in the unit frame of the true shape (docs/conventions.md, section "Metrics").
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from shapeprior.config import check_numbers
from shapeprior.edge_normals import POINTS as EDGE_POINTS
from shapeprior.metric_definitions import METRIC_DEFINITIONS


@dataclass(frozen=True, kw_only=True)
class SurfaceMetrics:
    """The scores of a predicted surface on the whole true one or a part of it; `METRIC_DEFINITIONS` says what each means."""

    chamfer_l1: float
    """Unit-sphere radii."""
    chamfer_l2_x1000: float
    """Squared unit-sphere radii, times 1000."""
    fscore_05: float
    """Share, 0 to 1, at a distance of 0.01."""
    fscore_1: float
    """Share, 0 to 1, at a distance of 0.02."""
    fscore_2: float
    """Share, 0 to 1, at a distance of 0.04."""
    normal_consistency: float
    """0 to 1."""
    mesh_accuracy: float
    """Unit-sphere radii."""
    mesh_completion: float
    """Share, 0 to 1, at a distance of 0.01."""
    edge_normal_deg: float | None
    """Degrees; None if the true surface has no sharp edge there."""

    @classmethod
    def worst_surface(cls, *, edges: bool) -> "SurfaceMetrics":
        """What a shape that could not be reconstructed scores; `edges` says whether the true surface has sharp ones there."""
        found = {field.name: METRIC_DEFINITIONS[field.name].worst for field in fields(SurfaceMetrics)}
        return SurfaceMetrics(**{**found, "edge_normal_deg": found["edge_normal_deg"] if edges else None})


@dataclass(frozen=True, kw_only=True)
class Metrics(SurfaceMetrics):
    """The scores of one predicted shape."""

    iou: float
    """0 to 1."""
    emd: float
    """Unit-sphere radii."""

    @classmethod
    def worst(cls, *, edges: bool = True) -> "Metrics":
        """What a shape that could not be reconstructed scores; means and medians include it."""
        found = {name: definition.worst for name, definition in METRIC_DEFINITIONS.items()}
        return cls(**{**found, "edge_normal_deg": found["edge_normal_deg"] if edges else None})


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Metrics of one predicted shape, also on the part of the true surface that the sensors could see and on the rest."""

    whole: Metrics
    seen: SurfaceMetrics | None = None
    """None where there was no view, or the true surface has no such part."""
    unseen: SurfaceMetrics | None = None


@dataclass(frozen=True, kw_only=True)
class MetricsConfig:
    """How many points `compare_meshes` draws."""

    surface_points: int = 30_000
    """Points on each of the two surfaces."""
    volume_points: int = 100_000
    """Points in the bounding box of both shapes, for the intersection over union."""
    edge_points: int = EDGE_POINTS
    """Points on the true surface of which those near sharp edges count for `edge_normal_deg`; twice as many on the predicted."""
    emd_points: int = 512
    """Points on each surface for `emd`, the first of `surface_points`."""

    def __post_init__(self) -> None:
        check_numbers(self, at_least_one=("surface_points", "volume_points", "edge_points", "emd_points"))


def mean_metrics(rows: Sequence[Metrics]) -> dict[str, float | None]:
    """The mean of each metric by name; of those that not every true shape has, over the shapes that have it, None if none has.

    Raises ValueError if there are no rows.
    """
    if not rows:
        raise ValueError("no metrics to take the mean of; expected at least one row")
    found: dict[str, float | None] = {}
    for name in METRIC_DEFINITIONS:
        column = [value for row in rows if (value := getattr(row, name)) is not None]
        found[name] = float(np.mean(column)) if column else None
    return found
