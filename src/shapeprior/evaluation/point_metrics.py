"""Metrics of two sets of points: what `shapeprior.evaluation.metrics` reports of two surfaces, for any points.

All take any two sets; precision and recall being combined, they give the same number when the sets are exchanged. Lengths are in
the points' unit. They raise ValueError if a set is empty.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist


def chamfer_l1(points_a: Float[np.ndarray, "a 3"], points_b: Float[np.ndarray, "b 3"]) -> float:
    """Half the sum of the two mean nearest distances."""
    return chamfer_l1_of(nearest(points_a, points_b)[0], nearest(points_b, points_a)[0])


def chamfer_l2_x1000(points_a: Float[np.ndarray, "a 3"], points_b: Float[np.ndarray, "b 3"]) -> float:
    """1000 times the sum of the two mean squared nearest distances (DeepSDF, Park et al. 2019, section 6)."""
    return chamfer_l2_x1000_of(nearest(points_a, points_b)[0], nearest(points_b, points_a)[0])


def fscore(points_a: Float[np.ndarray, "a 3"], points_b: Float[np.ndarray, "b 3"], *, threshold: float) -> float:
    """Harmonic mean of the shares of either set within `threshold` of the other (Tatarchenko et al. 2019)."""
    return fscore_of(nearest(points_a, points_b)[0], nearest(points_b, points_a)[0], threshold)


def normal_consistency(
    points_a: Float[np.ndarray, "a 3"],
    normals_a: Float[np.ndarray, "a 3"],
    points_b: Float[np.ndarray, "b 3"],
    normals_b: Float[np.ndarray, "b 3"],
) -> float:
    """Mean absolute cosine between the unit normals of nearest points, averaged over both directions."""
    forward = abs_cos(normals_a, normals_b[nearest(points_a, points_b)[1]])
    backward = abs_cos(normals_b, normals_a[nearest(points_b, points_a)[1]])
    return float(0.5 * (forward.mean() + backward.mean()))


def earth_movers_distance(points_a: Float[np.ndarray, "a 3"], points_b: Float[np.ndarray, "b 3"]) -> float:
    """Mean distance of the one-to-one match of two sets of equal size whose sum of distances is smallest; exact, O(n³)."""
    if len(points_a) != len(points_b) or len(points_a) == 0:
        raise ValueError(f"sets of {len(points_a)} and {len(points_b)} points; expected as many, at least one")
    cost = cdist(points_a, points_b)
    rows, columns = linear_sum_assignment(cost)
    return float(cost[rows, columns].mean())


def intersection_over_union(inside_a: Bool[np.ndarray, "points"], inside_b: Bool[np.ndarray, "points"]) -> float:
    """Share of the points inside either shape that are inside both; 0 if no point is inside any."""
    union = int(np.count_nonzero(inside_a | inside_b))
    return float(np.count_nonzero(inside_a & inside_b) / union) if union else 0.0


def nearest(
    points: Float[np.ndarray, "points 3"], targets: Float[np.ndarray, "targets 3"]
) -> tuple[Float[np.ndarray, "points"], Int[np.ndarray, "points"]]:
    """Distance to and index of each point's nearest target."""
    if len(points) == 0 or len(targets) == 0:
        raise ValueError(f"metrics need points in both sets; got {len(points)} and {len(targets)}")
    distances, index = KDTree(targets).query(points, workers=-1)
    return np.asarray(distances), np.asarray(index)


def chamfer_l1_of(forward: Float[np.ndarray, "a"], backward: Float[np.ndarray, "b"]) -> float:
    """`chamfer_l1` of the nearest distances of both sets."""
    return float(0.5 * (forward.mean() + backward.mean()))


def chamfer_l2_x1000_of(forward: Float[np.ndarray, "a"], backward: Float[np.ndarray, "b"]) -> float:
    """`chamfer_l2_x1000` of the nearest distances of both sets."""
    return float(1000.0 * ((forward**2).mean() + (backward**2).mean()))


def fscore_of(forward: Float[np.ndarray, "a"], backward: Float[np.ndarray, "b"], threshold: float) -> float:
    """`fscore` of the nearest distances of both sets."""
    precision, recall = (forward <= threshold).mean(), (backward <= threshold).mean()
    both = precision + recall
    return float(2.0 * precision * recall / both) if both > 0 else 0.0


def abs_cos(
    normals: Float[np.ndarray, "points 3"], others: Float[np.ndarray, "points 3"]
) -> Float[np.ndarray, "points"]:
    """Absolute cosine of the angle between unit vectors, row by row."""
    return np.abs(np.einsum("ij,ij->i", normals, others))
