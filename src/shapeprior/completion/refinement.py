"""Refines the decoded shape beyond what its code can say, towards the surface that was observed.

`Decoder.prepare` turns a code into feature planes or biases. These hold more detail than the code, and moving them
until the field fits its targets adds the details of an unseen shape. The idea of adapting the decoder to one shape
after its code was found comes from pivotal tuning (Roich et al. 2022, "Pivotal tuning for latent-based editing of real
images"). That moving the prepared tensors is enough, without any weight, is our own finding.
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

ADAM_BETAS = (0.9, 0.98)
"""These are short memories: over so few steps, averages of a thousand steps would never settle."""
ONLY_ROW = np.zeros(1, dtype=np.int64)
"""Row index of a table that holds one tensor."""
OFFSET_NEIGHBOURS = 8
"""Number of observed points whose mean offset is taken together."""
HALF_TRUST = 4.0
"""Squared standard errors of the neighbours' mean at which half of it is believed."""
NUM_CUBE_POINTS, NUM_AROUND_POINTS = 40_000, 4_000
"""Numbers of points in the cube and around the observed points that keep the field as it is there."""
AROUND_DEVIATION = 0.1
"""Standard deviation of the points around the observed ones, in radii."""
NEAR_FIELD = 0.1
"""Of the keeping points farther than this from the surface, in radii, one in twenty is enough."""
VIEW_HUBER, VIEW_EPSILON = 0.003, 1e-6
"""Huber threshold (in radii) and Adam's epsilon in the refinement to a view. The keeping points are off by rounding
only, and with a smaller epsilon Adam would turn the sign of that rounding into steps."""


@dataclass(frozen=True, kw_only=True)
class RefineConfig:
    """Settings of the refinement of one shape."""

    samples: int = 50_000
    """Number of samples of the field, where all of it is known. Planes of 64² cells fit the 10,000 samples that a code
    is fitted to, and the noise between them, better than the shape (docs/ablation.md)."""
    steps: int = 200
    """Number of Adam steps. 0 leaves the field as the code makes it."""
    points: int = 8192
    """Number of samples in a step, drawn anew each time."""
    rate: float = 0.2
    """Adam's learning rate at the start, as a share of each prepared tensor's standard deviation. It falls to 0 along
    half a cosine."""
    huber: float = 0.0
    """Errors below this, in radii, count squared."""
    epsilon: float = 1e-8
    """Adam's epsilon. Gradients far below it move nothing."""
    local: bool = False
    """Whether only the local part of the changes is made (`Decoder.local_part`). A few thousand points of one view tell
    where a surface is, but neither how rough it is nor where other surfaces are."""

    def __post_init__(self) -> None:
        check_numbers(
            self, at_least_one=("samples", "points"), positive=("rate", "epsilon"), not_negative=("steps", "huber")
        )


@dataclass(frozen=True, kw_only=True)
class ViewRefinementConfig:
    """Settings of the refinement of a completed shape to its view. Lengths are in unit-sphere radii."""

    steps: int = 20
    """Number of Adam steps. 0 leaves the shape as the code makes it."""
    points: int = 2048
    """Number of samples in a step."""
    rate: float = 0.08
    """Adam's learning rate (see `RefineConfig`)."""
    reach: float = 0.05
    """Observed points farther than this from the code's surface are ignored. Either the code is wrong there, or they
    are."""
    thickness: float = 0.03
    """The field moves with the surface before and behind it, less with distance, and not at all from this distance
    on."""
    gap: float = 0.04
    """From this distance to the observed points on, the field stays as it is."""

    def __post_init__(self) -> None:
        check_numbers(
            self,
            at_least_one=("points",),
            positive=("rate", "reach", "thickness", "gap"),
            not_negative=("steps",),
        )
        if self.gap <= self.thickness:
            raise ConfigError(
                f"gap = {self.gap}; expected more than thickness = {self.thickness}: the field cannot both move and "
                "stay at one place; raise gap or lower thickness"
            )

    @property
    def refinement(self) -> RefineConfig:
        """Settings of the refinement to the targets."""
        return RefineConfig(
            steps=self.steps, points=self.points, rate=self.rate, huber=VIEW_HUBER, epsilon=VIEW_EPSILON, local=True
        )


@dataclass(frozen=True, eq=False)
class FieldSamples:
    """Targets for the field of one shape, in the unit frame."""

    points: Float[Tensor, "samples 3"]
    values: Float[Tensor, "samples"]
    """Signed distances in unit-sphere radii."""
    side: Float[Tensor, "samples"]
    """0 where the field has this value, 1 where it has this or more, -1 where it has this or less."""

    @classmethod
    def of_sdf(cls, points: Float[Tensor, "samples 3"], sdf: Float[Tensor, "samples"], clamp: float) -> "FieldSamples":
        """Make targets of signed distances. Beyond the clamp, it is only known that the field is beyond it."""
        side = torch.where(sdf.abs() < clamp, 0.0, torch.sign(sdf))
        return cls(points, sdf.clamp(-clamp, clamp), side)

    @classmethod
    def of_shape(
        cls, distance: SignedDistance, count: int, clamp: float, *, rng: np.random.Generator, like: Tensor
    ) -> "FieldSamples":
        """Draw `count` targets from a shape, a sixth of them beside its sharp edges, in type and device of `like`.

        Raises MeshError if the surface has no area.
        """
        edges, uniform = count // 6, count // 25
        sampling = SamplingConfig(near=count - edges - uniform, uniform=uniform, edges=edges, dtype="float32")
        drawn = sample_sdf(distance, sampling, rng=rng)
        points, sdf = (torch.from_numpy(part).to(like) for part in (drawn.points_unit, drawn.sdf))
        return cls.of_sdf(points, sdf, clamp)

    def error(self, field: Float[Tensor, "drawn"], rows: Tensor) -> Float[Tensor, "drawn"]:
        """Return how far field values at some samples are from their targets."""
        lacking = self.values[rows] - field
        side = self.side[rows]
        return torch.where(side == 0.0, lacking.abs(), torch.relu(side * lacking))


def refine_prepared(
    decoder: Decoder, prepared: tuple[Tensor, ...], samples: FieldSamples, *, config: RefineConfig, seed: int
) -> tuple[Tensor, ...]:
    """Change the prepared tensors of one code so that the field fits its targets. Weights and code stay as they are.

    Where nothing is known, samples of the field as it was must be among the targets, or it drifts. This does not touch
    torch's global random generator.
    """
    first = [tensor.detach() for tensor in prepared]
    if config.steps == 0 or len(samples.points) == 0:
        return tuple(first)
    # torch's own Adam would import its compiler first, which takes longer than a completion.
    tables = [
        RowAdam(torch.zeros_like(tensor).reshape(1, -1), betas=ADAM_BETAS, epsilon=config.epsilon) for tensor in first
    ]
    rates = [config.rate * max(float(tensor.std(correction=0)), 1e-6) for tensor in first]

    def moved(rows: list[Tensor]) -> tuple[Tensor, ...]:
        changes = tuple(row.view_as(tensor) for row, tensor in zip(rows, first, strict=True))
        changes = decoder.local_part(changes) if config.local else changes
        return tuple(map(torch.add, first, changes))

    generator = seeded(seed)
    for step in range(config.steps):
        drawn = torch.randint(len(samples.points), (config.points,), generator=generator).to(samples.points.device)
        changes = [table.take(ONLY_ROW) for table in tables]
        with torch.enable_grad():
            field = decoder.query(moved(changes), samples.points[drawn][None])[0]
            error = samples.error(field, drawn)
            value = nn.functional.smooth_l1_loss(error, torch.zeros_like(error), beta=config.huber)
            gradients = torch.autograd.grad(value, changes)
        share = cosine_decay(step, config.steps)
        for table, gradient, rate in zip(tables, gradients, rates, strict=True):
            table.step(ONLY_ROW, gradient, rate=rate * share)
    return moved([table.values for table in tables])


def observed_surface_targets(
    decoder: Decoder, prepared: tuple[Tensor, ...], view_unit: Observation, *, config: ViewRefinementConfig, seed: int
) -> FieldSamples:
    """Return targets for refining a completion: signed offsets between the decoded surface and the observed points.

    `view_unit` is the view without outliers, in the unit frame in which the shape was placed. The offset at an observed
    point is the mean over its neighbours. It is believed less, the more the neighbours disagree (the shrinkage of
    Wiener
    filters: mean² against the variance of the mean), so that noise does not become shape. Points at which the shape
    faces away from the sensor belong to the other side of a thin wall and are left out. The result is empty if fewer
    than `OFFSET_NEIGHBOURS` points of the view are within `config.reach` of the surface.
    """
    like, field = prepared[0], DecodedField(decoder, prepared)
    # A point that is there twice would agree with itself.
    view = view_unit.without_repeated_points()
    points = view.points_world
    found = decoder.gradient(prepared, torch.from_numpy(points).to(like))
    values, gradient = (part.cpu().double().numpy() for part in found)
    within = (np.abs(values) < config.reach) & ~_faces_away(view, gradient)
    if np.count_nonzero(within) < OFFSET_NEIGHBOURS:
        return FieldSamples.of_sdf(like.new_zeros((0, 3)), like.new_zeros(0), clamp=1.0)
    surface, values, gradient = points[within], values[within], gradient[within]
    rng, tree = np.random.default_rng([seed, 6]), KDTree(surface)
    offset = _believed_offset(values, tree)
    normals = gradient / np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), 1e-6)
    parts = [(surface, values - offset)]
    for aside in config.thickness * rng.uniform(-1.0, 1.0, (2, len(surface))):
        moved = surface + aside[:, None] * normals
        parts.append((moved, field(moved) - offset * (1.0 - np.abs(aside) / config.thickness)))
    elsewhere = _points_elsewhere(tree, gap=config.gap, rng=rng)
    as_it_is = field(elsewhere)
    kept = np.abs(as_it_is) < NEAR_FIELD
    kept[::20] = True
    parts.append((elsewhere[kept], as_it_is[kept]))
    where, known = (torch.from_numpy(np.concatenate(part)).to(like) for part in zip(*parts, strict=True))
    return FieldSamples(where, known, torch.zeros_like(known))


def _faces_away(view: Observation, gradient: Float[np.ndarray, "points 3"]) -> Bool[np.ndarray, "points"]:
    """Return which points have their sensor, or else their normal, on the field's inner side. No point does if neither
    is known."""
    outward = view.normals_world if view.origins_world is None else view.origins_world - view.points_world
    if outward is None:
        return np.zeros(len(gradient), dtype=np.bool_)
    return np.einsum("ij,ij->i", gradient, outward) < 0.0


def _believed_offset(values: Float[np.ndarray, "points"], tree: KDTree) -> Float[np.ndarray, "points"]:
    """Return the mean over each point's neighbours, shrunk where it may be chance."""
    near = values[tree.query(tree.data, k=OFFSET_NEIGHBOURS, workers=-1)[1]]
    mean, error = near.mean(axis=1), HALF_TRUST * near.var(axis=1) / OFFSET_NEIGHBOURS
    return mean * mean**2 / np.maximum(mean**2 + error, 1e-12)


def _points_elsewhere(tree: KDTree, *, gap: float, rng: np.random.Generator) -> Float[np.ndarray, "points 3"]:
    """Draw points away from the observed ones, in the whole cube and around what was seen."""
    around = tree.data[rng.integers(tree.n, size=NUM_AROUND_POINTS)] + rng.normal(
        0.0, AROUND_DEVIATION, (NUM_AROUND_POINTS, 3)
    )
    points = np.concatenate([rng.uniform(-1.0, 1.0, (NUM_CUBE_POINTS, 3)), around])
    distance, _ = tree.query(points, distance_upper_bound=gap, workers=-1)
    return points[np.isinf(distance)]
