"""The mean shape: what a prior must beat to have looked at the view at all."""

from shapeprior.mesh import TriangleMesh
from shapeprior.prior import ShapePrior


def mean_shape(prior: ShapePrior, *, resolution: int) -> TriangleMesh:
    """The mesh of the mean of a prior's training codes, in the unit frame; the same for every view.

    The mean of the signed distances themselves has no surface where thin walls differ in place: that of 60 mugs is positive
    everywhere. Raises CompletionError if the mean code has none either.
    """
    return prior.extract(prior.codes.mean(dim=0), resolution=resolution)
