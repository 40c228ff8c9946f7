"""How well one shape matches another: the scores, and how many points they are taken from.

All lengths are radii of the unit sphere, in the unit frame of the true shape (docs/conventions.md, section "Metrics").

What each metric means, which way it is better, and what a shape that could not be reconstructed scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from shapeprior.config import check_numbers

FSCORE_05_THRESHOLD = 0.01
"""Distance threshold of `fscore_05`: 0.5 % of the side of the cube [-1, 1]³."""

FSCORE_1_THRESHOLD = 0.02
"""Distance threshold of `fscore_1`: 1 % of the side of the cube [-1, 1]³."""

FSCORE_2_THRESHOLD = 0.04
"""Distance threshold of `fscore_2`: 2 % of the side of the cube [-1, 1]³."""

COMPLETION_THRESHOLD = 0.01
"""Distance within which a true point counts as reproduced by `mesh_completion` (DeepSDF's Δ)."""

WORST_DISTANCE = 2.0
"""Two points of the unit sphere are at most so far apart, in radii."""


@dataclass(frozen=True, kw_only=True)
class MetricDefinition:
    """What one number of `shapeprior.evaluation.metrics.Metrics` means."""

    name: str
    """The field of `Metrics`."""
    text: str
    """P and T are points of the predicted and the true surface; d(P→T) is the distance of each point of P to the nearest of T."""
    unit: str
    """Unit of the number."""
    better: Literal["lower", "higher"]
    """Which way a match is better."""
    worst: float
    """The score of a shape that could not be reconstructed; no shape scores worse."""
    split: bool = True
    """Whether it is also reported for the seen and the unseen part of the true surface."""

    def bounded(self, value: float) -> float:
        """The value, or the worst one if it is worse or no number: a failure must never be better than a bad shape."""
        if self.better == "lower":
            return value if value <= self.worst else self.worst
        return value if value >= self.worst else self.worst


_DEFINITIONS = (
    MetricDefinition(
        name="chamfer_l1",
        text="½ (mean d(P→T) + mean d(T→P))",
        unit="unit-sphere radii",
        better="lower",
        worst=WORST_DISTANCE,
    ),
    MetricDefinition(
        name="chamfer_l2_x1000",
        text="1000 · (mean d(P→T)² + mean d(T→P)²), DeepSDF's",
        unit="squared radii × 1000",
        better="lower",
        worst=2000.0 * WORST_DISTANCE**2,
    ),
    MetricDefinition(
        name="fscore_05",
        text="harmonic mean of precision and recall at 0.01 (0.5 % of the cube's side)",
        unit="share, 0 to 1",
        better="higher",
        worst=0.0,
    ),
    MetricDefinition(
        name="fscore_1",
        text="harmonic mean of precision and recall at 0.02 (1 % of the cube's side)",
        unit="share, 0 to 1",
        better="higher",
        worst=0.0,
    ),
    MetricDefinition(
        name="fscore_2",
        text="harmonic mean of precision and recall at 0.04 (2 % of the cube's side)",
        unit="share, 0 to 1",
        better="higher",
        worst=0.0,
    ),
    MetricDefinition(
        name="normal_consistency",
        text="½ (mean abs cos of nearest normals, P→T and T→P)",
        unit="0 to 1",
        better="higher",
        worst=0.0,
    ),
    MetricDefinition(
        name="iou",
        text="volume of the intersection over volume of the union",
        unit="0 to 1",
        better="higher",
        worst=0.0,
        split=False,
    ),
    MetricDefinition(
        name="mesh_accuracy",
        text="90th percentile of the distances of P to the true mesh, DeepSDF's",
        unit="unit-sphere radii",
        better="lower",
        worst=WORST_DISTANCE,
    ),
    MetricDefinition(
        name="mesh_completion",
        text="share of T within 0.01 of the predicted mesh, DeepSDF's",
        unit="share, 0 to 1",
        better="higher",
        worst=0.0,
    ),
    MetricDefinition(
        name="edge_normal_deg",
        text="mean angle between the normals of T within 0.02 of true edges sharper than 30° and of the nearest P",
        unit="degrees",
        better="lower",
        worst=180.0,
    ),
    MetricDefinition(
        name="emd",
        text="mean distance of the best one-to-one match of 512 points of P and T (exact)",
        unit="unit-sphere radii",
        better="lower",
        worst=WORST_DISTANCE,
        split=False,
    ),
)

METRIC_DEFINITIONS: dict[str, MetricDefinition] = {definition.name: definition for definition in _DEFINITIONS}
"""By the name of the field of `Metrics`, in its order."""

SPLIT_METRICS = tuple(name for name, definition in METRIC_DEFINITIONS.items() if definition.split)
"""Those that are also reported for the seen and the unseen part."""


EDGE_POINTS = 40_000
"""Points that are drawn on the true surface; twice as many on the other."""


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
