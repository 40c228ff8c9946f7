"""Which shapes make a step of training, and where their blocks of samples begin: the same whoever computes it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

ABSENT = -1
"""In place of a shape where a lane sits a step out."""
_DEAL, _EPOCH = 1, 2
"""First number of a seed sequence, so that the deal and the epochs never draw the same numbers."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EpochPlan:
    """What an epoch does, step by step."""

    rows: Int[np.ndarray, "steps lanes"]
    """Shapes of each step, by their place among the training shapes; `ABSENT` where a lane is through."""
    starts: Float[np.ndarray, "shapes"]
    """Where the block of each shape begins, as a share of its samples, in [0, 1)."""


class BatchOrder:
    """Shapes dealt onto lanes once; a step takes one shape of each lane, and an epoch all of every lane in a new order.

    A process owns whole lanes, so that a shape stays with one process for all of training, and yet the batches do not depend on
    how many processes there are. Everything follows from the seed and the epoch's number.
    """

    def __init__(self, shapes: int, *, shapes_per_batch: int, seed: int) -> None:
        self.lanes = min(shapes, shapes_per_batch)
        """Shapes of a step."""
        self._seed, self._shapes = seed, shapes
        steps = -(-shapes // self.lanes)
        dealt = np.full(steps * self.lanes, ABSENT)
        dealt[:shapes] = np.random.default_rng([_DEAL, seed]).permutation(shapes)
        self._dealt = dealt.reshape(steps, self.lanes)

    def owned(self, rank: int, size: int) -> Int[np.ndarray, "rows"]:
        """Shapes of the lanes rank, rank + size, ..., in ascending order: those of one process of `size`."""
        rows = self._dealt[:, rank::size]
        return np.sort(rows[rows != ABSENT])

    def epoch(self, epoch: int) -> EpochPlan:
        """The plan of an epoch, counted from 0. Lanes that are one shape short sit out the last step."""
        rng = np.random.default_rng([_EPOCH, self._seed, epoch])
        keys = np.where(self._dealt == ABSENT, np.inf, rng.random(self._dealt.shape))
        rows = np.take_along_axis(self._dealt, np.argsort(keys, axis=0), axis=0)
        return EpochPlan(rows=rows, starts=rng.random(self._shapes))
