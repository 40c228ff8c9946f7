"""Points of a scan that lie where no surface is: far from all others."""

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import KDTree

from shapeprior.observation import Observation

NEIGHBOURS = 8
FAR = 3.5
"""Points are strays if their neighbours are, on average, so many times as far as is usual in the scan: on a surface that is seen
at a slant, neighbours are far in one direction only."""
ROUNDS = 6
"""How often strays are looked for again among what is left."""
MIN_POINTS = 40
"""Of fewer points nothing can be said."""


def without_strays(view: Observation) -> Observation:
    """The view without its strays and their rays: the rays of those behind the surface would say that the object is free."""
    return view.rows(~strays(view.points_world))


def strays(points: Float[np.ndarray, "points 3"]) -> Bool[np.ndarray, "points"]:
    """Which points are not part of any surface that the scan shows; none if the scan is too small to tell.

    As the statistical outlier removal of Rusu et al. 2008, "Towards 3D point cloud based object maps for household environments",
    with the median instead of mean and deviation, which strays would move.
    """
    kept = np.arange(len(points))
    # Strays are each other's neighbours, until some are gone.
    for _ in range(ROUNDS):
        if len(kept) < MIN_POINTS:
            break
        distance = KDTree(points[kept]).query(points[kept], k=NEIGHBOURS + 1, workers=-1)[0][:, 1:].mean(axis=1)
        near = distance <= FAR * np.median(distance)
        kept = kept[near]
        if near.all():
            break
    found = np.ones(len(points), dtype=np.bool_)
    found[kept] = False
    return found
