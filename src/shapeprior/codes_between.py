"""Codes that are like the training shapes' and are none of them."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

NEIGHBOURS = 8
"""Codes nearest to one's own towards which others are made."""
SHARES = (0.2, 0.8)
"""How far on the way to a neighbour they lie."""


def codes_between(
    whitened: Float[Tensor, "shapes code"], count: int, rng: np.random.Generator
) -> Float[Tensor, "count code"]:
    """Codes on the straight way from random ones of these to one of the few nearest to each, in whitened coordinates.

    None if there are no two codes.
    """
    if len(whitened) < 2:
        return whitened[:0]
    first = torch.from_numpy(rng.integers(0, len(whitened), count))
    away = torch.cdist(whitened[first], whitened)
    away[torch.arange(count), first] = torch.inf
    near = away.topk(min(NEIGHBOURS, len(whitened) - 1), largest=False).indices
    last = near[torch.arange(count), torch.from_numpy(rng.integers(0, near.shape[1], count))]
    shares = torch.from_numpy(rng.uniform(*SHARES, (count, 1))).to(whitened)
    return whitened[first].lerp(whitened[last], shares)
