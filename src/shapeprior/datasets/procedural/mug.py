"""Mugs and cups: hollow bodies, turned or faceted, with a handle towards +x.

Lengths are in units of the body's largest radius; `mug` scales them to metres at the end.
"""

import math

import numpy as np
from jaxtyping import Float
from manifold3d import CrossSection, Manifold

from shapeprior.datasets.procedural.draws import chance, log_normal
from shapeprior.datasets.procedural.handles import Handle, handle_bar, handle_path, trim_handle
from shapeprior.datasets.procedural.solids import (
    Plan,
    Shell,
    box,
    ellipse,
    lathe,
    polar_plan,
    polygon_plan,
    rectangle_plan,
    round_corners,
    round_plan,
    shell,
    to_standing_mesh,
)
from shapeprior.geometry.mesh import TriangleMesh

_HALF_LENGTH = 1.35
"""Half the usual length of a mug with its handle, in radii of the body."""


def mug(rng: np.random.Generator) -> TriangleMesh:
    """Return a random mug in metres: hollow, open at the top, standing on y = 0, with the handle towards +x."""
    path = _body_path(rng)
    height = float(path[-1, 1])
    plan = _random_plan(rng)
    # Walls are a share of the bounding sphere, as in meshes of real mugs: one in twenty of those is thinner than 0.03
    # radii, the median is 0.056. As a share of the body's radius, one generated mug in seven was thinner than 0.03.
    wall = min(log_normal(rng, 0.062, 0.3, low=0.03, high=0.1) * math.hypot(_HALF_LENGTH, 0.5 * height), 0.2)
    floor = wall * rng.uniform(1.3, 2.2)
    if chance(rng, 0.08):  # Filled, as artists like to model them: a level surface inside the mug.
        floor = height * rng.uniform(0.55, 0.9)
    vessel = shell(path, wall=wall, floor=floor, level=rng.uniform(0.5, 1), fillet=0.02 + 0.5 * rng.random() ** 2)
    body = lathe(_add_details(vessel, path, wall=wall, rng=rng), plan)
    if chance(rng, 0.97):
        body = body + _fitted_handle(vessel, path, plan, wall=wall, rng=rng)
    return to_standing_mesh(body, unit=rng.uniform(0.03, 0.05))


def _random_plan(rng: np.random.Generator) -> Plan:
    kind = rng.random()
    if kind < 0.78:
        return round_plan(int(rng.integers(56, 81)))
    if kind < 0.90:
        roundness = 0.0 if chance(rng, 0.6) else rng.uniform(0.1, 0.8)
        return polygon_plan(int(rng.integers(6, 17)), roundness=roundness, flat_front=chance(rng, 0.6))
    if kind < 0.97:
        return rectangle_plan(1.0, corner=rng.uniform(0.2, 0.7))
    angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    return polar_plan(1 + rng.uniform(0.01, 0.04) * np.cos(int(rng.integers(6, 17)) * angles))


def _body_path(rng: np.random.Generator) -> Float[np.ndarray, "points 2"]:
    """Return the outer side, (radius, height) from the foot to the rim, with largest radius 1."""
    if chance(rng, 0.13):
        return _teacup_path(rng)
    height = 2 * log_normal(rng, 1.12, 0.24, low=0.6, high=2.2)
    u = np.linspace(0, 1, 50)
    radius = np.ones_like(u)
    if chance(rng, 0.3):  # The most common mug is a plain cylinder.
        path = np.stack([radius + rng.normal(0, 0.01) * u, height * u], axis=1)
        return _round_foot(path, rng.uniform(0.03, 0.4)) if chance(rng, 0.5) else path
    if chance(rng, 0.6):
        radius += np.clip(rng.normal(0.08, 0.16), -0.25, 0.5) * u
    if chance(rng, 0.45):
        radius += np.clip(rng.normal(0.03, 0.12), -0.2, 0.35) * np.sin(np.pi * u ** np.exp(rng.normal(0, 0.35)))
    if chance(rng, 0.15):
        radius += rng.uniform(0.01, 0.06) * np.sin(2 * np.pi * (u + rng.random()))
    if chance(rng, 0.3):
        steepness = rng.uniform(3, 16)
        radius += rng.uniform(0.02, 0.22) * min(1.0, 5 / steepness) * u**steepness
    if chance(rng, 0.15):
        radius += rng.uniform(0.02, 0.15) * (1 - u) ** rng.uniform(3, 12)
    path = np.stack([radius / radius.max(), height * u], axis=1)
    return _round_foot(path, rng.uniform(0.03, 0.55)) if chance(rng, 0.5) else path


def _round_foot(path: Float[np.ndarray, "points 2"], size: float) -> Float[np.ndarray, "rounded 2"]:
    """Replace the lowest part of a side by a quarter of an ellipse that ends on a flat foot."""
    tall = min(size, 0.6 * float(path[-1, 1]))
    angle = np.linspace(0, np.pi / 2, 14)
    heights = np.concatenate([tall * (1 - np.cos(angle)), path[path[:, 1] > tall * 1.02, 1]])
    radius = np.interp(heights, path[:, 1], path[:, 0])
    radius[: len(angle)] -= size * (1 - np.sin(angle)) * 0.98
    return np.stack([radius, heights], axis=1)


def _teacup_path(rng: np.random.Generator) -> Float[np.ndarray, "points 2"]:
    """Return the side of a cup that opens from a narrow foot: a Bézier curve from the foot to a rim of radius 1."""
    height, foot = 2 * rng.uniform(0.42, 0.85), rng.uniform(0.35, 0.7)
    out, up = rng.uniform(0.3, 1.0), rng.uniform(0.1, 0.6)
    swing = rng.uniform(-0.15, 0.12)
    control = np.array([[foot, 0], [foot + out * (1 - foot), 0.02 * height], [1 + swing, up * height], [1, height]])
    t = np.linspace(0, 1, 40)[:, None]
    path = (1 - t) ** 3 * control[0] + 3 * t * (1 - t) ** 2 * control[1] + 3 * t**2 * (1 - t) * control[2]
    path = path + t**3 * control[3]
    return path * np.array([1 / path[:, 0].max(), 1.0])


def _add_details(
    vessel: Shell, path: Float[np.ndarray, "points 2"], *, wall: float, rng: np.random.Generator
) -> CrossSection:
    """Return the wall with random details: foot ring or hollow underside, bands, a bead at the rim, rounded edges."""
    foot, height = float(path[0, 0]), float(path[-1, 1])
    detailed = vessel.wall
    convex = wall * rng.uniform(0.05, 0.45)
    if chance(rng, 0.35):
        outer, tall = foot * rng.uniform(0.75, 1.0), rng.uniform(0.02, 0.14)
        thick = rng.uniform(0.06, 0.2) if chance(rng, 0.7) else outer
        detailed = detailed + box((max(outer - thick, 0.0), -tall), (outer, 0.5 * wall))
    elif chance(rng, 0.4):
        detailed = detailed - ellipse(
            (0.0, 0.0), (foot * rng.uniform(0.6, 0.9), min(0.5 * wall, 1.2 * wall - 2.1 * convex))
        )
    if chance(rng, 0.15):
        for share in rng.uniform(0.04, 0.96, size=int(rng.integers(1, 5))):
            radius = float(np.interp(share * height, path[:, 1], path[:, 0]))
            tall, deep = rng.uniform(0.03, 0.12), rng.uniform(0.015, 0.07)
            if chance(rng, 0.6):
                band = ellipse((radius - 0.3 * wall, share * height), (0.3 * wall + deep, tall))
            else:
                band = box((radius - 0.5 * wall, share * height - tall), (radius + deep, share * height + tall))
            detailed = detailed + ((band ^ box((0.0, 0.0), (9.0, height))) - vessel.cavity)
    if chance(rng, 0.2):
        size = wall * rng.uniform(0.55, 0.9)
        detailed = detailed + ellipse((float(path[-1, 0]) - 0.5 * wall, height - size), (size, size))
    return round_corners(detailed, convex=convex, concave=rng.uniform(0.005, 0.06))


def _fitted_handle(
    vessel: Shell, path: Float[np.ndarray, "points 2"], plan: Plan, *, wall: float, rng: np.random.Generator
) -> Manifold:
    """Return a random handle for the body, cut off inside its wall."""
    height = float(path[-1, 1])
    top, bottom = height * rng.uniform(0.68, 0.93), height * rng.uniform(0.07, 0.4)
    at = np.linspace(bottom, top, 12)
    x = np.array([plan.reach(float(r)) for r in np.interp(at, path[:, 1], path[:, 0])])
    bulge = max(0.0, float(np.max(x - np.linspace(x[0], x[-1], 12))))
    depth = float(np.clip((top - bottom) * rng.uniform(0.42, 0.88), 0.38, 1.1)) + bulge
    handle = Handle(bottom=bottom, top=top, x_bottom=float(x[0]), x_top=float(x[-1]), depth=depth)
    bar = handle_bar(handle_path(handle, rng=rng), size=min(1.0, 1.6 * (top - bottom)), sink=0.25 + wall, rng=rng)
    if chance(rng, 0.1):
        bar = bar.rotate((rng.uniform(-8, 8), 0.0, 0.0))
    return trim_handle(bar, vessel, path, plan, wall=wall)
