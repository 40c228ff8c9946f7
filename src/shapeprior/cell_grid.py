"""The regular grid of cells over the cube [−1, 1]³ of the unit frame."""

import numpy as np
from jaxtyping import Float


def cell_centers(cells: int) -> Float[np.ndarray, "centers 3"]:
    """Centres of cells³ equal cells of the cube [−1, 1]³, x slowest, z fastest."""
    axis = (np.arange(cells) + 0.5) * (2.0 / cells) - 1.0
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
