"""A tri-plane decoder: the code is turned into three feature planes once, a tiny network reads them at each point.

After Chan et al., CVPR 2022, "Efficient geometry-aware 3D generative adversarial networks" (EG3D), section 4.1, with a
convolutional generator small enough for a CPU.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils import skip_init

from shapeprior.errors import ConfigError
from shapeprior.models.decoder import Decoder, FieldJacobian, seeded
from shapeprior.models.triplane_jacobian import by_directions, doubling_kernels, push_through


@dataclass(frozen=True, kw_only=True)
class TriplaneConfig:
    """Size of the generator, the planes and the network that reads them."""

    kind: Literal["triplane"] = "triplane"
    """Which decoder this configures."""
    code_size: int = 64
    """Length of a latent code."""
    base: int = 8
    """Side of the planes that the code is mapped to, in cells."""
    channels: tuple[int, ...] = (32, 24, 16, 12)
    """Features at each cell, at the base and after each doubling of the side: 8 cells and 3 doublings give 64 × 64."""
    width: int = 64
    """Outputs of the two hidden layers of the reading network."""
    volume: int = 16
    """Cells along each axis of the coarse field."""

    def __post_init__(self) -> None:
        if min(self.code_size, self.base, self.width, self.volume, *self.channels) < 1:
            raise ConfigError("triplane sizes: found a size below 1; expected positive sizes")
        if len(self.channels) < 2:
            raise ConfigError(
                f"triplane channels = {self.channels}; expected two levels or more, which is one doubling"
            )


class TriplaneDecoder(Decoder):
    """A coarse field that is linear in the code, corrected by what a small network reads from three feature planes.

    The planes lie over (x, y), (y, z) and (z, x) of the cube [−1, 1]³ and are read bilinearly, the coarse field trilinearly.
    It starts as the distance to a sphere, or as the linear model of the training shapes (`start_from`): a field that starts
    constant, beyond the clamp of the loss, has no gradient to learn from.
    """

    START_RADIUS = 0.5
    has_cells = True
    coarse_field_is_cheap = True
    interpolation = "bilinear"
    """Of the planes, between cells."""

    def __init__(self, config: TriplaneConfig, *, seed: int) -> None:
        super().__init__()
        self.config = config
        self.code_size = config.code_size
        self.coarse_cells = config.volume
        self.coarse = cast(nn.Linear, skip_init(nn.Linear, config.code_size, config.volume**3))
        self.seed_planes = skip_init(nn.Linear, config.code_size, 3 * config.channels[0] * config.base**2)
        # Layers are made without torch's initialisation, which would draw from its global generator.
        blocks: list[nn.Module] = []
        levels = list(zip(config.channels[:-1], config.channels[1:], strict=True))
        for inputs, outputs in levels:
            blocks += [
                nn.SiLU(),
                # Planes exchange features once a level: a wing seen from above is also seen from the front.
                skip_init(nn.Conv2d, 3 * inputs, 3 * inputs, 1),
                nn.SiLU(),
                # Four products a feature and cell, where doubling first and a 3 × 3 convolution then take nine.
                skip_init(nn.ConvTranspose2d, 3 * inputs, 3 * outputs, 4, stride=2, padding=1, groups=3),
            ]
        self.generator = nn.Sequential(*blocks)
        planes = config.channels[-1]
        self.reader = nn.Sequential(
            skip_init(nn.Linear, 3 * planes + 3, config.width),
            nn.SiLU(),
            skip_init(nn.Linear, config.width, config.width),
            nn.SiLU(),
            skip_init(nn.Linear, config.width, 1),
        )
        _initialise(self, seed)

    def prepare(self, codes: Float[Tensor, "shapes code"]) -> tuple[Tensor, ...]:
        """Feature planes of shape (shapes, 3, channels, side, side), and the coarse field, (shapes, 1, x, y, z)."""
        base, shapes = self.config.base, codes.shape[0]
        # With features side by side in memory, and the last doubling plane by plane, a step of training takes a fifth less time
        # (benchmarks/training/training_speed.py): torch's convolutions in groups are slow where a group has few features.
        first = self.seed_planes(codes).view(shapes, -1, base, base).contiguous(memory_format=torch.channels_last)
        before = self.generator[:-1](first)
        doubling = cast(nn.ConvTranspose2d, self.generator[-1])
        each = zip(before.chunk(3, dim=1), doubling.weight.chunk(3), cast(Tensor, doubling.bias).chunk(3), strict=True)
        planes = [nn.functional.conv_transpose2d(*part, stride=2, padding=1) for part in each]
        return torch.stack(planes, dim=1), self.coarse(codes).view(shapes, 1, *(self.config.volume,) * 3)

    def query(
        self, prepared: tuple[Tensor, ...], points_unit: Float[Tensor, "shapes points 3"]
    ) -> Float[Tensor, "shapes points"]:
        """Signed distances; see `Decoder.query`."""
        features, coarse = self._at_points(prepared, points_unit)
        if torch.is_grad_enabled():
            return self._read(features, coarse, points_unit)
        # Without gradients, layers work in place and feature by feature, as the planes are read: nothing is transposed.
        rows = torch.cat([features.transpose(1, 2), points_unit.transpose(1, 2)], dim=1)
        for layer in self.reader:
            if isinstance(layer, nn.Linear):
                weight = layer.weight.expand(len(rows), -1, -1)
                rows = torch.baddbmm(layer.bias[:, None], weight, rows)
            else:
                rows = nn.functional.silu(rows, inplace=True)
        return rows[:, 0].add_(coarse).add_(_beyond(points_unit))

    def _at_points(
        self, prepared: tuple[Tensor, ...], points_unit: Float[Tensor, "shapes points 3"]
    ) -> tuple[Float[Tensor, "shapes points features"], Float[Tensor, "shapes points"]]:
        """The planes' features, plane by plane, and the coarse field."""
        planes, volume = prepared
        shapes, count, _ = points_unit.shape
        x, y, z = points_unit.unbind(-1)
        where = torch.stack([torch.stack(pair, dim=-1) for pair in ((x, y), (y, z), (z, x))], dim=1)
        features = nn.functional.grid_sample(
            planes.flatten(0, 1),
            where.view(shapes * 3, count, 1, 2),
            mode=self.interpolation,
            padding_mode="border",
            align_corners=False,
        )
        # torch's last coordinate is the first axis of the volume.
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
        """Signed distances from what was found at the points."""
        correction = self.reader(torch.cat([features, points_unit], dim=-1)).squeeze(-1)
        return coarse + _beyond(points_unit) + correction

    def code_tangents(
        self, code: Float[Tensor, "code"], directions: Float[Tensor, "directions code"]
    ) -> tuple[Tensor, ...]:
        """How the last doubling's input, rows of (row, column, plane, feature), and the coarse field's cells change along each
        direction; then the kernels of the last doubling, for each plane (`doubling_kernels`)."""
        base, count = self.config.base, len(directions)
        with torch.no_grad():
            carried = self.seed_planes(code[None]).view(1, -1, base, base)
            moved = (directions @ cast(nn.Linear, self.seed_planes).weight.T).view(count, -1, base, base)
            planes = push_through(list(self.generator)[:-1], carried, moved)
            doubling = cast(nn.ConvTranspose2d, self.generator[-1])
            kernels = zip(*(doubling_kernels(weight) for weight in doubling.weight.chunk(3)), strict=True)
            return planes, (self.coarse.weight @ directions.T).contiguous(), *map(torch.stack, kernels)

    def jacobian(
        self,
        code: Float[Tensor, "code"],
        tangents: tuple[Tensor, ...],
        points_unit: Float[Tensor, "points 3"],
        *,
        prepared: tuple[Tensor, ...] | None = None,
    ) -> FieldJacobian:
        """See `Decoder.differentiate`; the network that reads the features is differentiated where it is, the last doubling, being
        linear, exactly, the rest of the generator where `tangents` was made."""
        if prepared is None:
            with torch.no_grad():
                prepared = self.prepare(code[None])
        with torch.enable_grad():
            points = points_unit.detach().clone().requires_grad_()
            features, coarse = self._at_points(prepared, points[None])
            value = self._read(features, coarse, points[None])[0]
            by_feature, by_point = torch.autograd.grad(value.sum(), (features, points))
        planes, field, *kernels = tangents
        with torch.no_grad():
            x, y, z = points_unit.unbind(-1)
            # torch's first coordinate is the one that varies fastest in memory: the column.
            places = torch.stack([torch.stack(place, dim=-1) for place in ((y, x), (z, y), (x, z))])
            slope = torch.stack(by_feature[0].chunk(3, dim=-1))
            by_code = by_directions(places, slope, kernels, planes)
            rows, shares = grid_corners(points_unit, self.config.volume)
            by_code += nn.functional.embedding_bag(rows, field, per_sample_weights=shares, mode="sum")
        return FieldJacobian(value=value.detach(), by_code=by_code, by_point=by_point)

    def coarse_field(
        self, codes: Float[Tensor, "shapes code"], points_unit: Float[Tensor, "points 3"]
    ) -> Float[Tensor, "shapes points"]:
        """The coarse field alone, which is linear in the code."""
        rows, shares = grid_corners(points_unit, self.config.volume)
        by_code = nn.functional.embedding_bag(rows, self.coarse.weight, per_sample_weights=shares, mode="sum")
        mean = (self.coarse.bias[rows] * shares).sum(dim=1)
        return codes @ by_code.T + mean + _beyond(points_unit)

    def local_part(self, changes: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Of the planes', what two binomial filters of 3 × 3 cells leave; of the coarse field's, whose cells are an eighth of a
        radius long, nothing."""
        planes, volume = changes
        mix = _binomial(planes.shape[-1]).to(planes)
        return mix @ planes @ mix.T, 0.0 * volume

    def matrix_layers(self) -> dict[str, nn.Module]:
        """The generator's convolutions, and the reading network but for its last layer. The code's own layer is so long that Muon's
        products with it would take as long as a third of a step."""
        layers = {f"generator.{name}": layer for name, layer in self.generator.named_children()}
        layers |= {f"reader.{name}": layer for name, layer in list(self.reader.named_children())[:-1]}
        return {name: layer for name, layer in layers.items() if not isinstance(layer, nn.SiLU)}

    def start_from(self, mean: Float[Tensor, "cells"], basis: Float[Tensor, "code cells"]) -> None:
        """The coarse field becomes what it is given; see `Decoder.start_from`."""
        with torch.no_grad():
            self.coarse.bias.copy_(mean)
            self.coarse.weight.copy_(basis.T)


def _beyond(points_unit: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    """Beyond the unit sphere, which holds all shapes, the field goes on rising, so that a search that strays there finds back."""
    return torch.relu(torch.linalg.vector_norm(points_unit, dim=-1) - 1.0)


def grid_corners(
    points: Float[Tensor, "points axes"], side: int
) -> tuple[Int[Tensor, "points corners"], Float[Tensor, "points corners"]]:
    """Cells whose values linear interpolation takes at each point, as rows of a flattened grid whose last axis varies fastest, and
    their shares; as `grid_sample` does with values at cells' middles and the outermost ones kept beyond."""
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


@cache
def _binomial(side: int) -> Float[Tensor, "side side"]:
    """Two binomial filters of three cells along a row of so many, the outermost cells repeated beyond it, as a matrix."""
    padded = nn.functional.pad(torch.eye(side), (0, 0, 1, 1), mode="constant")
    padded[0], padded[-1] = padded[1], padded[-2]
    once = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
    return once @ once


def _initialise(decoder: TriplaneDecoder, seed: int) -> None:
    """Draw every weight from a generator of our own (He initialisation), biases at zero; the last layer starts small.

    The coarse field starts as the same sphere for every code.
    """
    generator = seeded(seed)
    layers = [layer for layer in decoder.modules() if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
    with torch.no_grad():
        for layer in layers:
            # A transposed convolution has its inputs along the first axis, and a quarter of its kernel meets each cell.
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
