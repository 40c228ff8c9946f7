"""Fits a code and a placement to a view with the method of Levenberg and Marquardt.

The field at the view's points is nearly linear in the code and in the placement, so that a handful of Gauss-Newton
steps do the work of hundreds of gradient steps (docs/benchmarks.md has the figures). The decoder's derivatives by the
code are kept for several steps, because making them is most of a step's cost. Field values are always exact, and no
step is taken that makes the fit worse.
"""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from shapeprior.completion.config import InferConfig
from shapeprior.completion.residuals import ObservedSamples, Residuals, ResidualSettings, observed_samples
from shapeprior.geometry.transforms import Similarity
from shapeprior.models.decoder import Decoder
from shapeprior.models.latent_space import CodeSpace
from shapeprior.scans.observation import Observation
from shapeprior.scans.placement import PlacementMode

UNKNOWN_POSE_ENTRIES: dict[PlacementMode, tuple[int, ...]] = {
    "known": (),
    "aligned": (0, 1, 2, 3),
    "upright": (0, 1, 2, 3, 5),
    "free": (0, 1, 2, 3, 4, 5, 6),
}
"""Entries of a step of `Pose.stepped` that each placement mode solves for."""
POSE_SCALES = (0.1, 0.1, 0.1, 0.1, 0.2, 0.2, 0.2)
"""Usual sizes of a placement's unknowns: logarithm of the scale, offset, rotation in radians. One unit of a whitened
code coordinate is as likely as one of these."""
POSE_PRIOR_WEIGHT = 1.0 / 16.0
"""Weight of each squared distance of the placement beside the mean of the code's, in the prior."""
INITIAL_DAMPING = 1e-3
MIN_GAIN = 0.1
"""Steps beyond the nominal number go on while two of them reduce the objective by at least this share."""
MAX_TRIES = 4
"""Number of step lengths that are tried before a step is given up."""


@dataclass(frozen=True, eq=False)
class Pose:
    """A similarity as tensors: x → scale · rotation x + offset."""

    scale: Float[Tensor, ""]
    rotation: Float[Tensor, "3 3"]
    offset: Float[Tensor, "3"]

    @classmethod
    def identity(cls, like: Tensor) -> "Pose":
        """Return the identity, in type and device of `like`."""
        return cls(like.new_ones(()), torch.eye(3).to(like), like.new_zeros(3))

    @classmethod
    def of(cls, transform: Similarity, like: Tensor) -> "Pose":
        """Return a similarity as tensors, in type and device of `like`."""
        parts = (transform.scale, transform.rotation, transform.offset)
        return cls(*(torch.as_tensor(part).to(like) for part in parts))

    def apply(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
        """Transform points."""
        return self.scale * (points @ self.rotation.T) + self.offset

    @property
    def similarity(self) -> Similarity:
        """The same transform in double precision, for arrays."""
        rotation, offset = (part.cpu().double().numpy() for part in (self.rotation, self.offset))
        return Similarity(scale=float(self.scale), rotation=rotation, offset=offset)

    def stepped(self, step: Float[Tensor, "7"]) -> "Pose":
        """Return this pose followed by a small motion: logarithm of the growth, offset, rotation vector."""
        growth, turn = step[0].exp(), torch.linalg.matrix_exp(_cross_matrix(step[4:]))
        rotation = turn @ self.rotation
        # Without this, rounding would add up to a shear.
        left, _, right = torch.linalg.svd(rotation)
        return Pose(growth * self.scale, left @ right, growth * (turn @ self.offset) + step[1:4])


@dataclass(frozen=True, eq=False)
class GaussianPrior:
    """Normal distributions of the code and of the placement before the view's points are fitted one by one.

    Without a prior on the placement, a fit could shrink the view to a point of some surface.
    """

    whitened: Float[Tensor, "code"]
    """Mean of the whitened code."""
    whitened_deviation: Float[Tensor, "code"]
    """Standard deviation of each whitened coordinate."""
    pose: Pose
    """Expected placement."""
    scale_deviation: float = 0.07
    """Standard deviation of the logarithm of the scale."""
    offset_deviation: float = 0.3
    """Standard deviation of each coordinate of the unit frame's origin, in unit-sphere radii."""
    surprise: float = 0.0
    """Negative logarithm of the probability of this prior itself, in nats."""

    @classmethod
    def of_any_view(cls, like: Float[Tensor, "code"], pose: Pose) -> "GaussianPrior":
        """Return the distribution of the training codes, at a pose, in type and device of `like`."""
        return cls(torch.zeros_like(like), torch.ones_like(like), pose)

    def code_distance(self, whitened: Float[Tensor, "code"]) -> Float[Tensor, "code"]:
        """Return the distance of each whitened coordinate from its mean, in standard deviations."""
        return (whitened - self.whitened) / self.whitened_deviation

    def pose_distance(self, pose: Pose) -> Float[Tensor, "4"]:
        """Return how far a pose's scale (logarithm) and origin are from the expected ones, in standard deviations."""
        growth = (pose.scale / self.pose.scale).log() / self.scale_deviation
        # The expected origin, in the unit frame of the given pose.
        origin = -self.pose.rotation.T @ self.pose.offset / self.pose.scale
        away = pose.scale * (pose.rotation @ origin) + pose.offset
        return torch.cat([growth[None], away / self.offset_deviation])


@dataclass(frozen=True, eq=False)
class FitState:
    """One fit on its way: a code, a placement, and the objective at the points of the last step."""

    whitened: Float[Tensor, "code"]
    """Whitened coordinates of the code."""
    pose: Pose
    """Maps the sample frame of the view to the unit frame."""
    expected: GaussianPrior
    """Prior on code and placement."""
    objective: float = float("inf")
    damping: float = INITIAL_DAMPING
    values: Float[Tensor, "all"] | None = field(default=None, repr=False)
    """Field values at these points, in the order of `Residuals.points`."""
    prepared: tuple[Tensor, ...] | None = field(default=None, repr=False)
    """Result of `Decoder.prepare` for the code. It is there if `values` are."""
    tangents: tuple[Tensor, ...] | None = field(default=None, repr=False)
    """Derivatives of the decoder at a code near this one, if they were made already."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FitProblem:
    """What is minimised for one view: decoder, latent space, samples of the view and settings."""

    decoder: Decoder
    space: CodeSpace
    samples: ObservedSamples
    """Samples of the view in the sample frame, which is the unit frame of the first guess."""
    settings: ResidualSettings
    prior_weight: float
    """Weight of the mean squared distance of the whitened code from the expected one, in standard deviations. The
    placement's distances are added to it."""
    unknown: tuple[int, ...]
    """Entries of a pose step that are solved for."""
    T_sample_world: Similarity = field(default_factory=Similarity.identity)
    """Maps the view's frame to the sample frame."""

    @classmethod
    def of_view(
        cls,
        view_world: Observation,
        *,
        decoder: Decoder,
        space: CodeSpace,
        T_sample_world: Similarity,
        mode: PlacementMode,
        config: InferConfig,
        seed: int,
    ) -> "FitProblem":
        """Set up the problem for a view without outliers."""
        return cls(
            decoder=decoder,
            space=space,
            samples=observed_samples(view_world.transformed(T_sample_world), seed=seed),
            settings=config.residuals,
            prior_weight=config.prior_weight_for(mode),
            unknown=UNKNOWN_POSE_ENTRIES[mode],
            T_sample_world=T_sample_world,
        )

    def draw(self, *, points: int, free: int, seed: int) -> Residuals:
        """Draw residuals at random samples of the view: at most `points` on the surface and `free` in free space."""
        return Residuals.draw(self.samples, self.settings, points=points, free=free, seed=seed, like=self.space.mean)

    def code(self, state: FitState) -> Float[Tensor, "code"]:
        """Return the latent code of a fit."""
        return self.space.codes(state.whitened[None])[0]

    def evaluate(self, state: FitState, residuals: Residuals) -> FitState:
        """Return the fit with its field values and its objective at the residuals' points."""
        moved = residuals.transformed(state.pose.scale, state.pose.rotation, state.pose.offset)
        with torch.no_grad():
            prepared = self.decoder.prepare(self.code(state)[None])
            values = self.decoder.query(prepared, moved.points[None])[0]
            # Errors are measured in the view's unit. In the fit's own unit, shrinking the view would lower them all.
            value = moved.value(values) * view_unit_factor(state)
            far = state.expected.code_distance(state.whitened).square().mean()
            if self.unknown:
                far = far + 2.0 / len(state.whitened) * state.expected.surprise
                far = far + POSE_PRIOR_WEIGHT * state.expected.pose_distance(state.pose).square().sum()
        return replace(state, objective=float(value + self.prior_weight * far), values=values, prepared=prepared)


def view_unit_factor(state: FitState) -> Float[Tensor, ""]:
    """Return the length of the fit's unit-sphere radius in expected radii."""
    return state.expected.pose.scale / state.pose.scale


@dataclass(frozen=True, eq=False)
class LevenbergMarquardt:
    """The solver of a fit problem."""

    problem: FitProblem

    def fit(
        self, start: FitState, residuals: Residuals, *, steps: int, relinearize_every: int, max_steps: int | None = None
    ) -> FitState:
        """Make `steps` steps, and up to `max_steps` while they gain (`MIN_GAIN`).

        The decoder's derivatives are made anew after every `relinearize_every` steps.
        """
        now = self.problem.evaluate(start, residuals)
        if now.objective == float("inf"):
            return now
        age, objectives = 0, [now.objective]
        for number in range(steps if max_steps is None else max(max_steps, steps)):
            objectives.append(now.objective)
            if number >= steps and objectives[-3] - now.objective < MIN_GAIN * now.objective:
                break
            if now.tangents is None or age == relinearize_every:
                now = replace(now, tangents=self._tangents(now))
                age = 0
            moved = self._step(now, residuals)
            age += 1
            if moved is None:
                if age == 1:
                    break
                age = relinearize_every  # Old derivatives may be the reason, so the next step makes them anew.
                continue
            now = moved
        return now

    def pose_deviations(self, state: FitState, residuals: Residuals) -> list[float]:
        """Return standard deviations of the unknown pose entries, in their own units, by Laplace's method.

        Up to a factor that the prior on the code fixes, the objective is the negative logarithm of the posterior, and
        its curvature at the fit is the precision.
        """
        tangents = state.tangents or self._tangents(state)
        curvature, _ = self._normal_equations(
            replace(self.problem.evaluate(state, residuals), tangents=tangents), residuals
        )
        size, unknown = len(state.whitened), list(self.problem.unknown)
        covariance = torch.linalg.pinv(curvature.cpu().double(), hermitian=True)
        covariance = covariance * (2.0 * self.problem.prior_weight / size)
        scales = covariance.new_tensor(POSE_SCALES)[unknown]
        return (covariance.diagonal()[size:].clamp_min(0.0).sqrt() * scales).tolist()

    def _tangents(self, state: FitState) -> tuple[Tensor, ...]:
        return self.problem.decoder.code_tangents(self.problem.code(state), self.problem.space.axes)

    def _normal_equations(
        self, now: FitState, residuals: Residuals
    ) -> tuple[Float[Tensor, "unknowns unknowns"], Float[Tensor, "unknowns"]]:
        """Return the Gauss-Newton curvature and the gradient of the objective.

        The unknowns are the whitened code, then the pose in units of `POSE_SCALES`.
        """
        assert now.tangents is not None
        assert now.values is not None
        problem, unknown = self.problem, list(self.problem.unknown)
        moved = residuals.transformed(now.pose.scale, now.pose.rotation, now.pose.offset)
        weights = moved.weights(now.values) * view_unit_factor(now)
        # Most free points are outside already and have no weight, as have shell points without a normal.
        rows = torch.nonzero(weights)[:, 0]
        points = moved.points[rows]
        found = problem.decoder.jacobian(problem.code(now), now.tangents, points, prepared=now.prepared)
        by_pose = _pose_jacobian(points, moved.anchors[rows], found.by_point)[:, unknown]
        scales = by_pose.new_tensor(POSE_SCALES)[unknown]
        jacobian = torch.cat([found.by_code, by_pose * scales], dim=1)
        weighted = jacobian * weights[rows, None]
        size, expected = len(now.whitened), now.expected
        prior_curvature = jacobian.new_zeros(jacobian.shape[1])
        prior_curvature[:size] = 2.0 * problem.prior_weight / size / expected.whitened_deviation.square()
        gradient = weighted.T @ moved.errors(now.values)[rows]
        gradient[:size] += prior_curvature[:size] * (now.whitened - expected.whitened)
        if unknown:
            self._add_pose_prior(now, float(moved.value(now.values)), prior_curvature[size:], gradient[size:])
        curvature = weighted.T @ jacobian + prior_curvature.diag()
        return curvature, gradient

    def _step(self, now: FitState, residuals: Residuals) -> FitState | None:
        """Make one step. Returns None if no length of it makes the fit better."""
        curvature, gradient = self._normal_equations(now, residuals)
        size, unknown = len(now.whitened), list(self.problem.unknown)
        scales = curvature.new_tensor(POSE_SCALES)[unknown]
        damping = now.damping
        for _ in range(MAX_TRIES):
            damped = curvature + damping * torch.eye(len(gradient)).to(curvature)
            step = -torch.linalg.solve_ex(damped, gradient).result
            if not bool(torch.isfinite(step).all()):
                return None
            pose_step = gradient.new_zeros(7)
            pose_step[unknown] = step[size:] * scales
            moved = replace(
                now,
                whitened=now.whitened + step[:size],
                pose=now.pose.stepped(pose_step) if unknown else now.pose,
                damping=max(0.3 * damping, 1e-6),
            )
            moved = self.problem.evaluate(moved, residuals)
            if moved.objective < now.objective:
                return moved
            damping *= 8.0
        return None

    def _add_pose_prior(
        self, now: FitState, value: float, curvature: Float[Tensor, "unknown"], gradient: Float[Tensor, "unknown"]
    ) -> None:
        """Add the prior on the placement to the curvature's diagonal and the gradient, and the effect of growth on the
        unit."""
        expected = now.expected
        deviations = (expected.scale_deviation, *3 * (expected.offset_deviation,))
        distance = expected.pose_distance(now.pose)
        weight = 2.0 * POSE_PRIOR_WEIGHT * self.problem.prior_weight
        for at, entry in enumerate(self.problem.unknown):
            if entry < 4:
                share = POSE_SCALES[entry] / deviations[entry]
                curvature[at] = weight * share**2
                gradient[at] += curvature[at] * distance[entry] / share
            if entry == 0:
                # Growth carries the expected origin away with everything else, and makes the view's unit smaller.
                away = weight * distance[1:].square().sum()
                gradient[at] += POSE_SCALES[0] * (away - value * view_unit_factor(now))


def _pose_jacobian(
    points: Float[Tensor, "all 3"], anchors: Float[Tensor, "all 3"], gradient: Float[Tensor, "all 3"]
) -> Float[Tensor, "all 7"]:
    """Return the derivatives of the field by a step of `Pose.stepped`."""
    growth = (gradient * anchors).sum(dim=1, keepdim=True)
    return torch.cat([growth, gradient, torch.linalg.cross(points, gradient)], dim=1)


def _cross_matrix(vector: Float[Tensor, "3"]) -> Float[Tensor, "3 3"]:
    """Return the matrix whose product with x is vector × x."""
    x, y, z = vector
    zero = torch.zeros_like(x)
    return torch.stack([torch.stack([zero, -z, y]), torch.stack([z, zero, -x]), torch.stack([-y, x, zero])])
