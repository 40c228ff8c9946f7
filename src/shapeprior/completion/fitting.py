"""One guess of what a view shows, a code and a placement, and its steps to a better one: Levenberg and Marquardt's.

The field at the view's points is linear enough in the code and in the placement that a handful of Gauss-Newton steps do what
hundreds of gradient steps do (docs/benchmarks.md has by how much). The decoder's derivatives by the code are kept for some steps,
since making them is most of a step's cost; values are always exact, and no step is taken that makes the fit worse.
"""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from shapeprior.completion.residuals import Residuals
from shapeprior.geometry.transforms import Similarity
from shapeprior.models.decoder import Decoder
from shapeprior.models.latent_space import CodeSpace

POSE_SCALES = (0.1, 0.1, 0.1, 0.1, 0.2, 0.2, 0.2)
"""Usual sizes of what is unknown of a placement: logarithm of the scale, offset, rotation (radians). One step of a code's whitened
coordinate is as likely as these."""
PLACE_WEIGHT = 1.0 / 16.0
"""Weight of each of the placement's squared distances beside the mean of the code's, in the prior."""
DAMPING = 1e-3
"""At the first step."""
MIN_GAIN = 0.1
"""Share of the objective that two steps together must take away for more than the usual number to be made."""
MAX_TRIES = 4
"""Shorter steps that are tried before a step is given up."""


@dataclass(frozen=True, eq=False)
class Pose:
    """A similarity as tensors: x → scale · rotation x + offset."""

    scale: Float[Tensor, ""]
    rotation: Float[Tensor, "3 3"]
    offset: Float[Tensor, "3"]

    @classmethod
    def identity(cls, like: Tensor) -> "Pose":
        """No motion, in type and device of `like`."""
        return cls(like.new_ones(()), torch.eye(3).to(like), like.new_zeros(3))

    def apply(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
        """Move points."""
        return self.scale * (points @ self.rotation.T) + self.offset

    @property
    def similarity(self) -> Similarity:
        """The same in double precision, for arrays."""
        rotation, offset = (part.cpu().double().numpy() for part in (self.rotation, self.offset))
        return Similarity(scale=float(self.scale), rotation=rotation, offset=offset)

    def stepped(self, step: Float[Tensor, "7"]) -> "Pose":
        """After it, a small motion: growth (logarithm), offset, rotation vector."""
        growth, turn = step[0].exp(), torch.linalg.matrix_exp(_cross(step[4:]))
        rotation = turn @ self.rotation
        # Rounding must not add up to a shear.
        left, _, right = torch.linalg.svd(rotation)
        return Pose(growth * self.scale, left @ right, growth * (turn @ self.offset) + step[1:4])


@dataclass(frozen=True, eq=False)
class GaussianPrior:
    """What is likely before the view's points are looked at one by one: normal distributions of a code and a placement.

    Nothing else keeps a view from shrinking to a point of some surface.
    """

    whitened: Float[Tensor, "code"]
    """Mean of the whitened code."""
    whitened_deviation: Float[Tensor, "code"]
    pose: Pose
    """Where the object is expected to lie."""
    scale_deviation: float = 0.07
    """Of the logarithm of the pose's scale."""
    offset_deviation: float = 0.3
    """Of each coordinate of the unit frame's origin, in unit-sphere radii."""
    surprise: float = 0.0
    """Negative logarithm of the probability of expecting this at all, in nats."""

    @classmethod
    def of_any_view(cls, like: Float[Tensor, "code"], pose: Pose) -> "GaussianPrior":
        """The training codes' own spread, at a pose, in type and device of `like`."""
        return cls(torch.zeros_like(like), torch.ones_like(like), pose)

    def code_distance(self, whitened: Float[Tensor, "code"]) -> Float[Tensor, "code"]:
        """In deviations."""
        return (whitened - self.whitened) / self.whitened_deviation

    def pose_distance(self, pose: Pose) -> Float[Tensor, "4"]:
        """How far, in deviations, a pose's scale (logarithm) and its unit frame's origin are from the expected ones."""
        growth = (pose.scale / self.pose.scale).log() / self.scale_deviation
        # Where the expected origin lies in the pose's unit frame.
        origin = -self.pose.rotation.T @ self.pose.offset / self.pose.scale
        away = pose.scale * (pose.rotation @ origin) + pose.offset
        return torch.cat([growth[None], away / self.offset_deviation])


@dataclass(frozen=True, eq=False)
class FitState:
    """A guess, with its objective on the points that it was last moved with."""

    whitened: Float[Tensor, "code"]
    pose: Pose
    """Moves the view's samples from where they were made."""
    expected: GaussianPrior
    """By the prior."""
    objective: float = float("inf")
    damping: float = DAMPING
    values: Float[Tensor, "all"] | None = field(default=None, repr=False)
    """The field at those points, in the order of `Residuals.points`."""
    prepared: tuple[Tensor, ...] | None = field(default=None, repr=False)
    """What the decoder made of the code, where `values` are there."""
    tangents: tuple[Tensor, ...] | None = field(default=None, repr=False)
    """The decoder's derivatives for a code near this one, if they are there already."""


@dataclass(frozen=True, eq=False)
class LevenbergMarquardt:
    """Moves hypotheses of one view."""

    decoder: Decoder
    space: CodeSpace
    prior_weight: float
    """Weight of the mean squared distance of the whitened code from the expected one, in deviations; placements add theirs."""
    unknown: tuple[int, ...]
    """Which entries of a pose's step are solved for."""

    def fit(
        self, start: FitState, residuals: Residuals, *, steps: int, relinearize_every: int, most: int | None = None
    ) -> FitState:
        """Some steps, the decoder's derivatives being made again after every few; up to `most` while they gain (`MIN_GAIN`)."""
        now = self._measured(start, residuals)
        if now.objective == float("inf"):
            return now
        age, objectives = 0, [now.objective]
        for number in range(steps if most is None else max(most, steps)):
            objectives.append(now.objective)
            if number >= steps and objectives[-3] - now.objective < MIN_GAIN * now.objective:
                break
            if now.tangents is None or age == relinearize_every:
                now = replace(now, tangents=self.decoder.code_tangents(self._code(now), self.space.axes))
                age = 0
            moved = self._step(now, residuals)
            age += 1
            if moved is None:
                if age == 1:
                    break
                age = relinearize_every  # Old derivatives may be why.
                continue
            now = moved
        return now

    def objective(self, guess: FitState, residuals: Residuals) -> float:
        """What is minimised."""
        return self._measured(guess, residuals).objective

    def _measured(self, guess: FitState, residuals: Residuals) -> FitState:
        moved = residuals.transformed(guess.pose.scale, guess.pose.rotation, guess.pose.offset)
        with torch.no_grad():
            prepared = self.decoder.prepare(self._code(guess)[None])
            values = self.decoder.query(prepared, moved.points[None])[0]
            # In the view's unit: in the guess's own, a guess that makes the view smaller would make all errors smaller.
            value = moved.value(values) * self._unit(guess)
            far = guess.expected.code_distance(guess.whitened).square().mean()
            if self.unknown:
                far = far + 2.0 / len(guess.whitened) * guess.expected.surprise
                far = far + PLACE_WEIGHT * guess.expected.pose_distance(guess.pose).square().sum()
        return replace(guess, objective=float(value + self.prior_weight * far), values=values, prepared=prepared)

    def _unit(self, guess: FitState) -> Float[Tensor, ""]:
        """Length of the guess's radius, in expected radii."""
        return guess.expected.pose.scale / guess.pose.scale

    def _code(self, guess: FitState) -> Float[Tensor, "code"]:
        return self.space.codes(guess.whitened[None])[0]

    def pose_deviations(self, guess: FitState, residuals: Residuals) -> list[float]:
        """Standard deviations of `unknown`, in their own units, by Laplace's method.

        Up to a factor that the prior on the code fixes, the objective is the negative logarithm of the posterior, and its curvature
        at the guess is the precision.
        """
        tangents = guess.tangents or self.decoder.code_tangents(self._code(guess), self.space.axes)
        curvature, _ = self._system(replace(self._measured(guess, residuals), tangents=tangents), residuals)
        size = len(guess.whitened)
        covariance = torch.linalg.pinv(curvature.cpu().double(), hermitian=True) * (2.0 * self.prior_weight / size)
        scales = covariance.new_tensor(POSE_SCALES)[list(self.unknown)]
        return (covariance.diagonal()[size:].clamp_min(0.0).sqrt() * scales).tolist()

    def _system(
        self, now: FitState, residuals: Residuals
    ) -> tuple[Float[Tensor, "unknowns unknowns"], Float[Tensor, "unknowns"]]:
        """Curvature, by Gauss and Newton, and slope of the objective: by whitened code, then by pose in units of `POSE_SCALES`."""
        assert now.tangents is not None
        assert now.values is not None
        moved = residuals.transformed(now.pose.scale, now.pose.rotation, now.pose.offset)
        weights = moved.weights(now.values) * self._unit(now)
        # Free points that are outside, as most are, have no say, nor have shells of points whose normal is unknown.
        rows = torch.nonzero(weights)[:, 0]
        points = moved.points[rows]
        found = self.decoder.jacobian(self._code(now), now.tangents, points, prepared=now.prepared)
        by_pose = _by_pose(points, moved.anchors[rows], found.by_point)[:, list(self.unknown)]
        scales = by_pose.new_tensor(POSE_SCALES)[list(self.unknown)]
        jacobian = torch.cat([found.by_code, by_pose * scales], dim=1)
        weighted = jacobian * weights[rows, None]
        size, expected = len(now.whitened), now.expected
        pull = jacobian.new_zeros(jacobian.shape[1])
        pull[:size] = 2.0 * self.prior_weight / size / expected.whitened_deviation.square()
        slope = weighted.T @ moved.errors(now.values)[rows]
        slope[:size] += pull[:size] * (now.whitened - expected.whitened)
        if self.unknown:
            self._pull_pose(now, float(moved.value(now.values)), pull[size:], slope[size:])
        curvature = weighted.T @ jacobian + pull.diag()
        return curvature, slope

    def _step(self, now: FitState, residuals: Residuals) -> FitState | None:
        """One step; None if no length of it makes the fit better."""
        curvature, slope = self._system(now, residuals)
        size = len(now.whitened)
        scales = curvature.new_tensor(POSE_SCALES)[list(self.unknown)]
        damping = now.damping
        for _ in range(MAX_TRIES):
            step = -torch.linalg.solve_ex(curvature + damping * torch.eye(len(slope)).to(curvature), slope).result
            if not bool(torch.isfinite(step).all()):
                return None
            pose_step = slope.new_zeros(7)
            pose_step[list(self.unknown)] = step[size:] * scales
            guess = replace(
                now,
                whitened=now.whitened + step[:size],
                pose=now.pose.stepped(pose_step) if self.unknown else now.pose,
                damping=max(0.3 * damping, 1e-6),
            )
            guess = self._measured(guess, residuals)
            if guess.objective < now.objective:
                return guess
            damping *= 8.0
        return None

    def _pull_pose(
        self, now: FitState, value: float, pull: Float[Tensor, "unknown"], slope: Float[Tensor, "unknown"]
    ) -> None:
        """Add the prior on the placement to the curvature's diagonal and to the slope, and what growth does to the unit."""
        expected = now.expected
        deviations = (expected.scale_deviation, *3 * (expected.offset_deviation,))
        distance = expected.pose_distance(now.pose)
        weight = 2.0 * PLACE_WEIGHT * self.prior_weight
        for at, entry in enumerate(self.unknown):
            if entry < 4:
                share = POSE_SCALES[entry] / deviations[entry]
                pull[at] = weight * share**2
                slope[at] += pull[at] * distance[entry] / share
            if entry == 0:
                # Growth carries the expected origin away with everything else, and makes the view's unit smaller.
                away = weight * distance[1:].square().sum()
                slope[at] += POSE_SCALES[0] * (away - value * self._unit(now))


def _by_pose(
    points: Float[Tensor, "all 3"], anchors: Float[Tensor, "all 3"], gradient: Float[Tensor, "all 3"]
) -> Float[Tensor, "all 7"]:
    """Change of the field with a step of `Pose.stepped`."""
    growth = (gradient * anchors).sum(dim=1, keepdim=True)
    return torch.cat([growth, gradient, torch.linalg.cross(points, gradient)], dim=1)


def _cross(vector: Float[Tensor, "3"]) -> Float[Tensor, "3 3"]:
    """The matrix whose product with x is vector × x."""
    x, y, z = vector
    zero = torch.zeros_like(x)
    return torch.stack([torch.stack([zero, -z, y]), torch.stack([z, zero, -x]), torch.stack([-y, x, zero])])
