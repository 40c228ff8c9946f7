"""Training recipes and named presets: which decoder is trained, and how."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from shapeprior.config import check_numbers
from shapeprior.errors import ConfigError
from shapeprior.models.decoder import Decoder
from shapeprior.models.deepsdf import DeepSdfConfig, DeepSdfDecoder
from shapeprior.models.device import PrecisionName
from shapeprior.models.triplane import TriplaneConfig, TriplaneDecoder

LossName = Literal["clamped", "banded"]
StartName = Literal["random", "linear"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The recipe of DeepSDF (section 4.2 and the released code), with a schedule that scales with the length of the
    run."""

    epochs: int = 150
    """Passes over the training shapes."""
    shapes_per_batch: int = 8
    """Shapes in a step."""
    points_per_shape: int = 2048
    """Samples of each shape in a step: a contiguous block that starts at a random sample in each epoch."""
    inside_weight: float = 1.0
    """Weight of the errors of samples inside that are predicted too far outside. An L1 error teaches the median of what
    a blurred field must average, and beside sheets thinner than a cell of the planes most samples are outside. Above 1,
    such sheets tear less and come out thicker."""
    surface_weight: float = 0.0
    """Weight of the field's slope along the true surface (`shapeprior.models.objective.slope_along`), which keeps
    decoded surfaces smooth where they are smooth in truth. Data sets without surface points train without it."""
    surface_points: int = 256
    """Surface points of each shape in a step at which this slope is measured."""
    decoder_rate: float = 1e-3
    """Adam's learning rate for the decoder's weights, without those that Muon steps, at the start."""
    matrix_rate: float = 0.0
    """Muon's learning rate for the decoder's `matrix_layers` (`shapeprior.models.optimizers`) at the start. At 0, Adam
    steps all weights."""
    code_rate: float = 2e-3
    """Adam's learning rate for the codes at the start."""
    final_rate_share: float = 0.02
    """All learning rates fall along half a cosine to this share of their start."""
    clamp: float = 0.1
    """Distances are clamped to ± this value before they are compared, in unit-sphere radii (the paper's delta)."""
    loss: LossName = "clamped"
    """clamped: the paper's clamped L1; banded: the same within the clamp, with a gradient beyond it."""
    code_prior: float = 1e-4
    """Weight of the squared length of codes (1 / sigma² in equation 9)."""
    start: StartName = "random"
    """random: the paper's normally distributed codes; linear: codes from a linear model of the samples
    (`shapeprior.training.initialization.LinearInitialization`), and the coarse field, too, of a decoder that has
    one."""
    code_init_deviation: float = 0.1
    """Standard deviation of the entries of new codes; for a linear start, that of the first entry, which is the
    largest."""
    precision: PrecisionName = "float32"
    """Type of the decoder's large products. auto takes bfloat16 on devices that are fast at it
    (`shapeprior.models.device`)."""

    def __post_init__(self) -> None:
        check_numbers(
            self,
            at_least_one=("epochs", "shapes_per_batch", "points_per_shape", "surface_points"),
            positive=("decoder_rate", "code_rate", "clamp", "code_init_deviation", "inside_weight"),
            not_negative=("code_prior", "matrix_rate", "surface_weight"),
        )
        if not 0 <= self.final_rate_share <= 1:
            raise ConfigError(f"final_rate_share = {self.final_rate_share}; expected 0 to 1")
        for name, known in (
            ("loss", get_args(LossName)),
            ("start", get_args(StartName)),
            ("precision", get_args(PrecisionName)),
        ):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} = {getattr(self, name)!r}; expected one of {', '.join(map(repr, known))}")


DecoderConfig = DeepSdfConfig | TriplaneConfig


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A decoder and its training recipe."""

    decoder: DecoderConfig
    train: TrainConfig

    def __post_init__(self) -> None:
        if self.train.matrix_rate and isinstance(self.decoder, DeepSdfConfig):
            raise ConfigError(
                f"matrix_rate = {self.train.matrix_rate} with a decoder of kind 'deepsdf', which has no layers for it; "
                "expected 0"
            )


def presets() -> dict[str, Preset]:
    """Return all presets by name.

    `deepsdf-256` is the system of "Learning Shape representations for 3D Reconstruction" (code 64, width 256, 30 passes
    over 10,000 samples a shape). `deepsdf-512` is what that work calls the original (code 128, width 512).
    `triplane-64` is the default. `triplane-64-sheets` is for things with sheets thinner than a third of a cell of the
    planes (0.01 radii), such as airplanes: smooth upsampling and the slope along the surface blur these.
    """
    planes = TrainConfig(
        epochs=250,
        shapes_per_batch=8,
        points_per_shape=768,
        surface_weight=0.03,
        decoder_rate=1e-3,
        matrix_rate=1.5e-2,
        code_rate=1e-2,
        code_prior=1e-5,
        code_init_deviation=0.3,
        loss="banded",
        start="linear",
    )
    return {
        "deepsdf-256": Preset(
            decoder=DeepSdfConfig(code_size=64, width=256),
            train=TrainConfig(epochs=150, points_per_shape=2048, precision="auto"),
        ),
        "deepsdf-512": Preset(
            decoder=DeepSdfConfig(code_size=128, width=512),
            train=TrainConfig(epochs=1000, points_per_shape=8192, precision="auto"),
        ),
        "triplane-64": Preset(decoder=TriplaneConfig(), train=planes),
        "triplane-64-sheets": Preset(
            decoder=TriplaneConfig(smooth_upsampling=False),
            train=replace(planes, points_per_shape=1024, surface_weight=0.0),
        ),
    }


def preset(name: str) -> Preset:
    """Return one preset. Raises ConfigError, which lists all names, if there is none of this name."""
    known = presets()
    if name not in known:
        raise ConfigError(f"preset '{name}' does not exist; expected one of {', '.join(known)}")
    return known[name]


def build_decoder(config: DecoderConfig, *, seed: int) -> Decoder:
    """Build a decoder with weights drawn from this seed."""
    if isinstance(config, DeepSdfConfig):
        return DeepSdfDecoder(config, seed=seed)
    return TriplaneDecoder(config, seed=seed)
