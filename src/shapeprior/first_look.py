"""What an encoder makes of a view: codes and placements to start a search from, and how sure it is of each."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from shapeprior.geometry.transforms import Similarity
from shapeprior.models.encoder import Guesses, ViewEncoder, view_frame
from shapeprior.scans.observation import Observation
from shapeprior.scans.placement import Freedom, up_directions

MODES = 6
"""Turns that are tried of one look, at most."""
UPS = 16
"""Directions of up that are followed where it is unknown, the likeliest."""
LIKELY = 0.03
"""Turns that are less likely than this share of the likeliest are not tried."""


@dataclass(frozen=True, eq=False)
class Look:
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


def first_looks(
    encoder: ViewEncoder, view_world: Observation, *, T_unit_world: Similarity | None, freedom: Freedom, seed: int
) -> list[Look]:
    """Guesses for a view without strays, the likeliest turn first; of one with known placement, one.

    Where `freedom` is "free", many directions are taken for up in turn; which of them is right, the fit must tell.
    """
    config = encoder.config
    rng = np.random.default_rng([seed, 3])
    total = len(view_world.points_world)
    rows = np.resize(rng.permutation(total), config.points)
    given = T_unit_world if freedom == "known" and T_unit_world is not None else Similarity.identity()
    points = given.apply(view_world.points_world[rows])
    origins = view_world.origins_world
    sensor = None if origins is None else given.apply(origins[rows]).mean(axis=0)
    ups = up_directions() if freedom == "free" else [np.eye(3)]
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
    looks = []
    rows_left = list(range(len(frames)))
    if freedom == "free":
        rows_left = guesses.upright.argsort(descending=True)[:UPS].tolist()
    for row in rows_left:
        frame = frames[row]
        if freedom in ("upright", "free"):
            angles = likely_turns(guesses.turns[row].cpu().double().numpy())[: MODES if freedom == "upright" else 2]
        else:
            angles = [math.atan2(frame.rotation[0, 2], frame.rotation[0, 0])]
        looks += [_look(guesses, row, angle, frame, freedom, given) for angle in angles]
    return looks


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


def _look(
    guesses: Guesses, row: int, angle: float, T_view_world: Similarity, freedom: Freedom, given: Similarity
) -> Look:
    log_scale, *offset = guesses.placement[row].tolist()
    scale = math.exp(log_scale)
    cosine, sine = math.cos(angle), math.sin(angle)
    rotation = np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
    T_view_unit = Similarity(scale=scale, rotation=rotation, offset=np.array(offset))
    log_deviation, *offset_deviation = guesses.placement_deviation[row].tolist()
    return Look(
        T_unit_world=given if freedom == "known" else T_view_unit.inverse() @ T_view_world,
        whitened=guesses.whitened[row],
        whitened_deviation=guesses.whitened_deviation[row],
        scale_deviation=log_deviation,
        offset_deviation=float(np.mean(offset_deviation)) / scale,
        surprise=-float(torch.nn.functional.logsigmoid(guesses.upright[row])) if freedom == "free" else 0.0,
    )
