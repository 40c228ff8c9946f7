"""Where a search starts: what an encoder says of a view; without one, the mean code and training codes at many placements.

What an encoder makes of a view: codes and placements to start a search from, and how sure it is of each.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from shapeprior.completion.config import InferConfig
from shapeprior.completion.fitting import FitState, GaussianPrior, LevenbergMarquardt, Pose
from shapeprior.completion.residuals import ObservedSamples, Residuals, observed_samples
from shapeprior.geometry.transforms import Similarity
from shapeprior.models.decoder import Decoder, seeded
from shapeprior.models.encoder import EncoderOutput, ViewEncoder, view_frame
from shapeprior.models.latent_space import CodeSpace
from shapeprior.scans.observation import Observation
from shapeprior.scans.placement import PlacementMode, initial_placements, initial_rotations, up_directions

MODES = 6
"""Turns that are tried of one look, at most."""
UPS = 16
"""Directions of up that are followed where it is unknown, the likeliest."""
LIKELY = 0.03
"""Turns that are less likely than this share of the likeliest are not tried."""


@dataclass(frozen=True, eq=False)
class EncoderProposal:
    """One guess: a code and a placement, with standard deviations."""

    T_unit_world: Similarity
    whitened: Float[Tensor, "code"]
    whitened_deviation: Float[Tensor, "code"]
    scale_deviation: float
    """Of the logarithm of the scale."""
    offset_deviation: float
    """Of each coordinate of the unit frame's origin, in unit-sphere radii."""
    surprise: float
    """Negative logarithm of the probability of what is up, where that is unknown, in nats."""


def encoder_proposals(
    encoder: ViewEncoder, view_world: Observation, *, T_unit_world: Similarity | None, mode: PlacementMode, seed: int
) -> list[EncoderProposal]:
    """Guesses for a view without strays, the likeliest turn first; of one with known placement, one.

    Where `mode` is "free", many directions are taken for up in turn; which of them is right, the fit must tell.
    """
    config = encoder.config
    rng = np.random.default_rng([seed, 3])
    total = len(view_world.points_world)
    rows = np.resize(rng.permutation(total), config.points)
    given = T_unit_world if mode == "known" and T_unit_world is not None else Similarity.identity()
    points = given.apply(view_world.points_world[rows])
    origins = view_world.origins_world
    sensor = None if origins is None else given.apply(origins[rows]).mean(axis=0)
    ups = up_directions() if mode == "free" else [np.eye(3)]
    frames, seen, towards = [], [], []
    for up in ups:
        turned = Similarity(scale=1.0, rotation=up, offset=np.zeros(3))
        at = None if sensor is None else turned.apply(sensor[None])[0]
        frame = view_frame(turned.apply(points), at) @ turned
        frames.append(frame)
        seen.append(frame.apply(points))
        direction = np.zeros(3) if sensor is None else frame.apply(sensor[None])[0]
        towards.append(direction / max(float(np.linalg.norm(direction)), 1e-12))
    like = next(encoder.parameters())
    with torch.no_grad():
        guesses = encoder(*(torch.from_numpy(np.stack(part)).to(like) for part in (seen, towards)))
    proposals = []
    rows_left = list(range(len(frames)))
    if mode == "free":
        rows_left = guesses.upright.argsort(descending=True)[:UPS].tolist()
    for row in rows_left:
        frame = frames[row]
        if mode in ("upright", "free"):
            angles = likely_turns(guesses.turns[row].cpu().double().numpy())[: MODES if mode == "upright" else 2]
        else:
            angles = [math.atan2(frame.rotation[0, 2], frame.rotation[0, 0])]
        proposals += [_proposal(guesses, row, angle, frame, mode, given) for angle in angles]
    return proposals


def likely_turns(log_probabilities: Float[np.ndarray, "turns"]) -> list[float]:
    """Angles, in radians, of the peaks among equal steps of a turn, each moved to the top of the parabola through its neighbours;
    the likeliest first."""
    before, after = np.roll(log_probabilities, 1), np.roll(log_probabilities, -1)
    peaks = np.flatnonzero(
        (log_probabilities >= before)
        & (log_probabilities > after)
        & (log_probabilities > log_probabilities.max() + math.log(LIKELY))
    )
    if len(peaks) == 0:
        peaks = np.array([int(log_probabilities.argmax())])
    peaks = peaks[np.argsort(-log_probabilities[peaks])]
    bend = 2.0 * log_probabilities[peaks] - before[peaks] - after[peaks]
    shift = np.clip(0.5 * (after[peaks] - before[peaks]) / np.maximum(bend, 1e-9), -0.5, 0.5)
    return list((peaks + shift) * (2.0 * math.pi / len(log_probabilities)))


def _proposal(
    guesses: EncoderOutput, row: int, angle: float, T_view_world: Similarity, mode: PlacementMode, given: Similarity
) -> EncoderProposal:
    log_scale, *offset = guesses.placement[row].tolist()
    scale = math.exp(log_scale)
    cosine, sine = math.cos(angle), math.sin(angle)
    rotation = np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
    T_view_unit = Similarity(scale=scale, rotation=rotation, offset=np.array(offset))
    log_deviation, *offset_deviation = guesses.placement_deviation[row].tolist()
    return EncoderProposal(
        T_unit_world=given if mode == "known" else T_view_unit.inverse() @ T_view_world,
        whitened=guesses.whitened[row],
        whitened_deviation=guesses.whitened_deviation[row],
        scale_deviation=log_deviation,
        offset_deviation=float(np.mean(offset_deviation)) / scale,
        surprise=-float(torch.nn.functional.logsigmoid(guesses.upright[row])) if mode == "free" else 0.0,
    )


MAX_COARSE_CODES = 16
"""Training codes to start from, at most, of a decoder that has no quick look at them."""


@dataclass(frozen=True, eq=False)
class InitialGuesses:
    """The first guesses for one view."""

    samples: ObservedSamples
    """Of the view, in the sample frame: the unit frame of the first guess."""
    T_sample_world: Similarity
    guesses: list[FitState]


@dataclass(frozen=True, eq=False)
class Initializer:
    """Finds them for one prior."""

    decoder: Decoder
    space: CodeSpace
    codes: Float[Tensor, "shapes code"]
    """Of the training shapes."""
    encoder: ViewEncoder | None
    mean_code_tangents: tuple[Tensor, ...]
    """Derivatives at the mean code, which searches without an encoder start from."""

    def find(
        self,
        view_world: Observation,
        *,
        T_unit_world: Similarity | None,
        mode: PlacementMode,
        seed: int,
        config: InferConfig,
    ) -> InitialGuesses:
        """Starts for a view without strays; see `shapeprior.completion.solver.LatentSolver.infer` for the arguments."""
        proposals = []
        if self.encoder is not None and (T_unit_world is None or mode == "known"):
            proposals = encoder_proposals(self.encoder, view_world, T_unit_world=T_unit_world, mode=mode, seed=seed)
            placements = [proposal.T_unit_world for proposal in proposals]
        else:
            placements = [T_unit_world] if T_unit_world is not None else initial_placements(view_world)
        samples = observed_samples(view_world.transformed(placements[0]), seed=seed)
        few = Residuals.draw(
            samples, config.residuals, points=config.short_points, free=config.short_points, seed=seed, like=self.codes
        )
        if not proposals:
            guesses = self._from_placements(placements, mode, few, seed, config)
        elif mode == "known":
            guesses = self._from_proposals(proposals, few, config)
            others = self._from_placements(placements, mode, few, seed, config)
            fitter = LevenbergMarquardt(self.decoder, self.space, config.prior_weight, ())
            guesses = sorted([*guesses, *others], key=lambda guess: fitter.objective(guess, few))[: config.starts]
        else:
            guesses = self._from_proposals(proposals, few, config)
        return InitialGuesses(samples, placements[0], guesses)

    def _from_proposals(self, proposals: list[EncoderProposal], few: Residuals, config: InferConfig) -> list[FitState]:
        """What an encoder sees; where that is much, what fits best of it."""
        to_first = proposals[0].T_unit_world.inverse()
        guesses = []
        for proposal in proposals:
            pose = self._pose(proposal.T_unit_world @ to_first)
            whitened = proposal.whitened.to(self.codes)
            # Views like no training view may make it say anything; it must not be less sure than the codes' own spread.
            deviation = proposal.whitened_deviation.to(self.codes).clamp(max=1.0)
            expected = GaussianPrior(
                whitened, deviation, pose, proposal.scale_deviation, proposal.offset_deviation, proposal.surprise
            )
            guesses.append(FitState(whitened, pose, expected))
        if len(guesses) <= config.placed_starts:
            return guesses
        values = []
        with torch.no_grad():
            for guess in guesses:
                moved = few.transformed(guess.pose.scale, guess.pose.rotation, guess.pose.offset)
                values.append(float(moved.of(self.decoder, self.space.codes(guess.whitened[None]))[0]))
        return [guesses[row] for row in np.argsort(values, kind="stable")[: config.placed_starts]]

    def _from_placements(
        self, placements: list[Similarity], mode: PlacementMode, few: Residuals, seed: int, config: InferConfig
    ) -> list[FitState]:
        """The mean code, and the training codes, at the placements where they explain the view best."""
        to_first = placements[0].inverse()
        poses = []
        for placement in placements:
            for turn in initial_rotations(mode):
                turned = Similarity(scale=1.0, rotation=turn, offset=np.zeros(3)) @ placement @ to_first
                poses.append(self._pose(turned))
        wanted = config.starts if mode == "known" else config.placed_starts
        wanted *= {"upright": 2, "free": 4}.get(mode, 1)
        if len(poses) == 1 and wanted == 1:
            return [self._mean(poses[0])]
        codes = self.codes
        if not self.decoder.coarse_field_is_cheap and len(codes) > MAX_COARSE_CODES:
            codes = codes[torch.randperm(len(codes), generator=seeded(seed))[:MAX_COARSE_CODES]]
        codes = torch.cat([self.space.mean[None], codes])
        ranked = []
        with torch.no_grad():
            for pose in poses:
                moved = few.transformed(pose.scale, pose.rotation, pose.offset)
                values = moved.value(self.decoder.coarse_field(codes, moved.points))
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

    def _mean(self, pose: Pose) -> FitState:
        """The mean code at a placement, of which nothing more is known."""
        expected = GaussianPrior.of_any_view(self.space.mean, pose)
        return FitState(expected.whitened, pose, expected, tangents=self.mean_code_tangents)

    def _pose(self, T_unit_sample: Similarity) -> Pose:
        parts = (T_unit_sample.scale, T_unit_sample.rotation, T_unit_sample.offset)
        return Pose(*(torch.as_tensor(part).to(self.codes) for part in parts))
