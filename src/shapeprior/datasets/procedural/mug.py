"""Mugs and cups: a hollow body, turned or faceted, with a handle towards +x.

Lengths inside this file are in units of the body's largest radius; `mug` scales them to metres at the end.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from manifold3d import CrossSection, Manifold

from shapeprior.datasets.procedural.solids import (
    Plan,
    Shell,
    box,
    ellipse,
    finish,
    lathe,
    polar_plan,
    polygon_plan,
    rectangle_plan,
    round_plan,
    shell,
    soften,
    sweep,
    unfolded,
)
from shapeprior.geometry.mesh import TriangleMesh


def mug(rng: np.random.Generator) -> TriangleMesh:
    """One mug: closed, outward oriented, hollow, open at the top, standing on y = 0, handle towards +x, in metres."""
    path = _body_path(rng)
    height = float(path[-1, 1])
    plan = _plan(rng)
    wall = 2 * float(np.exp(rng.uniform(np.log(0.02), np.log(0.08))))
    floor = wall * rng.uniform(1.0, 2.2)
    if rng.random() < 0.08:  # Artists like to pour coffee: a level surface inside the mug.
        floor = height * rng.uniform(0.55, 0.9)
    vessel = shell(path, wall=wall, floor=floor, level=rng.uniform(0.5, 1), fillet=0.02 + 0.5 * rng.random() ** 2)
    body = lathe(_dress(vessel, path, wall=wall, rng=rng), plan)
    if rng.random() < 0.97:
        body = body + _fitted_handle(vessel, path, plan, wall=wall, rng=rng)
    return finish(body, unit=rng.uniform(0.03, 0.05))


def _plan(rng: np.random.Generator) -> Plan:
    kind = rng.random()
    if kind < 0.78:
        return round_plan(int(rng.integers(56, 81)))
    if kind < 0.90:
        roundness = 0.0 if rng.random() < 0.6 else rng.uniform(0.1, 0.8)
        return polygon_plan(int(rng.integers(6, 17)), roundness=roundness, flat_front=rng.random() < 0.6)
    if kind < 0.97:
        return rectangle_plan(1.0, corner=rng.uniform(0.2, 0.7))
    angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    return polar_plan(1 + rng.uniform(0.01, 0.04) * np.cos(int(rng.integers(6, 17)) * angles))


def _body_path(rng: np.random.Generator) -> Float[np.ndarray, "points 2"]:
    """The outer side, (radius, height) from the foot to the rim, largest radius 1."""
    if rng.random() < 0.13:
        return _teacup_path(rng)
    height = 2 * float(np.clip(np.exp(rng.normal(np.log(1.12), 0.24)), 0.6, 2.2))
    u = np.linspace(0, 1, 50)
    radius = np.ones_like(u)
    if rng.random() < 0.3:  # The commonest mug of all is a plain cylinder.
        path = np.stack([radius + rng.normal(0, 0.01) * u, height * u], axis=1)
        return _round_foot(path, rng.uniform(0.03, 0.4)) if rng.random() < 0.5 else path
    if rng.random() < 0.6:
        radius += np.clip(rng.normal(0.08, 0.16), -0.25, 0.5) * u
    if rng.random() < 0.45:
        radius += np.clip(rng.normal(0.03, 0.12), -0.2, 0.35) * np.sin(np.pi * u ** np.exp(rng.normal(0, 0.35)))
    if rng.random() < 0.15:
        radius += rng.uniform(0.01, 0.06) * np.sin(2 * np.pi * (u + rng.random()))
    if rng.random() < 0.3:
        steepness = rng.uniform(3, 16)
        radius += rng.uniform(0.02, 0.22) * min(1.0, 5 / steepness) * u**steepness
    if rng.random() < 0.15:
        radius += rng.uniform(0.02, 0.15) * (1 - u) ** rng.uniform(3, 12)
    path = np.stack([radius / radius.max(), height * u], axis=1)
    return _round_foot(path, rng.uniform(0.03, 0.55)) if rng.random() < 0.5 else path


def _round_foot(path: Float[np.ndarray, "points 2"], size: float) -> Float[np.ndarray, "rounded 2"]:
    """Replace the lowest part of the path by a quarter of an ellipse that ends on a flat foot."""
    tall = min(size, 0.6 * float(path[-1, 1]))
    angle = np.linspace(0, np.pi / 2, 14)
    heights = np.concatenate([tall * (1 - np.cos(angle)), path[path[:, 1] > tall * 1.02, 1]])
    radius = np.interp(heights, path[:, 1], path[:, 0])
    radius[: len(angle)] -= size * (1 - np.sin(angle)) * 0.98
    return np.stack([radius, heights], axis=1)


def _teacup_path(rng: np.random.Generator) -> Float[np.ndarray, "points 2"]:
    """A cup whose wall opens from a narrow foot: a Bézier curve from the foot to a rim of radius 1."""
    height, foot = 2 * rng.uniform(0.42, 0.85), rng.uniform(0.35, 0.7)
    out, up = rng.uniform(0.3, 1.0), rng.uniform(0.1, 0.6)
    swing = rng.uniform(-0.15, 0.12)
    control = np.array([[foot, 0], [foot + out * (1 - foot), 0.02 * height], [1 + swing, up * height], [1, height]])
    t = np.linspace(0, 1, 40)[:, None]
    path = (1 - t) ** 3 * control[0] + 3 * t * (1 - t) ** 2 * control[1] + 3 * t**2 * (1 - t) * control[2]
    path = path + t**3 * control[3]
    return path * np.array([1 / path[:, 0].max(), 1.0])


def _dress(
    vessel: Shell, path: Float[np.ndarray, "points 2"], *, wall: float, rng: np.random.Generator
) -> CrossSection:
    """The wall with what goes all around: foot ring, hollow underside, bands, a bead at the rim, rounded edges."""
    foot, height = float(path[0, 0]), float(path[-1, 1])
    dressed = vessel.wall
    convex = wall * rng.uniform(0.05, 0.45)
    if rng.random() < 0.35:
        outer, tall = foot * rng.uniform(0.75, 1.0), rng.uniform(0.02, 0.14)
        thick = rng.uniform(0.06, 0.2) if rng.random() < 0.7 else outer
        dressed = dressed + box((max(outer - thick, 0.0), -tall), (outer, 0.5 * wall))
    elif rng.random() < 0.4:
        dressed = dressed - ellipse((0.0, 0.0), (foot * rng.uniform(0.6, 0.9), min(0.6 * wall, wall - 2.1 * convex)))
    if rng.random() < 0.15:
        for share in rng.uniform(0.04, 0.96, size=int(rng.integers(1, 5))):
            radius = float(np.interp(share * height, path[:, 1], path[:, 0]))
            tall, deep = rng.uniform(0.03, 0.12), rng.uniform(0.015, 0.07)
            if rng.random() < 0.6:
                band = ellipse((radius - 0.3 * wall, share * height), (0.3 * wall + deep, tall))
            else:
                band = box((radius - 0.5 * wall, share * height - tall), (radius + deep, share * height + tall))
            dressed = dressed + ((band ^ box((0.0, 0.0), (9.0, height))) - vessel.cavity)
    if rng.random() < 0.2:
        size = wall * rng.uniform(0.55, 0.9)
        dressed = dressed + ellipse((float(path[-1, 0]) - 0.5 * wall, height - size), (size, size))
    return soften(dressed, convex=convex, concave=rng.uniform(0.005, 0.06))


@dataclass(frozen=True, kw_only=True)
class Handle:
    """Where a handle sits on a body and how far it stands out, in the body's units."""

    bottom: float
    """Height of the lower end."""
    top: float
    """Height of the upper end."""
    x_bottom: float
    """x of the wall at the lower end."""
    x_top: float
    """x of the wall at the upper end."""
    depth: float
    """Largest distance of the centre line from the straight line between both ends, along x."""


def handle_path(handle: Handle, *, rng: np.random.Generator) -> Float[np.ndarray, "points 2"]:
    """The centre line (x, y) from the upper to the lower end: part of a superellipse, or a rounded polyline."""
    if rng.random() < 0.68:
        loop = _superellipse_loop(rng)
    else:
        loop = _rounded_polyline(rng)
    out, up = loop[:, 0], loop[:, 1]
    wall = handle.x_bottom + (handle.x_top - handle.x_bottom) * np.clip(up, 0, 1)
    return np.stack([wall + handle.depth * out, handle.bottom + (handle.top - handle.bottom) * up], axis=1)


def _superellipse_loop(rng: np.random.Generator) -> Float[np.ndarray, "points 2"]:
    """From (0, 1) to (0, 0), standing out to 1: C, D, ring and box handles, leaning up or down."""
    exponent = 2 * float(np.exp(rng.normal(0.15, 0.3))) if rng.random() < 0.75 else rng.uniform(4, 10)
    half_turn = np.pi / 2 if rng.random() < 0.6 else rng.uniform(0.5, 0.72) * np.pi
    angle = np.linspace(half_turn, -half_turn, 400)
    power = 2 / exponent
    x = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power
    y = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power
    x, y = (x - x[0]) / (1 - x[0]), y / y[0]
    lean = rng.uniform(-0.15, 0.45) if rng.random() < 0.5 else 0.0
    droop = rng.uniform(-0.1, 0.15) if rng.random() < 0.3 else 0.0
    return _even(np.stack([x * (1 + lean * y) / (1 + 0.5 * abs(lean)), 0.5 + 0.5 * y + droop * x], axis=1))


def _rounded_polyline(rng: np.random.Generator) -> Float[np.ndarray, "points 2"]:
    """From (0, 1) to (0, 0) by three free corners: ears, triangles, tankard handles; corners cut by Chaikin's rule."""
    elbow = [rng.uniform(0.75, 1.05), rng.uniform(0.85, 1.15)]
    knee = [rng.uniform(0.55, 1.05), rng.uniform(0.25, 0.6)]
    heel = [rng.uniform(0.15, 0.75), rng.uniform(-0.05, 0.15)]
    points = np.array([[0.0, 1.0], elbow, knee, heel, [0.0, rng.uniform(-0.05, 0.05)]])
    cut = rng.uniform(0.12, 0.25)
    for _ in range(4):
        before, after = points[:-1], points[1:]
        corners = np.stack([(1 - cut) * before + cut * after, cut * before + (1 - cut) * after], axis=1).reshape(-1, 2)
        points = np.concatenate([points[:1], corners, points[-1:]])
    return _even(points)


def _even(path: Float[np.ndarray, "points 2"], count: int = 48) -> Float[np.ndarray, "count 2"]:
    """Points at equal distances along a path."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    at = np.linspace(0, along[-1], count)
    return np.stack([np.interp(at, along, path[:, 0]), np.interp(at, along, path[:, 1])], axis=1)


def handle_bar(path: Float[np.ndarray, "points 2"], *, size: float, sink: float, rng: np.random.Generator) -> Manifold:
    """Sweep a cross-section, a tenth of `size` thick or so, along a handle's centre line.

    Both ends are lengthened by `sink`, into the body.
    """
    thickness = size * rng.uniform(0.045, 0.14)
    width = thickness * (rng.uniform(0.85, 1.3) if rng.random() < 0.5 else rng.uniform(1.3, 3.0))
    exponent = 2.0 if rng.random() < 0.5 else rng.uniform(2.0, 8.0)
    first, last = path[0] - path[1], path[-1] - path[-2]
    ends = [path[i] + sink * d / np.linalg.norm(d) for i, d in ((0, first), (-1, last))]
    path = np.concatenate([ends[:1], path, ends[1:]])
    s = np.linspace(-1, 1, len(path))
    flare = 1 + (rng.uniform(0.1, 0.7) * np.abs(s) ** rng.uniform(4, 12) if rng.random() < 0.4 else 0 * s)
    waist = 1 + (rng.uniform(-0.25, 0.25) * s if rng.random() < 0.3 else 0 * s)
    # A bar too thick for its bends would be smoothed flat: make it thinner until the loop stays a loop.
    stands_out = path[:, 0].max() - path[[1, -2], 0].max()
    for _ in range(8):
        smooth, _ = unfolded(path, thickness * flare * waist)
        if smooth[:, 0].max() - path[[1, -2], 0].max() > 0.75 * stands_out:
            break
        thickness, width = 0.8 * thickness, 0.8 * width
    return sweep(path, thickness=thickness * flare * waist, width=width * flare * waist, exponent=exponent)


def _fitted_handle(
    vessel: Shell, path: Float[np.ndarray, "points 2"], plan: Plan, *, wall: float, rng: np.random.Generator
) -> Manifold:
    """A handle for the body, cut off inside its wall."""
    height = float(path[-1, 1])
    top, bottom = height * rng.uniform(0.68, 0.93), height * rng.uniform(0.07, 0.4)
    at = np.linspace(bottom, top, 12)
    x = np.array([plan.reach(float(r)) for r in np.interp(at, path[:, 1], path[:, 0])])
    bulge = max(0.0, float(np.max(x - np.linspace(x[0], x[-1], 12))))
    depth = float(np.clip((top - bottom) * rng.uniform(0.42, 0.88), 0.38, 1.1)) + bulge
    handle = Handle(bottom=bottom, top=top, x_bottom=float(x[0]), x_top=float(x[-1]), depth=depth)
    bar = handle_bar(handle_path(handle, rng=rng), size=min(1.0, 1.6 * (top - bottom)), sink=0.25 + wall, rng=rng)
    if rng.random() < 0.1:
        bar = bar.rotate((rng.uniform(-8, 8), 0.0, 0.0))
    return trim_handle(bar, vessel, path, plan, wall=wall)


def trim_handle(
    bar: Manifold, vessel: Shell, path: Float[np.ndarray, "points 2"], plan: Plan, *, wall: float
) -> Manifold:
    """Cut a bar off inside the wall: with the cavity, grown by half the wall, and with the column above it."""
    height = float(path[-1, 1])
    hollow = vessel.cavity.offset(0.5 * wall) ^ box((0.0, 0.0), (9.0, height))
    column = box((0.0, 0.9 * height), (max(float(path[-1, 0]) - 0.5 * wall, 0.1), 9.0)) ^ box((0.0, height), (9.0, 9.0))
    return (bar - lathe(hollow + column, plan)).trim_by_plane((0.0, 1.0, 0.0), 0.0)
