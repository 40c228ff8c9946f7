"""Points of a scan that lie where no surface is: far from all others."""

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import KDTree

NEIGHBOURS = 8
FAR = 4.0
"""Points are strays if their neighbours are, on average, so many times as far as is usual in the scan: on a surface that is seen
at a slant, neighbours are far in one direction only."""
MIN_POINTS = 40
"""Of fewer points nothing can be said."""


def strays(points: Float[np.ndarray, "points 3"]) -> Bool[np.ndarray, "points"]:
    """Which points are not part of any surface that the scan shows; none if the scan is too small to tell.

    As the statistical outlier removal of Rusu et al. 2008, "Towards 3D point cloud based object maps for household environments",
    with the median instead of mean and deviation, which strays would move.
    """
    if len(points) < MIN_POINTS:
        return np.zeros(len(points), dtype=np.bool_)
    distance = KDTree(points).query(points, k=NEIGHBOURS + 1, workers=-1)[0][:, 1:].mean(axis=1)
    return distance > FAR * np.median(distance)
