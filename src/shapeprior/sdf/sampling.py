"""SDF samples of a shape: points drawn by several strategies, rounded to the stored type and labelled with distances.

`sample_sdf` is the entry point, `SamplingConfig` its settings; `shapeprior.sdf.strategies` says where samples lie.
"""

import difflib
from dataclasses import dataclass, field, fields, replace
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Float16, Float32, UInt8

from shapeprior.errors import ConfigError
from shapeprior.sdf.signed_distance import SignedDistance
from shapeprior.sdf.strategies import OnSurface, StrategySettings

MAX_SAMPLES = 500_000
"""Samples and surface points of one shape together, at most."""
STRATEGIES = tuple(strategy.name for strategy in fields(StrategySettings))
"""Names of the strategies whose samples have distances; `SdfSamples.strategy` holds indices into this tuple."""
SURFACE = "surface"
"""Name of the strategy whose points have normals instead of distances, and are kept apart."""

SampleType = Literal["float16", "float32"]


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """Number of samples of a shape that each strategy draws. The default is DeepSDF's mix of 10,000."""

    near: int = 9_400
    """Samples near the surface."""
    uniform: int = 600
    """Samples everywhere in the unit ball."""
    edges: int = 0
    """Samples near sharp edges."""
    rays: int = 0
    """Samples along the rays of depth sensors."""
    walls: int = 0
    """Samples across thin walls."""
    surface: int = 0
    """Points on the surface with normals, in addition to the samples with distances."""
    dtype: SampleType = "float16"
    """Type in which samples are stored; float16 halves the files. Surface points and normals are always float32."""
    settings: StrategySettings = field(default_factory=StrategySettings)
    """Settings of the strategies."""

    def __post_init__(self) -> None:
        for name in (*STRATEGIES, SURFACE):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} = {getattr(self, name)} samples a shape; expected 0 or more")
        if not 1 <= self.count <= MAX_SAMPLES - self.surface:
            raise ConfigError(
                f"{self.count} samples a shape and {self.surface} of its surface; expected at least 1 sample, and "
                f"{MAX_SAMPLES} in all at most"
            )
        if self.dtype not in get_args(SampleType):
            raise ConfigError(f"dtype = {self.dtype!r}; expected one of {', '.join(map(repr, get_args(SampleType)))}")

    @classmethod
    def deepsdf(cls, count: int) -> "SamplingConfig":
        """Return DeepSDF's mix: 47 of 50 samples near the surface, the rest uniform (as in its released sampler)."""
        near = round(count * 47 / 50)
        return cls(near=near, uniform=count - near)

    @property
    def count(self) -> int:
        """Number of samples with distances, of all strategies together: the rows of `SdfSamples`."""
        return sum(getattr(self, name) for name in STRATEGIES)

    @property
    def strategies(self) -> tuple[str, ...]:
        """Names of all strategies, used or not, in the order of the indices in `SdfSamples.strategy`."""
        return STRATEGIES


@dataclass(frozen=True, eq=False)
class SurfaceSamples:
    """Points where the field of a shape is zero, with their normals."""

    points_unit: Float32[np.ndarray, "points 3"]
    """Points of the unit frame; after rounding they lie within 1e-7 of the zero level set."""
    normals_unit: Float32[np.ndarray, "points 3"]
    """Outward unit normals at the points, which are the gradients of the field there."""


@dataclass(frozen=True, eq=False)
class SdfSamples:
    """Points of the unit frame with their signed distances. Rows are shuffled, so that any block is a random subset.

    Points are rounded to the stored type first and measured afterwards, so that each distance belongs to the point that
    is stored. In float16 such a point may lie up to 2^-11 outside the unit ball. The distance is rounded, too: in
    float16 by at most 2^-11 of itself (by 2^-25 where it is below 2^-14), never to another sign, and never to zero. On
    chairs, airplanes and mugs with DeepSDF's mix that is 7e-6 on average, or 2e-4 of the distance; distances of the
    points before rounding would be off by 3e-5 to 8e-5.
    """

    points_unit: Float16[np.ndarray, "samples 3"] | Float32[np.ndarray, "samples 3"]
    """Points of the unit frame."""
    sdf: Float16[np.ndarray, "samples"] | Float32[np.ndarray, "samples"]
    """Signed distances in unit-sphere radii, negative inside, in the same type as the points."""
    strategy: UInt8[np.ndarray, "samples"]
    """Index in `SamplingConfig.strategies` of the strategy that drew each sample."""
    surface: SurfaceSamples | None = None
    """Surface points; None unless they were asked for."""


def sample_sdf(distance: SignedDistance, config: SamplingConfig, *, rng: np.random.Generator) -> SdfSamples:
    """Draw the samples of one shape and measure their distances.

    Each strategy has a random generator of its own, seeded by its name, so that its samples do not depend on the
    others. Raises MeshError if the surface has no area, or no normals although surface points are asked for.
    """
    seed = rng.integers(2**32, size=4).tolist()

    def generator(name: str) -> np.random.Generator:
        return np.random.default_rng([*seed, *name.encode()])

    counts = [getattr(config, name) for name in STRATEGIES]
    drawn = [
        getattr(config.settings, name).draw(distance, count, rng=generator(name))
        for name, count in zip(STRATEGIES, counts, strict=True)
        if count > 0
    ]
    order = generator("order").permutation(config.count)
    points = np.concatenate(drawn)[order].astype(config.dtype)
    surface = None
    if config.surface > 0:
        on_surface, normals = OnSurface().draw(distance, config.surface, rng=generator(SURFACE))
        surface = SurfaceSamples(on_surface.astype(np.float32), normals.astype(np.float32))
    return SdfSamples(
        points_unit=points,
        sdf=_round_keeping_sign(distance(points.astype(np.float64)), config.dtype),
        strategy=np.repeat(np.arange(len(STRATEGIES), dtype=np.uint8), counts)[order],
        surface=surface,
    )


def parse_counts(text: str) -> SamplingConfig:
    """Parse the value of ``--samples``: a number for DeepSDF's mix, or counts such as ``near=9400,edges=600``.

    Strategies that are not named draw nothing. Raises ConfigError for a name that is unknown or given twice, for
    anything but a whole number, and for a count out of range.
    """
    names = (*STRATEGIES, SURFACE)
    expected = f"expected a number, or counts such as near=9400,uniform=600 of {', '.join(names)}"
    if "=" not in text:
        return SamplingConfig.deepsdf(_parse_count(text, where=f"samples {text!r}: {expected}"))
    counts: dict[str, int] = dict.fromkeys(names, 0)
    given = set()
    for item in text.split(","):
        name, _, count = (part.strip() for part in item.partition("="))
        if name not in counts:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else expected
            raise ConfigError(f"samples {text!r}: unknown strategy {name!r}; {hint}")
        if name in given:
            raise ConfigError(f"samples {text!r}: {name} is given twice; expected one count")
        given.add(name)
        counts[name] = _parse_count(count, where=f"samples {text!r}: {expected}")
    return replace(SamplingConfig(), **counts)


def _parse_count(text: str, *, where: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"{where}; found {text!r}") from None


def _round_keeping_sign(
    sdf: Float[np.ndarray, "samples"], dtype: SampleType
) -> Float16[np.ndarray, "samples"] | Float32[np.ndarray, "samples"]:
    """Round distances; those that would become zero become the smallest number of their sign instead."""
    rounded = sdf.astype(dtype)
    smallest = np.nextafter(rounded.dtype.type(0), rounded.dtype.type(1))
    vanished = (rounded == 0) & (sdf != 0)
    return np.where(vanished, np.copysign(smallest, sdf.astype(np.float64)).astype(dtype), rounded)
