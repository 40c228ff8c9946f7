"""The completion solver: finds the code that explains a partial view, and where the object is.

The objective is that of DeepSDF (section 4.3, equation 10) with free space and an unknown placement added.
"""

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
from shapeprior.completion.estimate import LatentEstimate, PlacementDeviations, estimate_of
from shapeprior.completion.fitting import (
    INITIAL_DAMPING,
    UNKNOWN_POSE_ENTRIES,
    FitProblem,
    FitState,
    GaussianPrior,
    LevenbergMarquardt,
    Pose,
)
from shapeprior.completion.initialization import Initializer
from shapeprior.completion.residuals import Residuals
from shapeprior.errors import CompletionError, ConfigError
from shapeprior.geometry.transforms import Similarity
from shapeprior.models.decoder import Decoder
from shapeprior.models.encoder import ViewEncoder
from shapeprior.models.latent_space import CodeSpace
from shapeprior.scans.free_space import FreeSpace
from shapeprior.scans.observation import Observation
from shapeprior.scans.placement import PlacementMode, require_extent
from shapeprior.scans.prepared_view import PreparedView

RENORMALIZED_DEVIATION = 0.01
"""Standard deviation of scale and offset while a placement is fitted again after it was changed so that its shape fills
the unit sphere."""
MAX_RENORMALIZED_GROWTH = 1.3
"""Such a change is kept if the objective is at most this multiple of what it was. For a torn shape it is wrong."""
MAX_OBJECTIVE_RATIO = 4.0
"""Fits whose objective is more than this multiple of the best one are dropped before the free-space step."""
ALTERNATIVE_OBJECTIVE_RATIO = 2.0
"""Fits whose objective is at most this multiple of the best one are alternatives to it."""
SAME_SURFACE_DISTANCE = 0.04
"""Two fits have the same surface if `SAME_SURFACE_SHARE` of one lies within this distance of the other, in radii."""
SAME_SURFACE_SHARE = 0.97
SAME_SURFACE_VERTICES = 2000
"""Approximate number of vertices that are compared."""
MODEL_ERROR = 4.0
"""Factor between a placement's standard deviations and those by the objective's curvature alone. It is needed because
no code is the shape exactly. Measured medians over 40 to 60 upright views: for the scale 2.1 on unseen mugs, 6.3 on
cameras and 2.9 on airplanes, for the turn 3.6, 2.3 and 1.6."""


class LatentSolver:
    """Solves for the code, and for the unknown part of the placement, with a trained decoder."""

    def __init__(
        self, decoder: Decoder, training_codes: Float[Tensor, "shapes code"], encoder: ViewEncoder | None = None
    ) -> None:
        """Make a solver. Without an encoder, the mean code and training codes are tried at many placements."""
        self.decoder = decoder
        self.codes = training_codes
        self.encoder = encoder
        self.space = CodeSpace.fit(training_codes)

    def infer(
        self,
        view: Observation | PreparedView,
        *,
        T_unit_world: Similarity | None,
        mode: PlacementMode,
        seed: int,
        config: InferConfig,
    ) -> LatentEstimate:
        """Find the code of a partial view.

        `T_unit_world` is the placement where `mode` is "known", and a first guess of it otherwise. Without it, guesses
        are made from the view. Its axes must be the unit frame's where `mode` is "aligned", and its +y must be the unit
        frame's where `mode` is "upright".

        Raises:
            CompletionError: no start leads to a finite objective.
            ScanError: all points of a view without a placement lie in one place.
            ConfigError: a known placement was asked for and none is given.
        """
        if mode not in UNKNOWN_POSE_ENTRIES:
            raise ConfigError(f"placement {mode!r}; expected one of {', '.join(UNKNOWN_POSE_ENTRIES)}, or none")
        if mode == "known" and T_unit_world is None:
            raise ConfigError(
                "a known placement was asked for and none given; expected T_unit_world (on the command line, --pose)"
            )
        prepared = PreparedView.of(view, seed=seed)
        if T_unit_world is None:
            require_extent(prepared.fit_view.points_world)
        problem, guesses = self._initializer.start(
            prepared.fit_view, T_unit_world=T_unit_world, mode=mode, seed=seed, config=config
        )
        optimizer = LevenbergMarquardt(problem)
        if len(guesses) > 1:
            guesses = self._most_promising(guesses, optimizer, config, seed)
        residuals = problem.draw(points=config.points, free=config.free_points, seed=seed + 1)
        steps = config.steps if mode == "known" else config.placed_steps
        fits = self._fit(guesses, optimizer, residuals, mode, steps, config)
        least = min(fit.objective for fit in fits)
        fits = [fit for fit in fits if fit.objective <= MAX_OBJECTIVE_RATIO * least]
        fits, residuals = self._cleared(fits, optimizer, residuals, prepared, mode, config, seed)
        if mode != "known" and config.renormalization_steps:
            fits = [self._renormalized(fit, optimizer, residuals, config) for fit in fits]
        fits.sort(key=lambda fit: fit.objective)
        if not np.isfinite(fits[0].objective):
            raise CompletionError("every start ended without a finite objective; expected weights that were trained")
        others = [fit for fit in fits[1:] if fit.objective <= ALTERNATIVE_OBJECTIVE_RATIO * fits[0].objective]
        best, *alternatives = (
            self._estimate(fit, optimizer, residuals, prepared)
            for fit in self._with_different_surfaces([fits[0], *others], problem)
        )
        best = replace(best, alternatives=tuple(alternatives))
        return replace(best, T_unit_world=T_unit_world) if mode == "known" and T_unit_world is not None else best

    @cached_property
    def _initializer(self) -> Initializer:
        tangents = self.decoder.code_tangents(self.space.mean, self.space.axes)
        return Initializer(self.decoder, self.space, self.codes, self.encoder, tangents)

    def _most_promising(
        self, guesses: list[FitState], optimizer: LevenbergMarquardt, config: InferConfig, seed: int
    ) -> list[FitState]:
        """Make a few cheap steps of all guesses, and return those that fit best."""
        residuals = optimizer.problem.draw(points=config.short_points, free=config.short_points, seed=seed)
        moved = [
            optimizer.fit(guess, residuals, steps=config.short_steps, relinearize_every=config.short_steps)
            for guess in guesses
        ]
        return sorted(moved, key=lambda fit: fit.objective)[: config.survivors]

    def _fit(
        self,
        fits: list[FitState],
        optimizer: LevenbergMarquardt,
        residuals: Residuals,
        mode: PlacementMode,
        steps: int,
        config: InferConfig,
    ) -> list[FitState]:
        max_steps = config.max_steps if mode == "known" else None
        return [
            optimizer.fit(fit, residuals, steps=steps, relinearize_every=config.relinearize_every, max_steps=max_steps)
            for fit in fits
        ]

    def _cleared(
        self,
        fits: list[FitState],
        optimizer: LevenbergMarquardt,
        residuals: Residuals,
        prepared: PreparedView,
        mode: PlacementMode,
        config: InferConfig,
        seed: int,
    ) -> tuple[list[FitState], Residuals]:
        """Fit again with points that the shapes fill and the view saw to be free. Fits that keep some of them lose.

        Where the placement is known, the encoder's proposal no longer pulls in these steps. For an object unlike those
        that the encoder was trained on, the proposal is biased (docs/ablation.md has by how much).
        """
        steps = config.clearing_steps if mode == "known" else config.placed_clearing_steps
        if steps == 0:
            return fits, residuals
        problem, count = optimizer.problem, config.clearing_points
        if mode == "known":
            fits = [replace(fit, expected=GaussianPrior.of_any_view(fit.whitened, fit.pose)) for fit in fits]
            found = [
                violating_free_points(self.decoder, fit, problem.samples.free, count=count, seed=seed) for fit in fits
            ]
        else:
            free_space = FreeSpace.of(prepared.free_space_view.transformed(problem.T_sample_world))
            found = [
                free_space_violations(self.decoder, fit, problem.code(fit), free_space, count=count, seed=seed)
                for fit in fits
            ]
        residuals = residuals.with_free(torch.from_numpy(np.concatenate(found)).to(self.codes))
        again = [replace(fit, damping=INITIAL_DAMPING) for fit in fits]
        return self._fit(again, optimizer, residuals, mode, steps, config), residuals

    def _renormalized(
        self, fit: FitState, optimizer: LevenbergMarquardt, residuals: Residuals, config: InferConfig
    ) -> FitState:
        """Change a placement so that its shape fills the unit sphere, and fit again near there."""
        correction = unit_sphere_correction(self.decoder, optimizer.problem.code(fit))
        if correction is None:
            return fit
        change = Pose.of(correction, self.codes)
        pose = Pose(change.scale * fit.pose.scale, fit.pose.rotation, change.scale * fit.pose.offset + change.offset)
        expected = replace(
            fit.expected,
            pose=pose,
            scale_deviation=RENORMALIZED_DEVIATION,
            offset_deviation=RENORMALIZED_DEVIATION,
        )
        changed = optimizer.fit(
            replace(fit, pose=pose, expected=expected),
            residuals,
            steps=config.renormalization_steps,
            relinearize_every=config.relinearize_every,
        )
        if changed.objective >= MAX_RENORMALIZED_GROWTH * fit.objective:
            return fit
        # Fits compete by how well they explain the view where they fill the sphere. The placement's standard deviations
        # are stated without that, because codes fill the sphere nearly and not exactly.
        return replace(changed, expected=fit.expected)

    def _with_different_surfaces(self, fits: list[FitState], problem: FitProblem) -> list[FitState]:
        """Return the fits, the best first, without those that have the surface of one before them."""
        kept = fits[:1]
        for other in fits[1:]:
            mesh = coarse_mesh(self.decoder, problem.code(other))
            if mesh is None:
                continue
            stride = max(len(mesh.vertices) // SAME_SURFACE_VERTICES, 1)
            vertices = torch.from_numpy(mesh.vertices[::stride]).to(self.codes)
            points_sample = (vertices - other.pose.offset) @ other.pose.rotation / other.pose.scale
            if not any(self._is_on_surface(points_sample, known, problem) for known in kept):
                kept.append(other)
        return kept

    def _is_on_surface(self, points_sample: Float[Tensor, "points 3"], fit: FitState, problem: FitProblem) -> bool:
        points = fit.pose.apply(points_sample)
        with torch.no_grad():
            distance = self.decoder(problem.code(fit)[None], points[None])[0].abs()
        return len(distance) == 0 or float(distance.quantile(SAME_SURFACE_SHARE)) < SAME_SURFACE_DISTANCE

    def _estimate(
        self, fit: FitState, optimizer: LevenbergMarquardt, residuals: Residuals, prepared: PreparedView
    ) -> LatentEstimate:
        deviations = None
        if optimizer.problem.unknown:
            growth, *offset_turn = (MODEL_ERROR * each for each in optimizer.pose_deviations(fit, residuals))
            deviations = PlacementDeviations(
                scale=growth,
                offset=float(np.sqrt(np.mean(np.square(offset_turn[:3])))),
                turn_deg=float(np.degrees(np.sqrt(np.sum(np.square(offset_turn[3:]))))),
            )
        return estimate_of(fit, optimizer.problem, outlier_share=prepared.outlier_share, deviations=deviations)
