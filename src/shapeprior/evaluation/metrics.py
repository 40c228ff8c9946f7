"""The metrics of a predicted shape: their definitions, and the classes that hold the scores.

All lengths are in radii of the unit sphere, in the unit frame of the true shape (docs/conventions.md, section
"Metrics"). Each metric has a worst value, which is the score of a shape that could not be reconstructed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

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
"""The largest distance between two points of the unit sphere, in radii."""

WORST_COUNT = 100.0
"""The largest difference between numbers of parts or handles that is told apart: a failure has it, a sieve too."""

WORST_RATIO = 5.0
"""The worst ratio of thicknesses: a wall five times as thick is a solid."""

WORST_BORDER = 100.0
"""The longest torn border that is told apart, in radii: that of 800 pin-holes of radius 0.02."""

EDGE_POINTS = 40_000
"""Points drawn on the true surface to measure normals near sharp edges; twice as many are drawn on the predicted
one."""

Better = Literal["lower", "higher", "one"]
"""Which values of a metric are better: the lower ones, the higher ones, or those closer to 1."""


def badness(better: Better, value: float) -> float:
    """Return a number that is the lower, the better a value is."""
    return {"lower": value, "higher": -value, "one": abs(value - 1.0)}[better]


@dataclass(frozen=True, kw_only=True)
class MetricDefinition:
    """The definition of one metric."""

    name: str
    """The field of `Metrics`."""
    text: str
    """The definition in words. P and T are points of the predicted and the true surface, and d(P→T) is the distance
    from each point of P to the nearest point of T."""
    unit: str
    """Unit of the number."""
    better: Better
    """Which values are better."""
    worst: float
    """The score of a shape that could not be reconstructed. No shape scores worse."""
    split: bool = True
    """Whether the metric is also reported for the seen and the unseen part of the true surface."""

    def bounded(self, value: float) -> float:
        """Return the value, or the worst one if it is worse or NaN: a bad shape must never score below a failure."""
        return value if self.badness(value) <= self.badness(self.worst) else self.worst

    def badness(self, value: float) -> float:
        """Return a number that is the lower, the better the value is."""
        return badness(self.better, value)


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
    MetricDefinition(
        name="whole",
        text="1 if the prediction has as many parts and handles as the truth, else 0",
        unit="0 or 1",
        better="higher",
        worst=0.0,
        split=False,
    ),
    MetricDefinition(
        name="parts_error",
        text="difference between the numbers of connected parts",
        unit="parts",
        better="lower",
        worst=WORST_COUNT,
        split=False,
    ),
    MetricDefinition(
        name="genus_error",
        text="difference between the numbers of handles and holes (summed genus); a pin-hole in a wall adds 1",
        unit="handles",
        better="lower",
        worst=WORST_COUNT,
        split=False,
    ),
    MetricDefinition(
        name="thin_covered",
        text="share of the true walls thinner than 0.04 where the line through the wall, 0.02 longer on both sides, "
        "meets the predicted solid",
        unit="share, 0 to 1",
        better="higher",
        worst=0.0,
        split=False,
    ),
    MetricDefinition(
        name="thin_thickness",
        text="median of predicted over true thickness of these walls, along that line, where it meets the solid",
        unit="ratio, ideally 1",
        better="one",
        worst=WORST_RATIO,
        split=False,
    ),
    MetricDefinition(
        name="torn_border",
        text="length of the border between covered and torn parts of these walls, farther than 0.02 from their rims",
        unit="unit-sphere radii",
        better="lower",
        worst=WORST_BORDER,
        split=False,
    ),
    MetricDefinition(
        name="roughness_deg",
        text="root mean square angle between predicted and true normals in discs of radius 0.03 on places that are "
        "flat or round in truth, each disc's mean turn taken out",
        unit="degrees",
        better="lower",
        worst=180.0,
        split=False,
    ),
)

METRIC_DEFINITIONS: dict[str, MetricDefinition] = {definition.name: definition for definition in _DEFINITIONS}
"""The definitions by name, which is the name of a field of `Metrics`."""

SPLIT_METRICS = tuple(name for name, definition in METRIC_DEFINITIONS.items() if definition.split)
"""Names of the metrics that are also reported for the seen and the unseen part."""

WALL_METRICS = ("thin_covered", "thin_thickness", "torn_border")
"""Metrics that a true shape without thin walls does not have."""
OPTIONAL_METRICS = ("edge_normal_deg", *WALL_METRICS, "roughness_deg")
"""Metrics that some true shapes do not have."""


@dataclass(frozen=True, kw_only=True)
class SurfaceMetrics:
    """The scores on the whole true surface or a part of it, as defined in `METRIC_DEFINITIONS`."""

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
        """Return the scores of a shape that could not be reconstructed.

        `edges` tells whether this part of the true surface has sharp edges.
        """
        found = {field.name: METRIC_DEFINITIONS[field.name].worst for field in fields(SurfaceMetrics)}
        return SurfaceMetrics(**{**found, "edge_normal_deg": found["edge_normal_deg"] if edges else None})


@dataclass(frozen=True, kw_only=True)
class Metrics(SurfaceMetrics):
    """The scores of one predicted shape, as defined in `METRIC_DEFINITIONS`."""

    iou: float
    """0 to 1."""
    emd: float
    """Unit-sphere radii."""
    whole: float
    """0 or 1."""
    parts_error: float
    """Number of parts."""
    genus_error: float
    """Number of handles."""
    thin_covered: float | None
    """Share, 0 to 1; None if the true shape has no thin walls. The same holds for the next two."""
    thin_thickness: float | None
    """Ratio, ideally 1."""
    torn_border: float | None
    """Unit-sphere radii."""
    roughness_deg: float | None
    """Degrees; None if no place of the true surface is smooth."""

    @classmethod
    def worst(cls, *, edges: bool = True, walls: bool = True, smooth: bool = True) -> "Metrics":
        """Return the scores of a shape that could not be reconstructed; means and medians include them.

        The arguments tell whether the true shape has sharp edges, thin walls and smooth places.
        """
        absent = {"edge_normal_deg": not edges, "roughness_deg": not smooth, **dict.fromkeys(WALL_METRICS, not walls)}
        found: dict[str, Any] = {
            name: None if absent.get(name, False) else definition.worst
            for name, definition in METRIC_DEFINITIONS.items()
        }
        return cls(**found)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The scores of one predicted shape: on the whole surface, on the part that the sensors see, and on the rest."""

    whole: Metrics
    seen: SurfaceMetrics | None = None
    """None without a view, or if the true surface has no such part. The same holds for `unseen`."""
    unseen: SurfaceMetrics | None = None


@dataclass(frozen=True, kw_only=True)
class MetricsConfig:
    """How many points `shapeprior.evaluation.mesh_metrics` draws."""

    surface_points: int = 30_000
    """Points drawn on each of the two surfaces."""
    volume_points: int = 100_000
    """Points drawn in the bounding box of both shapes, for the intersection over union."""
    edge_points: int = EDGE_POINTS
    """Points drawn on the true surface for `edge_normal_deg`, which uses those near sharp edges. Twice as many are
    drawn on the predicted surface."""
    emd_points: int = 512
    """Points of each surface for `emd`: the first ones of `surface_points`."""

    def __post_init__(self) -> None:
        check_numbers(self, at_least_one=("surface_points", "volume_points", "edge_points", "emd_points"))


def mean_metrics(rows: Sequence[Metrics]) -> dict[str, float | None]:
    """Return the mean of each metric by name, over the shapes that have it; None if no shape has it.

    Raises ValueError if there are no rows.
    """
    if not rows:
        raise ValueError("no metrics to take the mean of; expected at least one row")
    found: dict[str, float | None] = {}
    for name in METRIC_DEFINITIONS:
        column = [value for row in rows if (value := getattr(row, name)) is not None]
        found[name] = float(np.mean(column)) if column else None
    return found
