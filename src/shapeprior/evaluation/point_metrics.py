"""Metrics of two sets of points. `shapeprior.evaluation.mesh_metrics` applies them to points drawn from two surfaces.

Every metric combines both directions, so exchanging the sets gives the same number. Lengths are in the points' unit.
All metrics raise ValueError if a set is empty.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist


def chamfer_l1(points_a: Float[np.ndarray, "a 3"], points_b: Float[np.ndarray, "b 3"]) -> float:
    """Return half the sum of the two mean nearest-neighbour distances."""
    return chamfer_l1_of(nearest(points_a, points_b)[0], nearest(points_b, points_a)[0])


def chamfer_l2_x1000(points_a: Float[np.ndarray, "a 3"], points_b: Float[np.ndarray, "b 3"]) -> float:
    """Return 1000 times the sum of the mean squared nearest-neighbour distances (DeepSDF, Park et al. 2019, sec. 6)."""
    return chamfer_l2_x1000_of(nearest(points_a, points_b)[0], nearest(points_b, points_a)[0])


def fscore(points_a: Float[np.ndarray, "a 3"], points_b: Float[np.ndarray, "b 3"], *, threshold: float) -> float:
    """Return the harmonic mean of precision and recall: the shares of each set within `threshold` of the other.

    Source: Tatarchenko et al. 2019, "What Do Single-view 3D Reconstruction Networks Learn?".
    """
    return fscore_of(nearest(points_a, points_b)[0], nearest(points_b, points_a)[0], threshold)


def normal_consistency(
    points_a: Float[np.ndarray, "a 3"],
    normals_a: Float[np.ndarray, "a 3"],
    points_b: Float[np.ndarray, "b 3"],
    normals_b: Float[np.ndarray, "b 3"],
) -> float:
    """Return the mean absolute cosine between the unit normals of nearest points, averaged over both directions."""
    forward = abs_cos(normals_a, normals_b[nearest(points_a, points_b)[1]])
    backward = abs_cos(normals_b, normals_a[nearest(points_b, points_a)[1]])
    return float(0.5 * (forward.mean() + backward.mean()))


def earth_movers_distance(points_a: Float[np.ndarray, "a 3"], points_b: Float[np.ndarray, "b 3"]) -> float:
    """Return the mean distance of the best one-to-one match of two sets of equal size (exact, O(n³))."""
    if len(points_a) != len(points_b) or len(points_a) == 0:
        raise ValueError(
            f"sets of {len(points_a)} and {len(points_b)} points; expected two of equal size, with at least one point"
        )
    cost = cdist(points_a, points_b)
    rows, columns = linear_sum_assignment(cost)
    return float(cost[rows, columns].mean())


def intersection_over_union(inside_a: Bool[np.ndarray, "points"], inside_b: Bool[np.ndarray, "points"]) -> float:
    """Return the share of the points inside either shape that are inside both; 0 if no point is inside either."""
    union = int(np.count_nonzero(inside_a | inside_b))
    return float(np.count_nonzero(inside_a & inside_b) / union) if union else 0.0


def nearest(
    points: Float[np.ndarray, "points 3"], targets: Float[np.ndarray, "targets 3"]
) -> tuple[Float[np.ndarray, "points"], Int[np.ndarray, "points"]]:
    """Return the distance to each point's nearest target, and that target's index."""
    if len(points) == 0 or len(targets) == 0:
        raise ValueError(f"metrics need points in both sets; got {len(points)} and {len(targets)}")
    distances, index = KDTree(targets).query(points, workers=-1)
    return np.asarray(distances), np.asarray(index)


def chamfer_l1_of(forward: Float[np.ndarray, "a"], backward: Float[np.ndarray, "b"]) -> float:
    """Return `chamfer_l1` from the nearest distances of both sets."""
    return float(0.5 * (forward.mean() + backward.mean()))


def chamfer_l2_x1000_of(forward: Float[np.ndarray, "a"], backward: Float[np.ndarray, "b"]) -> float:
    """Return `chamfer_l2_x1000` from the nearest distances of both sets."""
    return float(1000.0 * ((forward**2).mean() + (backward**2).mean()))


def fscore_of(forward: Float[np.ndarray, "a"], backward: Float[np.ndarray, "b"], threshold: float) -> float:
    """Return `fscore` from the nearest distances of both sets."""
    precision, recall = (forward <= threshold).mean(), (backward <= threshold).mean()
    both = precision + recall
    return float(2.0 * precision * recall / both) if both > 0 else 0.0


def abs_cos(
    normals: Float[np.ndarray, "points 3"], others: Float[np.ndarray, "points 3"]
) -> Float[np.ndarray, "points"]:
    """Return the absolute cosine of the angle between unit vectors, row by row."""
    return np.abs(np.einsum("ij,ij->i", normals, others))
