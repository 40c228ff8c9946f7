"""The view encoder: a network that estimates the code and the placement of an object from a partial view.

It is a PointNet (Qi et al., CVPR 2017, "PointNet: deep learning on point sets for 3D classification and segmentation"),
so the order of the points does not matter, with a second round in which each point sees what the first round found in
all of them. The solver starts from its output and stays near it.

Views are normalised before the network sees them (`view_frame`). The file encoder.safetensors lies beside the
checkpoint of its prior (docs/formats.md).
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

from shapeprior.config import check_numbers, config_from_json, config_to_json
from shapeprior.errors import CheckpointError, ConfigError
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.files import write_bytes
from shapeprior.models.checkpoint import with_sorted_header
from shapeprior.models.decoder import empty_layer, seeded
from shapeprior.models.device import without_autocast

CODE_LOG_DEVIATION_RANGE = (math.log(0.1), math.log(3.0))
"""Range of the logarithm of stated deviations of the code. Without a lower end, training would be spent on what is
easily known."""
PLACEMENT_LOG_DEVIATION_RANGE = (math.log(0.01), math.log(3.0))
"""The same for scale and offset."""
MIN_HEADING_SINE = 0.05
"""A sensor has no heading if its direction is steeper than this: sine of the angle to the vertical."""

FILE_NAME = "encoder.safetensors"
FORMAT, VERSION = "shapeprior-encoder", "1"
REMEDY = (
    "run `shapeprior train-encoder` on the prior, with --data and its data set if that is there, or remove the file"
)


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Size of the network."""

    code_size: int = 64
    """Length of the decoder's codes."""
    points: int = 256
    """Points of a view that the network takes."""
    width: int = 128
    """Features of a point after the first round."""
    whole: int = 256
    """Features of a point after the second round."""
    turns: int = 36
    """Equal steps of a full turn about +y, among which the object's turn is classified."""

    def __post_init__(self) -> None:
        check_numbers(self, at_least_one=("code_size", "points", "width", "whole", "turns"))


@dataclass(frozen=True, eq=False)
class EncoderOutput:
    """The network's estimates for some views, in their view frames (`view_frame`).

    Deviations are those of the network's own errors, on views like those that it was trained with.
    """

    whitened: Float[Tensor, "views code"]
    """Code, in whitened coordinates."""
    whitened_deviation: Float[Tensor, "views code"]
    placement: Float[Tensor, "views 4"]
    """Of `T_view_unit`: the logarithm of the scale, and the offset, which is the place of the unit frame's origin."""
    placement_deviation: Float[Tensor, "views 4"]
    turns: Float[Tensor, "views turns"]
    """Log-probabilities that `T_view_unit` turns by k steps about +y."""
    upright: Float[Tensor, "views"]
    """Log-odds that the view frame's +y is nearly up for the object. All other estimates are for views where it is."""


class ViewEncoder(nn.Module):
    """Network from the points of a view and the direction of its sensor to `EncoderOutput`."""

    def __init__(self, config: EncoderConfig) -> None:
        """Make the layers. Their weights are not set: call `initialise`, or load them."""
        super().__init__()
        self.config = config
        width, whole = config.width, config.whole
        outputs = 2 * (config.code_size + 4) + config.turns + 1
        # The names of the layers are those of the tensors in the file.
        self.first = empty_layer(nn.Linear, 6, width // 2)
        self.each = nn.Sequential(nn.SiLU(), empty_layer(nn.Linear, width // 2, width), nn.SiLU())
        self.again_each = empty_layer(nn.Linear, width, whole)
        self.again_all = empty_layer(nn.Linear, width, whole)
        self.again = nn.Sequential(nn.SiLU(), empty_layer(nn.Linear, whole, whole), nn.SiLU())
        self.head = nn.Sequential(
            nn.LayerNorm(2 * whole + 3),
            empty_layer(nn.Linear, 2 * whole + 3, whole),
            nn.SiLU(),
            empty_layer(nn.Linear, whole, whole),
            nn.SiLU(),
        )
        self.outputs = empty_layer(nn.Linear, whole, outputs)

    def matrix_layers(self) -> dict[str, nn.Module]:
        """Return the layers between the first and the last, by name, whose weights `shapeprior.models.optimizers.Muon`
        may step."""
        layers = {name: layer for name, layer in self.named_modules() if isinstance(layer, nn.Linear)}
        return {name: layer for name, layer in layers.items() if layer not in (self.first, self.outputs)}

    def initialise(self, seed: int) -> "ViewEncoder":
        """Draw the weights (He initialisation), with small ones in the last layer. Returns the encoder itself."""
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
        """Estimate code and placement of each view.

        `sensors_view` are unit vectors from the view frame's origin towards the sensor, zero where the sensor is
        unknown.
        """
        with without_autocast(points_view.device):
            # bfloat16's eight bits are too few for coordinates.
            first = self.first(torch.cat([points_view, sensors_view[:, None].expand_as(points_view)], dim=-1))
        each = self.each(first)
        again = self.again(self.again_each(each) + self.again_all(each.amax(dim=1))[:, None])
        pooled = torch.cat([again.amax(dim=1), again.mean(dim=1), sensors_view], dim=-1).float()
        size = self.config.code_size
        sizes = [size, size, 4, 4, self.config.turns, 1]
        code, code_log, placement, placement_log, turns, upright = self.outputs(self.head(pooled)).split(sizes, dim=-1)
        return EncoderOutput(
            whitened=code,
            whitened_deviation=code_log.clamp(*CODE_LOG_DEVIATION_RANGE).exp(),
            placement=placement,
            placement_deviation=placement_log.clamp(*PLACEMENT_LOG_DEVIATION_RANGE).exp(),
            turns=turns.log_softmax(dim=-1),
            upright=upright[:, 0],
        )


def view_frame(points_world: Float[np.ndarray, "points 3"], sensor_world: Float[np.ndarray, "3"] | None) -> Similarity:
    """Return `T_view_world`, the normalising map of a view whose +y is up.

    In the view frame, the points have their mean at the origin and a root mean square distance of 1 from it. y is up.
    The sensor stands at azimuth 0, above +z, if it is known and not straight above or below. So views that differ by a
    turn about +y, a scale and an offset look the same to the network. The points must not all lie in one place.
    """
    sensors = None if sensor_world is None else sensor_world[None]
    scale, rotation, offset = view_frames(points_world[None], sensors)
    return Similarity(scale=float(scale[0]), rotation=rotation[0], offset=offset[0])


def view_frames(
    points_world: Float[np.ndarray, "views points 3"], sensors_world: Float[np.ndarray, "views 3"] | None
) -> tuple[Float[np.ndarray, "views"], Float[np.ndarray, "views 3 3"], Float[np.ndarray, "views 3"]]:
    """Return scale, rotation and offset of `view_frame` for several views with equal numbers of points.

    A sensor with NaN is unknown.
    """
    centers = points_world.mean(axis=1)
    spread = np.sqrt(np.square(points_world - centers[:, None]).sum(axis=2).mean(axis=1))
    scale = 1.0 / np.maximum(spread, 1e-12)
    cosine, sine = np.ones(len(centers)), np.zeros(len(centers))
    if sensors_world is not None:
        towards = sensors_world - centers
        horizontal = np.hypot(towards[:, 0], towards[:, 2])
        has_heading = horizontal > MIN_HEADING_SINE * np.linalg.norm(towards, axis=1)  # False for NaN.
        cosine = np.divide(towards[:, 2], horizontal, out=cosine, where=has_heading)
        sine = np.divide(-towards[:, 0], horizontal, out=sine, where=has_heading)
    rotation = np.zeros((len(centers), 3, 3))
    rotation[:, 0, 0] = rotation[:, 2, 2] = cosine
    rotation[:, 0, 2], rotation[:, 2, 0] = sine, -sine
    rotation[:, 1, 1] = 1.0
    return scale, rotation, -scale[:, None] * np.einsum("vij,vj->vi", rotation, centers)


def write_encoder(run: Path, encoder: ViewEncoder, codes: Float[Tensor, "shapes code"]) -> Path:
    """Write encoder.safetensors in half precision, and return its path.

    The file holds a hash of the codes that the encoder was trained for. The write is atomic. Raises OutputError.
    """
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "config": json.dumps(config_to_json(encoder.config), sort_keys=True),
        "codes": _codes_sha256(codes),
    }
    tensors = {name: value.detach().half().cpu().contiguous() for name, value in encoder.state_dict().items()}
    path = run / FILE_NAME
    write_bytes(path, with_sorted_header(save(tensors, metadata)))
    return path


def read_encoder(run: Path, codes: Float[Tensor, "shapes code"]) -> ViewEncoder | None:
    """Read the encoder of a run whose training codes are `codes`; None if there is no file.

    Raises CheckpointError if the file is broken, or was trained for other codes.
    """
    path = run / FILE_NAME
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            found = (metadata.get("format"), metadata.get("version"))
            if found != (FORMAT, VERSION):
                raise CheckpointError(f"{path}: format {found}; expected {(FORMAT, VERSION)}; {REMEDY}")
            if metadata.get("codes") != _codes_sha256(codes):
                raise CheckpointError(
                    f"{path}: trained for other codes than the checkpoint's; expected the same; {REMEDY}"
                )
            config = config_from_json(EncoderConfig, json.loads(metadata.get("config", "")), where=f"{path}: config")
            # The file may ask for any size, so that the network is compared with its tensors before it takes memory.
            with torch.device("meta"):
                encoder = ViewEncoder(config)
            expected = {name: tuple(value.shape) for name, value in encoder.state_dict().items()}
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in list(file.keys())}
            if shapes != expected or config.code_size != codes.shape[1]:
                raise CheckpointError(
                    f"{path}: not the weights of its config; expected an encoder of these codes; {REMEDY}"
                )
            tensors = {name: file.get_tensor(name).float() for name in shapes}
    except (OSError, SafetensorError, ConfigError, ValueError, RecursionError, RuntimeError) as error:
        raise CheckpointError(f"{path}: no readable encoder ({error}); expected a safetensors file; {REMEDY}") from None
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{path}: {name} holds NaN or infinity; expected finite weights; {REMEDY}")
    encoder.to_empty(device="cpu").load_state_dict(tensors)
    return encoder.eval()


def _codes_sha256(codes: Float[Tensor, "shapes code"]) -> str:
    """Return the SHA-256 of the codes in half precision, in which bundled priors store them."""
    return hashlib.sha256(codes.detach().cpu().half().numpy().tobytes()).hexdigest()
