"""A tri-plane decoder: the code is turned into three feature planes once, a tiny network reads them at each point.

After Chan et al., CVPR 2022, "Efficient geometry-aware 3D generative adversarial networks" (EG3D), section 4.1, with a
convolutional generator small enough for a CPU.
"""

import math
from dataclasses import dataclass
from typing import Literal

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
    channels: tuple[int, ...] = (48, 32, 24, 16)
    """Features at each cell, at the base and after each doubling of the side: 8 cells and 3 doublings give 64 × 64."""
    width: int = 64
    """Outputs of the two hidden layers of the reading network."""

    def __post_init__(self) -> None:
        if min(self.code_size, self.base, self.width, len(self.channels), *self.channels) < 1:
            raise ConfigError("triplane sizes: found a size below 1; expected positive sizes")


class TriplaneDecoder(Decoder):
    """Planes over (x, y), (y, z) and (z, x) of the cube [−1, 1]³, read bilinearly, concatenated, and decoded by two hidden layers.

    The output is a correction of the distance to a sphere of radius 0.5: a field that starts constant, beyond the clamp
    of the loss, has no gradient to learn from.
    """

    START_RADIUS = 0.5

    def __init__(self, config: TriplaneConfig, *, seed: int) -> None:
        super().__init__()
        self.config = config
        self.code_size = config.code_size
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
                nn.Upsample(scale_factor=2, mode="nearest"),
                skip_init(nn.Conv2d, 3 * inputs, 3 * outputs, 3, padding=1, groups=3),
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
        """Feature planes of shape (shapes, 3, channels, side, side)."""
        base, shapes = self.config.base, codes.shape[0]
        grown = self.generator(self.seed_planes(codes).view(shapes, -1, base, base))
        side = grown.shape[-1]
        return (grown.view(shapes, 3, self.config.channels[-1], side, side),)

    def query(
        self, prepared: tuple[Tensor, ...], points_unit: Float[Tensor, "shapes points 3"]
    ) -> Float[Tensor, "shapes points"]:
        """Signed distances; see `Decoder.query`."""
        (planes,) = prepared
        shapes, count, _ = points_unit.shape
        x, y, z = points_unit.unbind(-1)
        where = torch.stack([torch.stack(pair, dim=-1) for pair in ((x, y), (y, z), (z, x))], dim=1)
        features = nn.functional.grid_sample(
            planes.flatten(0, 1),
            where.view(shapes * 3, count, 1, 2),
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        )
        features = features.view(shapes, 3 * self.config.channels[-1], count).transpose(1, 2)
        correction = self.reader(torch.cat([features, points_unit], dim=-1)).squeeze(-1)
        return torch.linalg.vector_norm(points_unit, dim=-1) - self.START_RADIUS + correction


def _initialise(module: nn.Module, seed: int) -> None:
    """Draw every weight from a generator of our own (He initialisation), biases at zero; the last layer starts small."""
    generator = seeded(seed)
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    with torch.no_grad():
        for layer in layers:
            inputs = layer.weight[0].numel()
            layer.weight.normal_(0.0, math.sqrt(2.0 / inputs), generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()
        layers[-1].weight.mul_(0.1)
