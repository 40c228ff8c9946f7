"""Several views of one object as one."""

from collections.abc import Sequence

import numpy as np

from shapeprior.errors import ScanError
from shapeprior.observation import Observation


def join_views(views: Sequence[Observation]) -> Observation:
    """All points of several views in one frame, and all that any of them saw to be free.

    Where some have normals, those of the others are unknown; where some have weights, points of the others weigh 1.
    Raises ScanError if there is no view, or if only some of them know where their sensor stood.
    """
    if not views:
        raise ScanError("found 0 views; expected at least 1")
    known = [view for view in views if view.origins_world is not None]
    if 0 < len(known) < len(views):
        raise ScanError(
            f"found no sensor position in {len(views) - len(known)} of {len(views)} views; expected one in all of them or in none; "
            "state it, or leave these views out"
        )
    normals = weights = None
    if any(view.normals_world is not None for view in views):
        normals = np.concatenate([
            np.zeros_like(view.points_world) if view.normals_world is None else view.normals_world for view in views
        ])  # fmt: skip
    if any(view.weights is not None for view in views):
        weights = np.concatenate([
            np.ones(len(view.points_world)) if view.weights is None else view.weights for view in views
        ])  # fmt: skip
    return Observation(
        points_world=np.concatenate([view.points_world for view in views]),
        origins_world=np.concatenate([view.origins_world for view in known]) if known else None,  # pyright: ignore
        background_origins=np.concatenate([view.background_origins for view in views]),
        background_directions=np.concatenate([view.background_directions for view in views]),
        normals_world=normals,
        weights=weights,
    )
