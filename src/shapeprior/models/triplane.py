"""The tri-plane decoder: a generator turns a code into three feature planes, and a tiny network reads them at points.

It follows Chan et al., CVPR 2022, "Efficient geometry-aware 3D generative adversarial networks" (EG3D), section 4.1,
with a convolutional generator that is small enough for a CPU.
"""

import math
from dataclasses import dataclass
from typing import Literal, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from shapeprior.errors import ConfigError
from shapeprior.models.decoder import Decoder, FieldJacobian, empty_layer, seeded
from shapeprior.models.triplane_jacobian import directional_derivatives, push_forward, upsampling_pullbacks
from shapeprior.models.upsampling import PLAIN_SIDE, Upsampling, upsample

SIDE, LAST_SIDE = 3, 4
"""Sides of the learned kernels of smooth upsamplings: before the last level, and there."""


@dataclass(frozen=True, kw_only=True)
class TriplaneConfig:
    """Size of the generator, of the planes and of the network that reads them."""

    kind: Literal["triplane"] = "triplane"
    """Name of this kind of decoder in config.json."""
    code_size: int = 64
    """Length of a latent code."""
    base: int = 8
    """Side of the first planes, to which the code is mapped, in cells."""
    channels: tuple[int, ...] = (32, 24, 16, 12)
    """Features of a cell in the first planes and after each doubling of the side. 8 cells and 3 doublings give 64 ×
    64."""
    width: int = 64
    """Outputs of the two hidden layers of the network that reads the planes."""
    volume: int = 16
    """Cells along each axis of the coarse field."""
    smooth_upsampling: bool = True
    """Whether the doublings of the planes are filtered (`shapeprior.models.upsampling`). Surfaces are smoother then,
    and sheets thinner than a third of a cell, such as wings, are blurred (docs/ablation.md)."""

    def __post_init__(self) -> None:
        if min(self.code_size, self.base, self.width, self.volume, *self.channels) < 1:
            raise ConfigError("triplane sizes: found a size below 1; expected positive sizes")
        if len(self.channels) < 2:
            raise ConfigError(
                f"triplane channels = {self.channels}; expected two levels or more, which is one doubling"
            )

    @property
    def min_tensors(self) -> int:
        """Lower bound for the number of weight tensors of the decoder."""
        return len(self.channels)


class TriplaneDecoder(Decoder):
    """A coarse field that is linear in the code, plus a correction that is read from three feature planes.

    The planes lie over (x, y), (y, z) and (z, x) of the cube [−1, 1]³ and are read bilinearly; the coarse field is read
    trilinearly. It starts as the distance to a sphere, or as the linear model of the training shapes
    (`set_coarse_field`). A constant start beyond the clamp of the loss would have no gradient to learn from.
    """

    START_RADIUS = 0.5
    """Radius of the sphere, in unit-sphere radii."""
    coarse_field_is_cheap = True
    interpolation = "bilinear"
    """How the planes are read between cells, as `grid_sample` names it."""

    def __init__(self, config: TriplaneConfig, *, seed: int) -> None:
        super().__init__()
        self.config = config
        self.code_size = config.code_size
        self.coarse_cells = config.volume
        self.coarse = empty_layer(nn.Linear, config.code_size, config.volume**3)
        self.seed_planes = empty_layer(nn.Linear, config.code_size, 3 * config.channels[0] * config.base**2)
        blocks: list[nn.Module] = []
        levels = list(zip(config.channels[:-1], config.channels[1:], strict=True))
        for level, (inputs, outputs) in enumerate(levels):
            side = SIDE if level < len(levels) - 1 else LAST_SIDE
            if not config.smooth_upsampling:
                side = PLAIN_SIDE
            blocks += [
                nn.SiLU(),
                # The planes exchange features once on each level: a wing seen from above is also seen from the front.
                empty_layer(nn.Conv2d, 3 * inputs, 3 * inputs, 1),
                nn.SiLU(),
                # This takes four products for each feature and cell, and nine on the last level, whose ripples the
                # surface would show. Doubling first, then a 3 × 3 convolution, takes nine everywhere.
                empty_layer(Upsampling, 3 * inputs, 3 * outputs, side, groups=3, smooth=config.smooth_upsampling),
            ]
        self.generator = nn.Sequential(*blocks)
        planes = config.channels[-1]
        self.reader = nn.Sequential(
            empty_layer(nn.Linear, 3 * planes + 3, config.width),
            nn.SiLU(),
            empty_layer(nn.Linear, config.width, config.width),
            nn.SiLU(),
            empty_layer(nn.Linear, config.width, 1),
        )
        _initialise(self, seed)

    def prepare(self, codes: Float[Tensor, "shapes code"]) -> tuple[Tensor, ...]:
        """Return feature planes of shape (shapes, 3, channels, side, side) and the coarse field, (shapes, 1, x, y,
        z)."""
        base, shapes = self.config.base, codes.shape[0]
        # The channels-last layout, and the last upsampling plane by plane, make a step of training a fifth faster
        # (benchmarks/training/training_speed.py): torch's grouped convolutions are slow if a group has few features.
        first = self.seed_planes(codes).view(shapes, -1, base, base).contiguous(memory_format=torch.channels_last)
        before = self.generator[:-1](first)
        last = cast(Upsampling, self.generator[-1])
        by_plane = zip(before.chunk(3, dim=1), last.kernel.chunk(3), cast(Tensor, last.bias).chunk(3), strict=True)
        planes = [upsample(*part) for part in by_plane]
        return torch.stack(planes, dim=1), self.coarse(codes).view(shapes, 1, *(self.config.volume,) * 3)

    def query(
        self, prepared: tuple[Tensor, ...], points_unit: Float[Tensor, "shapes points 3"]
    ) -> Float[Tensor, "shapes points"]:
        """Return the signed distances; see `Decoder.query`."""
        features, coarse = self._sample(prepared, points_unit)
        if torch.is_grad_enabled():
            return self._read(features, coarse, points_unit)
        # Without gradients, the layers work in place, with features as rows, as the planes give them. Nothing is
        # transposed.
        rows = torch.cat([features.transpose(1, 2), points_unit.transpose(1, 2)], dim=1)
        for layer in self.reader:
            if isinstance(layer, nn.Linear):
                weight = layer.weight.expand(len(rows), -1, -1)
                rows = torch.baddbmm(layer.bias[:, None], weight, rows)
            else:
                rows = nn.functional.silu(rows, inplace=True)
        return rows[:, 0].add_(coarse).add_(_distance_beyond_sphere(points_unit))

    def _sample(
        self, prepared: tuple[Tensor, ...], points_unit: Float[Tensor, "shapes points 3"]
    ) -> tuple[Float[Tensor, "shapes points features"], Float[Tensor, "shapes points"]]:
        """Read the planes' features, plane by plane, and the coarse field at each point."""
        planes, volume = prepared
        shapes, count, _ = points_unit.shape
        x, y, z = points_unit.unbind(-1)
        places = torch.stack([torch.stack(pair, dim=-1) for pair in ((x, y), (y, z), (z, x))], dim=1)
        features = nn.functional.grid_sample(
            planes.flatten(0, 1),
            places.view(shapes * 3, count, 1, 2),
            mode=self.interpolation,
            padding_mode="border",
            align_corners=False,
        )
        # `grid_sample` takes the coordinate of the volume's last axis first.
        coarse = nn.functional.grid_sample(
            volume,
            points_unit.flip(-1).view(shapes, count, 1, 1, 3),
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        )
        features = features.view(shapes, 3 * self.config.channels[-1], count).transpose(1, 2)
        return features, coarse.view(shapes, count)

    def _read(
        self,
        features: Float[Tensor, "shapes points features"],
        coarse: Float[Tensor, "shapes points"],
        points_unit: Float[Tensor, "shapes points 3"],
    ) -> Float[Tensor, "shapes points"]:
        """Return the signed distances for the features and coarse values sampled at the points."""
        correction = self.reader(torch.cat([features, points_unit], dim=-1)).squeeze(-1)
        return coarse + _distance_beyond_sphere(points_unit) + correction

    def code_tangents(
        self, code: Float[Tensor, "code"], directions: Float[Tensor, "directions code"]
    ) -> tuple[Tensor, ...]:
        """Return directional derivatives of the tensors that points read, and kernels that carry gradients back.

        The first tensor is for the input of the last upsampling, with rows of (row, column, plane, feature); the second
        is for the cells of the coarse field. The others are the kernels of the last upsampling for each plane
        (`upsampling_pullbacks`).
        """
        base, count = self.config.base, len(directions)
        with torch.no_grad():
            values = self.seed_planes(code[None]).view(1, -1, base, base)
            tangents = (directions @ self.seed_planes.weight.T).view(count, -1, base, base)
            planes = push_forward(list(self.generator)[:-1], values, tangents)
            last = cast(Upsampling, self.generator[-1])
            kernels = zip(*(upsampling_pullbacks(kernel) for kernel in last.kernel.chunk(3)), strict=True)
            return planes, (self.coarse.weight @ directions.T).contiguous(), *map(torch.stack, kernels)

    def jacobian(
        self,
        code: Float[Tensor, "code"],
        tangents: tuple[Tensor, ...],
        points_unit: Float[Tensor, "points 3"],
        *,
        prepared: tuple[Tensor, ...] | None = None,
    ) -> FieldJacobian:
        """Return the values and derivatives of one code's field; see `Decoder.jacobian`.

        The network that reads the planes is differentiated at `code`. The last upsampling is linear, so its part is
        exact. The rest of the generator is differentiated at the code at which `tangents` was made.
        """
        if prepared is None:
            with torch.no_grad():
                prepared = self.prepare(code[None])
        with torch.enable_grad():
            points = points_unit.detach().clone().requires_grad_()
            features, coarse = self._sample(prepared, points[None])
            value = self._read(features, coarse, points[None])[0]
            by_feature, by_point = torch.autograd.grad(value.sum(), (features, points))
        planes, coarse_cells, *kernels = tangents
        with torch.no_grad():
            x, y, z = points_unit.unbind(-1)
            # As (row, column): `grid_sample` takes the column, which varies fastest in memory, first.
            places = torch.stack([torch.stack(place, dim=-1) for place in ((y, x), (z, y), (x, z))])
            by_plane = torch.stack(by_feature[0].chunk(3, dim=-1))
            by_code = directional_derivatives(places, by_plane, kernels, planes)
            rows, shares = grid_corners(points_unit, self.config.volume)
            by_code += nn.functional.embedding_bag(rows, coarse_cells, per_sample_weights=shares, mode="sum")
        return FieldJacobian(value=value.detach(), by_code=by_code, by_point=by_point)

    def coarse_field(
        self, codes: Float[Tensor, "shapes code"], points_unit: Float[Tensor, "points 3"]
    ) -> Float[Tensor, "shapes points"]:
        """Return the coarse field alone, which is linear in the code."""
        rows, shares = grid_corners(points_unit, self.config.volume)
        by_code = nn.functional.embedding_bag(rows, self.coarse.weight, per_sample_weights=shares, mode="sum")
        mean = (self.coarse.bias[rows] * shares).sum(dim=1)
        return codes @ by_code.T + mean + _distance_beyond_sphere(points_unit)

    def matrix_layers(self) -> dict[str, nn.Module]:
        """Return the generator's convolutions and the reading network's layers except the last.

        The layers that take the code are left to Adam: they are so long that Muon's products with them would take a
        third of the time of a step.
        """
        layers = {f"generator.{name}": layer for name, layer in self.generator.named_children()}
        layers |= {f"reader.{name}": layer for name, layer in list(self.reader.named_children())[:-1]}
        return {name: layer for name, layer in layers.items() if not isinstance(layer, nn.SiLU)}

    def set_coarse_field(self, mean: Float[Tensor, "cells"], basis: Float[Tensor, "code cells"]) -> None:
        """Set the coarse field to `mean` plus the code times `basis`; see `Decoder.set_coarse_field`."""
        with torch.no_grad():
            self.coarse.bias.copy_(mean)
            self.coarse.weight.copy_(basis.T)


def _distance_beyond_sphere(points_unit: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    """Return the distance of points outside the unit sphere to it, 0 inside.

    All shapes lie inside. With this term, the field goes on rising outside, so that a search that strays there finds
    back.
    """
    return torch.relu(torch.linalg.vector_norm(points_unit, dim=-1) - 1.0)


def grid_corners(
    points: Float[Tensor, "points axes"], side: int
) -> tuple[Int[Tensor, "points corners"], Float[Tensor, "points corners"]]:
    """Return the cells that linear interpolation reads at each point, and their weights.

    Cells are rows of a flattened grid whose last axis varies fastest. The result is that of `grid_sample` with
    align_corners=False and border padding: values are at the middles of cells, and the outermost ones hold beyond.
    """
    place = (((points + 1.0) * side - 1.0) / 2.0).clamp(0.0, side - 1.0)
    low = place.floor().clamp(max=max(side - 2.0, 0.0))
    share = place - low
    rows = torch.zeros((len(points), 1), dtype=torch.int64, device=points.device)
    shares = torch.ones((len(points), 1), device=points.device)
    for axis in range(points.shape[1]):
        step = torch.stack([low[:, axis], (low[:, axis] + 1.0).clamp(max=side - 1.0)], dim=-1).long()
        step = step * side ** (points.shape[1] - 1 - axis)
        weight = torch.stack([1.0 - share[:, axis], share[:, axis]], dim=-1)
        rows = (rows[:, :, None] + step[:, None]).flatten(1)
        shares = (shares[:, :, None] * weight[:, None]).flatten(1)
    return rows, shares


def _initialise(decoder: TriplaneDecoder, seed: int) -> None:
    """Draw all weights from the seed (He initialisation), and set the biases to zero.

    The weights of the last layer are small. The coarse field starts as the same sphere for every code.
    """
    generator = seeded(seed)
    layers = [layer for layer in decoder.modules() if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
    with torch.no_grad():
        for layer in layers:
            # A transposed convolution has its inputs along the first axis, and each output meets a quarter of its
            # kernel.
            transposed = isinstance(layer, nn.ConvTranspose2d)
            inputs = 4 * layer.weight.shape[0] // layer.groups if transposed else layer.weight[0].numel()
            layer.weight.normal_(0.0, math.sqrt(2.0 / inputs), generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()
        layers[-1].weight.mul_(0.1)
        cells = decoder.config.volume
        axis = (torch.arange(cells) + 0.5) / cells * 2.0 - 1.0
        centers = torch.cartesian_prod(axis, axis, axis)
        decoder.coarse.weight.zero_()
        decoder.coarse.bias.copy_(torch.linalg.vector_norm(centers, dim=1) - decoder.START_RADIUS)
