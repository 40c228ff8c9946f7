"""How well one shape matches another: the definitions of docs/conventions.md, section "Metrics".

All lengths are radii of the unit sphere, in the unit frame of the true shape. The functions on point sets take any two
sets and, precision and recall being combined, give the same number when the sets are exchanged.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

from shapeprior.errors import ConfigError
from shapeprior.mesh import TriangleMesh
from shapeprior.surface import sample_surface

FSCORE_1_THRESHOLD = 0.02
"""Distance threshold of `fscore_1`: 1 % of the side of the cube [-1, 1]³."""

FSCORE_2_THRESHOLD = 0.04
"""Distance threshold of `fscore_2`: 2 % of the side of the cube [-1, 1]³."""

Inside = Callable[[Float[np.ndarray, "points 3"]], Bool[np.ndarray, "points"]]
"""Which points of the unit frame are inside a shape."""


@dataclass(frozen=True, kw_only=True)
class MetricDefinition:
    """What one number of `Metrics` means."""

    name: str
    """The field of `Metrics`."""
    definition: str
    """d(P→T) is the distance of each point of the predicted surface to the nearest of the true one."""
    unit: str
    """Unit of the number."""
    higher_is_better: bool
    """Whether a larger number is a better match."""
    worst: float
    """The score of a shape that could not be reconstructed."""


_DEFINITIONS = (
    MetricDefinition(
        name="chamfer_l1",
        definition="½ (mean d(P→T) + mean d(T→P))",
        unit="unit-sphere radii",
        higher_is_better=False,
        worst=2.0,
    ),
    MetricDefinition(
        name="chamfer_l2_x1000",
        definition="1000 · (mean d(P→T)² + mean d(T→P)²), DeepSDF's",
        unit="squared radii × 1000",
        higher_is_better=False,
        worst=8000.0,
    ),
    MetricDefinition(
        name="fscore_1",
        definition="harmonic mean of precision and recall at 0.02 (1 % of the cube's side)",
        unit="share, 0 to 1",
        higher_is_better=True,
        worst=0.0,
    ),
    MetricDefinition(
        name="fscore_2",
        definition="harmonic mean of precision and recall at 0.04 (2 % of the cube's side)",
        unit="share, 0 to 1",
        higher_is_better=True,
        worst=0.0,
    ),
    MetricDefinition(
        name="normal_consistency",
        definition="½ (mean abs cos of nearest normals, P→T and T→P)",
        unit="0 to 1",
        higher_is_better=True,
        worst=0.0,
    ),
    MetricDefinition(
        name="iou",
        definition="volume of the intersection over volume of the union",
        unit="0 to 1",
        higher_is_better=True,
        worst=0.0,
    ),
)

METRIC_DEFINITIONS: dict[str, MetricDefinition] = {definition.name: definition for definition in _DEFINITIONS}
"""By the name of the field of `Metrics`, in its order."""


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """The scores of one predicted shape; `METRIC_DEFINITIONS` says what each means."""

    chamfer_l1: float
    """Unit-sphere radii."""
    chamfer_l2_x1000: float
    """Squared unit-sphere radii, times 1000."""
    fscore_1: float
    """Share, 0 to 1, at a distance of 0.02."""
    fscore_2: float
    """Share, 0 to 1, at a distance of 0.04."""
    normal_consistency: float
    """0 to 1."""
    iou: float
    """0 to 1."""

    @classmethod
    def worst(cls) -> "Metrics":
        """The scores of a shape that could not be reconstructed; means and medians include them."""
        return cls(**{name: definition.worst for name, definition in METRIC_DEFINITIONS.items()})


@dataclass(frozen=True, kw_only=True)
class MetricsConfig:
    """How many points `compare_meshes` draws."""

    surface_points: int = 30_000
    """Points on each of the two surfaces."""
    volume_points: int = 100_000
    """Points in the bounding box of both shapes, for the intersection over union."""

    def __post_init__(self) -> None:
        if self.surface_points < 1 or self.volume_points < 1:
            raise ConfigError(
                "metrics need at least 1 surface point and 1 volume point; got "
                f"{self.surface_points} and {self.volume_points}"
            )


@dataclass(frozen=True, kw_only=True)
class MetricsSummary:
    """What a table reports about many shapes."""

    count: int
    """How many rows were summarised, shapes that could not be reconstructed included."""
    mean: Metrics
    """The mean of each metric."""
    median: Metrics
    """The median of each metric."""


def compare_meshes(
    predicted: TriangleMesh,
    true: TriangleMesh,
    *,
    inside_predicted: Inside,
    inside_true: Inside,
    seed: int,
    config: MetricsConfig,
) -> Metrics:
    """All metrics of a predicted mesh against the true one, both in the unit frame of the true shape.

    `inside_predicted` and `inside_true` decide the volumes, since a true mesh need not be closed. The three sets of
    points are drawn independently from `seed`, so equal meshes do not score a distance of 0: two independent draws of
    the same surface are about half the spacing of the points apart.

    Raises MeshError if a mesh has no area; the caller scores such a prediction as `Metrics.worst`.
    """
    rng_predicted, rng_true, rng_volume = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(3))
    points_predicted, face_predicted = sample_surface(predicted, config.surface_points, rng=rng_predicted)
    points_true, face_true = sample_surface(true, config.surface_points, rng=rng_true)
    normals_predicted, normals_true = predicted.face_normals[face_predicted], true.face_normals[face_true]

    to_true, nearest_true = _nearest(points_predicted, points_true)
    to_predicted, nearest_predicted = _nearest(points_true, points_predicted)
    corners = np.concatenate([predicted.bounds, true.bounds])
    low, high = corners.min(axis=0), corners.max(axis=0)
    points_volume = low + (high - low) * rng_volume.random((config.volume_points, 3))
    return Metrics(
        chamfer_l1=_chamfer_l1(to_true, to_predicted),
        chamfer_l2_x1000=_chamfer_l2_x1000(to_true, to_predicted),
        fscore_1=_fscore(to_true, to_predicted, FSCORE_1_THRESHOLD),
        fscore_2=_fscore(to_true, to_predicted, FSCORE_2_THRESHOLD),
        normal_consistency=0.5
        * (
            _mean_abs_cos(normals_predicted, normals_true[nearest_true])
            + _mean_abs_cos(normals_true, normals_predicted[nearest_predicted])
        ),
        iou=intersection_over_union(inside_predicted(points_volume), inside_true(points_volume)),
    )


def chamfer_l1(points_a: Float[np.ndarray, "a 3"], points_b: Float[np.ndarray, "b 3"]) -> float:
    """Half the sum of the two mean nearest distances, in the points' length unit."""
    return _chamfer_l1(_nearest(points_a, points_b)[0], _nearest(points_b, points_a)[0])


def chamfer_l2_x1000(points_a: Float[np.ndarray, "a 3"], points_b: Float[np.ndarray, "b 3"]) -> float:
    """1000 times the sum of the two mean squared nearest distances (DeepSDF, Park et al. 2019, section 6)."""
    return _chamfer_l2_x1000(_nearest(points_a, points_b)[0], _nearest(points_b, points_a)[0])


def fscore(points_a: Float[np.ndarray, "a 3"], points_b: Float[np.ndarray, "b 3"], *, threshold: float) -> float:
    """Harmonic mean of the shares of either set within `threshold` of the other (Tatarchenko et al. 2019)."""
    return _fscore(_nearest(points_a, points_b)[0], _nearest(points_b, points_a)[0], threshold)


def normal_consistency(
    points_a: Float[np.ndarray, "a 3"],
    normals_a: Float[np.ndarray, "a 3"],
    points_b: Float[np.ndarray, "b 3"],
    normals_b: Float[np.ndarray, "b 3"],
) -> float:
    """Mean absolute cosine between the unit normals of nearest points, averaged over both directions."""
    forward = _mean_abs_cos(normals_a, normals_b[_nearest(points_a, points_b)[1]])
    backward = _mean_abs_cos(normals_b, normals_a[_nearest(points_b, points_a)[1]])
    return 0.5 * (forward + backward)


def intersection_over_union(inside_a: Bool[np.ndarray, "points"], inside_b: Bool[np.ndarray, "points"]) -> float:
    """Share of the points inside either shape that are inside both; 0 if no point is inside any."""
    union = int(np.count_nonzero(inside_a | inside_b))
    return float(np.count_nonzero(inside_a & inside_b) / union) if union else 0.0


def summarize(rows: Sequence[Metrics]) -> MetricsSummary:
    """Mean and median of each metric; raises ValueError if there are no rows."""
    if not rows:
        raise ValueError("no metrics to summarise; expected at least one row")
    values = {field.name: np.array([getattr(row, field.name) for row in rows]) for field in fields(Metrics)}
    return MetricsSummary(
        count=len(rows),
        mean=Metrics(**{name: float(np.mean(column)) for name, column in values.items()}),
        median=Metrics(**{name: float(np.median(column)) for name, column in values.items()}),
    )


def _nearest(
    points: Float[np.ndarray, "points 3"], targets: Float[np.ndarray, "targets 3"]
) -> tuple[Float[np.ndarray, "points"], Int[np.ndarray, "points"]]:
    """Distance to and index of each point's nearest target."""
    if len(points) == 0 or len(targets) == 0:
        raise ValueError(f"metrics need points in both sets; got {len(points)} and {len(targets)}")
    distances, index = KDTree(targets).query(points, workers=-1)
    return np.asarray(distances), np.asarray(index)


def _chamfer_l1(forward: Float[np.ndarray, "a"], backward: Float[np.ndarray, "b"]) -> float:
    return float(0.5 * (forward.mean() + backward.mean()))


def _chamfer_l2_x1000(forward: Float[np.ndarray, "a"], backward: Float[np.ndarray, "b"]) -> float:
    return float(1000.0 * ((forward**2).mean() + (backward**2).mean()))


def _fscore(forward: Float[np.ndarray, "a"], backward: Float[np.ndarray, "b"], threshold: float) -> float:
    precision, recall = (forward <= threshold).mean(), (backward <= threshold).mean()
    both = precision + recall
    return float(2.0 * precision * recall / both) if both > 0 else 0.0


def _mean_abs_cos(normals: Float[np.ndarray, "points 3"], others: Float[np.ndarray, "points 3"]) -> float:
    return float(np.abs(np.einsum("ij,ij->i", normals, others)).mean())
