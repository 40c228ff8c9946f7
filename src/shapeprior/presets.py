"""Named configurations: which decoder, trained how."""

from dataclasses import dataclass

from shapeprior.decoder import Decoder
from shapeprior.deepsdf import DeepSdfConfig, DeepSdfDecoder
from shapeprior.errors import ConfigError
from shapeprior.train_config import TrainConfig
from shapeprior.triplane import TriplaneConfig, TriplaneDecoder

DecoderConfig = DeepSdfConfig | TriplaneConfig


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A decoder and its training recipe."""

    decoder: DecoderConfig
    train: TrainConfig

    def __post_init__(self) -> None:
        if self.train.matrix_rate and isinstance(self.decoder, DeepSdfConfig):
            raise ConfigError(
                f"matrix_rate = {self.train.matrix_rate} with a decoder of kind 'deepsdf', which has no layers for it; expected 0"
            )


def presets() -> dict[str, Preset]:
    """All presets by name.

    `deepsdf-256` is the system of "Learning Shape representations for 3D Reconstruction" (code 64, width 256, 30 passes over
    10,000 samples a shape); `deepsdf-512` is what that work calls the original (code 128, width 512).
    """
    return {
        "deepsdf-256": Preset(
            decoder=DeepSdfConfig(code_size=64, width=256),
            train=TrainConfig(epochs=150, points_per_shape=2048, precision="auto"),
        ),
        "deepsdf-512": Preset(
            decoder=DeepSdfConfig(code_size=128, width=512),
            train=TrainConfig(epochs=1000, points_per_shape=8192, precision="auto"),
        ),
        "triplane-64": Preset(
            decoder=TriplaneConfig(),
            train=TrainConfig(
                epochs=250,
                shapes_per_batch=8,
                points_per_shape=1024,
                decoder_rate=1e-3,
                matrix_rate=1.5e-2,
                code_rate=1e-2,
                code_prior=1e-5,
                code_init_deviation=0.3,
                loss="banded",
                start="linear",
            ),
        ),
    }


def preset(name: str) -> Preset:
    """One preset; raises ConfigError naming those that exist."""
    known = presets()
    if name not in known:
        raise ConfigError(f"preset '{name}' does not exist; expected one of {', '.join(known)}")
    return known[name]


def build_decoder(config: DecoderConfig, *, seed: int) -> Decoder:
    """A decoder with freshly drawn weights."""
    if isinstance(config, DeepSdfConfig):
        return DeepSdfDecoder(config, seed=seed)
    return TriplaneDecoder(config, seed=seed)
