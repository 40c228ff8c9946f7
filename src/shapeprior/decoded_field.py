"""The field of one shape, as the geometry half asks for it: points in, signed distances out, no torch in sight."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils import parametrize

from shapeprior.decoder import Decoder

QUERY_POINTS = 8192
"""Points that a thread asks the decoder for at once: activations of so many stay in the cache."""


@dataclass(frozen=True, eq=False)
class DecodedField:
    """A decoder at work on one shape."""

    decoder: Decoder
    prepared: tuple[Tensor, ...]
    """What `Decoder.prepare` made of one code."""

    def __call__(self, points_unit: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
        """Signed distances at points of the unit frame, in single precision."""
        points = torch.from_numpy(np.ascontiguousarray(points_unit, dtype=np.float32))
        # Torch reads planes and volumes with one thread a shape: each thread gets the shape, and points of its own.
        threads = torch.get_num_threads()
        prepared = tuple(part.expand(threads, *part.shape[1:]).contiguous() for part in self.prepared)
        values = []
        with torch.no_grad(), parametrize.cached():
            for chunk in points.split(threads * QUERY_POINTS):
                each = -(-len(chunk) // threads)
                filled = torch.cat([chunk, chunk[-1:].expand(threads * each - len(chunk), 3)])
                values.append(self.decoder.query(prepared, filled.view(threads, each, 3)).view(-1)[: len(chunk)])
        return torch.cat(values).numpy() if values else np.zeros(0, dtype=np.float32)
