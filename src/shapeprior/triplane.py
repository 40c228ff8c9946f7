"""A tri-plane decoder: the code is turned into three feature planes once, a tiny network reads them at each point.

After Chan et al., CVPR 2022, "Efficient geometry-aware 3D generative adversarial networks" (EG3D), section 4.1, with a
convolutional generator small enough for a CPU.
"""

import math
from dataclasses import dataclass
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import skip_init

from shapeprior.decoder import Decoder, seeded
from shapeprior.errors import ConfigError


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
        if min(self.code_size, self.base, self.width, self.volume, len(self.channels), *self.channels) < 1:
            raise ConfigError("triplane sizes: found a size below 1; expected positive sizes")


class TriplaneDecoder(Decoder):
    """A coarse field that is linear in the code, corrected by what a small network reads from three feature planes.

    The planes lie over (x, y), (y, z) and (z, x) of the cube [−1, 1]³ and are read bilinearly, the coarse field trilinearly.
    It starts as the distance to a sphere, or as the linear model of the training shapes (`start_from`): a field that starts
    constant, beyond the clamp of the loss, has no gradient to learn from.
    """

    START_RADIUS = 0.5
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
                nn.LeakyReLU(0.1),
                # Planes exchange features once a level: a wing seen from above is also seen from the front.
                skip_init(nn.Conv2d, 3 * inputs, 3 * inputs, 1),
                nn.LeakyReLU(0.1),
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
        grown = self.generator(self.seed_planes(codes).view(shapes, -1, base, base))
        side = grown.shape[-1]
        planes = grown.view(shapes, 3, self.config.channels[-1], side, side)
        return planes, self.coarse(codes).view(shapes, 1, *(self.config.volume,) * 3)

    def query(
        self, prepared: tuple[Tensor, ...], points_unit: Float[Tensor, "shapes points 3"]
    ) -> Float[Tensor, "shapes points"]:
        """Signed distances; see `Decoder.query`."""
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
        features = features.view(shapes, 3 * self.config.channels[-1], count).transpose(1, 2)
        correction = self.reader(torch.cat([features, points_unit], dim=-1)).squeeze(-1)
        # torch's last coordinate is the first axis of the volume.
        coarse = nn.functional.grid_sample(
            volume,
            points_unit.flip(-1).view(shapes, count, 1, 1, 3),
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        ).view(shapes, count)
        # Beyond the unit sphere, which holds all shapes, the field goes on rising, so that a search that strays there finds back.
        beyond = torch.relu(torch.linalg.vector_norm(points_unit, dim=-1) - 1.0)
        return coarse + beyond + correction

    def start_from(self, mean: Float[Tensor, "cells"], basis: Float[Tensor, "code cells"]) -> None:
        """The coarse field becomes what it is given; see `Decoder.start_from`."""
        with torch.no_grad():
            self.coarse.bias.copy_(mean)
            self.coarse.weight.copy_(basis.T)


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
