"""What each metric means, which way it is better, and what a shape that could not be reconstructed scores."""

from dataclasses import dataclass
from typing import Literal

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
    """What one number of `shapeprior.metrics.Metrics` means."""

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
