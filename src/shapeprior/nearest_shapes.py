"""The training shapes whose codes are nearest to a code."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from shapeprior.code_space import CodeSpace
from shapeprior.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class NearbyShape:
    """A training shape and how far its code is."""

    id: str
    distance: float
    """Distance of Mahalanobis between the codes: 1 is one standard deviation of the training codes."""


def nearest_shapes(
    space: CodeSpace,
    codes: Float[Tensor, "shapes code"],
    shape_ids: Sequence[str],
    code: Float[Tensor, "code"],
    *,
    count: int,
) -> list[NearbyShape]:
    """The `count` training shapes (all, if there are fewer) nearest in whitened coordinates, nearest first.

    Raises ConfigError if `count` is below 1.
    """
    if count < 1:
        raise ConfigError(f"count = {count}; expected at least 1")
    gaps = (space.whiten(codes) - space.whiten(code[None])).cpu().double().norm(dim=1)
    # Stable, so that equal distances come in the order of training.
    order = [int(row) for row in gaps.argsort(stable=True)[:count]]
    return [NearbyShape(id=shape_ids[row], distance=float(gaps[row])) for row in order]
