"""The mean shape: what a prior must beat to have looked at the view at all."""

import numpy as np

from shapeprior.baselines.linear_model import LinearModel
from shapeprior.mesh import TriangleMesh


def mean_shape(model: LinearModel, *, resolution: int) -> TriangleMesh:
    """The zero level set of the mean of the training shapes' clamped signed distances, in the unit frame.

    Raises CompletionError if the mean is positive everywhere, as that of thin shapes that differ may be.
    """
    return model.field(np.zeros(len(model.basis))).mesh(resolution)
