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
    distance, near_rows = np.zeros(len(points)), np.zeros((len(points), NEIGHBOURS + 1), dtype=np.int64)
    asked = kept
    # Strays are each other's neighbours, until some are gone.
    for _ in range(ROUNDS):
        if len(kept) < MIN_POINTS:
            break
        away, rows = KDTree(points[kept]).query(points[asked], k=NEIGHBOURS + 1)
        distance[asked], near_rows[asked] = away[:, 1:].mean(axis=1), kept[rows]
        near = distance[kept] <= FAR * np.median(distance[kept])
        if near.all():
            break
        gone = np.zeros(len(points), dtype=np.bool_)
        gone[kept[~near]] = True
        kept = kept[near]
        # The others have the neighbours that they had.
        asked = kept[gone[near_rows[kept]].any(axis=1)]
    found = np.ones(len(points), dtype=np.bool_)
    found[kept] = False
    return found
