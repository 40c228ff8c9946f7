"""Initial guesses for a fit: the encoder's proposals, or the mean and training codes at many placements."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from shapeprior.completion.config import InferConfig
from shapeprior.completion.fitting import FitProblem, FitState, GaussianPrior, Pose
from shapeprior.completion.residuals import Residuals
from shapeprior.geometry.transforms import Similarity, rotation_about_y
from shapeprior.models.decoder import Decoder, seeded
from shapeprior.models.encoder import EncoderOutput, ViewEncoder, view_frame
from shapeprior.models.latent_space import CodeSpace
from shapeprior.scans.observation import Observation
from shapeprior.scans.placement import PlacementMode, initial_placements, initial_rotations, up_directions

MAX_TURNS = 6
"""Largest number of turns about +y that are tried of one encoder output where up is known."""
MAX_TURNS_OF_UP = 2
"""The same for each direction of up where up is unknown."""
MAX_UP_DIRECTIONS = 16
"""Number of directions of up that are followed where it is unknown: the likeliest."""
MIN_TURN_PROBABILITY = 0.03
"""Turns that are less likely than this share of the likeliest are not tried."""
MAX_COARSE_CODES = 16
"""Largest number of training codes that are tried with a decoder that has no cheap coarse field."""
START_FACTORS: dict[PlacementMode, int] = {"upright": 2, "free": 4}
"""Factors on the number of starts without an encoder, where more of the placement is unknown."""


@dataclass(frozen=True, eq=False)
class EncoderProposal:
    """A code and a placement that the encoder proposes for a view, with standard deviations."""

    T_unit_world: Similarity
    whitened: Float[Tensor, "code"]
    """Whitened coordinates of the code."""
    whitened_deviation: Float[Tensor, "code"]
    scale_deviation: float
    """Standard deviation of the logarithm of the scale."""
    offset_deviation: float
    """Standard deviation of each coordinate of the unit frame's origin, in unit-sphere radii."""
    surprise: float
    """Negative logarithm of the probability of this direction of up, in nats. 0 where up is known."""


@dataclass(frozen=True, eq=False)
class Initializer:
    """Makes the initial guesses of one prior."""

    decoder: Decoder
    space: CodeSpace
    codes: Float[Tensor, "shapes code"]
    """Codes of the training shapes."""
    encoder: ViewEncoder | None
    mean_code_tangents: tuple[Tensor, ...]
    """Derivatives of the decoder at the mean code, which searches without an encoder start from."""

    def start(
        self,
        view_world: Observation,
        *,
        T_unit_world: Similarity | None,
        mode: PlacementMode,
        seed: int,
        config: InferConfig,
    ) -> tuple[FitProblem, list[FitState]]:
        """Set up the problem for a view without outliers, and return it with the initial guesses.

        `shapeprior.completion.solver.LatentSolver.infer` explains the arguments.
        """
        proposals = []
        if self.encoder is not None and (T_unit_world is None or mode == "known"):
            proposals = encoder_proposals(self.encoder, view_world, T_unit_world=T_unit_world, mode=mode, seed=seed)
            placements = [proposal.T_unit_world for proposal in proposals]
        else:
            placements = [T_unit_world] if T_unit_world is not None else initial_placements(view_world)
        problem = FitProblem.of_view(
            view_world,
            decoder=self.decoder,
            space=self.space,
            T_sample_world=placements[0],
            mode=mode,
            config=config,
            seed=seed,
        )
        residuals = problem.draw(points=config.short_points, free=config.short_points, seed=seed)
        guesses = self._from_proposals(proposals, problem, residuals, config)
        if not proposals or mode == "known":
            guesses += self._from_placements(placements, mode, problem, residuals, seed, config)
        if proposals and mode == "known":
            guesses = sorted(guesses, key=lambda guess: problem.evaluate(guess, residuals).objective)[: config.starts]
        return problem, guesses

    def _from_proposals(
        self, proposals: list[EncoderProposal], problem: FitProblem, residuals: Residuals, config: InferConfig
    ) -> list[FitState]:
        """Return the encoder's proposals as fits. If there are many, only those that fit best."""
        guesses = []
        for proposal in proposals:
            pose = self._pose(proposal.T_unit_world @ problem.T_sample_world.inverse())
            whitened = proposal.whitened.to(self.codes)
            # For a view unlike all training views, the encoder must not be less sure than the codes' own spread.
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
                moved = residuals.transformed(guess.pose.scale, guess.pose.rotation, guess.pose.offset)
                values.append(float(moved.of(self.decoder, problem.code(guess)[None])[0]))
        return [guesses[row] for row in np.argsort(values, kind="stable")[: config.placed_starts]]

    def _from_placements(
        self,
        placements: list[Similarity],
        mode: PlacementMode,
        problem: FitProblem,
        residuals: Residuals,
        seed: int,
        config: InferConfig,
    ) -> list[FitState]:
        """Return the mean code and training codes at the placements where they explain the view best."""
        T_world_sample = problem.T_sample_world.inverse()
        poses = []
        for placement in placements:
            for rotation in initial_rotations(mode):
                turned = Similarity(scale=1.0, rotation=rotation, offset=np.zeros(3)) @ placement @ T_world_sample
                poses.append(self._pose(turned))
        wanted = config.starts if mode == "known" else config.placed_starts
        wanted *= START_FACTORS.get(mode, 1)
        if len(poses) == 1 and wanted == 1:
            return [self._mean_code_at(poses[0])]
        codes = self.codes
        if not self.decoder.coarse_field_is_cheap and len(codes) > MAX_COARSE_CODES:
            codes = codes[torch.randperm(len(codes), generator=seeded(seed))[:MAX_COARSE_CODES]]
        codes = torch.cat([self.space.mean[None], codes])
        ranked = []
        with torch.no_grad():
            for pose in poses:
                moved = residuals.transformed(pose.scale, pose.rotation, pose.offset)
                values = moved.value(self.decoder.coarse_field(codes, moved.points))
                # At each placement, the mean code and as many others as leave room for the other placements.
                best = values[1:].argsort()[: max(wanted * 2 // len(poses), 1)] + 1
                ranked += [(float(values[row]), row, pose) for row in [0, *best.tolist()]]
        ranked.sort(key=lambda entry: entry[0])
        chosen = ranked[:wanted]
        if all(row != 0 for _, row, _ in chosen):
            chosen[-1] = next(entry for entry in ranked if entry[1] == 0)
        whitened = self.space.whiten(codes)
        return [
            self._mean_code_at(pose)
            if row == 0
            else replace(self._mean_code_at(pose), whitened=whitened[row], tangents=None)
            for _, row, pose in chosen
        ]

    def _mean_code_at(self, pose: Pose) -> FitState:
        expected = GaussianPrior.of_any_view(self.space.mean, pose)
        return FitState(expected.whitened, pose, expected, tangents=self.mean_code_tangents)

    def _pose(self, T_unit_sample: Similarity) -> Pose:
        return Pose.of(T_unit_sample, self.codes)


def encoder_proposals(
    encoder: ViewEncoder,
    view_world: Observation,
    *,
    T_unit_world: Similarity | None,
    mode: PlacementMode,
    seed: int,
) -> list[EncoderProposal]:
    """Return the encoder's proposals for a view without outliers, the likeliest turn first, or one for a known
    placement.

    Where `mode` is "free", many directions are taken for up in turn. The fit must tell which of them is right.
    """
    config = encoder.config
    rng = np.random.default_rng([seed, 3])
    total = len(view_world.points_world)
    rows = np.resize(rng.permutation(total), config.points)
    given = T_unit_world if mode == "known" and T_unit_world is not None else Similarity.identity()
    points = given.apply(view_world.points_world[rows])
    origins = view_world.origins_world
    sensor = None if origins is None else given.apply(origins[rows]).mean(axis=0)
    frames, points_view, sensor_directions = [], [], []
    for up in up_directions() if mode == "free" else [np.eye(3)]:
        turned = Similarity(scale=1.0, rotation=up, offset=np.zeros(3))
        at = None if sensor is None else turned.apply(sensor[None])[0]
        frame = view_frame(turned.apply(points), at) @ turned
        frames.append(frame)
        points_view.append(frame.apply(points))
        direction = np.zeros(3) if sensor is None else frame.apply(sensor[None])[0]
        sensor_directions.append(direction / max(float(np.linalg.norm(direction)), 1e-12))
    like = next(encoder.parameters())
    with torch.no_grad():
        output = encoder(*(torch.from_numpy(np.stack(part)).to(like) for part in (points_view, sensor_directions)))
    followed = list(range(len(frames)))
    if mode == "free":
        followed = output.upright.argsort(descending=True)[:MAX_UP_DIRECTIONS].tolist()
    proposals = []
    for row in followed:
        frame = frames[row]
        if mode in ("upright", "free"):
            angles = likely_turns(output.turns[row].cpu().double().numpy())
            angles = angles[: MAX_TURNS if mode == "upright" else MAX_TURNS_OF_UP]
        else:
            angles = [math.atan2(frame.rotation[0, 2], frame.rotation[0, 0])]
        proposals += [_proposal(output, row, angle, frame, mode, given) for angle in angles]
    return proposals


def likely_turns(log_probabilities: Float[np.ndarray, "turns"]) -> list[float]:
    """Return the angles, in radians, of the peaks among equal steps of a turn, the likeliest first.

    Each peak is moved to the top of the parabola through its neighbours.
    """
    before, after = np.roll(log_probabilities, 1), np.roll(log_probabilities, -1)
    peaks = np.flatnonzero(
        (log_probabilities >= before)
        & (log_probabilities > after)
        & (log_probabilities > log_probabilities.max() + math.log(MIN_TURN_PROBABILITY))
    )
    if len(peaks) == 0:
        peaks = np.array([int(log_probabilities.argmax())])
    peaks = peaks[np.argsort(-log_probabilities[peaks])]
    bend = 2.0 * log_probabilities[peaks] - before[peaks] - after[peaks]
    shift = np.clip(0.5 * (after[peaks] - before[peaks]) / np.maximum(bend, 1e-9), -0.5, 0.5)
    return list((peaks + shift) * (2.0 * math.pi / len(log_probabilities)))


def _proposal(
    output: EncoderOutput, row: int, angle: float, T_view_world: Similarity, mode: PlacementMode, given: Similarity
) -> EncoderProposal:
    log_scale, *offset = output.placement[row].tolist()
    scale = math.exp(log_scale)
    T_view_unit = Similarity(scale=scale, rotation=rotation_about_y(angle), offset=np.array(offset))
    log_deviation, *offset_deviation = output.placement_deviation[row].tolist()
    return EncoderProposal(
        T_unit_world=given if mode == "known" else T_view_unit.inverse() @ T_view_world,
        whitened=output.whitened[row],
        whitened_deviation=output.whitened_deviation[row],
        scale_deviation=log_deviation,
        offset_deviation=float(np.mean(offset_deviation)) / scale,
        surprise=-float(torch.nn.functional.logsigmoid(output.upright[row])) if mode == "free" else 0.0,
    )
