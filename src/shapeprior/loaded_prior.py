"""A prior by its name in a process that does many jobs with it."""

from functools import lru_cache

from shapeprior.prior import ShapePrior, load


def loaded(prior: ShapePrior | str) -> ShapePrior:
    """The prior itself, or what `load` makes of its name, loaded once a process. Raises CheckpointError."""
    return prior if isinstance(prior, ShapePrior) else _load(prior)


@lru_cache(maxsize=4)
def _load(prior: str) -> ShapePrior:
    return load(prior)
