"""Decoders that were tried and are not part of the package; `ablation.py` compares them with those that are."""

import math
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from shapeprior.models.decoder import Decoder, seeded
from shapeprior.models.deepsdf import DeepSdfConfig, DeepSdfDecoder
from shapeprior.models.device import without_autocast
from shapeprior.models.triplane import TriplaneConfig, TriplaneDecoder


class SineDecoder(Decoder):
    """A sine network whose layers are scaled and shifted by the code.

    The modulation is FiLM as in Chan et al. 2021, "pi-GAN", section 3.1: a linear map of the code gives scale and shift
    of each layer. The initialisation is that of Sitzmann et al. 2020, "Implicit neural representations with periodic
    activation functions", section 3.2. The output starts as the distance to a sphere.
    """

    def __init__(
        self, *, seed: int, code_size: int = 64, width: int = 128, layers: int = 4, omega: float = 15.0
    ) -> None:
        super().__init__()
        self.code_size, self.width, self.omega = code_size, width, omega
        self.layers = nn.ModuleList(nn.Linear(3 if layer == 0 else width, width) for layer in range(layers))
        self.modulation = nn.Linear(code_size, layers * 2 * width)
        self.output = nn.Linear(width, 1)
        generator = seeded(seed)
        with torch.no_grad():
            for index, module in enumerate(self.layers):
                layer = cast(nn.Linear, module)
                bound = 1.0 / 3 if index == 0 else math.sqrt(6.0 / width) / omega
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.uniform_(-math.pi / omega, math.pi / omega, generator=generator)
            self.modulation.weight.normal_(0.0, 0.3 / math.sqrt(code_size), generator=generator)
            self.modulation.bias.zero_()
            self.output.weight.normal_(0.0, 0.01, generator=generator)
            self.output.bias.zero_()

    def prepare(self, codes: Float[Tensor, "shapes code"]) -> tuple[Tensor, ...]:
        with without_autocast(codes.device):
            return (self.modulation(codes).view(len(codes), len(self.layers), 2, 1, self.width),)

    def query(
        self, prepared: tuple[Tensor, ...], points_unit: Float[Tensor, "shapes points 3"]
    ) -> Float[Tensor, "shapes points"]:
        carried = points_unit
        for index, (layer, film) in enumerate(zip(self.layers, prepared[0].unbind(1), strict=True)):
            scale, shift = film.unbind(1)
            if index == 0:
                with without_autocast(points_unit.device):
                    phase = layer(points_unit)
            else:
                phase = layer(carried)
            carried = torch.sin(self.omega * (1.0 + scale) * phase + shift)
        with without_autocast(points_unit.device):
            distance = self.output(carried.float()).squeeze(-1)
        return distance + torch.linalg.vector_norm(points_unit, dim=-1) - 0.5


class FourierDecoder(Decoder):
    """The MLP of DeepSDF on Fourier features of the points (Tancik et al. 2020).

    Octaves are faded in one after the other while `opened` goes from 0 to 1 (Park et al. 2021, "Nerfies", section 3.5;
    Hertz et al. 2021, "SAPE").
    """

    def __init__(self, *, seed: int, octaves: int = 5, width: int = 256) -> None:
        super().__init__()
        self.code_size, self.octaves, self.opened = 64, octaves, 1.0
        self.mlp = DeepSdfDecoder(DeepSdfConfig(code_size=64, width=width), seed=seed)
        # The features enter at the first layer only, beside the points themselves.
        self.features = nn.Linear(6 * octaves, width, bias=False)
        with torch.no_grad():
            self.features.weight.normal_(0.0, 0.1 / math.sqrt(octaves), generator=seeded(seed + 1))

    def prepare(self, codes: Float[Tensor, "shapes code"]) -> tuple[Tensor, ...]:
        return self.mlp.prepare(codes)

    def query(
        self, prepared: tuple[Tensor, ...], points_unit: Float[Tensor, "shapes points 3"]
    ) -> Float[Tensor, "shapes points"]:
        octave = torch.arange(self.octaves)
        angle = points_unit[..., None] * (math.pi * 2.0**octave)
        window = 0.5 * (1.0 - torch.cos(math.pi * (self.opened * self.octaves - octave).clamp(0.0, 1.0)))
        waves = torch.cat([angle.sin() * window, angle.cos() * window], dim=-1).flatten(-2)
        first, skip = prepared
        with without_autocast(points_unit.device):
            first = first + self.features(waves)
        return self.mlp.query((first, skip), points_unit)


class CubicTriplane(TriplaneDecoder):
    """Tri-planes read by bicubic instead of bilinear interpolation."""

    interpolation = "bicubic"


class GroupedTriplane(TriplaneDecoder):
    """The same planes by the generator's layers as they are: torch's layout, and the last upsampling in three
    groups."""

    def prepare(self, codes: Float[Tensor, "shapes code"]) -> tuple[Tensor, ...]:
        base, shapes = self.config.base, codes.shape[0]
        grown = self.generator(self.seed_planes(codes).view(shapes, -1, base, base))
        planes = grown.view(shapes, 3, self.config.channels[-1], *grown.shape[-2:])
        return planes, self.coarse(codes).view(shapes, 1, *(self.config.volume,) * 3)


class LeakyTriplane(TriplaneDecoder):
    """Tri-planes with leaky ReLUs in the generator, as an earlier default had them."""

    def __init__(self, config: TriplaneConfig, *, seed: int) -> None:
        super().__init__(config, seed=seed)
        smooth = [index for index, layer in enumerate(self.generator) if isinstance(layer, nn.SiLU)]
        for index in smooth:
            self.generator[index] = nn.LeakyReLU(0.1)

    def matrix_layers(self) -> dict[str, nn.Module]:
        layers = super().matrix_layers()
        return {name: layer for name, layer in layers.items() if not isinstance(layer, nn.LeakyReLU)}
