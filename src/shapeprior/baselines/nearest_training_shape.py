"""The training shape that explains a view best: what a prior must beat to do more than look up (Tatarchenko et al. 2019)."""

import numpy as np
from jaxtyping import Float

from shapeprior.baselines.grid_field import GridField
from shapeprior.baselines.view_evidence import ViewEvidence
from shapeprior.errors import CompletionError


def nearest_training_shape(grids: Float[np.ndarray, "shapes nodes"], evidence: ViewEvidence) -> int:
    """The row of the shape with the smallest mean |f| at measured points plus mean depth max(0, −f) at free ones.

    `grids` are clamped signed distances at nodes, as `linear_model.stacked` makes them. Raises CompletionError if there is none.
    """
    if len(grids) == 0:
        raise CompletionError("no training shape has a field; expected at least one")
    cells = round(grids.shape[1] ** (1 / 3))
    costs = []
    for grid in grids:
        field = GridField(grid.astype(np.float64).reshape(cells, cells, cells))
        cost = np.abs(field(evidence.surface)).mean()
        if len(evidence.free):
            cost += np.maximum(-field(evidence.free), 0.0).mean()
        costs.append(float(cost))
    return int(np.argmin(costs))
