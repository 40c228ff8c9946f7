"""Settings of training."""

from dataclasses import dataclass
from typing import Literal, get_args

from shapeprior.config import check_numbers
from shapeprior.errors import ConfigError

LossName = Literal["clamped", "banded"]
StartName = Literal["random", "linear"]
PrecisionName = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The recipe of DeepSDF (section 4.2 and the released code), with a schedule that scales with the length of the run."""

    epochs: int = 150
    """Passes over the shapes."""
    shapes_per_batch: int = 8
    """Shapes in a step."""
    points_per_shape: int = 2048
    """Samples of each of them, a fresh random block at each epoch."""
    decoder_rate: float = 1e-3
    """Adam's learning rate for the decoder at the start; of weights that Muon does not step."""
    matrix_rate: float = 0.0
    """Muon's learning rate for the decoder's `matrix_layers` at the start (`shapeprior.muon`); 0: Adam steps all weights."""
    code_rate: float = 2e-3
    """Adam's learning rate for the codes at the start."""
    final_rate_share: float = 0.02
    """All rates fall to this share of their start along half a cosine."""
    clamp: float = 0.1
    """Distances are clamped to ± this before they are compared, in unit-sphere radii (the paper's delta)."""
    loss: LossName = "clamped"
    """clamped: the paper's clamped L1; banded: the same within the clamp, with a gradient beyond it."""
    code_prior: float = 1e-4
    """Weight of the squared length of codes (1 / sigma² in equation 9)."""
    start: StartName = "random"
    """random: the paper's normally distributed codes; linear: codes, and the coarse field of a decoder that has one, from a
    linear model of the samples (`shapeprior.warm_start.WarmStart`)."""
    code_init_deviation: float = 0.1
    """Standard deviation of the entries of new codes; for a linear start, of the first entry, the largest."""
    precision: PrecisionName = "float32"
    """Type of the decoder's large products: auto takes bfloat16 where the device multiplies in it (`shapeprior.precision`)."""

    def __post_init__(self) -> None:
        check_numbers(
            self,
            at_least_one=("epochs", "shapes_per_batch", "points_per_shape"),
            positive=("decoder_rate", "code_rate", "clamp", "code_init_deviation"),
            not_negative=("code_prior", "matrix_rate"),
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
