"""SDF samples of a shape, after DeepSDF."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from shapeprior.errors import ConfigError
from shapeprior.signed_distance import SignedDistance
from shapeprior.surface import sample_surface

MAX_SAMPLES = 500_000


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """Where the samples of a shape lie (Park et al. 2019, "DeepSDF", section 5, and its released sampler)."""

    count: int = 10_000
    """Samples a shape."""
    near_share: float = 0.94
    """Share of samples near the surface (47 of 50); the rest is uniform in the unit sphere."""
    variances: tuple[float, ...] = (0.0025, 0.00025)
    """Variances of the Gaussian offsets from the surface, in squared unit-sphere radii; equal shares each."""

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_SAMPLES:
            raise ConfigError(f"count = {self.count} samples a shape; expected 1 to {MAX_SAMPLES}")
        if not 0.0 <= self.near_share <= 1.0:
            raise ConfigError(f"near_share = {self.near_share}; expected 0 to 1")
        if not self.variances or not all(0.0 < variance < np.inf for variance in self.variances):
            raise ConfigError(f"variances = {self.variances}; expected positive numbers")


@dataclass(frozen=True, eq=False)
class SdfSamples:
    """Points of the unit frame with their signed distances; rows are shuffled, so that any block is a random subset."""

    points_unit: Float32[np.ndarray, "samples 3"]
    sdf: Float32[np.ndarray, "samples"]


def sample_sdf(distance: SignedDistance, config: SamplingConfig, *, rng: np.random.Generator) -> SdfSamples:
    """Draw samples of one shape. Points are rounded to float32 first and measured after, so the labels are exact."""
    near = round(config.count * config.near_share)
    on_surface, _ = sample_surface(distance.surface, near, rng=rng)
    deviations = np.sqrt(np.resize(np.asarray(config.variances), near))
    points_near = on_surface + rng.standard_normal((near, 3)) * deviations[:, None]
    points = np.concatenate([points_near, uniform_in_ball(config.count - near, rng=rng)])
    points = points[rng.permutation(len(points))].astype(np.float32)
    return SdfSamples(points_unit=points, sdf=distance(points.astype(np.float64)).astype(np.float32))


def uniform_in_ball(count: int, *, rng: np.random.Generator) -> np.ndarray:
    """Points uniform in the unit ball: directions of normal vectors, radii as cube roots. Shape (count, 3)."""
    directions = rng.standard_normal((count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions * np.cbrt(rng.random((count, 1)))
