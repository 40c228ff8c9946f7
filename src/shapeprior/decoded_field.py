"""The field of one shape, as the geometry half asks for it: points in, signed distances out, no torch in sight."""

from dataclasses import dataclass
from functools import cached_property

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

    @classmethod
    def of_code(cls, decoder: Decoder, code: Float[Tensor, "code"]) -> "DecodedField":
        """Return the field of a latent code."""
        with torch.no_grad(), parametrize.cached():
            return cls(decoder, decoder.prepare(code[None]))

    def __call__(self, points_unit: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
        """Signed distances at points of the unit frame, in single precision."""
        each = self._for_each_thread
        threads, device = len(each[0]), each[0].device
        points = torch.from_numpy(np.ascontiguousarray(points_unit, dtype=np.float32)).to(device)
        # A device other than the CPU takes all points at once.
        at_once = QUERY_POINTS if device.type == "cpu" else max(len(points), 1)
        values = []
        with torch.no_grad(), parametrize.cached():
            for chunk in points.split(threads * at_once):
                share = -(-len(chunk) // threads)
                filled = torch.cat([chunk, chunk[-1:].expand(threads * share - len(chunk), 3)])
                values.append(self.decoder.query(each, filled.view(threads, share, 3)).view(-1)[: len(chunk)])
        return torch.cat(values).cpu().numpy() if values else np.zeros(0, dtype=np.float32)

    @cached_property
    def _for_each_thread(self) -> tuple[Tensor, ...]:
        """On the CPU, torch reads planes and volumes with one thread a shape: each thread gets the shape, and points of its own."""
        threads = torch.get_num_threads() if self.prepared[0].device.type == "cpu" else 1
        return tuple(part.expand(threads, *part.shape[1:]).contiguous() for part in self.prepared)
