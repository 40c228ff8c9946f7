"""The completion solver: which code explains a partial view, and where is the object? (DeepSDF, section 4.3, equation 10.)"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from shapeprior.code_space import CodeSpace
from shapeprior.config import check_numbers
from shapeprior.decoder import Decoder, seeded
from shapeprior.encoder import ViewEncoder
from shapeprior.errors import CompletionError, ConfigError
from shapeprior.fill_sphere import fill_sphere
from shapeprior.first_look import Look, first_looks
from shapeprior.frames import Similarity
from shapeprior.hypothesis import Expectation, Fitter, Hypothesis, Pose
from shapeprior.observation import Observation
from shapeprior.observed_samples import ObservedSamples, observed_samples
from shapeprior.placement import Freedom, first_placements, first_turns
from shapeprior.residuals import Residuals, ResidualSettings
from shapeprior.strays import without_strays
from shapeprior.verdict import Verdict, judge

UNKNOWN: dict[Freedom, tuple[int, ...]] = {
    "known": (),
    "aligned": (0, 1, 2, 3),
    "upright": (0, 1, 2, 3, 5),
    "free": (0, 1, 2, 3, 4, 5, 6),
}
"""Entries of `Pose.stepped` that are solved for."""
FILLED_DEVIATION = 0.03
"""Of scale and offset, once a placement was changed so that its shape fills the unit sphere."""
FILLED_GROWTH = 1.3
"""Such a change is kept if the objective is at most so many times what it was: of a torn shape it is wrong."""
MAX_POINTS = 4096
"""Points of a view that are looked at, at most."""
ROUGH_CODES = 16
"""Training codes to start from, at most, of a decoder that has no quick look at them."""


@dataclass(frozen=True, kw_only=True)
class InferConfig:
    """Settings of the solver."""

    starts: int = 1
    """Guesses to start from where the placement is known: the mean code, and training codes that explain the view best."""
    placed_starts: int = 8
    """Guesses to start from where it is not; twice as many if a turn about +y is unknown, four times if any turn is."""
    short_steps: int = 4
    """Steps of all starts, if there are several, with few points and derivatives that are made once."""
    short_points: int = 160
    """Surface points, and as many free points, in these."""
    kept: int = 4
    """Starts that go on after these, if there are so many."""
    steps: int = 9
    """Steps of those."""
    fresh_every: int = 3
    """Steps with the same derivatives of the decoder by its code."""
    points: int = 600
    """Surface points in these."""
    free_points: int = 600
    """Free-space points in these."""
    shell: float = 0.012
    """Distance of the points before and behind the surface whose signed distance is taken to be ± this."""
    huber: float = 0.02
    """Residuals beyond this count linearly instead of squared, in unit-sphere radii."""
    free_weight: float = 1.0
    """Weight of free space beside the surface."""
    prior_weight: float = 2e-3
    """Weight of the mean squared whitened coordinate."""
    filling_steps: int = 5
    """Steps after a placement with unknown scale was changed so that the shape fills the unit sphere; 0 leaves that out."""

    def __post_init__(self) -> None:
        check_numbers(
            self,
            at_least_one=(
                "starts",
                "placed_starts",
                "short_steps",
                "short_points",
                "kept",
                "steps",
                "fresh_every",
                "points",
                "free_points",
            ),
            positive=("shell", "huber"),
            not_negative=("free_weight", "prior_weight"),
        )

    @property
    def residuals(self) -> ResidualSettings:
        """What is minimised."""
        return ResidualSettings(shell=self.shell, huber=self.huber, free_weight=self.free_weight)


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentEstimate:
    """The code that explains a view best, and where the object lies."""

    code: Float[Tensor, "code"]
    T_unit_world: Similarity
    """The given placement, or the one that was found."""
    residual: float
    """Median |f| at the observed points, in unit-sphere radii."""
    points: int
    """Observed points, 4,096 at most, which the next numbers are of."""
    explained: float
    """Share of observed points with |f| below 0.02."""
    violated: float
    """Share of the points that were seen to be free with f below -0.01: the shape fills them."""
    code_length: float
    """Root mean square of the code's whitened coordinates: about 1 for training shapes."""
    objective: float
    """What the solver minimised."""

    extent: float
    """Largest distance between observed points along an axis, in unit-sphere radii."""
    slope_error: float
    """Mean of | |grad f| - 1 | at observed points: a distance grows as one goes, what a code far from all shapes gives does not."""
    normal_agreement: float | None
    """Mean cosine between the view's normals and the field's gradient; None where neither normals nor a sensor are known."""

    @property
    def verdict(self) -> Verdict:
        """Whether the shape explains the view."""
        return judge(
            points=self.points,
            explained=self.explained,
            violated=self.violated,
            code_length=self.code_length,
            extent=self.extent,
            slope_error=self.slope_error,
            normal_agreement=self.normal_agreement,
        )


class LatentSolver:
    """Solves for the code, and for what is unknown of the placement, with a trained decoder."""

    def __init__(
        self, decoder: Decoder, training_codes: Float[Tensor, "shapes code"], encoder: ViewEncoder | None = None
    ) -> None:
        self.decoder = decoder
        self.codes = training_codes
        self.encoder = encoder
        """Says where to start; without one, the mean code and training codes are tried at many placements."""
        self.space = CodeSpace.fit(training_codes)

    def infer(
        self,
        view_world: Observation,
        *,
        T_unit_world: Similarity | None,
        freedom: Freedom,
        seed: int,
        config: InferConfig,
    ) -> LatentEstimate:
        """Find the code of a partial view.

        `T_unit_world` is the placement where `freedom` is "known", a first guess of it otherwise. Without it, guesses are made
        of the view, whose axes must be the unit frame's where `freedom` is "aligned"; where it is "upright", the view's +y must
        be the unit frame's. Raises CompletionError if no start leads to a finite objective, ScanError if the points of a view
        without a placement all lie in one place, ConfigError if a known placement is not given.
        """
        if freedom == "known" and T_unit_world is None:
            raise ConfigError("a known placement was asked for and none given; expected T_unit_world")
        view_world = without_strays(view_world.thinned(MAX_POINTS, seed=seed))
        if self.encoder is not None and (T_unit_world is None or freedom == "known"):
            looks = first_looks(self.encoder, view_world, T_unit_world=T_unit_world, freedom=freedom, seed=seed)
            first = looks[0].T_unit_world
            samples = observed_samples(view_world.transformed(first), seed=seed)
            starts = self._starts_from_looks(looks, samples, seed, config)
            if freedom == "known":
                few = self._residuals(samples, config, config.short_points, config.short_points, seed)
                fitter = Fitter(self.decoder, self.space, config.prior_weight, UNKNOWN[freedom])
                starts = [min([*starts, self._start(starts[0].pose)], key=lambda s: fitter.objective(s, few))]
        else:
            placements = [T_unit_world] if T_unit_world is not None else first_placements(view_world)
            first = placements[0]
            samples = observed_samples(view_world.transformed(first), seed=seed)
            starts = self._starts(samples, placements, freedom, seed, config)
        fitter = Fitter(self.decoder, self.space, config.prior_weight, UNKNOWN[freedom])
        if len(starts) > 1:
            few = self._residuals(samples, config, config.short_points, config.short_points, seed)
            moved = [
                fitter.fit(start, few, steps=config.short_steps, fresh_every=config.short_steps) for start in starts
            ]
            starts = sorted(moved, key=lambda guess: guess.objective)[: config.kept]
        all_residuals = self._residuals(samples, config, config.points, config.free_points, seed + 1)
        fits = [
            fitter.fit(start, all_residuals, steps=config.steps, fresh_every=config.fresh_every) for start in starts
        ]
        if freedom != "known":
            fits = [self._filled(guess, fitter, all_residuals, config) for guess in fits]
        best = min(fits, key=lambda guess: guess.objective)
        if not np.isfinite(best.objective):
            raise CompletionError("every start ended without a finite objective; expected weights that were trained")
        found = self._estimate(best, samples, first)
        return replace(found, T_unit_world=T_unit_world) if freedom == "known" and T_unit_world is not None else found

    @cached_property
    def _mean_tangents(self) -> tuple[Tensor, ...]:
        """Derivatives at the mean code, which most searches start from."""
        return self.decoder.tangents(self.space.mean, self.space.axes)

    def _residuals(self, samples: ObservedSamples, config: InferConfig, points: int, free: int, seed: int) -> Residuals:
        return Residuals.draw(samples, config.residuals, points=points, free=free, seed=seed, like=self.codes)

    def _starts(
        self,
        samples: ObservedSamples,
        placements: list[Similarity],
        freedom: Freedom,
        seed: int,
        config: InferConfig,
    ) -> list[Hypothesis]:
        """The mean code, and the training codes, at the placements where they explain the view best."""
        to_first = placements[0].inverse()
        poses = []
        for placement in placements:
            for turn in first_turns(freedom):
                turned = Similarity(scale=1.0, rotation=turn, offset=np.zeros(3)) @ placement @ to_first
                poses.append(self._pose(turned))
        wanted = config.starts if freedom == "known" else config.placed_starts
        wanted *= {"upright": 2, "free": 4}.get(freedom, 1)
        if len(poses) == 1 and wanted == 1:
            return [self._start(poses[0])]
        codes = self.codes
        if not self.decoder.rough_is_cheap and len(codes) > ROUGH_CODES:
            codes = codes[torch.randperm(len(codes), generator=seeded(seed))[:ROUGH_CODES]]
        codes = torch.cat([self.space.mean[None], codes])
        few = self._residuals(samples, config, config.short_points, config.short_points, seed)
        ranked = []
        with torch.no_grad():
            for pose in poses:
                moved = few.moved(pose.scale, pose.rotation, pose.offset)
                values = moved.value(self.decoder.rough(codes, moved.points))
                # Of one placement, the mean and as many others as leave room for other placements.
                best = values[1:].argsort()[: max(wanted * 2 // len(poses), 1)] + 1
                ranked += [(float(values[row]), row, pose) for row in [0, *best.tolist()]]
        ranked.sort(key=lambda entry: entry[0])
        chosen = ranked[:wanted]
        if all(row != 0 for _, row, _ in chosen):
            chosen[-1] = next(entry for entry in ranked if entry[1] == 0)
        whitened = self.space.whiten(codes)
        return [
            self._start(pose) if row == 0 else replace(self._start(pose), whitened=whitened[row], tangents=None)
            for _, row, pose in chosen
        ]

    def _start(self, pose: Pose) -> Hypothesis:
        """The mean code at a placement, of which nothing more is known."""
        mean = torch.zeros_like(self.space.mean)
        expected = Expectation(mean, torch.ones_like(mean), pose)
        return Hypothesis(mean, pose, expected, tangents=self._mean_tangents)

    def _starts_from_looks(
        self, looks: list[Look], samples: ObservedSamples, seed: int, config: InferConfig
    ) -> list[Hypothesis]:
        """What an encoder sees, where there are many the ones that fit best."""
        to_first = looks[0].T_unit_world.inverse()
        starts = []
        for look in looks:
            pose = self._pose(look.T_unit_world @ to_first)
            whitened = look.whitened.to(self.codes)
            deviation = look.whitened_deviation.to(self.codes).clamp(max=1.0)
            expected = Expectation(whitened, deviation, pose, look.scale_deviation, look.offset_deviation)
            starts.append(Hypothesis(whitened, pose, expected))
        if len(starts) <= config.placed_starts:
            return starts
        few = self._residuals(samples, config, config.short_points, config.short_points, seed)
        values = []
        with torch.no_grad():
            for start in starts:
                moved = few.moved(start.pose.scale, start.pose.rotation, start.pose.offset)
                values.append(float(moved.of(self.decoder, self.space.codes(start.whitened[None]))[0]))
        return [starts[row] for row in np.argsort(values, kind="stable")[: config.placed_starts]]

    def _filled(self, guess: Hypothesis, fitter: Fitter, residuals: Residuals, config: InferConfig) -> Hypothesis:
        """Fitted again where its shape fills the unit sphere."""
        fills = fill_sphere(self.decoder, self.space.codes(guess.whitened[None])[0])
        if fills is None or config.filling_steps == 0:
            return guess
        scale, offset = torch.as_tensor(fills.scale).to(self.codes), torch.as_tensor(fills.offset).to(self.codes)
        pose = Pose(scale * guess.pose.scale, guess.pose.rotation, scale * guess.pose.offset + offset)
        expected = replace(
            guess.expected, pose=pose, scale_deviation=FILLED_DEVIATION, offset_deviation=FILLED_DEVIATION
        )
        filled = fitter.fit(
            replace(guess, pose=pose, expected=expected),
            residuals,
            steps=config.filling_steps,
            fresh_every=config.fresh_every,
        )
        return filled if filled.objective < FILLED_GROWTH * guess.objective else guess

    def _pose(self, T_unit_sample: Similarity) -> Pose:
        parts = (T_unit_sample.scale, T_unit_sample.rotation, T_unit_sample.offset)
        return Pose(*(torch.as_tensor(part).to(self.codes) for part in parts))

    def _estimate(self, best: Hypothesis, samples: ObservedSamples, first: Similarity) -> LatentEstimate:
        """The estimate of one guess, with how well it explains all points."""
        pose = best.pose
        moved = Similarity(
            scale=float(pose.scale),
            rotation=pose.rotation.double().cpu().numpy(),
            offset=pose.offset.double().cpu().numpy(),
        )
        code = self.space.codes(best.whitened[None])
        points, free = (torch.from_numpy(moved.apply(part)).to(code) for part in (samples.surface, samples.free[:4096]))
        with torch.no_grad():
            residuals = self.decoder(code, points[None]).abs()[0]
            filled = self.decoder(code, free[None])[0] < -0.01 if len(free) else torch.zeros(1)
        rows = torch.linspace(0, len(points) - 1, min(len(points), 1000)).long()
        slope = self.decoder.differentiate(code[0], self._mean_tangents, points[rows]).by_point
        normals = torch.from_numpy(moved.apply_vectors(samples.normals)).to(code)[rows]
        cosines = torch.nn.functional.cosine_similarity(slope, normals, dim=1)
        return LatentEstimate(
            code=code[0],
            T_unit_world=moved @ first,
            residual=float(residuals.median()),
            points=len(points),
            explained=float((residuals < 0.02).float().mean()),
            violated=float(filled.float().mean()),
            code_length=float(best.whitened.square().mean().sqrt()),
            slope_error=float((slope.norm(dim=1) - 1.0).abs().mean()),
            normal_agreement=float(cosines.mean()) if bool(normals.any()) else None,
            extent=float((points.amax(dim=0) - points.amin(dim=0)).max()),
            objective=best.objective,
        )
