"""Handles of mugs and bowls: a centre line, a bar swept along it, and the cut inside the wall of the vessel.

Lengths are in units of the body's largest radius. A handle lies in the plane z = 0 and stands out towards +x.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from manifold3d import Manifold

from shapeprior.datasets.procedural.draws import chance
from shapeprior.datasets.procedural.lofts import signed_power, smooth_until_unfolded, sweep
from shapeprior.datasets.procedural.solids import Plan, Shell, box, lathe


@dataclass(frozen=True, kw_only=True)
class Handle:
    """Where a handle sits on a body, and how far it stands out."""

    bottom: float
    """Height of the lower end."""
    top: float
    """Height of the upper end."""
    x_bottom: float
    """x of the wall at the lower end."""
    x_top: float
    """x of the wall at the upper end."""
    depth: float
    """Largest distance along x of the centre line from the straight line between both ends."""


def handle_path(handle: Handle, *, rng: np.random.Generator) -> Float[np.ndarray, "points 2"]:
    """Return the centre line (x, y) from the upper to the lower end: part of a superellipse, or a rounded polyline."""
    loop = _superellipse_loop(rng) if chance(rng, 0.68) else _rounded_polyline(rng)
    out, up = loop[:, 0], loop[:, 1]
    wall = handle.x_bottom + (handle.x_top - handle.x_bottom) * np.clip(up, 0, 1)
    return np.stack([wall + handle.depth * out, handle.bottom + (handle.top - handle.bottom) * up], axis=1)


def _superellipse_loop(rng: np.random.Generator) -> Float[np.ndarray, "points 2"]:
    """Return a path from (0, 1) to (0, 0) that stands out to 1: C, D, ring and box handles, leaning up or down."""
    exponent = 2 * float(np.exp(rng.normal(0.15, 0.3))) if chance(rng, 0.75) else rng.uniform(4, 10)
    half_turn = np.pi / 2 if chance(rng, 0.6) else rng.uniform(0.5, 0.72) * np.pi
    angle = np.linspace(half_turn, -half_turn, 400)
    power = 2 / exponent
    x, y = signed_power(np.cos(angle), power), signed_power(np.sin(angle), power)
    x, y = (x - x[0]) / (1 - x[0]), y / y[0]
    lean = rng.uniform(-0.15, 0.45) if chance(rng, 0.5) else 0.0
    droop = rng.uniform(-0.1, 0.15) if chance(rng, 0.3) else 0.0
    return _resample(np.stack([x * (1 + lean * y) / (1 + 0.5 * abs(lean)), 0.5 + 0.5 * y + droop * x], axis=1))


def _rounded_polyline(rng: np.random.Generator) -> Float[np.ndarray, "points 2"]:
    """Return a path from (0, 1) to (0, 0) by three random corners, which are cut by Chaikin's rule.

    These are ears, triangles and tankard handles.
    """
    elbow = [rng.uniform(0.75, 1.05), rng.uniform(0.85, 1.15)]
    knee = [rng.uniform(0.55, 1.05), rng.uniform(0.25, 0.6)]
    heel = [rng.uniform(0.15, 0.75), rng.uniform(-0.05, 0.15)]
    points = np.array([[0.0, 1.0], elbow, knee, heel, [0.0, rng.uniform(-0.05, 0.05)]])
    cut = rng.uniform(0.12, 0.25)
    for _ in range(4):
        before, after = points[:-1], points[1:]
        corners = np.stack([(1 - cut) * before + cut * after, cut * before + (1 - cut) * after], axis=1).reshape(-1, 2)
        points = np.concatenate([points[:1], corners, points[-1:]])
    return _resample(points)


def _resample(path: Float[np.ndarray, "points 2"], count: int = 48) -> Float[np.ndarray, "count 2"]:
    """Return points at equal distances along a path."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    at = np.linspace(0, along[-1], count)
    return np.stack([np.interp(at, along, path[:, 0]), np.interp(at, along, path[:, 1])], axis=1)


def handle_bar(path: Float[np.ndarray, "points 2"], *, size: float, sink: float, rng: np.random.Generator) -> Manifold:
    """Sweep a random cross-section along a handle's centre line; its half thickness is 4.5 % to 14 % of `size`.

    Both ends are lengthened by `sink`, so that they reach into the body.
    """
    thickness = size * rng.uniform(0.045, 0.14)
    width = thickness * (rng.uniform(0.85, 1.3) if chance(rng, 0.5) else rng.uniform(1.3, 3.0))
    exponent = 2.0 if chance(rng, 0.5) else rng.uniform(2.0, 8.0)
    first, last = path[0] - path[1], path[-1] - path[-2]
    ends = [path[i] + sink * d / np.linalg.norm(d) for i, d in ((0, first), (-1, last))]
    path = np.concatenate([ends[:1], path, ends[1:]])
    s = np.linspace(-1, 1, len(path))
    flare = 1 + (rng.uniform(0.1, 0.7) * np.abs(s) ** rng.uniform(4, 12) if chance(rng, 0.4) else 0 * s)
    waist = 1 + (rng.uniform(-0.25, 0.25) * s if chance(rng, 0.3) else 0 * s)
    # Smoothing would flatten a bar that is too thick for its bends, so it is made thinner until the loop stays a loop.
    stands_out = path[:, 0].max() - path[[1, -2], 0].max()
    for _ in range(8):
        smooth, _ = smooth_until_unfolded(path, thickness * flare * waist)
        if smooth[:, 0].max() - path[[1, -2], 0].max() > 0.75 * stands_out:
            break
        thickness, width = 0.8 * thickness, 0.8 * width
    return sweep(path, thickness=thickness * flare * waist, width=width * flare * waist, exponent=exponent)


def trim_handle(
    bar: Manifold, vessel: Shell, path: Float[np.ndarray, "points 2"], plan: Plan, *, wall: float
) -> Manifold:
    """Cut a bar off inside the wall of a vessel, so that it does not reach into the cavity or the room above it."""
    height = float(path[-1, 1])
    hollow = vessel.cavity.offset(0.5 * wall) ^ box((0.0, 0.0), (9.0, height))
    column = box((0.0, 0.9 * height), (max(float(path[-1, 0]) - 0.5 * wall, 0.1), 9.0)) ^ box((0.0, height), (9.0, 9.0))
    return (bar - lathe(hollow + column, plan)).trim_by_plane((0.0, 1.0, 0.0), 0.0)
