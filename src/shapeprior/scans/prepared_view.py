"""A view made ready for a fit: outliers removed, and as many points and rays as each stage looks at."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import KDTree

from shapeprior.scans.observation import Observation

MAX_FIT_POINTS = 4096
"""Largest number of points that the solver looks at."""
MAX_FIT_BACKGROUND = 8192
"""Largest number of background rays that the solver looks at."""
MAX_SURFACE_POINTS = 8192
"""Largest number of points for the refinement and the support of a completed surface."""
MAX_FREE_SPACE_POINTS = 65_536
"""Largest number of points whose rays tell what is free. It is large because a thin rim must not be missed."""
OUTLIER_NEIGHBOURS = 8
"""Number of nearest neighbours whose mean distance tells an outlier."""
OUTLIER_DISTANCE_RATIO = 3.5
"""Points are outliers if that distance is more than this multiple of the scan's median. On a surface seen at a slant,
neighbours are far away in one direction only, and the points must stay."""
MAX_OUTLIER_ROUNDS = 6
"""Largest number of times that outliers are looked for among the points that are left."""
MIN_OUTLIER_POINTS = 40
"""Scans with fewer points are too small to tell outliers."""


@dataclass(frozen=True, eq=False)
class PreparedView:
    """A view as the stages of a completion look at it. Each part is made when first asked for, and once.

    The stages look at different numbers of points, because their costs differ: a solver step evaluates the decoder at
    each, the refinement only searches neighbours, and free space only casts rays.
    """

    view_world: Observation
    """The whole view."""
    seed: int
    """Seed of the random subsets."""

    @classmethod
    def of(cls, view: "Observation | PreparedView", *, seed: int) -> "PreparedView":
        """Prepare a view. One that is prepared already is returned as it is, with its own seed."""
        return view if isinstance(view, PreparedView) else cls(view, seed)

    @cached_property
    def fit_view(self) -> Observation:
        """Points without outliers and background rays for the solver."""
        return without_outliers(self._fit_candidates)

    @property
    def outlier_share(self) -> float:
        """Share of the view's points, 0 to 1, that lie apart from the others and are left out."""
        return 1.0 - len(self.fit_view.points_world) / len(self._fit_candidates.points_world)

    @cached_property
    def surface_view(self) -> Observation:
        """Points without outliers, and no background rays, for the refinement and the support of a surface."""
        return without_outliers(self.view_world.subsampled(MAX_SURFACE_POINTS, seed=self.seed, background=0))

    @cached_property
    def free_space_view(self) -> Observation:
        """Points and background rays that tell what is free. Outliers stay: several rays must agree on free space."""
        return self.view_world.subsampled(MAX_FREE_SPACE_POINTS, seed=self.seed)

    @cached_property
    def _fit_candidates(self) -> Observation:
        return self.view_world.subsampled(MAX_FIT_POINTS, seed=self.seed, background=MAX_FIT_BACKGROUND)


def without_outliers(view: Observation) -> Observation:
    """Return the view without its outliers and their rays. A ray of an outlier behind the surface would call the object
    free."""
    return view.select(~find_outliers(view.points_world))


def find_outliers(points: Float[np.ndarray, "points 3"]) -> Bool[np.ndarray, "points"]:
    """Return a mask of statistical outliers. It is all False for scans with too few points.

    This is the statistical outlier removal of Rusu et al. 2008, "Towards 3D point cloud based object maps for household
    environments", with the median in place of mean and standard deviation, which outliers would move.
    """
    kept = np.arange(len(points))
    distance, near_rows = np.zeros(len(points)), np.zeros((len(points), OUTLIER_NEIGHBOURS + 1), dtype=np.int64)
    asked = kept
    # Outliers are each other's neighbours until some are gone, so the search is repeated.
    for _ in range(MAX_OUTLIER_ROUNDS):
        if len(kept) < MIN_OUTLIER_POINTS:
            break
        away, rows = KDTree(points[kept]).query(points[asked], k=OUTLIER_NEIGHBOURS + 1)
        distance[asked], near_rows[asked] = away[:, 1:].mean(axis=1), kept[rows]
        near = distance[kept] <= OUTLIER_DISTANCE_RATIO * np.median(distance[kept])
        if near.all():
            break
        gone = np.zeros(len(points), dtype=np.bool_)
        gone[kept[~near]] = True
        kept = kept[near]
        # Only points that lost a neighbour have a new mean distance.
        asked = kept[gone[near_rows[kept]].any(axis=1)]
    found = np.ones(len(points), dtype=np.bool_)
    found[kept] = False
    return found
