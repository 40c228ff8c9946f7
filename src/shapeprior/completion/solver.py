"""The completion solver: which code explains a partial view, and where is the object? (DeepSDF, section 4.3, equation 10.)"""

from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from shapeprior.completion.config import InferConfig
from shapeprior.completion.constraints import fill_sphere, filled_samples, outline, overreach
from shapeprior.completion.estimate import LatentEstimate, PlacementDeviations, latent_estimate
from shapeprior.completion.fitting import DAMPING, Expectation, Fitter, Hypothesis, Pose
from shapeprior.completion.initialization import StartFinder, Starts
from shapeprior.completion.residuals import Residuals
from shapeprior.errors import CompletionError, ConfigError
from shapeprior.geometry.transforms import Similarity
from shapeprior.models.decoder import Decoder
from shapeprior.models.encoder import ViewEncoder
from shapeprior.models.latent_space import CodeSpace
from shapeprior.scans.free_space import SeenThrough
from shapeprior.scans.observation import Observation, without_strays
from shapeprior.scans.placement import Freedom, require_extent

UNKNOWN: dict[Freedom, tuple[int, ...]] = {
    "known": (),
    "aligned": (0, 1, 2, 3),
    "upright": (0, 1, 2, 3, 5),
    "free": (0, 1, 2, 3, 4, 5, 6),
}
"""Entries of `Pose.stepped` that are solved for."""
FILLED_DEVIATION = 0.01
"""Of scale and offset, while a placement that was changed so that its shape fills the unit sphere is fitted again."""
FILLED_GROWTH = 1.3
"""Such a change is kept if the objective is at most so many times what it was: of a torn shape it is wrong."""
HOPELESS = 4.0
"""Fits whose objective is so many times the best one's, before free space is cleared, go no further."""
NEARLY_AS_GOOD = 2.0
"""Fits whose objective is at most so many times the best one's are alternatives to it."""
SAME_SURFACE = 0.04
"""Two fits are the same where nearly all of one's surface (0.97) lies within so many radii of the other's."""
MODEL_ERROR = 4.0
"""Times that placements' errors are as large as the objective's curvature alone says, since no code is the shape exactly: 2.1 on
unseen mugs, 6.3 on cameras and 2.9 on airplanes for the scale, 3.6, 2.3 and 1.6 for the turn (40 to 60 upright views, medians)."""
MAX_POINTS = 4096
"""Points of a view that are looked at, at most."""
MAX_BACKGROUND = 8192
"""Background rays, likewise."""
MAX_RAYS = 65_536
"""Points whose rays tell what is free, at most: thin rims are not to be missed."""


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
        if freedom not in UNKNOWN:
            raise ConfigError(f"placement {freedom!r}; expected one of {', '.join(UNKNOWN)}, or none")
        if freedom == "known" and T_unit_world is None:
            raise ConfigError(
                "a known placement was asked for and none given; expected T_unit_world (on the command line, --pose)"
            )
        whole_world = view_world
        looked_at = view_world.thinned(MAX_POINTS, seed=seed, background=MAX_BACKGROUND)
        view_world = without_strays(looked_at)
        if T_unit_world is None:
            require_extent(view_world.points_world)
        left_out = 1.0 - len(view_world.points_world) / len(looked_at.points_world)
        starts = self._finder.find(view_world, T_unit_world=T_unit_world, freedom=freedom, seed=seed, config=config)
        weight = config.prior_weight if freedom == "known" else config.placed_prior_weight
        fitter = Fitter(self.decoder, self.space, weight, UNKNOWN[freedom])
        guesses = starts.guesses
        if len(guesses) > 1:
            few = self._residuals(starts, config, config.short_points, config.short_points, seed)
            moved = [
                fitter.fit(guess, few, steps=config.short_steps, fresh_every=config.short_steps) for guess in guesses
            ]
            guesses = sorted(moved, key=lambda guess: guess.objective)[: config.kept]
        residuals = self._residuals(starts, config, config.points, config.free_points, seed + 1)
        steps = config.steps if freedom == "known" else config.placed_steps
        most = config.most_steps if freedom == "known" else None
        fits = [
            fitter.fit(guess, residuals, steps=steps, fresh_every=config.fresh_every, most=most) for guess in guesses
        ]
        least = min(guess.objective for guess in fits)
        fits = [guess for guess in fits if guess.objective <= HOPELESS * least]
        fits, residuals = self._cleared(fits, fitter, residuals, starts, whole_world, freedom, seed=seed, config=config)
        if freedom != "known" and config.filling_steps:
            fits = [self._filled(guess, fitter, residuals, config) for guess in fits]
        fits.sort(key=lambda guess: guess.objective)
        best = fits[0]
        if not np.isfinite(best.objective):
            raise CompletionError("every start ended without a finite objective; expected weights that were trained")
        others = [guess for guess in fits[1:] if guess.objective <= NEARLY_AS_GOOD * best.objective]
        found = replace(
            self._estimate(best, starts, fitter, residuals, left_out),
            alternatives=tuple(
                self._estimate(guess, starts, fitter, residuals, left_out) for guess in self._apart(best, others)
            ),
        )
        return replace(found, T_unit_world=T_unit_world) if freedom == "known" and T_unit_world is not None else found

    @cached_property
    def _mean_tangents(self) -> tuple[Tensor, ...]:
        return self.decoder.tangents(self.space.mean, self.space.axes)

    @cached_property
    def _finder(self) -> StartFinder:
        return StartFinder(self.decoder, self.space, self.codes, self.encoder, self._mean_tangents)

    def _residuals(self, starts: Starts, config: InferConfig, points: int, free: int, seed: int) -> Residuals:
        return Residuals.draw(starts.samples, config.residuals, points=points, free=free, seed=seed, like=self.codes)

    def _code(self, guess: Hypothesis) -> Float[Tensor, "code"]:
        return self.space.codes(guess.whitened[None])[0]

    def _cleared(
        self,
        fits: list[Hypothesis],
        fitter: Fitter,
        residuals: Residuals,
        starts: Starts,
        view_world: Observation,
        freedom: Freedom,
        *,
        seed: int,
        config: InferConfig,
    ) -> tuple[list[Hypothesis], Residuals]:
        """Fitted again with points that the shapes fill and the view saw to be free; and the residuals with these, by which fits
        that keep some of them lose.

        Where the placement is known, the view's points now speak for themselves: what an encoder says of an object unlike those
        that it was trained on is biased (docs/ablation.md has by how much), and no longer pulls.
        """
        steps = config.clearing_steps if freedom == "known" else config.placed_clearing_steps
        if steps == 0:
            return fits, residuals
        if freedom == "known":
            fits = [replace(guess, expected=Expectation.of_any_view(guess.whitened, guess.pose)) for guess in fits]
            free = starts.samples.free
            found = [
                filled_samples(self.decoder, guess, free, count=config.clearing_points, seed=seed) for guess in fits
            ]
        else:
            seen = SeenThrough.of(view_world.thinned(MAX_RAYS, seed=seed).transformed(starts.T_sample_world))
            found = [
                overreach(self.decoder, guess, self._code(guess), seen, count=config.clearing_points, seed=seed)
                for guess in fits
            ]
        residuals = residuals.with_free(torch.from_numpy(np.concatenate(found)).to(self.codes))
        again = [replace(guess, damping=DAMPING) for guess in fits]
        most = config.most_steps if freedom == "known" else None
        fits = [fitter.fit(guess, residuals, steps=steps, fresh_every=config.fresh_every, most=most) for guess in again]
        return fits, residuals

    def _filled(self, guess: Hypothesis, fitter: Fitter, residuals: Residuals, config: InferConfig) -> Hypothesis:
        """Fitted again where its shape fills the unit sphere."""
        fills = fill_sphere(self.decoder, self._code(guess))
        if fills is None:
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
        if filled.objective >= FILLED_GROWTH * guess.objective:
            return guess
        # Fits compete by how well they explain the view where they fill the sphere. How well a placement is known is stated without
        # that: codes fill it nearly, not exactly.
        return replace(filled, expected=guess.expected)

    def _apart(self, best: Hypothesis, others: list[Hypothesis]) -> list[Hypothesis]:
        """Those of the others, each unlike the ones before it, whose surfaces are not the best one's again."""
        kept = [best]
        for other in others:
            mesh = outline(self.decoder, self._code(other))
            if mesh is None:
                continue
            vertices = torch.from_numpy(mesh.vertices[:: max(len(mesh.vertices) // 2000, 1)]).to(self.codes)
            at_view = (vertices - other.pose.offset) @ other.pose.rotation / other.pose.scale
            for known in kept:
                points = known.pose.apply(at_view)
                with torch.no_grad():
                    distance = self.decoder(self._code(known)[None], points[None])[0].abs()
                if len(distance) == 0 or float(distance.quantile(0.97)) < SAME_SURFACE:
                    break
            else:
                kept.append(other)
        return kept[1:]

    def _estimate(
        self, guess: Hypothesis, starts: Starts, fitter: Fitter, residuals: Residuals, left_out: float
    ) -> LatentEstimate:
        deviations = None
        if fitter.unknown:
            growth, *offset_turn = (MODEL_ERROR * each for each in fitter.pose_deviations(guess, residuals))
            deviations = PlacementDeviations(
                scale=growth,
                offset=float(np.sqrt(np.mean(np.square(offset_turn[:3])))),
                turn_deg=float(np.degrees(np.sqrt(np.sum(np.square(offset_turn[3:]))))),
            )
        return latent_estimate(
            guess,
            starts.samples,
            decoder=self.decoder,
            code=self._code(guess),
            T_sample_world=starts.T_sample_world,
            left_out=left_out,
            deviations=deviations,
        )
