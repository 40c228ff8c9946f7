"""The decoder of DeepSDF (Park et al., CVPR 2019, figure 9 of the supplement)."""

import math
from dataclasses import dataclass
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from shapeprior.errors import ConfigError
from shapeprior.models.decoder import Decoder, seeded
from shapeprior.models.device import exact


@dataclass(frozen=True, kw_only=True)
class DeepSdfConfig:
    """Size of the multilayer perceptron."""

    kind: Literal["deepsdf"] = "deepsdf"
    """Which decoder this configures."""
    code_size: int = 64
    """Length of a latent code."""
    width: int = 256
    """Outputs of each hidden layer."""
    layers: int = 8
    """Hidden layers; the output layer comes on top."""
    skip_layer: int = 4
    """Before this hidden layer (counted from 0) code and point are concatenated again."""

    def __post_init__(self) -> None:
        if self.code_size < 1:
            raise ConfigError(f"code_size = {self.code_size}; expected at least 1")
        if not 0 < self.skip_layer < self.layers:
            raise ConfigError(f"skip_layer = {self.skip_layer}; expected 1 to {self.layers - 1}")
        if self.width <= self.code_size + 3:
            raise ConfigError(f"width = {self.width}; expected more than code_size + 3 = {self.code_size + 3}")


class DeepSdfDecoder(Decoder):
    """Eight hidden ReLU layers with weight norm; [code, point] enters at the first and again at the skip layer; tanh output.

    As in the released code, the layer before the skip is narrower by the length of [code, point], so that the concatenation
    has the common width. The code's columns of both weight matrices are multiplied once a shape and added as a bias, which
    is the same sum in another order.
    """

    def __init__(self, config: DeepSdfConfig, *, seed: int) -> None:
        super().__init__()
        self.config = config
        self.code_size = config.code_size
        generator = seeded(seed)
        joined = config.code_size + 3
        hidden = []
        for layer in range(config.layers):
            inputs = joined if layer == 0 else config.width
            outputs = config.width - joined if layer == config.skip_layer - 1 else config.width
            hidden.append(weight_norm(_linear(inputs, outputs, generator)))
        self.hidden = nn.ModuleList(hidden)
        output = _linear(config.width, 1, generator)
        # Near zero every sample pulls. Torch's bias may start a narrow network beyond the clamp of the loss, without gradient.
        nn.init.zeros_(output.bias)
        self.output = weight_norm(output)

    def prepare(self, codes: Float[Tensor, "shapes code"]) -> tuple[Tensor, ...]:
        """The code's share of the first and of the skip layer, as biases of shape (shapes, 1, width)."""
        layers = [cast(nn.Linear, self.hidden[index]) for index in (0, self.config.skip_layer)]
        columns = slice(-3 - self.code_size, -3)
        with exact(codes.device):
            return tuple(torch.addmm(layer.bias, codes, layer.weight[:, columns].T)[:, None, :] for layer in layers)

    def query(
        self, prepared: tuple[Tensor, ...], points_unit: Float[Tensor, "shapes points 3"]
    ) -> Float[Tensor, "shapes points"]:
        """Signed distances; see `Decoder.query`."""
        bias_first, bias_skip = prepared
        carried = points_unit
        for index, module in enumerate(self.hidden):
            layer = cast(nn.Linear, module)
            if index in (0, self.config.skip_layer):
                with exact(points_unit.device):
                    by_place = points_unit @ layer.weight[:, -3:].T + (bias_first if index == 0 else bias_skip)
                carried = by_place if index == 0 else carried @ layer.weight[:, : -3 - self.code_size].T + by_place
            else:
                carried = layer(carried)
            carried = torch.relu(carried)
        with exact(points_unit.device):
            return torch.tanh(self.output(carried.to(points_unit.dtype))).squeeze(-1)


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """torch's default initialisation, drawn from a generator of our own."""
    layer = cast(nn.Linear, nn.utils.skip_init(nn.Linear, inputs, outputs))
    bound = 1.0 / math.sqrt(inputs)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer
