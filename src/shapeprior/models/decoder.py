"""What every decoder is to the rest of the package: codes and points in, signed distances out.

The field of one shape, as the geometry half asks for it: points in, signed distances out, no torch in sight.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize


@dataclass(frozen=True, kw_only=True, eq=False)
class FieldJacobian:
    """The field of one code at some points, and what it does when code and points move."""

    value: Float[Tensor, "points"]
    """Signed distances in unit-sphere radii."""
    by_code: Float[Tensor, "points directions"]
    """Change with a step along each direction of the code."""
    by_point: Float[Tensor, "points 3"]
    """Gradient."""


class Decoder(nn.Module, ABC):
    """A network f(code, point) whose zero level set is the shape of the code.

    Work that depends on the code alone is done once a shape: `prepare` returns it, `query` uses it for many points. Points are
    in the unit frame; distances are in unit-sphere radii, negative inside.
    """

    code_size: int
    coarse_cells: int = 16
    """Cells along each axis of the field that `start_from` takes."""

    has_cells: bool = False
    """Whether what `prepare` makes has parts that belong to places, so that the field can be changed here and not there."""
    coarse_field_is_cheap: bool = False
    """Whether `rough` takes no more than a product of matrices."""

    @abstractmethod
    def prepare(self, codes: Float[Tensor, "shapes code"]) -> tuple[Tensor, ...]:
        """The part of the computation that the points do not enter; each tensor's first axis is `shapes`."""

    @abstractmethod
    def query(
        self, prepared: tuple[Tensor, ...], points_unit: Float[Tensor, "shapes points 3"]
    ) -> Float[Tensor, "shapes points"]:
        """Signed distances at each shape's own points."""

    def forward(
        self, codes: Float[Tensor, "shapes code"], points_unit: Float[Tensor, "shapes points 3"]
    ) -> Float[Tensor, "shapes points"]:
        """Signed distances of each code's shape at its own points; differentiable in all three."""
        return self.query(self.prepare(codes), points_unit)

    def gradient(
        self, prepared: tuple[Tensor, ...], points_unit: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, "points"], Float[Tensor, "points 3"]]:
        """Signed distances of one prepared code at some points, and the field's gradient there."""
        with torch.enable_grad():
            points = points_unit.detach().clone().requires_grad_()
            values = self.query(prepared, points[None])[0]
            (gradient,) = torch.autograd.grad(values.sum(), points)
        return values.detach(), gradient

    def code_tangents(
        self, code: Float[Tensor, "code"], directions: Float[Tensor, "directions code"]
    ) -> tuple[Tensor, ...]:
        """What `differentiate` needs of a code to tell how the field changes along `directions`; it serves codes nearby, too."""
        del code
        return (directions,)

    def jacobian(
        self,
        code: Float[Tensor, "code"],
        tangents: tuple[Tensor, ...],
        points_unit: Float[Tensor, "points 3"],
        *,
        prepared: tuple[Tensor, ...] | None = None,
    ) -> FieldJacobian:
        """Values and derivatives of one code's field, for least squares.

        Values and gradient are those of the code; derivatives by the code may be those of the code that `tangents` was made for.
        `prepared` is what `prepare` makes of the code, where it is there already. Here, with the code given to each point of its
        own, all of them come from one backward pass, and it is of no use.
        """
        del prepared
        (directions,) = tangents
        with torch.enable_grad():
            rows = code.detach().expand(len(points_unit), -1).clone().requires_grad_()
            points = points_unit.detach().clone().requires_grad_()
            value = self(rows, points[:, None])[:, 0]
            by_row, by_point = torch.autograd.grad(value.sum(), (rows, points))
        return FieldJacobian(value=value.detach(), by_code=by_row @ directions.T, by_point=by_point)

    def coarse_field(
        self, codes: Float[Tensor, "shapes code"], points_unit: Float[Tensor, "points 3"]
    ) -> Float[Tensor, "shapes points"]:
        """About the field of many codes at the same points, to choose among them."""
        return self(codes, points_unit.expand(len(codes), -1, -1))

    def local_part(self, changes: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Of changes of what `prepare` made, the part that belongs to places and does not differ from cell to cell."""
        return changes

    def start_from(self, mean: Float[Tensor, "cells"], basis: Float[Tensor, "code cells"]) -> None:
        """Begin with a field that is linear in the code, before training (`shapeprior.training.initialization.LinearInitialization`).

        Decoders without a coarse field of their own have no use for it.
        """

    def matrix_layers(self) -> dict[str, nn.Module]:
        """Layers, by name, whose weights `shapeprior.models.optimizers.Muon` may step: those between the code and the last one.

        Decoders of which it has not been measured have none.
        """
        return {}

    def parameter_count(self) -> int:
        """Trainable numbers, the codes not counted."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)


def seeded(seed: int) -> torch.Generator:
    """A generator of its own; this package never touches torch's global one."""
    return torch.Generator().manual_seed(seed)


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
