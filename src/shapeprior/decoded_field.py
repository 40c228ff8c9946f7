"""The field of one shape, as the geometry half asks for it: points in, signed distances out, no torch in sight."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils import parametrize

from shapeprior.decoder import Decoder

QUERY_POINTS = 8192
"""Points in one call of the decoder: activations of so many points stay in the cache."""


@dataclass(frozen=True, eq=False)
class DecodedField:
    """A decoder at work on one shape."""

    decoder: Decoder
    prepared: tuple[Tensor, ...]
    """What `Decoder.prepare` made of one code."""

    def __call__(self, points_unit: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
        """Signed distances at points of the unit frame, in single precision."""
        points = torch.from_numpy(np.ascontiguousarray(points_unit, dtype=np.float32))
        with torch.no_grad(), parametrize.cached():
            parts = [self.decoder.query(self.prepared, chunk[None])[0] for chunk in points.split(QUERY_POINTS)]
        return torch.cat(parts).numpy()
