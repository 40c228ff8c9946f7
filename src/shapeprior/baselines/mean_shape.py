"""The mean shape: what a prior must beat to have looked at the view at all."""

import numpy as np
from jaxtyping import Float

from shapeprior.baselines.grid_field import GridField
from shapeprior.errors import CompletionError


def mean_shape(grids: Float[np.ndarray, "shapes nodes"]) -> GridField:
    """The mean of training shapes' clamped signed distances, shifted until it holds as much volume as they do in the mean.

    Unshifted, it has no surface where thin walls differ in place: that of 60 mugs is positive everywhere, and the mesh of the mean
    code is a crumb. `grids` are as `linear_model.stacked` makes them. Raises CompletionError if there is none.
    """
    if len(grids) == 0:
        raise CompletionError("no training shape has a field; expected at least one")
    cells = round(grids.shape[1] ** (1 / 3))
    total, inside = np.zeros(grids.shape[1]), 0.0
    for grid in grids:
        total += grid
        inside += float(np.mean(grid < 0.0)) / len(grids)
    mean = total / len(grids)
    return GridField((mean - np.quantile(mean, inside)).reshape(cells, cells, cells))
