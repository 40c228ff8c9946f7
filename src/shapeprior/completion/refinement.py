"""What a view shows of a completed shape that its code cannot say: by how much the surface lies elsewhere, where it was seen.

Beyond what a code can say: the prepared decoder of one shape is moved until its field fits what was seen of it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.spatial import KDTree
from torch import Tensor, nn

from shapeprior.config import check_numbers
from shapeprior.errors import ConfigError
from shapeprior.models.decoder import DecodedField, Decoder, seeded
from shapeprior.models.optimizers import RowAdam, cosine_decay
from shapeprior.scans.observation import Observation
from shapeprior.sdf.sampling import SamplingConfig, sample_sdf
from shapeprior.sdf.signed_distance import SignedDistance

BETAS = (0.9, 0.98)
"""Of Adam: so few steps have no use for moments that remember a thousand."""
ROW = np.zeros(1, dtype=np.int64)
"""The one row of a table that is a tensor."""


@dataclass(frozen=True, kw_only=True)
class RefineConfig:
    """Settings of the refinement."""

    samples: int = 50_000
    """Of the shape's field, where all of it is known: planes of 64² cells fit the 10,000 that a code is fitted to, and the noise
    between them, better than the shape (docs/ablation.md)."""
    steps: int = 200
    """Adam steps; 0 leaves the field as the code made it."""
    points: int = 8192
    """Samples in a step, drawn afresh."""
    rate: float = 0.2
    """Adam's learning rate at the start, as a share of each prepared tensor's standard deviation; it falls to 0 along half a
    cosine."""
    huber: float = 0.0
    """Errors below this count squared, in radii, instead of as they are."""
    epsilon: float = 1e-8
    """Adam's: gradients far below it move nothing."""
    local: bool = False
    """Whether only `Decoder.local_part` of the changes is made: a few thousand points of one view say where a surface is, not how
    rough it is, nor where all others are."""

    def __post_init__(self) -> None:
        check_numbers(
            self, at_least_one=("samples", "points"), positive=("rate", "epsilon"), not_negative=("steps", "huber")
        )


@dataclass(frozen=True, eq=False)
class FieldSamples:
    """What is known of one shape's field, in the unit frame."""

    points: Float[Tensor, "samples 3"]
    values: Float[Tensor, "samples"]
    """Signed distances in unit-sphere radii."""
    side: Float[Tensor, "samples"]
    """0 where the field has this value, 1 where it has this or more, -1 where it has this or less."""

    @classmethod
    def of_sdf(cls, points: Float[Tensor, "samples 3"], sdf: Float[Tensor, "samples"], clamp: float) -> "FieldSamples":
        """Samples of a field that is known all around; beyond the clamp only that it is beyond."""
        side = torch.where(sdf.abs() < clamp, 0.0, torch.sign(sdf))
        return cls(points, sdf.clamp(-clamp, clamp), side)

    @classmethod
    def of_shape(
        cls, distance: SignedDistance, count: int, clamp: float, *, rng: np.random.Generator, like: Tensor
    ) -> "FieldSamples":
        """So many fresh samples of a shape, a sixth of them beside its sharp edges, in type and device of `like`.

        Raises MeshError if the surface has no area.
        """
        edges, uniform = count // 6, count // 25
        sampling = SamplingConfig(near=count - edges - uniform, uniform=uniform, edges=edges, dtype="float32")
        drawn = sample_sdf(distance, sampling, rng=rng)
        points, sdf = (torch.from_numpy(part).to(like) for part in (drawn.points_unit, drawn.sdf))
        return cls.of_sdf(points, sdf, clamp)

    def error(self, field: Float[Tensor, "drawn"], rows: Tensor) -> Float[Tensor, "drawn"]:
        """How far values of the field at some samples are from what is known there."""
        lacking = self.values[rows] - field
        side = self.side[rows]
        return torch.where(side == 0.0, lacking.abs(), torch.relu(side * lacking))


def refine_prepared(
    decoder: Decoder, prepared: tuple[Tensor, ...], samples: FieldSamples, *, config: RefineConfig, seed: int
) -> tuple[Tensor, ...]:
    """What `Decoder.prepare` made of one code, changed so that the field fits the samples; weights and code stay.

    A code of 64 numbers holds what shapes of a category have in common; the details of an unseen shape are not in it. What the
    decoder makes of the code before any point is asked for (feature planes, or biases) has room for them. The idea of adapting
    the decoder to one shape after its code: pivotal tuning (Roich et al. 2022, "Pivotal tuning for latent-based editing of real
    images"); that it is enough to move the prepared tensors, and no weight, is ours. Where nothing is known, samples of the
    field as it was must be among `samples`, or it drifts. Does not touch torch's global generator.
    """
    first = [tensor.detach() for tensor in prepared]
    if config.steps == 0 or len(samples.points) == 0:
        return tuple(first)
    # Adam by rows, of one row each: torch's own would import its compiler first, which takes longer than a completion.
    tables = [RowAdam(torch.zeros_like(tensor).reshape(1, -1), betas=BETAS, epsilon=config.epsilon) for tensor in first]
    rates = [config.rate * max(float(tensor.std(correction=0)), 1e-6) for tensor in first]

    def moved(rows: list[Tensor]) -> tuple[Tensor, ...]:
        changes = tuple(row.view_as(tensor) for row, tensor in zip(rows, first, strict=True))
        changes = decoder.local_part(changes) if config.local else changes
        return tuple(map(torch.add, first, changes))

    generator = seeded(seed)
    for step in range(config.steps):
        drawn = torch.randint(len(samples.points), (config.points,), generator=generator).to(samples.points.device)
        changes = [table.take(ROW) for table in tables]
        with torch.enable_grad():
            field = decoder.query(moved(changes), samples.points[drawn][None])[0]
            error = samples.error(field, drawn)
            value = nn.functional.smooth_l1_loss(error, torch.zeros_like(error), beta=config.huber)
            gradients = torch.autograd.grad(value, changes)
        share = cosine_decay(step, config.steps)
        for table, gradient, rate in zip(tables, gradients, rates, strict=True):
            table.step(ROW, gradient, rate=rate * share)
    return moved([table.values for table in tables])


NEIGHBOURS = 8
"""Observed points that are taken together."""
DOUBT = 4.0
"""Squared standard errors of the neighbours' mean at which half of it is believed."""
IN_CUBE, AROUND = 40_000, 4_000
"""Points that are drawn in the cube and around what was seen, to keep the field as it is there."""
SPREAD = 0.1
"""Standard deviation of those around what was seen, in radii."""
BESIDE = 0.1
"""Of points farther than this from the surface, one in twenty is enough."""
HUBER, EPSILON = 0.003, 1e-6
"""Of the refinement. Samples that are to stay are off by rounding, whose sign Adam would make steps of otherwise."""


@dataclass(frozen=True, kw_only=True)
class ViewRefinementConfig:
    """Settings of the detail that a completed mesh takes over from its view; lengths in unit-sphere radii."""

    steps: int = 20
    """Adam steps; 0 leaves the shape as the code makes it."""
    points: int = 2048
    """Samples in a step."""
    rate: float = 0.08
    """Adam's learning rate; see `RefineConfig`."""
    reach: float = 0.05
    """Observed points that are farther from the code's surface say nothing: the code is wrong there, or they are."""
    thickness: float = 0.03
    """The field moves with the surface before and behind it, the less the farther, and at this distance no more."""
    gap: float = 0.04
    """At this distance from what was seen, and beyond, the field stays as it is."""

    def __post_init__(self) -> None:
        check_numbers(
            self,
            at_least_one=("points",),
            positive=("rate", "reach", "thickness", "gap"),
            not_negative=("steps",),
        )
        if self.gap <= self.thickness:
            raise ConfigError(
                f"gap = {self.gap}; expected more than thickness = {self.thickness}: the field cannot move and stay at one place"
            )

    @property
    def refinement(self) -> RefineConfig:
        """How the prepared decoder is moved to the samples."""
        return RefineConfig(
            steps=self.steps, points=self.points, rate=self.rate, huber=HUBER, epsilon=EPSILON, local=True
        )


def observed_surface_targets(
    decoder: Decoder, prepared: tuple[Tensor, ...], view_unit: Observation, *, config: ViewRefinementConfig, seed: int
) -> FieldSamples:
    """Samples of the field that has the observed surface where there is one and is as `prepared` makes it elsewhere.

    `view_unit` is the view without strays in the unit frame, where the shape was placed in it. How far the surface is from an
    observed point is the mean over its neighbours, and is believed the less the more they disagree (the shrinkage of Wiener
    filters: mean² against the mean's variance), so that noise does not become shape. Points at which the shape turns its back
    to the sensor are of a thin wall's other side, and left out. No samples if fewer than `NEIGHBOURS` points of the view are
    left within `config.reach`.
    """
    like, field = prepared[0], DecodedField(decoder, prepared)
    # A point that is there twice agrees with itself.
    view = view_unit.select(np.sort(np.unique(view_unit.points_world, axis=0, return_index=True)[1]))
    points = view.points_world
    found = decoder.gradient(prepared, torch.from_numpy(points).to(like))
    values, slope = (part.cpu().double().numpy() for part in found)
    within = (np.abs(values) < config.reach) & ~_turned_away(view, slope)
    if np.count_nonzero(within) < NEIGHBOURS:
        return FieldSamples.of_sdf(like.new_zeros((0, 3)), like.new_zeros(0), clamp=1.0)
    surface, values, slope = points[within], values[within], slope[within]
    rng, tree = np.random.default_rng([seed, 6]), KDTree(surface)
    offset = _believed(values, tree)
    normals = slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-6)
    parts = [(surface, values - offset)]
    for aside in config.thickness * rng.uniform(-1.0, 1.0, (2, len(surface))):
        moved = surface + aside[:, None] * normals
        parts.append((moved, field(moved) - offset * (1.0 - np.abs(aside) / config.thickness)))
    elsewhere = _elsewhere(tree, gap=config.gap, rng=rng)
    as_it_is = field(elsewhere)
    kept = np.abs(as_it_is) < BESIDE
    kept[::20] = True
    parts.append((elsewhere[kept], as_it_is[kept]))
    where, known = (torch.from_numpy(np.concatenate(part)).to(like) for part in zip(*parts, strict=True))
    return FieldSamples(where, known, torch.zeros_like(known))


def _turned_away(view: Observation, slope: Float[np.ndarray, "points 3"]) -> Bool[np.ndarray, "points"]:
    """Points whose sensor, or else normal, is on the field's inner side; none if neither is known."""
    outward = view.normals_world if view.origins_world is None else view.origins_world - view.points_world
    if outward is None:
        return np.zeros(len(slope), dtype=np.bool_)
    return np.einsum("ij,ij->i", slope, outward) < 0.0


def _believed(values: Float[np.ndarray, "points"], tree: KDTree) -> Float[np.ndarray, "points"]:
    """What is believed of the field at each point: its neighbours' mean, itself among them, less where that may be chance."""
    near = values[tree.query(tree.data, k=NEIGHBOURS, workers=-1)[1]]
    mean, doubt = near.mean(axis=1), DOUBT * near.var(axis=1) / NEIGHBOURS
    return mean * mean**2 / np.maximum(mean**2 + doubt, 1e-12)


def _elsewhere(tree: KDTree, *, gap: float, rng: np.random.Generator) -> Float[np.ndarray, "points 3"]:
    """Points away from what was seen, in the cube and around it."""
    around = tree.data[rng.integers(tree.n, size=AROUND)] + rng.normal(0.0, SPREAD, (AROUND, 3))
    points = np.concatenate([rng.uniform(-1.0, 1.0, (IN_CUBE, 3)), around])
    distance, _ = tree.query(points, distance_upper_bound=gap, workers=-1)
    return points[np.isinf(distance)]
