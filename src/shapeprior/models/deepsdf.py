"""The decoder of DeepSDF (Park et al., CVPR 2019, figure 9 of the supplement)."""

import math
from dataclasses import dataclass
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from shapeprior.errors import ConfigError
from shapeprior.models.decoder import Decoder, empty_layer, seeded
from shapeprior.models.device import without_autocast


@dataclass(frozen=True, kw_only=True)
class DeepSdfConfig:
    """Size of the multilayer perceptron."""

    kind: Literal["deepsdf"] = "deepsdf"
    """Name of this kind of decoder in config.json."""
    code_size: int = 64
    """Length of a latent code."""
    width: int = 256
    """Outputs of each hidden layer."""
    layers: int = 8
    """Number of hidden layers, without the output layer."""
    skip_layer: int = 4
    """Index, from 0, of the hidden layer that gets code and point once more as input."""

    def __post_init__(self) -> None:
        if self.code_size < 1:
            raise ConfigError(f"code_size = {self.code_size}; expected at least 1")
        if not 0 < self.skip_layer < self.layers:
            raise ConfigError(f"skip_layer = {self.skip_layer}; expected 1 to {self.layers - 1}")
        if self.width <= self.code_size + 3:
            raise ConfigError(f"width = {self.width}; expected more than code_size + 3 = {self.code_size + 3}")

    @property
    def min_tensors(self) -> int:
        """Lower bound for the number of weight tensors of the decoder."""
        return self.layers


class DeepSdfDecoder(Decoder):
    """ReLU layers with weight norm and a tanh output; [code, point] enters at the first and at the skip layer.

    As in the released code, the layer before the skip is narrower by the length of [code, point], so that the
    concatenation has the common width. The code's columns of both weight matrices are multiplied once for each shape
    and added as a bias. The sum is the same, in another order.
    """

    def __init__(self, config: DeepSdfConfig, *, seed: int) -> None:
        super().__init__()
        self.config = config
        self.code_size = config.code_size
        generator = seeded(seed)
        input_size = config.code_size + 3
        hidden = []
        for layer in range(config.layers):
            inputs = input_size if layer == 0 else config.width
            outputs = config.width - input_size if layer == config.skip_layer - 1 else config.width
            hidden.append(weight_norm(_linear(inputs, outputs, generator)))
        self.hidden = nn.ModuleList(hidden)
        output = _linear(config.width, 1, generator)
        # A bias of zero keeps the first field near zero, where every sample has a gradient. With torch's default bias,
        # a narrow network may start beyond the clamp of the loss, where no sample has one.
        nn.init.zeros_(output.bias)
        self.output = weight_norm(output)

    def prepare(self, codes: Float[Tensor, "shapes code"]) -> tuple[Tensor, ...]:
        """Return the code's part of the first layer and of the skip layer, as biases of shape (shapes, 1, width)."""
        layers = [cast(nn.Linear, self.hidden[index]) for index in (0, self.config.skip_layer)]
        columns = slice(-3 - self.code_size, -3)
        with without_autocast(codes.device):
            return tuple(torch.addmm(layer.bias, codes, layer.weight[:, columns].T)[:, None, :] for layer in layers)

    def query(
        self, prepared: tuple[Tensor, ...], points_unit: Float[Tensor, "shapes points 3"]
    ) -> Float[Tensor, "shapes points"]:
        """Return the signed distances; see `Decoder.query`."""
        bias_first, bias_skip = prepared
        features = points_unit
        for index, module in enumerate(self.hidden):
            layer = cast(nn.Linear, module)
            if index in (0, self.config.skip_layer):
                with without_autocast(points_unit.device):
                    from_inputs = points_unit @ layer.weight[:, -3:].T + (bias_first if index == 0 else bias_skip)
                features = (
                    from_inputs if index == 0 else features @ layer.weight[:, : -3 - self.code_size].T + from_inputs
                )
            else:
                features = layer(features)
            features = torch.relu(features)
        with without_autocast(points_unit.device):
            return torch.tanh(self.output(features.to(points_unit.dtype))).squeeze(-1)


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """Make a linear layer with torch's default initialisation, drawn from the given generator."""
    layer = empty_layer(nn.Linear, inputs, outputs)
    bound = 1.0 / math.sqrt(inputs)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer
