"""A first look at a partial view: a small network says which code it may be, where the object lies and how it is turned.

A PointNet (Qi et al., CVPR 2017, "PointNet: deep learning on point sets for 3D classification and segmentation"), the same for any
order of the points, with a second round that sees what the first found in all of them. What it says is where the solver
starts, and how far from there it need not look.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import skip_init

from shapeprior.config import check_numbers
from shapeprior.decoder import seeded
from shapeprior.precision import exact

CODE_DEVIATIONS = (math.log(0.1), math.log(3.0))
"""Logarithms of the smallest and largest deviation that is stated; without a smallest, what is easily known would be all that is
learnt."""
PLACE_DEVIATIONS = (math.log(0.01), math.log(3.0))


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Size of the network."""

    code_size: int = 64
    """Length of the decoder's codes."""
    points: int = 256
    """Points of a view that it looks at."""
    width: int = 128
    """Features of a point after the first round."""
    whole: int = 256
    """Features of a point after the second round."""
    turns: int = 36
    """Equal steps about +y among which the object's turn is sought."""

    def __post_init__(self) -> None:
        check_numbers(self, at_least_one=("code_size", "points", "width", "whole", "turns"))


@dataclass(frozen=True, eq=False)
class Guesses:
    """What the network says of some views, in their view frames (`shapeprior.view_frame`).

    Deviations are those of its own errors on views like those that it was trained with.
    """

    whitened: Float[Tensor, "views code"]
    """Whitened coordinates of the code."""
    whitened_deviation: Float[Tensor, "views code"]
    placement: Float[Tensor, "views 4"]
    """Of `T_view_unit`: logarithm of the scale, and the offset, which is where the unit frame's origin lies."""
    placement_deviation: Float[Tensor, "views 4"]
    turns: Float[Tensor, "views turns"]
    """Logarithms of the probabilities that `T_view_unit` turns by k steps about +y."""
    upright: Float[Tensor, "views"]
    """Log-odds of the view frame's +y being up for the object, nearly: all else is said of views where it is."""


class ViewEncoder(nn.Module):
    """Points of a view, and where its sensor stands, to `Guesses`."""

    def __init__(self, config: EncoderConfig) -> None:
        """Weights are whatever lies in memory: `initialise` or load them."""
        super().__init__()
        self.config = config
        width, whole = config.width, config.whole
        outputs = 2 * (config.code_size + 4) + config.turns + 1
        self.first = _linear(6, width // 2)
        self.each = nn.Sequential(nn.SiLU(), _linear(width // 2, width), nn.SiLU())
        self.again_each = _linear(width, whole)
        self.again_all = _linear(width, whole)
        self.again = nn.Sequential(nn.SiLU(), _linear(whole, whole), nn.SiLU())
        self.head = nn.Sequential(
            nn.LayerNorm(2 * whole + 3), _linear(2 * whole + 3, whole), nn.SiLU(), _linear(whole, whole), nn.SiLU()
        )
        self.outputs = _linear(whole, outputs)

    def matrix_layers(self) -> dict[str, nn.Module]:
        """Layers between the first and the last, by name: those whose weights `shapeprior.muon.Muon` may step."""
        layers = {name: layer for name, layer in self.named_modules() if isinstance(layer, nn.Linear)}
        return {name: layer for name, layer in layers.items() if layer not in (self.first, self.outputs)}

    def initialise(self, seed: int) -> "ViewEncoder":
        """Draw the weights (He initialisation); the last layer starts small. Returns the encoder itself."""
        generator = seeded(seed)
        with torch.no_grad():
            for layer in self.modules():
                if isinstance(layer, nn.Linear):
                    layer.weight.normal_(0.0, math.sqrt(2.0 / layer.in_features), generator=generator)
                    layer.bias.zero_()
            self.outputs.weight.mul_(0.1)
        return self

    def forward(self, points_view: Float[Tensor, "views points 3"], sensors_view: Float[Tensor, "views 3"]) -> Guesses:
        """`sensors_view` are unit vectors from the view frame's origin towards the sensor, zero where it is unknown."""
        with exact(points_view.device):
            # Eight bits of a coordinate would not be enough.
            first = self.first(torch.cat([points_view, sensors_view[:, None].expand_as(points_view)], dim=-1))
        each = self.each(first)
        again = self.again(self.again_each(each) + self.again_all(each.amax(dim=1))[:, None])
        whole = torch.cat([again.amax(dim=1), again.mean(dim=1), sensors_view], dim=-1).float()
        size = self.config.code_size
        sizes = [size, size, 4, 4, self.config.turns, 1]
        code, code_log, place, place_log, turns, upright = self.outputs(self.head(whole)).split(sizes, dim=-1)
        return Guesses(
            whitened=code,
            whitened_deviation=code_log.clamp(*CODE_DEVIATIONS).exp(),
            placement=place,
            placement_deviation=place_log.clamp(*PLACE_DEVIATIONS).exp(),
            turns=turns.log_softmax(dim=-1),
            upright=upright[:, 0],
        )


def _linear(inputs: int, outputs: int) -> nn.Linear:
    # Made without torch's initialisation, which would draw from its global generator.
    layer = skip_init(nn.Linear, inputs, outputs)
    assert isinstance(layer, nn.Linear)
    return layer
