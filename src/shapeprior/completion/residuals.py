"""What a field should be at the points of a view, how far it is from that, and how much each point counts.

What a partial view says about the field: where it is zero, where it is positive, and by how much near the surface.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.spatial import KDTree
from torch import Tensor

from shapeprior.models.decoder import Decoder, seeded
from shapeprior.scans.observation import Observation

NEIGHBOURS = 12


@dataclass(frozen=True, eq=False)
class ObservedSamples:
    """Samples of a view in its guessed unit frame; the solver draws from them at each step."""

    surface: Float[np.ndarray, "points 3"]
    """Points where the field is zero."""
    normals: Float[np.ndarray, "points 3"]
    """Outward unit normals there; zero where neither they nor the sensor are known, or with fewer than four points."""
    free: Float[np.ndarray, "free 3"]
    """Points that were seen to be outside; may be empty."""


def observed_samples(view_unit: Observation, *, seed: int) -> ObservedSamples:
    """Turn a view without strays, in the unit frame as far as it is known, into samples of the field.

    Normals are the view's own where it has some; else those of the best plane through each point's neighbours, turned to the
    sensor.
    """
    points = view_unit.points_world
    normals = view_unit.normals_world
    if normals is None or not normals.any(axis=1).all():
        estimated = _normals(points, view_unit.origins_world)
        normals = estimated if normals is None else np.where(normals.any(axis=1, keepdims=True), normals, estimated)
    free = view_unit.free_space_samples(per_ray=4, rng=np.random.default_rng([seed, 1]), radius=1.0, stop_short=0.02)
    near = _just_before(view_unit, rng=np.random.default_rng([seed, 2]))
    return ObservedSamples(surface=points, normals=normals, free=np.concatenate([free, near]))


def _just_before(view: Observation, *, rng: np.random.Generator) -> Float[np.ndarray, "samples 3"]:
    """Free points close to the surface, where they shape it most: 0.02 to 0.15 before each point, towards the sensor."""
    if view.origins_world is None:
        return np.zeros((0, 3))
    towards = view.origins_world - view.points_world
    length = np.linalg.norm(towards, axis=1, keepdims=True)
    step = np.minimum(rng.uniform(0.02, 0.15, size=length.shape), 0.9 * length)
    return view.points_world + towards / np.maximum(length, 1e-9) * step


def _normals(
    points: Float[np.ndarray, "points 3"], origins: Float[np.ndarray, "points 3"] | None
) -> Float[np.ndarray, "points 3"]:
    if origins is None or len(points) < 4:
        return np.zeros_like(points)
    _, neighbours = KDTree(points).query(points, k=min(NEIGHBOURS, len(points)), workers=-1)
    around = points[neighbours] - points[neighbours].mean(axis=1, keepdims=True)
    # The eigenvalues of a symmetric matrix come in rising order.
    normals = np.linalg.eigh(np.einsum("pni,pnj->pij", around, around))[1][:, :, 0]
    towards = np.sign(np.einsum("ij,ij->i", normals, origins - points))
    return normals * np.where(towards == 0.0, 1.0, towards)[:, None]


@dataclass(frozen=True, kw_only=True)
class ResidualSettings:
    """The part of `shapeprior.completion.solver.InferConfig` that says what is minimised."""

    shell: float
    huber: float
    free_weight: float


@dataclass(frozen=True, eq=False)
class Residuals:
    """Some points of a view: on its surface, a little before and behind it, and in free space.

    The surface's and the shell's residuals are robust (Huber), those of free space count where the field falls short of being
    outside. Means over the points of each kind; distances are in unit-sphere radii.
    """

    surface: Float[Tensor, "points 3"]
    normals: Float[Tensor, "points 3"]
    """Unit length, or zero where unknown."""
    free: Float[Tensor, "free 3"]
    settings: ResidualSettings

    @classmethod
    def draw(
        cls, samples: ObservedSamples, settings: ResidualSettings, *, points: int, free: int, seed: int, like: Tensor
    ) -> "Residuals":
        """A random part of a view's samples, at most so many, in type and device of `like`."""
        generator = seeded(seed)

        def tensor(array: object, rows: Tensor) -> Tensor:
            return torch.as_tensor(array)[rows].to(like)

        rows = torch.randperm(len(samples.surface), generator=generator)[:points]
        empty = torch.randperm(len(samples.free), generator=generator)[:free]
        return cls(tensor(samples.surface, rows), tensor(samples.normals, rows), tensor(samples.free, empty), settings)

    def with_free(self, points: Float[Tensor, "more 3"]) -> "Residuals":
        """The same with more points that were seen to be free, in the frame of the others."""
        return Residuals(self.surface, self.normals, torch.cat([self.free, points]), self.settings)

    def transformed(
        self, scale: Float[Tensor, ""], rotation: Float[Tensor, "3 3"], offset: Float[Tensor, "3"]
    ) -> "Residuals":
        """The same view in another guess of the unit frame."""
        return Residuals(
            scale * (self.surface @ rotation.T) + offset,
            self.normals @ rotation.T,
            scale * (self.free @ rotation.T) + offset,
            self.settings,
        )

    @property
    def points(self) -> Float[Tensor, "all 3"]:
        """Where the field is asked: surface, before it, behind it, free space."""
        shell = self.settings.shell * self.normals
        return torch.cat([self.surface, self.surface + shell, self.surface - shell, self.free])

    @property
    def anchors(self) -> Float[Tensor, "all 3"]:
        """The points without the step off the surface, which does not grow with the view's scale."""
        return torch.cat([self.surface, self.surface, self.surface, self.free])

    def errors(self, field: Float[Tensor, "*codes all"]) -> Float[Tensor, "*codes all"]:
        """The field less what it should be, and 0 for free points that are outside."""
        count, shell = len(self.surface), self.settings.shell
        on, before, behind, empty = field.split([count, count, count, len(self.free)], dim=-1)
        return torch.cat([on, before - shell, behind + shell, (empty - shell).clamp(max=0.0)], dim=-1)

    def value(self, field: Float[Tensor, "*codes all"]) -> Float[Tensor, "*codes"]:
        """What is minimised, the prior apart; infinite where the field is not a number, which must lose every comparison."""
        error, bend = self.errors(field).abs(), self.settings.huber
        robust = torch.where(error <= bend, error.square() / (2.0 * bend), error - 0.5 * bend)
        value = (torch.where(self._is_free, error, robust) * self._shares).sum(dim=-1)
        return torch.where(value.isnan(), torch.inf, value)

    def weights(self, field: Float[Tensor, "all"]) -> Float[Tensor, "all"]:
        """Weights with which half the squared errors have the gradient of `value` (iteratively reweighted least squares)."""
        error, bend = self.errors(field).abs(), self.settings.huber
        robust = 1.0 / error.clamp_min(bend)
        # Near zero, the weight of an absolute value has no bound of its own.
        short = (error > 0) / error.clamp_min(0.5 * bend)
        return torch.where(self._is_free, short, robust) * self._shares

    def of(self, decoder: Decoder, codes: Float[Tensor, "codes code"]) -> Float[Tensor, "codes"]:
        """`value` of some codes."""
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
