"""The completion solver: which code explains a partial view, and where is the object? (DeepSDF, section 4.3, equation 10.)"""

from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from shapeprior.completion.config import InferConfig
from shapeprior.completion.constraints import (
    coarse_mesh,
    free_space_violations,
    unit_sphere_correction,
    violating_free_points,
)
from shapeprior.completion.estimate import LatentEstimate, PlacementDeviations, latent_estimate
from shapeprior.completion.fitting import DAMPING, FitState, GaussianPrior, LevenbergMarquardt, Pose
from shapeprior.completion.initialization import InitialGuesses, Initializer
from shapeprior.completion.residuals import Residuals
from shapeprior.errors import CompletionError, ConfigError
from shapeprior.geometry.transforms import Similarity
from shapeprior.models.decoder import Decoder
from shapeprior.models.encoder import ViewEncoder
from shapeprior.models.latent_space import CodeSpace
from shapeprior.scans.free_space import FreeSpace
from shapeprior.scans.observation import Observation, without_outliers
from shapeprior.scans.placement import PlacementMode, require_extent

UNKNOWN: dict[PlacementMode, tuple[int, ...]] = {
    "known": (),
    "aligned": (0, 1, 2, 3),
    "upright": (0, 1, 2, 3, 5),
    "free": (0, 1, 2, 3, 4, 5, 6),
}
"""Entries of `Pose.stepped` that are solved for."""
RENORMALIZED_DEVIATION = 0.01
"""Of scale and offset, while a placement that was changed so that its shape fills the unit sphere is fitted again."""
MAX_RENORMALIZED_GROWTH = 1.3
"""Such a change is kept if the objective is at most so many times what it was: of a torn shape it is wrong."""
MAX_OBJECTIVE_RATIO = 4.0
"""Fits whose objective is so many times the best one's, before free space is cleared, go no further."""
ALTERNATIVE_OBJECTIVE_RATIO = 2.0
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
        mode: PlacementMode,
        seed: int,
        config: InferConfig,
    ) -> LatentEstimate:
        """Find the code of a partial view.

        `T_unit_world` is the placement where `mode` is "known", a first guess of it otherwise. Without it, guesses are made
        of the view, whose axes must be the unit frame's where `mode` is "aligned"; where it is "upright", the view's +y must
        be the unit frame's. Raises CompletionError if no start leads to a finite objective, ScanError if the points of a view
        without a placement all lie in one place, ConfigError if a known placement is not given.
        """
        if mode not in UNKNOWN:
            raise ConfigError(f"placement {mode!r}; expected one of {', '.join(UNKNOWN)}, or none")
        if mode == "known" and T_unit_world is None:
            raise ConfigError(
                "a known placement was asked for and none given; expected T_unit_world (on the command line, --pose)"
            )
        whole_world = view_world
        looked_at = view_world.subsampled(MAX_POINTS, seed=seed, background=MAX_BACKGROUND)
        view_world = without_outliers(looked_at)
        if T_unit_world is None:
            require_extent(view_world.points_world)
        outlier_share = 1.0 - len(view_world.points_world) / len(looked_at.points_world)
        starts = self._finder.find(view_world, T_unit_world=T_unit_world, mode=mode, seed=seed, config=config)
        weight = config.prior_weight if mode == "known" else config.placed_prior_weight
        fitter = LevenbergMarquardt(self.decoder, self.space, weight, UNKNOWN[mode])
        guesses = starts.guesses
        if len(guesses) > 1:
            few = self._residuals(starts, config, config.short_points, config.short_points, seed)
            moved = [
                fitter.fit(guess, few, steps=config.short_steps, relinearize_every=config.short_steps)
                for guess in guesses
            ]
            guesses = sorted(moved, key=lambda guess: guess.objective)[: config.survivors]
        residuals = self._residuals(starts, config, config.points, config.free_points, seed + 1)
        steps = config.steps if mode == "known" else config.placed_steps
        most = config.max_steps if mode == "known" else None
        fits = [
            fitter.fit(guess, residuals, steps=steps, relinearize_every=config.relinearize_every, most=most)
            for guess in guesses
        ]
        least = min(guess.objective for guess in fits)
        fits = [guess for guess in fits if guess.objective <= MAX_OBJECTIVE_RATIO * least]
        fits, residuals = self._cleared(fits, fitter, residuals, starts, whole_world, mode, seed=seed, config=config)
        if mode != "known" and config.renormalization_steps:
            fits = [self._renormalized(guess, fitter, residuals, config) for guess in fits]
        fits.sort(key=lambda guess: guess.objective)
        best = fits[0]
        if not np.isfinite(best.objective):
            raise CompletionError("every start ended without a finite objective; expected weights that were trained")
        others = [guess for guess in fits[1:] if guess.objective <= ALTERNATIVE_OBJECTIVE_RATIO * best.objective]
        found = replace(
            self._estimate(best, starts, fitter, residuals, outlier_share),
            alternatives=tuple(
                self._estimate(guess, starts, fitter, residuals, outlier_share) for guess in self._apart(best, others)
            ),
        )
        return replace(found, T_unit_world=T_unit_world) if mode == "known" and T_unit_world is not None else found

    @cached_property
    def _mean_code_tangents(self) -> tuple[Tensor, ...]:
        return self.decoder.code_tangents(self.space.mean, self.space.axes)

    @cached_property
    def _finder(self) -> Initializer:
        return Initializer(self.decoder, self.space, self.codes, self.encoder, self._mean_code_tangents)

    def _residuals(self, starts: InitialGuesses, config: InferConfig, points: int, free: int, seed: int) -> Residuals:
        return Residuals.draw(starts.samples, config.residuals, points=points, free=free, seed=seed, like=self.codes)

    def _code(self, guess: FitState) -> Float[Tensor, "code"]:
        return self.space.codes(guess.whitened[None])[0]

    def _cleared(
        self,
        fits: list[FitState],
        fitter: LevenbergMarquardt,
        residuals: Residuals,
        starts: InitialGuesses,
        view_world: Observation,
        mode: PlacementMode,
        *,
        seed: int,
        config: InferConfig,
    ) -> tuple[list[FitState], Residuals]:
        """Fitted again with points that the shapes fill and the view saw to be free; and the residuals with these, by which fits
        that keep some of them lose.

        Where the placement is known, the view's points now speak for themselves: what an encoder says of an object unlike those
        that it was trained on is biased (docs/ablation.md has by how much), and no longer pulls.
        """
        steps = config.clearing_steps if mode == "known" else config.placed_clearing_steps
        if steps == 0:
            return fits, residuals
        if mode == "known":
            fits = [replace(guess, expected=GaussianPrior.of_any_view(guess.whitened, guess.pose)) for guess in fits]
            free = starts.samples.free
            found = [
                violating_free_points(self.decoder, guess, free, count=config.clearing_points, seed=seed)
                for guess in fits
            ]
        else:
            seen = FreeSpace.of(view_world.subsampled(MAX_RAYS, seed=seed).transformed(starts.T_sample_world))
            found = [
                free_space_violations(
                    self.decoder, guess, self._code(guess), seen, count=config.clearing_points, seed=seed
                )
                for guess in fits
            ]
        residuals = residuals.with_free(torch.from_numpy(np.concatenate(found)).to(self.codes))
        again = [replace(guess, damping=DAMPING) for guess in fits]
        most = config.max_steps if mode == "known" else None
        fits = [
            fitter.fit(guess, residuals, steps=steps, relinearize_every=config.relinearize_every, most=most)
            for guess in again
        ]
        return fits, residuals

    def _renormalized(
        self, guess: FitState, fitter: LevenbergMarquardt, residuals: Residuals, config: InferConfig
    ) -> FitState:
        """Fitted again where its shape fills the unit sphere."""
        fills = unit_sphere_correction(self.decoder, self._code(guess))
        if fills is None:
            return guess
        scale, offset = torch.as_tensor(fills.scale).to(self.codes), torch.as_tensor(fills.offset).to(self.codes)
        pose = Pose(scale * guess.pose.scale, guess.pose.rotation, scale * guess.pose.offset + offset)
        expected = replace(
            guess.expected, pose=pose, scale_deviation=RENORMALIZED_DEVIATION, offset_deviation=RENORMALIZED_DEVIATION
        )
        filled = fitter.fit(
            replace(guess, pose=pose, expected=expected),
            residuals,
            steps=config.renormalization_steps,
            relinearize_every=config.relinearize_every,
        )
        if filled.objective >= MAX_RENORMALIZED_GROWTH * guess.objective:
            return guess
        # Fits compete by how well they explain the view where they fill the sphere. How well a placement is known is stated without
        # that: codes fill it nearly, not exactly.
        return replace(filled, expected=guess.expected)

    def _apart(self, best: FitState, others: list[FitState]) -> list[FitState]:
        """Those of the others, each unlike the ones before it, whose surfaces are not the best one's again."""
        kept = [best]
        for other in others:
            mesh = coarse_mesh(self.decoder, self._code(other))
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
        self,
        guess: FitState,
        starts: InitialGuesses,
        fitter: LevenbergMarquardt,
        residuals: Residuals,
        outlier_share: float,
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
            outlier_share=outlier_share,
            deviations=deviations,
        )
