"""Random choices that the families share.

Every function draws exactly once from the generator it is given. The meshes of a seed depend on the order of all draws,
so a change here or in a family, however small, changes the shapes that a seed gives.
"""

from collections.abc import Sequence

import numpy as np


def chance(rng: np.random.Generator, probability: float) -> bool:
    """Return True with the given probability, which is 0 to 1."""
    return bool(rng.random() < probability)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Return a number between `low` and `high`, both positive, whose logarithm is uniformly distributed.

    Proportions are drawn like this, so that halving one is as likely as doubling it.
    """
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def log_normal(rng: np.random.Generator, median: float, deviation: float, *, low: float, high: float) -> float:
    """Return a positive number whose logarithm is normal, with standard deviation `deviation`, clipped to a range.

    Sizes are drawn like this, so that most objects are usual and a few are not.
    """
    return float(np.clip(np.exp(rng.normal(np.log(median), deviation)), low, high))


def weighted_index(rng: np.random.Generator, weights: Sequence[float]) -> int:
    """Return an index of `weights`, drawn with a probability proportional to its weight.

    >>> weighted_index(np.random.default_rng(0), [0.0, 3.0, 0.0])
    1
    """
    limits = np.cumsum(weights)
    return int(np.searchsorted(limits, rng.random() * limits[-1], side="right"))
