"""What every decoder is to the rest of the package: codes and points in, signed distances out."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Decoder(nn.Module, ABC):
    """A network f(code, point) whose zero level set is the shape of the code.

    Work that depends on the code alone is done once a shape: `prepare` returns it, `query` uses it for many points. Points are
    in the unit frame; distances are in unit-sphere radii, negative inside.
    """

    code_size: int
    coarse_cells: int = 16
    """Cells along each axis of the field that `start_from` takes."""

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

    def start_from(self, mean: Float[Tensor, "cells"], basis: Float[Tensor, "code cells"]) -> None:
        """Begin with a field that is linear in the code, before training (`shapeprior.warm_start.WarmStart`).

        Decoders without a coarse field of their own have no use for it.
        """

    def parameter_count(self) -> int:
        """Trainable numbers, the codes not counted."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)


def seeded(seed: int) -> torch.Generator:
    """A generator of its own; this package never touches torch's global one."""
    return torch.Generator().manual_seed(seed)
