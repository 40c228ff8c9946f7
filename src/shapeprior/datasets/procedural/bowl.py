"""Bowls and dishes: hollow, open at the top, upright around y.

Lengths are in units of about the rim's radius; `bowl` scales them to metres at the end.
"""

import numpy as np
from jaxtyping import Float
from manifold3d import CrossSection, Manifold

from shapeprior.datasets.procedural.draws import chance, log_normal, log_uniform
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
    section,
    shell,
    to_standing_mesh,
)
from shapeprior.geometry.mesh import TriangleMesh


def bowl(rng: np.random.Generator) -> TriangleMesh:
    """Return a random bowl in metres: hollow, open at the top, standing on y = 0."""
    plan, unit = _random_plan(rng), rng.uniform(0.05, 0.16)
    if chance(rng, 0.1):
        return to_standing_mesh(lathe(_feeding_bowl(rng), plan), unit=unit)
    wall = 2 * log_uniform(rng, 0.012, 0.065)
    path = _dish_path(rng) if chance(rng, 0.12) else _bowl_path(rng)
    if chance(rng, 0.11):
        path = _with_flange(path, rng)
    floor = wall * rng.uniform(1.2, 2.0)
    if chance(rng, 0.06):  # A heavy bottom, as in turned wood and stone.
        floor += rng.uniform(0.05, 0.25) * float(path[-1, 1])
    steep = path[-1] - path[-2]
    level = rng.uniform(0, 1) if abs(steep[1]) > abs(steep[0]) else 0.0
    fillet = min(0.02 + 0.6 * rng.random() ** 3, 0.7 * float(path[0, 0]))
    vessel = shell(path, wall=wall, floor=min(floor, 0.6 * float(path[-1, 1])), level=level, fillet=fillet)
    body = lathe(_add_details(vessel, path, wall=wall, rng=rng), plan)
    if chance(rng, 0.06) and path[-1, 1] > 0.4 and abs(steep[1]) > abs(steep[0]):
        body = body + _two_handles(vessel, path, plan, wall=wall, rng=rng)
    return to_standing_mesh(body, unit=unit)


def _random_plan(rng: np.random.Generator) -> Plan:
    kind = rng.random()
    segments = int(rng.integers(60, 89))
    angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    if kind < 0.66:
        return round_plan(segments)
    if kind < 0.84:
        roundness = 0.0 if chance(rng, 0.7) else rng.uniform(0.1, 0.8)
        return polygon_plan(int(rng.integers(6, 17)), roundness=roundness, flat_front=chance(rng, 0.5))
    if kind < 0.90:
        return polar_plan(np.ones(segments), aspect=rng.uniform(0.6, 1.0))
    if kind < 0.95:
        return rectangle_plan(rng.uniform(0.65, 1.0), corner=rng.uniform(0.2, 0.6))
    return polar_plan(1 + rng.uniform(0.005, 0.035) * np.cos(int(rng.integers(5, 21)) * angles))


def _bezier(control: list[list[float]], count: int = 40) -> Float[np.ndarray, "count 2"]:
    """Return points of a cubic Bézier curve with four control points."""
    t = np.linspace(0, 1, count)[:, None]
    weights = np.concatenate([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], axis=1)
    return weights @ np.array(control)


def _bowl_path(rng: np.random.Generator) -> Float[np.ndarray, "points 2"]:
    """Return the outer side, (radius, height) from the foot to a rim of radius 1.

    One curve covers cones (both inner control points on the chord), half spheres, deep bowls, and rims that flare or
    close.
    """
    foot = rng.uniform(0.2, 0.75)
    height = log_normal(rng, 0.75, 0.38, low=0.25, high=1.7)
    roundness = rng.uniform(0, 1) if chance(rng, 0.8) else 0.0
    low = [foot + (1 - foot) * (1 / 3 + roundness * rng.uniform(0.1, 0.5)), height / 3 * (1 - roundness)]
    swing = float(np.clip(rng.normal(0.0, 0.14), -0.3, 0.4)) if chance(rng, 0.5) else 0.0
    high_on_chord = np.array([foot + (1 - foot) * 2 / 3, height * 2 / 3])
    high_upright = np.array([1.0 + swing, height * rng.uniform(0.35, 0.6)])
    high = (1 - roundness) * high_on_chord + roundness * high_upright
    return _bezier([[foot, 0.0], low, high.tolist(), [1.0, height]])


def _dish_path(rng: np.random.Generator) -> Float[np.ndarray, "points 2"]:
    """Return steep walls over a wide flat bottom: petri dishes, pots, cake tins."""
    height = log_uniform(rng, 0.18, 1.5)
    foot = 1 - rng.uniform(0, 0.2) * height if chance(rng, 0.6) else 1.0
    corner = rng.uniform(0, 0.3) * min(height, 1.0)
    angle = np.linspace(0, np.pi / 2, 10)
    heights = np.concatenate([corner * (1 - np.cos(angle)), np.linspace(corner, height, 9)[1:]])
    radius = foot + (1 - foot) * heights / height
    radius[:10] -= corner * (1 - np.sin(angle))
    path = np.stack([radius, heights], axis=1)
    return path if corner > 0.02 else np.array([[foot, 0.0], [0.5 * (foot + 1), 0.5 * height], [1.0, height]])


def _with_flange(path: Float[np.ndarray, "points 2"], rng: np.random.Generator) -> Float[np.ndarray, "longer 2"]:
    """Add a flat or rising brim beyond the rim."""
    slope = rng.uniform(0.03, 0.8)
    brim = rng.uniform(0.06, 0.4) * np.array([1.0, slope])
    return np.concatenate([path, path[-1] + np.array([[0.5], [1.0]]) * brim])


def _add_details(
    vessel: Shell, path: Float[np.ndarray, "points 2"], *, wall: float, rng: np.random.Generator
) -> CrossSection:
    """Return the wall with random details: foot ring, pedestal or hollow underside, a lip at the rim, rounded edges."""
    foot = float(path[0, 0])
    detailed = vessel.wall
    convex = wall * rng.uniform(0.05, 0.45)
    kind = rng.random()
    if kind < 0.3:
        outer = min(max(foot * rng.uniform(0.8, 1.1), 0.32), 0.97 * float(path[-1, 0]))
        thick, tall = rng.uniform(0.04, 0.14), rng.uniform(0.02, 0.2)
        lean = rng.uniform(-0.3, 0.3) * tall
        top = float(np.interp(outer - 0.3 * thick, path[:, 0], path[:, 1])) + 0.4 * wall
        ring = section(np.array([[outer + lean, -tall], [outer, 0.0], [outer, top]]))
        ring = ring - section(np.array([[outer + lean - thick, -tall - 1], [outer - thick, 0.0], [outer - thick, top]]))
        detailed = detailed + (ring - vessel.cavity)
    elif kind < 0.42:
        tall, top, neck = rng.uniform(0.05, 0.4), foot * rng.uniform(0.6, 0.95), rng.uniform(0.5, 1.0)
        base = float(np.clip(top * rng.uniform(0.8, 1.6), 0.3, 0.8))
        stem = _bezier([[base, -tall], [base * neck, -0.7 * tall], [top * neck, -0.3 * tall], [top, 0.0]], 16)
        plinth = [[base, -tall - rng.uniform(0.01, 0.1)]]
        detailed = detailed + section(np.concatenate([plinth, stem, [[top, 0.4 * wall]]]))
    elif kind < 0.65:
        detailed = detailed - ellipse(
            (0.0, 0.0), (foot * rng.uniform(0.5, 0.9), min(0.4 * wall, 1.1 * wall - 2.1 * convex))
        )
    if chance(rng, 0.2):
        size = wall * rng.uniform(0.5, 1.2)
        rim = path[-1] + np.array([rng.uniform(-0.6, 0.3) * wall, -0.6 * size])
        detailed = detailed + ellipse((float(rim[0]), float(rim[1])), (size, size * rng.uniform(0.6, 1.0)))
    return round_corners(detailed, convex=convex, concave=rng.uniform(0.005, 0.05))


def _feeding_bowl(rng: np.random.Generator) -> CrossSection:
    """Return a feeding bowl for pets, whose skirt widens downwards and is hollow underneath or solid."""
    height, rim, base = rng.uniform(0.25, 0.75), rng.uniform(0.55, 0.9), 1.0
    wall, depth = rng.uniform(0.04, 0.1), rng.uniform(0.6, 0.92)
    belly = rng.uniform(-0.1, 0.12)
    skirt = _bezier([[base, 0.0], [base + belly, height / 3], [rim + belly + 0.1, height * 0.75], [rim, height]], 24)
    bottom = (rim - wall) * rng.uniform(0.55, 1.0)
    roundness = rng.uniform(0, 1)
    corner = [bottom + roundness * (rim - wall - bottom), height * (1 - depth)]
    inner = _bezier(
        [[bottom, height * (1 - depth)], corner, [rim - wall, height * 0.6], [rim - wall, height * 1.01]], 24
    )
    hollow = np.concatenate([inner, [[rim - wall, 2.0]]])
    region = section(skirt) - section(hollow)
    if chance(rng, 0.6):
        deep_skirt = section(np.concatenate([[[base, -1.0]], skirt]))
        region = region - (deep_skirt.offset(-wall) - section(hollow).offset(wall))
    if chance(rng, 0.4):
        region = region + box((base - wall, 0.0), (base + rng.uniform(0.03, 0.25), wall * rng.uniform(0.4, 1.2)))
    return round_corners(region, convex=wall * rng.uniform(0.05, 0.4), concave=0.01)


def _two_handles(
    vessel: Shell, path: Float[np.ndarray, "points 2"], plan: Plan, *, wall: float, rng: np.random.Generator
) -> Manifold:
    """Return the same handle towards +x and −x, cut off inside the wall."""
    height = float(path[-1, 1])
    top, bottom = height * rng.uniform(0.7, 0.92), height * rng.uniform(0.25, 0.5)
    x_bottom, x_top = (plan.reach(float(r)) for r in np.interp([bottom, top], path[:, 1], path[:, 0]))
    depth = rng.uniform(0.2, 0.5)
    handle = Handle(bottom=bottom, top=top, x_bottom=x_bottom, x_top=x_top, depth=depth)
    bar = handle_bar(handle_path(handle, rng=rng), size=min(1.0, 1.6 * (top - bottom)), sink=0.2 + wall, rng=rng)
    bar = trim_handle(bar, vessel, path, plan, wall=wall)
    return bar + bar.rotate((0.0, 180.0, 0.0))
