"""The arms of `ablation.py`; each differs from `triplane` or `deepsdf-256` in one thing."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from benchmarks.models.candidate_decoders import (
    CubicTriplane,
    FourierDecoder,
    LeakyTriplane,
    SineDecoder,
)
from shapeprior.models.decoder import Decoder
from shapeprior.models.deepsdf import DeepSdfConfig, DeepSdfDecoder
from shapeprior.models.triplane import TriplaneConfig, TriplaneDecoder


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to train."""

    decoder: Callable[[int], Decoder]
    shapes: int = 8
    points: int = 1024
    rate: float = 1e-3
    matrix_rate: float = 1.5e-2
    """Muon's learning rate. At 0, Adam steps all weights."""
    matrices: str = ""
    """Muon steps the layers whose names begin with this."""
    code_rate: float = 1e-2
    code_prior: float = 1e-5
    start: str = "linear"
    """linear, sphere (random codes and the decoder's own first field), or constant (the same, with the field shifted
    beyond the clamp)."""
    deviation: float = 0.3
    loss: str = "banded"
    """banded, clamped, or soft: both distances through clamp * tanh(d / clamp)."""
    bf16: bool = False
    eikonal: float = 0.0
    """Weight of (|grad f| - 1)^2 at samples near the surface; gradients are differences over 0.01."""
    normals: float = 0.0
    """Weight of |grad f - n| at surface points."""
    hard: float = 0.0
    """Curriculum DeepSDF's (Duan et al. 2020) weight of samples with a wrong sign, at the end of training."""
    slope: float = 0.0
    """Weight of the field's slope along the true surface (`shapeprior.models.objective.slope_along`)."""
    inside: float = 1.0
    """Weight of the errors of samples inside that are predicted too far outside."""
    left_out: tuple[str, ...] = ()
    """Strategies whose samples are not used; other samples take their place."""
    max_shapes: int | None = None
    smooth: float = 0.0
    """Weight of the mean squared step between neighbouring cells of the feature planes."""
    decay: float = 0.0
    """Decoupled weight decay of the decoder (AdamW)."""
    noise: float = 0.0
    """Standard deviation of noise on codes, as a share of the codes' own."""


def triplane(seed: int, **changes: object) -> Decoder:
    return TriplaneDecoder(replace(TriplaneConfig(), **changes), seed=seed)  # pyright: ignore[reportArgumentType]


def arms() -> dict[str, Arm]:
    """Return all arms by name."""
    plane = Arm(decoder=triplane, points=768, slope=0.03)
    mlp = Arm(
        decoder=lambda seed: DeepSdfDecoder(DeepSdfConfig(), seed=seed),
        points=2048, matrix_rate=0.0, code_rate=2e-3, code_prior=1e-4,
        start="sphere", deviation=0.1, loss="clamped", bf16=True,
    )  # fmt: skip
    sine = replace(mlp, decoder=lambda seed: SineDecoder(seed=seed), loss="banded", code_prior=1e-5)
    return {
        "triplane": plane,
        "triplane, Adam": replace(plane, matrix_rate=0.0),
        "triplane, Adam at 3e-3": replace(plane, matrix_rate=0.0, rate=3e-3, code_rate=3e-3),
        "triplane, leaky ReLU": replace(plane, decoder=lambda seed: LeakyTriplane(TriplaneConfig(), seed=seed)),
        "triplane, leaky ReLU, Adam at 3e-3": replace(
            plane,
            decoder=lambda seed: LeakyTriplane(TriplaneConfig(), seed=seed),
            matrix_rate=0.0, rate=3e-3, code_rate=3e-3,
        ),
        "triplane, Muon for the generator alone": replace(plane, matrices="generator"),
        "triplane, Muon at 5e-3": replace(plane, matrix_rate=5e-3),
        "triplane, Muon at 3e-2": replace(plane, matrix_rate=3e-2),
        "triplane, rate 3e-3": replace(plane, rate=3e-3),
        "triplane, code rate 3e-3": replace(plane, code_rate=3e-3),
        "triplane, random codes, sphere": replace(plane, start="sphere", deviation=0.1),
        "triplane, random codes, constant": replace(plane, start="constant", deviation=0.1),
        "triplane, no wall samples": replace(plane, left_out=("walls",)),
        "triplane, plain upsampling": replace(
            plane, decoder=lambda seed: triplane(seed, smooth_upsampling=False)
        ),
        "triplane, no slope": replace(plane, points=1024, slope=0.0),
        "triplane, neither": replace(plane, points=1024, slope=0.0, left_out=("walls",)),
        "triplane, neither, inside 2": replace(plane, points=1024, slope=0.0, left_out=("walls",), inside=2.0),
        "triplane, neither, slope 0.003": replace(plane, slope=0.003, left_out=("walls",)),
        "triplane, slope 0.01": replace(plane, slope=0.01),
        "triplane, slope 0.1": replace(plane, slope=0.1),
        "triplane, inside 2": replace(plane, inside=2.0),
        "triplane, none of these": replace(
            plane, decoder=lambda seed: triplane(seed, smooth_upsampling=False),
            points=1024, slope=0.0, left_out=("walls",),
        ),
        "triplane, clamped": replace(plane, loss="clamped"),
        "triplane, soft clamp": replace(plane, loss="soft"),
        "triplane, eikonal": replace(plane, eikonal=0.01),
        "triplane, normals": replace(plane, normals=0.02),
        "triplane, hard samples": replace(plane, hard=0.5),
        "triplane, no edge samples": replace(plane, left_out=("edges",)),
        "triplane, bicubic": replace(plane, decoder=lambda seed: CubicTriplane(TriplaneConfig(), seed=seed)),
        "triplane, 4096 points": replace(plane, points=4096),
        "triplane, 512 points": replace(plane, points=512),
        "triplane, 16 x 512 points": replace(plane, points=512, shapes=16),
        "triplane, 2048 points": replace(plane, points=2048),
        "triplane, 128 x 128": replace(plane, decoder=lambda seed: triplane(seed, channels=(48, 32, 24, 16, 8))),
        "triplane, 32 x 32": replace(plane, decoder=lambda seed: triplane(seed, channels=(48, 32, 16))),
        "triplane, slim": replace(plane, decoder=lambda seed: triplane(seed, channels=(32, 24, 16, 12))),
        "triplane, wide": replace(plane, decoder=lambda seed: triplane(seed, channels=(96, 64, 32, 16))),
        "triplane, code 128": replace(plane, decoder=lambda seed: triplane(seed, code_size=128)),
        "triplane, code 32": replace(plane, decoder=lambda seed: triplane(seed, code_size=32)),
        "triplane, 200 shapes": replace(plane, max_shapes=200),
        "triplane, 400 shapes": replace(plane, max_shapes=400),
        "triplane, code noise": replace(plane, noise=0.1),
        "triplane, code prior 1e-3": replace(plane, code_prior=1e-3),
        "triplane, smooth planes 1e-3": replace(plane, smooth=1e-3),
        "triplane, smooth planes 1e-2": replace(plane, smooth=1e-2),
        "triplane, smooth planes 1e-1": replace(plane, smooth=1e-1),
        "triplane, decay 0.1": replace(plane, decay=0.1),
        "triplane, decay 1": replace(plane, decay=1.0),
        "deepsdf-256": mlp,
        "deepsdf-256, fp32": replace(mlp, bf16=False),
        "deepsdf-256, banded": replace(mlp, loss="banded"),
        "deepsdf-256, linear start": replace(mlp, loss="banded", start="linear", deviation=0.3),
        "deepsdf-256, soft clamp": replace(mlp, loss="soft"),
        "deepsdf-256, eikonal": replace(mlp, eikonal=0.01),
        "deepsdf-256, normals": replace(mlp, normals=0.02),
        "deepsdf-256, hard samples": replace(mlp, hard=0.5),
        "deepsdf-256, no edge samples": replace(mlp, left_out=("edges",)),
        "fourier": replace(mlp, decoder=lambda seed: FourierDecoder(seed=seed)),
        "fourier, linear start": replace(
            mlp, decoder=lambda seed: FourierDecoder(seed=seed), loss="banded", start="linear", deviation=0.3
        ),
        "fourier, normals": replace(mlp, decoder=lambda seed: FourierDecoder(seed=seed), normals=0.02),
        "fourier, eikonal": replace(mlp, decoder=lambda seed: FourierDecoder(seed=seed), eikonal=0.01),
        "fourier, soft clamp": replace(mlp, decoder=lambda seed: FourierDecoder(seed=seed), loss="soft"),
        "fourier, hard samples": replace(mlp, decoder=lambda seed: FourierDecoder(seed=seed), hard=0.5),
        "fourier, no edge samples": replace(mlp, decoder=lambda seed: FourierDecoder(seed=seed), left_out=("edges",)),
        "sine": sine,
        "sine, linear start": replace(sine, start="linear", deviation=0.3),
        "sine, constant start": replace(sine, start="constant"),
        "sine, eikonal": replace(sine, eikonal=0.01),
        "sine, normals": replace(sine, normals=0.02),
        "sine, hard samples": replace(sine, hard=0.5),
    }  # fmt: skip
