"""A first look at a partial view: a small network says which code it may be, where the object lies and how it is turned.

A PointNet (Qi et al., CVPR 2017, "PointNet: deep learning on point sets for 3D classification and segmentation"), the same for any
order of the points, with a second round that sees what the first found in all of them. What it says is where the solver
starts, and how far from there it need not look.

The frame in which a view is looked at as a whole: centred, of unit size, turned towards its sensor.

The encoder of a prior on disk: encoder.safetensors beside the checkpoint (docs/formats.md).
"""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.utils import skip_init

from shapeprior.config import check_numbers, config_from_json, config_to_json
from shapeprior.errors import CheckpointError, ConfigError
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.files import write_bytes
from shapeprior.models.checkpoint import sorted_header
from shapeprior.models.decoder import seeded
from shapeprior.models.device import exact

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
class EncoderOutput:
    """What the network says of some views, in their view frames (`shapeprior.models.encoder`).

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
    """Points of a view, and where its sensor stands, to `EncoderOutput`."""

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
        """Layers between the first and the last, by name: those whose weights `shapeprior.models.optimizers.Muon` may step."""
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

    def forward(
        self, points_view: Float[Tensor, "views points 3"], sensors_view: Float[Tensor, "views 3"]
    ) -> EncoderOutput:
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
        return EncoderOutput(
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


LEVEL = 0.05
"""A sensor whose direction is steeper than this has no heading: sine of the angle to the vertical."""


def view_frame(points_world: Float[np.ndarray, "points 3"], sensor_world: Float[np.ndarray, "3"] | None) -> Similarity:
    """`T_view_world` of a view whose +y is up.

    In the view frame the points have their mean at the origin and a root mean square distance of 1 from it; y is up, and the sensor
    stands at azimuth 0, above +z, if it is known and not straight above or below. So views that differ by a turn about +y, a scale
    and an offset are the same view. Points must not all lie in one place.
    """
    sensors = None if sensor_world is None else sensor_world[None]
    scale, rotation, offset = view_frames(points_world[None], sensors)
    return Similarity(scale=float(scale[0]), rotation=rotation[0], offset=offset[0])


def view_frames(
    points_world: Float[np.ndarray, "views points 3"], sensors_world: Float[np.ndarray, "views 3"] | None
) -> tuple[Float[np.ndarray, "views"], Float[np.ndarray, "views 3 3"], Float[np.ndarray, "views 3"]]:
    """Scale, rotation and offset of `view_frame` for views of as many points; a sensor with NaN is unknown."""
    centers = points_world.mean(axis=1)
    spread = np.sqrt(np.square(points_world - centers[:, None]).sum(axis=2).mean(axis=1))
    scale = 1.0 / np.maximum(spread, 1e-12)
    cosine, sine = np.ones(len(centers)), np.zeros(len(centers))
    if sensors_world is not None:
        towards = sensors_world - centers
        level = np.hypot(towards[:, 0], towards[:, 2])
        headed = level > LEVEL * np.linalg.norm(towards, axis=1)  # False for NaN.
        cosine = np.divide(towards[:, 2], level, out=cosine, where=headed)
        sine = np.divide(-towards[:, 0], level, out=sine, where=headed)
    rotation = np.zeros((len(centers), 3, 3))
    rotation[:, 0, 0] = rotation[:, 2, 2] = cosine
    rotation[:, 0, 2], rotation[:, 2, 0] = sine, -sine
    rotation[:, 1, 1] = 1.0
    return scale, rotation, -scale[:, None] * np.einsum("vij,vj->vi", rotation, centers)


NAME = "encoder.safetensors"
FORMAT, VERSION = "shapeprior-encoder", "1"
AGAIN = "run `shapeprior train-encoder` on the prior, with --data and its data set if that is there, or remove the file"


def write_encoder(run: Path, encoder: ViewEncoder, codes: Float[Tensor, "shapes code"]) -> Path:
    """Write it, in half precision and atomically, with a hash of the codes that it was trained for. Raises OutputError."""
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "config": json.dumps(config_to_json(encoder.config), sort_keys=True),
        "codes": _digest(codes),
    }
    tensors = {name: value.detach().half().cpu().contiguous() for name, value in encoder.state_dict().items()}
    path = run / NAME
    write_bytes(path, sorted_header(save(tensors, metadata)))
    return path


def read_encoder(run: Path, codes: Float[Tensor, "shapes code"]) -> ViewEncoder | None:
    """The encoder of these codes; None if there is no file. Raises CheckpointError for a broken one, or one of other codes."""
    path = run / NAME
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            found = (metadata.get("format"), metadata.get("version"))
            if found != (FORMAT, VERSION):
                raise CheckpointError(f"{path}: format {found}; expected {(FORMAT, VERSION)}; {AGAIN}")
            if metadata.get("codes") != _digest(codes):
                raise CheckpointError(
                    f"{path}: trained for other codes than the checkpoint's; expected the same; {AGAIN}"
                )
            config = config_from_json(EncoderConfig, json.loads(metadata.get("config", "")), where=f"{path}: config")
            # Without memory: the file may ask for any size.
            with torch.device("meta"):
                expected = {name: tuple(value.shape) for name, value in ViewEncoder(config).state_dict().items()}
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in list(file.keys())}
            if shapes != expected or config.code_size != codes.shape[1]:
                raise CheckpointError(
                    f"{path}: not the weights of its config; expected an encoder of these codes; {AGAIN}"
                )
            tensors = {name: file.get_tensor(name).float() for name in shapes}
    except (OSError, SafetensorError, ConfigError, ValueError, RecursionError, RuntimeError) as error:
        raise CheckpointError(f"{path}: no readable encoder ({error}); expected a safetensors file; {AGAIN}") from None
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{path}: {name} holds NaN or infinity; expected finite weights; {AGAIN}")
    encoder = ViewEncoder(config)
    encoder.load_state_dict(tensors)
    return encoder.eval()


def _digest(codes: Float[Tensor, "shapes code"]) -> str:
    """Of the codes in half precision, in which bundled priors keep them."""
    return hashlib.sha256(codes.detach().cpu().half().numpy().tobytes()).hexdigest()
