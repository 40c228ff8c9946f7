"""The residuals of a fit: what a partial view says of the field, how far a field is from it, and how much each point
counts.

A view says where the field is zero (its points), where it is positive (the space that it looked through), and what the
field is a little before and behind its points.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.spatial import KDTree
from torch import Tensor

from shapeprior.models.decoder import Decoder, seeded
from shapeprior.scans.free_space import free_space_samples
from shapeprior.scans.observation import Observation

NORMAL_NEIGHBOURS = 12
"""Number of neighbours whose best plane gives a point's normal."""
FREE_SAMPLES_PER_RAY = 4
STOP_SHORT = 0.02
"""Distance before a point at which its ray stops being free, in unit-sphere radii."""
NEAR_FREE_RANGE = (0.02, 0.15)
"""Distances before each point at which a free point is drawn close to the surface, in unit-sphere radii."""


@dataclass(frozen=True, eq=False)
class ObservedSamples:
    """Samples of the field that a view gives, in the unit frame as far as it is known. The solver draws from them."""

    surface: Float[np.ndarray, "points 3"]
    """Points where the field is zero."""
    normals: Float[np.ndarray, "points 3"]
    """Outward unit normals at these points. They are zero where neither normal nor sensor is known."""
    free: Float[np.ndarray, "free 3"]
    """Points that the view saw to be outside. There may be none."""


def observed_samples(view_unit: Observation, *, seed: int) -> ObservedSamples:
    """Turn a view without outliers, in the unit frame as far as it is known, into samples of the field.

    Normals are the view's own where it has some. Others are those of the best plane through a point's neighbours,
    turned towards the sensor.
    """
    points = view_unit.points_world
    normals = view_unit.normals_world
    if normals is None or not normals.any(axis=1).all():
        estimated = _estimated_normals(points, view_unit.origins_world)
        normals = estimated if normals is None else np.where(normals.any(axis=1, keepdims=True), normals, estimated)
    free = free_space_samples(
        view_unit,
        per_ray=FREE_SAMPLES_PER_RAY,
        rng=np.random.default_rng([seed, 1]),
        radius=1.0,
        stop_short=STOP_SHORT,
    )
    near = _free_points_near_surface(view_unit, rng=np.random.default_rng([seed, 2]))
    return ObservedSamples(surface=points, normals=normals, free=np.concatenate([free, near]))


def _free_points_near_surface(view: Observation, *, rng: np.random.Generator) -> Float[np.ndarray, "samples 3"]:
    """Draw a free point a little before each surface point, where free space shapes the surface most."""
    if view.origins_world is None:
        return np.zeros((0, 3))
    towards = view.origins_world - view.points_world
    length = np.linalg.norm(towards, axis=1, keepdims=True)
    step = np.minimum(rng.uniform(*NEAR_FREE_RANGE, size=length.shape), 0.9 * length)
    return view.points_world + towards / np.maximum(length, 1e-9) * step


def _estimated_normals(
    points: Float[np.ndarray, "points 3"], origins: Float[np.ndarray, "points 3"] | None
) -> Float[np.ndarray, "points 3"]:
    """Estimate normals that point to the sensor. They are zero without a sensor, and for fewer than four points."""
    if origins is None or len(points) < 4:
        return np.zeros_like(points)
    _, neighbours = KDTree(points).query(points, k=min(NORMAL_NEIGHBOURS, len(points)), workers=-1)
    around = points[neighbours] - points[neighbours].mean(axis=1, keepdims=True)
    # eigh returns eigenvalues in rising order, so that the first vector is the plane's normal.
    normals = np.linalg.eigh(np.einsum("pni,pnj->pij", around, around))[1][:, :, 0]
    towards = np.sign(np.einsum("ij,ij->i", normals, origins - points))
    return normals * np.where(towards == 0.0, 1.0, towards)[:, None]


@dataclass(frozen=True, kw_only=True)
class ResidualSettings:
    """The part of `InferConfig` that defines the objective."""

    shell: float
    """Distance of the points before and behind each surface point, in unit-sphere radii."""
    huber: float
    """Residual from which errors count linearly instead of squared, in unit-sphere radii."""
    free_weight: float
    """Weight of free space beside the surface."""


@dataclass(frozen=True, eq=False)
class Residuals:
    """Residuals at some points of a view: on its surface, a little before and behind it (the shell), and in free space.

    Residuals on the surface and on the shell are robust (Huber). A point of free space counts only if the field there
    falls short of being outside. Each kind counts by the mean over its points. Distances are in unit-sphere radii.
    """

    surface: Float[Tensor, "points 3"]
    normals: Float[Tensor, "points 3"]
    """Unit normals, or zero where they are unknown."""
    free: Float[Tensor, "free 3"]
    settings: ResidualSettings

    @classmethod
    def draw(
        cls, samples: ObservedSamples, settings: ResidualSettings, *, points: int, free: int, seed: int, like: Tensor
    ) -> "Residuals":
        """Draw at most `points` surface points and `free` free points, in the type and device of `like`."""
        generator = seeded(seed)

        def tensor(array: object, rows: Tensor) -> Tensor:
            return torch.as_tensor(array)[rows].to(like)

        rows = torch.randperm(len(samples.surface), generator=generator)[:points]
        empty = torch.randperm(len(samples.free), generator=generator)[:free]
        return cls(tensor(samples.surface, rows), tensor(samples.normals, rows), tensor(samples.free, empty), settings)

    def with_free(self, points: Float[Tensor, "more 3"]) -> "Residuals":
        """Return the residuals with more free points, given in the frame of the others."""
        return Residuals(self.surface, self.normals, torch.cat([self.free, points]), self.settings)

    def transformed(
        self, scale: Float[Tensor, ""], rotation: Float[Tensor, "3 3"], offset: Float[Tensor, "3"]
    ) -> "Residuals":
        """Return the residuals of the same view in another guess of the unit frame."""
        return Residuals(
            scale * (self.surface @ rotation.T) + offset,
            self.normals @ rotation.T,
            scale * (self.free @ rotation.T) + offset,
            self.settings,
        )

    @property
    def points(self) -> Float[Tensor, "all 3"]:
        """Points at which the field is evaluated: surface, shell before it, shell behind it, free space."""
        shell = self.settings.shell * self.normals
        return torch.cat([self.surface, self.surface + shell, self.surface - shell, self.free])

    @property
    def anchors(self) -> Float[Tensor, "all 3"]:
        """The same points without the shell's step off the surface, which does not grow with the view's scale."""
        return torch.cat([self.surface, self.surface, self.surface, self.free])

    def errors(self, field: Float[Tensor, "*codes all"]) -> Float[Tensor, "*codes all"]:
        """Return the field minus its target at each point, and 0 for free points that are outside."""
        count, shell = len(self.surface), self.settings.shell
        on, before, behind, empty = field.split([count, count, count, len(self.free)], dim=-1)
        return torch.cat([on, before - shell, behind + shell, (empty - shell).clamp(max=0.0)], dim=-1)

    def value(self, field: Float[Tensor, "*codes all"]) -> Float[Tensor, "*codes"]:
        """Return the data term of the objective. It is infinite for a field with NaN, which must lose every
        comparison."""
        error, bend = self.errors(field).abs(), self.settings.huber
        robust = torch.where(error <= bend, error.square() / (2.0 * bend), error - 0.5 * bend)
        value = (torch.where(self._is_free, error, robust) * self._shares).sum(dim=-1)
        return torch.where(value.isnan(), torch.inf, value)

    def weights(self, field: Float[Tensor, "all"]) -> Float[Tensor, "all"]:
        """Return weights with which half the squared errors have the gradient of `value`.

        This is iteratively reweighted least squares (Holland and Welsch 1977, "Robust regression using iteratively
        reweighted least-squares").
        """
        error, bend = self.errors(field).abs(), self.settings.huber
        robust = 1.0 / error.clamp_min(bend)
        # The weight of an absolute value would grow without bound near zero.
        short = (error > 0) / error.clamp_min(0.5 * bend)
        return torch.where(self._is_free, short, robust) * self._shares

    def of(self, decoder: Decoder, codes: Float[Tensor, "codes code"]) -> Float[Tensor, "codes"]:
        """Return `value` for each of some codes."""
        points = self.points
        return self.value(decoder(codes, points.expand(len(codes), -1, -1)))

    @property
    def _is_free(self) -> Bool[Tensor, "all"]:
        count = 3 * len(self.surface)
        return torch.arange(count + len(self.free), device=self.surface.device) >= count

    @property
    def _shares(self) -> Float[Tensor, "all"]:
        known = self.normals.abs().sum(dim=-1) > 0
        one = torch.full_like(self.surface[:, 0], 1.0 / max(len(self.surface), 1))
        empty = torch.full_like(self.free[:, 0], self.settings.free_weight / max(len(self.free), 1))
        return torch.cat([one, 0.5 * one * known, 0.5 * one * known, empty])
