"""The interface between decoders and the rest of the package: latent codes and points in, signed distances out.

`Decoder` is the base class of all networks; it works on torch tensors. `DecodedField` wraps a decoder and one code as a
function from NumPy points to NumPy distances, for the packages that do without torch.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize, skip_init

QUERY_POINTS = 8192
"""Points per thread in one query on the CPU. The activations of this many points stay in the processor's cache."""

LayerT = TypeVar("LayerT", bound=nn.Module)


@dataclass(frozen=True, kw_only=True, eq=False)
class FieldJacobian:
    """The field of one code at some points, with its first derivatives."""

    value: Float[Tensor, "points"]
    """Signed distances in unit-sphere radii."""
    by_code: Float[Tensor, "points directions"]
    """Derivative along each direction of the code."""
    by_point: Float[Tensor, "points 3"]
    """Gradient with respect to the point."""


class Decoder(nn.Module, ABC):
    """A network f(code, point) whose zero level set is the shape of the code.

    Work that depends on the code alone is done once for each shape: `prepare` returns it, and `query` uses it for many
    points. Points are in the unit frame. Distances are in unit-sphere radii, negative inside.
    """

    code_size: int
    """Length of a latent code."""
    coarse_cells: int = 16
    """Cells along each axis of the grid that `set_coarse_field` takes."""
    coarse_field_is_cheap: bool = False
    """True if `coarse_field` costs no more than a matrix product."""

    @abstractmethod
    def prepare(self, codes: Float[Tensor, "shapes code"]) -> tuple[Tensor, ...]:
        """Compute everything that does not depend on the points. The first axis of each tensor is `shapes`."""

    @abstractmethod
    def query(
        self, prepared: tuple[Tensor, ...], points_unit: Float[Tensor, "shapes points 3"]
    ) -> Float[Tensor, "shapes points"]:
        """Return the signed distances of each prepared shape at its own points."""

    def forward(
        self, codes: Float[Tensor, "shapes code"], points_unit: Float[Tensor, "shapes points 3"]
    ) -> Float[Tensor, "shapes points"]:
        """Return the signed distances of each shape at its own points, differentiable by codes, points and weights."""
        return self.query(self.prepare(codes), points_unit)

    def gradient(
        self, prepared: tuple[Tensor, ...], points_unit: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, "points"], Float[Tensor, "points 3"]]:
        """Return the signed distances of one prepared shape at some points, and the field's gradient there."""
        with torch.enable_grad():
            points = points_unit.detach().clone().requires_grad_()
            values = self.query(prepared, points[None])[0]
            (gradient,) = torch.autograd.grad(values.sum(), points)
        return values.detach(), gradient

    def code_tangents(
        self, code: Float[Tensor, "code"], directions: Float[Tensor, "directions code"]
    ) -> tuple[Tensor, ...]:
        """Linearise the decoder at a code along some directions, as input for `jacobian`; the result serves nearby
        codes, too."""
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
        """Return the values and derivatives of one code's field at some points, for least squares.

        Values and gradients are those of `code`. Derivatives by the code may be those of the code at which `tangents`
        was made. `prepared` may hold `prepare(code[None])`, if the caller has it already. This base implementation
        gives each point a copy of the code and gets all derivatives from one backward pass, so it does not use
        `prepared`.
        """
        del prepared
        (directions,) = tangents
        with torch.enable_grad():
            codes = code.detach().expand(len(points_unit), -1).clone().requires_grad_()
            points = points_unit.detach().clone().requires_grad_()
            value = self(codes, points[:, None])[:, 0]
            by_code, by_point = torch.autograd.grad(value.sum(), (codes, points))
        return FieldJacobian(value=value.detach(), by_code=by_code @ directions.T, by_point=by_point)

    def coarse_field(
        self, codes: Float[Tensor, "shapes code"], points_unit: Float[Tensor, "points 3"]
    ) -> Float[Tensor, "shapes points"]:
        """Return an approximation of the fields of many codes at the same points, for choosing among the codes."""
        return self(codes, points_unit.expand(len(codes), -1, -1))

    def set_coarse_field(self, mean: Float[Tensor, "cells"], basis: Float[Tensor, "code cells"]) -> None:
        """Set the first field of a training, which is linear in the code.

        `shapeprior.training.initialization.LinearInitialization` makes it. Decoders without a coarse field ignore it.
        """

    def matrix_layers(self) -> dict[str, nn.Module]:
        """Return the layers, by name, whose weights `shapeprior.models.optimizers.Muon` may step.

        These lie between the layer that takes the code and the last one. Decoders for which Muon was not measured
        return none.
        """
        return {}

    def parameter_count(self) -> int:
        """Return the number of trainable weights, without the codes."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)


def seeded(seed: int) -> torch.Generator:
    """Return a random generator on the CPU with this seed. The package never uses torch's global generator."""
    return torch.Generator().manual_seed(seed)


def empty_layer(layer_type: type[LayerT], *sizes: int, **options: Any) -> LayerT:
    """Make a layer whose weights are not set yet, on torch's default device; the caller must draw or load them.

    torch's own initialisation would draw from the global generator. Within `torch.device("meta")` the layer takes no
    memory.
    """
    # Asking an empty tensor works with every torch since 2.6; `get_default_device` may not know of device contexts.
    return cast(LayerT, skip_init(layer_type, *sizes, device=torch.empty(0).device, **options))


@dataclass(frozen=True, eq=False)
class DecodedField:
    """The signed distance field of one code: NumPy points in, NumPy distances out."""

    decoder: Decoder
    prepared: tuple[Tensor, ...]
    """Result of `Decoder.prepare` for one code."""

    @classmethod
    def of_code(cls, decoder: Decoder, code: Float[Tensor, "code"]) -> "DecodedField":
        """Return the field of a latent code."""
        with torch.no_grad(), parametrize.cached():
            return cls(decoder, decoder.prepare(code[None]))

    def __call__(self, points_unit: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
        """Return the signed distances at points of the unit frame, in single precision."""
        prepared = self._prepared_per_thread
        threads, device = len(prepared[0]), prepared[0].device
        points = torch.from_numpy(np.ascontiguousarray(points_unit, dtype=np.float32)).to(device)
        # Other devices than the CPU take all points at once.
        chunk_size = QUERY_POINTS if device.type == "cpu" else max(len(points), 1)
        values = []
        with torch.no_grad(), parametrize.cached():
            for chunk in points.split(threads * chunk_size):
                per_thread = -(-len(chunk) // threads)
                padded = torch.cat([chunk, chunk[-1:].expand(threads * per_thread - len(chunk), 3)])
                field = self.decoder.query(prepared, padded.view(threads, per_thread, 3))
                values.append(field.view(-1)[: len(chunk)])
        return torch.cat(values).cpu().numpy() if values else np.zeros(0, dtype=np.float32)

    def gradient(
        self, points_unit: Float[np.ndarray, "points 3"]
    ) -> tuple[Float[np.ndarray, "points"], Float[np.ndarray, "points 3"]]:
        """Return the signed distances at points of the unit frame, and the field's gradient there."""
        points = torch.from_numpy(np.ascontiguousarray(points_unit, dtype=np.float32)).to(self.prepared[0])
        values, gradient = self.decoder.gradient(self.prepared, points)
        return values.cpu().double().numpy(), gradient.cpu().double().numpy()

    @cached_property
    def _prepared_per_thread(self) -> tuple[Tensor, ...]:
        """The prepared tensors, once for each thread.

        On the CPU, torch's `grid_sample` uses one thread for each shape, so every thread gets the shape and its own
        points.
        """
        threads = torch.get_num_threads() if self.prepared[0].device.type == "cpu" else 1
        return tuple(part.expand(threads, *part.shape[1:]).contiguous() for part in self.prepared)
