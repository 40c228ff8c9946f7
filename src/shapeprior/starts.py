"""Where a search starts: what an encoder says of a view; without one, the mean code and training codes at many placements."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from shapeprior.first_look import Look, first_looks
from shapeprior.geometry.transforms import Similarity
from shapeprior.hypothesis import Expectation, Fitter, Hypothesis, Pose
from shapeprior.infer_config import InferConfig
from shapeprior.models.decoder import Decoder, seeded
from shapeprior.models.encoder import ViewEncoder
from shapeprior.models.latent_space import CodeSpace
from shapeprior.observed_samples import ObservedSamples, observed_samples
from shapeprior.residuals import Residuals
from shapeprior.scans.observation import Observation
from shapeprior.scans.placement import Freedom, first_placements, first_turns

ROUGH_CODES = 16
"""Training codes to start from, at most, of a decoder that has no quick look at them."""


@dataclass(frozen=True, eq=False)
class Starts:
    """The first guesses for one view."""

    samples: ObservedSamples
    """Of the view, in the sample frame: the unit frame of the first guess."""
    T_sample_world: Similarity
    guesses: list[Hypothesis]


@dataclass(frozen=True, eq=False)
class StartFinder:
    """Finds them for one prior."""

    decoder: Decoder
    space: CodeSpace
    codes: Float[Tensor, "shapes code"]
    """Of the training shapes."""
    encoder: ViewEncoder | None
    mean_tangents: tuple[Tensor, ...]
    """Derivatives at the mean code, which searches without an encoder start from."""

    def find(
        self,
        view_world: Observation,
        *,
        T_unit_world: Similarity | None,
        freedom: Freedom,
        seed: int,
        config: InferConfig,
    ) -> Starts:
        """Starts for a view without strays; see `shapeprior.infer.LatentSolver.infer` for the arguments."""
        looks = []
        if self.encoder is not None and (T_unit_world is None or freedom == "known"):
            looks = first_looks(self.encoder, view_world, T_unit_world=T_unit_world, freedom=freedom, seed=seed)
            placements = [look.T_unit_world for look in looks]
        else:
            placements = [T_unit_world] if T_unit_world is not None else first_placements(view_world)
        samples = observed_samples(view_world.transformed(placements[0]), seed=seed)
        few = Residuals.draw(
            samples, config.residuals, points=config.short_points, free=config.short_points, seed=seed, like=self.codes
        )
        if not looks:
            guesses = self._from_placements(placements, freedom, few, seed, config)
        elif freedom == "known":
            guesses = self._from_looks(looks, few, config)
            others = self._from_placements(placements, freedom, few, seed, config)
            fitter = Fitter(self.decoder, self.space, config.prior_weight, ())
            guesses = sorted([*guesses, *others], key=lambda guess: fitter.objective(guess, few))[: config.starts]
        else:
            guesses = self._from_looks(looks, few, config)
        return Starts(samples, placements[0], guesses)

    def _from_looks(self, looks: list[Look], few: Residuals, config: InferConfig) -> list[Hypothesis]:
        """What an encoder sees; where that is much, what fits best of it."""
        to_first = looks[0].T_unit_world.inverse()
        guesses = []
        for look in looks:
            pose = self._pose(look.T_unit_world @ to_first)
            whitened = look.whitened.to(self.codes)
            # Views like no training view may make it say anything; it must not be less sure than the codes' own spread.
            deviation = look.whitened_deviation.to(self.codes).clamp(max=1.0)
            expected = Expectation(
                whitened, deviation, pose, look.scale_deviation, look.offset_deviation, look.surprise
            )
            guesses.append(Hypothesis(whitened, pose, expected))
        if len(guesses) <= config.placed_starts:
            return guesses
        values = []
        with torch.no_grad():
            for guess in guesses:
                moved = few.moved(guess.pose.scale, guess.pose.rotation, guess.pose.offset)
                values.append(float(moved.of(self.decoder, self.space.codes(guess.whitened[None]))[0]))
        return [guesses[row] for row in np.argsort(values, kind="stable")[: config.placed_starts]]

    def _from_placements(
        self, placements: list[Similarity], freedom: Freedom, few: Residuals, seed: int, config: InferConfig
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
            return [self._mean(poses[0])]
        codes = self.codes
        if not self.decoder.rough_is_cheap and len(codes) > ROUGH_CODES:
            codes = codes[torch.randperm(len(codes), generator=seeded(seed))[:ROUGH_CODES]]
        codes = torch.cat([self.space.mean[None], codes])
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
            self._mean(pose) if row == 0 else replace(self._mean(pose), whitened=whitened[row], tangents=None)
            for _, row, pose in chosen
        ]

    def _mean(self, pose: Pose) -> Hypothesis:
        """The mean code at a placement, of which nothing more is known."""
        expected = Expectation.of_any_view(self.space.mean, pose)
        return Hypothesis(expected.whitened, pose, expected, tangents=self.mean_tangents)

    def _pose(self, T_unit_sample: Similarity) -> Pose:
        parts = (T_unit_sample.scale, T_unit_sample.rotation, T_unit_sample.offset)
        return Pose(*(torch.as_tensor(part).to(self.codes) for part in parts))
