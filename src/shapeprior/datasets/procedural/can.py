"""Cans and tins: drinks cans, food cans, flat fish tins, spray cans, canisters; upright around y, closed unless opened.

Lengths inside this file are in units of the body's radius; `can` scales them to metres at the end.
"""

import numpy as np
from jaxtyping import Float
from manifold3d import CrossSection, Manifold

from shapeprior.datasets.procedural.solids import (
    Plan,
    box,
    ellipse,
    finish,
    largest,
    lathe,
    polar_plan,
    polygon_plan,
    rectangle_plan,
    round_plan,
    section,
    soften,
)
from shapeprior.geometry.mesh import TriangleMesh


def can(rng: np.random.Generator) -> TriangleMesh:
    """One can: closed mesh, outward oriented, solid (one in ten is opened and hollow), standing on y = 0, in metres."""
    kind = rng.random()
    if kind < 0.24:
        body, unit = _drinks_can(rng), rng.uniform(0.024, 0.036)
    elif kind < 0.60:
        body, unit = _food_can(rng), rng.uniform(0.026, 0.055)
    elif kind < 0.76:
        body, unit = _flat_tin(rng), rng.uniform(0.04, 0.07)
    elif kind < 0.86:
        body, unit = _spray_can(rng), rng.uniform(0.018, 0.034)
    else:
        body, unit = _canister(rng), rng.uniform(0.03, 0.06)
    if rng.random() < 0.08:
        body = _dented(body, rng)
    return finish(body, unit=unit)


def _round(rng: np.random.Generator) -> Plan:
    if rng.random() < 0.07:
        return polygon_plan(int(rng.integers(8, 21)), flat_front=rng.random() < 0.5)
    return round_plan(int(rng.integers(56, 81)))


def _drinks_can(rng: np.random.Generator) -> Manifold:
    """Necked at both ends, with a lid sunk into a seam, a domed underside, and perhaps a tab."""
    height = rng.uniform(2.3, 5.4)
    lid, stand = rng.uniform(0.74, 0.92), rng.uniform(0.64, 0.86)
    neck, taper = rng.uniform(0.2, 0.65), rng.uniform(0.12, 0.4)
    seam, deep = rng.uniform(0.05, 0.09), rng.uniform(0.06, 0.2)
    blend = rng.uniform(0, 1)
    turn = np.linspace(0, np.pi / 2, 14)
    bend = blend * np.stack([turn / turn[-1]] * 2, axis=1) + (1 - blend) * np.stack(
        [np.sin(turn), 1 - np.cos(turn)], axis=1
    )
    lower = np.array([stand, 0.0]) + bend * np.array([1 - stand, taper])
    t = np.linspace(0, 1, 14)
    ramp = blend * t * t * (3 - 2 * t) + (1 - blend) * t
    upper = np.stack([1 - (1 - lid) * ramp, height - seam - neck + neck * t], axis=1)
    body = section(np.concatenate([lower, upper, [[lid, height]]]))
    seam_width = rng.uniform(0.03, 0.07)
    body = body + box((lid - seam_width, height - seam), (lid + rng.uniform(0.01, 0.05), height))
    body = body - ellipse((0.0, 0.0), (stand - rng.uniform(0.03, 0.08), rng.uniform(0.1, 0.35)))
    inner = lid - seam_width
    if _opened(rng):
        wall = rng.uniform(0.02, 0.06)
        return lathe(_emptied(body, height, inner, wall), _round(rng))
    body = body - _lid_recess(height, inner, deep, rng)
    solid = lathe(soften(body, convex=0.012, concave=0.01), _round(rng))
    if rng.random() < 0.6:
        solid = solid + _tab(height - deep, inner, rng)
    return solid


def _opened(rng: np.random.Generator) -> bool:
    return rng.random() < 0.1


def _lid_recess(height: float, inner: float, deep: float, rng: np.random.Generator) -> CrossSection:
    """What is missing above a sunken lid: a countersink with a raised panel, and concentric beads."""
    slope = rng.uniform(0.0, 0.06)
    recess = section(np.array([[inner - slope, height - deep], [inner, height + 1.0]]))
    panel, rise = 0.0, 0.0
    if rng.random() < 0.6:
        panel, rise = inner * rng.uniform(0.7, 0.92), deep * rng.uniform(0.1, 0.6)
        recess = recess - section(np.array([[panel, height - deep - 1], [panel - 0.4 * rise, height - deep + rise]]))
    for radius in inner * rng.uniform(0.2, 0.85, size=int(rng.integers(0, 4))):
        size = rng.uniform(0.01, 0.025)
        surface = height - deep + (rise if radius < panel else 0.0)
        bead = ellipse((float(radius), surface), (1.5 * size, size))
        recess = recess - bead if rng.random() < 0.6 else recess + bead
    return recess


def _emptied(body: CrossSection, height: float, inner: float, wall: float) -> CrossSection:
    """An opened can: the lid within radius `inner` cut out, the inside hollowed."""
    hollow = body.offset(-wall) ^ box((0.0, 0.0), (9.0, height - 0.08))
    return soften(body - largest(hollow) - box((0.0, height - 0.12), (inner, 9.0)), convex=0.3 * wall)


def _tab(lid: float, inner: float, rng: np.random.Generator) -> Manifold:
    """A pull tab: a flat oval with a finger hole, lying on the lid from its middle towards its edge."""
    length, width = inner * rng.uniform(0.3, 0.45), inner * rng.uniform(0.16, 0.26)
    oval = CrossSection.circle(1.0, 32).scale((length, width))
    hole = CrossSection.circle(1.0, 24).scale((0.4 * length, 0.6 * width)).translate((0.42 * length, 0.0))
    plate = (oval - hole).extrude(rng.uniform(0.03, 0.06)).translate((rng.uniform(0.2, 0.95) * length, 0.0, 0.0))
    root = min(0.4, 0.3 * lid)
    stem = CrossSection.circle(0.45 * width, 24).extrude(root + 0.02).translate((0.05 * length, 0.0, -root))
    tilt = rng.uniform(0, 12) if rng.random() < 0.85 else rng.uniform(12, 60)
    tab = (plate.rotate((0.0, -tilt, 0.0)) + stem).rotate((-90.0, 0.0, 0.0))
    return tab.rotate((0.0, rng.uniform(0, 360), 0.0)).translate((0.0, lid + rng.uniform(0.0, 0.04), 0.0))


def _ribs(path: Float[np.ndarray, "points 2"], rng: np.random.Generator) -> Float[np.ndarray, "points 2"]:
    """Press rings into a body side: one or two groups of waves."""
    height = float(path[-1, 1])
    radius = path[:, 0].copy()
    for _ in range(int(rng.integers(1, 3))):
        center, half = height * rng.uniform(0.25, 0.75), height * rng.uniform(0.06, 0.3)
        waves = int(rng.integers(1, 9))
        phase = np.clip((path[:, 1] - center + half) / (2 * half), 0, 1)
        shape = np.abs(np.sin(np.pi * waves * phase)) if rng.random() < 0.5 else np.sin(np.pi * waves * phase) ** 2
        radius += rng.uniform(-0.04, 0.025) * shape
    return np.stack([radius, path[:, 1]], axis=1)


def _side(height: float, rng: np.random.Generator) -> Float[np.ndarray, "points 2"]:
    """A straight or ribbed side, (radius, height)."""
    path = np.stack([np.ones(120), np.linspace(0, height, 120)], axis=1)
    if rng.random() < 0.25:
        path[:, 0] -= rng.uniform(0.0, 0.08) * path[:, 1] / height
    return _ribs(path, rng) if rng.random() < 0.4 else path


def _rounded_foot(side: Float[np.ndarray, "points 2"], radius: float) -> CrossSection:
    """The body under a side, its lower edge rounded, its upper edge sharp."""
    height = float(side[-1, 1])
    taller = np.concatenate([side, [[side[-1, 0], height + 1.0]]])
    return soften(section(taller), convex=min(radius, 0.4 * height)) ^ box((0.0, 0.0), (9.0, height))


def _food_can(rng: np.random.Generator) -> Manifold:
    """A cylinder with seams at one or both ends, sunken lids, and often ribs."""
    height = float(np.clip(np.exp(rng.normal(np.log(2.1), 0.5)), 0.5, 5.0))
    seam, out, width = rng.uniform(0.03, 0.12), rng.uniform(0.005, 0.06), rng.uniform(0.03, 0.09)
    side = _side(height, rng)
    foot_radius, top_radius = float(side[0, 0]), float(side[-1, 0])
    body = section(side) + box((top_radius - width - 0.05, height - seam), (top_radius + out, height))
    inner = top_radius - width - 0.02
    deep = rng.uniform(0.03, 0.16)
    if rng.random() < 0.6:
        body = body + box((foot_radius - width - 0.05, 0.0), (foot_radius + out, seam))
        under = rng.uniform(0.02, 0.14)
    else:
        body = body ^ (_rounded_foot(side, rng.uniform(0.02, 0.15)) + box((0.0, 0.5 * height), (9.0, height)))
        under = rng.uniform(0.01, 0.06)
    if rng.random() < 0.85:
        body = body - section(np.array([[inner, -1.0], [inner, under]]))
    plan = _round(rng)
    if _opened(rng):
        wall = rng.uniform(0.025, 0.06)
        return lathe(_emptied(body, height, inner, wall), plan)
    if rng.random() < 0.9:
        body = body - _lid_recess(height, inner, deep, rng)
    else:
        deep = 0.0
    solid = lathe(soften(body, convex=rng.uniform(0.004, 0.02), concave=rng.uniform(0.002, 0.02)), plan)
    if rng.random() < 0.25:
        solid = solid + _tab(height - deep, inner, rng)
    return solid


def _flat_tin(rng: np.random.Generator) -> Manifold:
    """A low rounded rectangle, oval, ham or round tin with a rim."""
    height = rng.uniform(0.22, 0.8)
    kind = rng.random()
    if kind < 0.55:
        half_width = rng.uniform(0.5, 0.95)
        plan = rectangle_plan(half_width, corner=half_width * rng.uniform(0.4, 0.95), segments=72)
    elif kind < 0.85:
        angles = np.linspace(0, 2 * np.pi, 80, endpoint=False)
        egg = 1 + (rng.uniform(0.02, 0.16) * np.cos(angles) if rng.random() < 0.5 else 0 * angles)
        power = rng.uniform(2.0, 3.2)
        blunt = (np.abs(np.cos(angles)) ** power + np.abs(np.sin(angles)) ** power) ** (-1 / power)
        plan = polar_plan(egg * blunt, aspect=rng.uniform(0.5, 0.95))
    else:
        plan = _round(rng)
    foot = 1 - rng.uniform(0, 0.12) * rng.integers(0, 2)
    path = np.array([[foot, 0.0], [0.5 * (foot + 1), 0.5 * height], [1.0, height]])
    body = _rounded_foot(path, rng.uniform(0.02, 0.3) * height)
    out, seam = rng.uniform(0.0, 0.07), rng.uniform(0.03, 0.1)
    body = body + box((0.8, height - seam), (1 + out, height))
    if rng.random() < 0.3:
        body = body + box((foot - 0.2, 0.0), (foot + out, seam))
    if rng.random() < 0.6:
        body = body - section(np.array([[0.88 * foot, -1.0], [0.86 * foot, rng.uniform(0.01, 0.06)]]))
    deep = rng.uniform(0.02, 0.14) * min(1.0, 2 * height)
    inner = 1 - rng.uniform(0.03, 0.08) - (1 - foot) * deep / height
    if _opened(rng):
        wall = rng.uniform(0.03, 0.06)
        return lathe(_emptied(body, height, inner - 0.04, wall), plan)
    if rng.random() < 0.9:
        body = body - _lid_recess(height, inner, deep, rng)
    else:
        deep = 0.0
    solid = lathe(soften(body, convex=rng.uniform(0.004, 0.02)), plan)
    if rng.random() < 0.4:
        solid = solid + _tab(height - deep, 0.6, rng)
    return solid


def _spray_can(rng: np.random.Generator) -> Manifold:
    """A tall cylinder with a shoulder and a cap, or a valve."""
    height, shoulder = rng.uniform(3.0, 6.5), rng.uniform(0.15, 0.9)
    neck = rng.uniform(0.3, 0.75)
    angle = np.linspace(0, np.pi / 2, 14)
    dome = np.stack([neck + (1 - neck) * np.cos(angle), height + shoulder * np.sin(angle)], axis=1)
    body = section(np.concatenate([[[1.0, 0.0]], dome]))
    top = height + shoulder
    if rng.random() < 0.6:
        body = body + box((0.8, 0.0), (1 + rng.uniform(0, 0.05), rng.uniform(0.04, 0.1)))
    if rng.random() < 0.6:
        body = body + ellipse((0.92, height), (rng.uniform(0.08, 0.13), rng.uniform(0.03, 0.08)))
    body = body - ellipse((0.0, 0.0), (rng.uniform(0.75, 0.92), rng.uniform(0.05, 0.35)))
    if rng.random() < 0.6:
        cap, tall = rng.uniform(max(neck, 0.6), 1.0), rng.uniform(0.5, 1.8)
        lid = section(np.array([[cap, height], [cap * rng.uniform(0.8, 1.0), top + tall]]))
        body = body + soften(lid, convex=rng.uniform(0.02, 0.3) * cap)
    else:
        collar, stem = neck * rng.uniform(0.5, 1.0), rng.uniform(0.15, 0.4) * neck
        body = body + box((0.0, top - 0.1), (collar, top + rng.uniform(0.05, 0.25)))
        body = body + box((0.0, top - 0.1), (stem, top + rng.uniform(0.3, 0.9)))
    return lathe(soften(body, convex=0.01, concave=rng.uniform(0.005, 0.04)), _round(rng))


def _canister(rng: np.random.Generator) -> Manifold:
    """A tube or tin with a slip-on or plug lid: salt, snacks, coffee, paint."""
    height = rng.uniform(0.5, 5.5)
    lid = min(rng.uniform(0.1, 0.5), 0.5 * height)
    over = rng.uniform(-0.15, 0.06)
    body = soften(section(_side(height, rng)), convex=rng.uniform(0.005, 0.12))
    cover = section(np.array([[1 + over, height - (lid if over > 0 else 0.05)], [1 + over * 0.9, height + 0.4 * lid]]))
    body = body + soften(cover, convex=rng.uniform(0.005, 0.06))
    if rng.random() < 0.5:
        sunk = (1 + over) * rng.uniform(0.6, 0.95)
        body = body - box((0.0, height + lid * rng.uniform(0.05, 0.38)), (sunk, 9.0))
    if rng.random() < 0.3:
        knob = rng.uniform(0.08, 0.25)
        body = body + ellipse((0.0, height + 0.4 * lid + 0.6 * knob), (knob, knob * rng.uniform(0.5, 1.0)))
        body = body + box((0.0, height), (0.6 * knob, height + 0.4 * lid + 0.3 * knob))
    if rng.random() < 0.7:
        body = body - box((0.0, -1.0), (rng.uniform(0.8, 0.95), rng.uniform(0.01, 0.12)))
    if rng.random() < 0.3:
        plan = rectangle_plan(rng.uniform(0.6, 1.0), corner=rng.uniform(0.15, 0.5))
    else:
        plan = _round(rng)
    return lathe(soften(body, convex=rng.uniform(0.004, 0.02), concave=0.005), plan)


def _dented(body: Manifold, rng: np.random.Generator) -> Manifold:
    """Push smooth dents into the side, radially."""
    low, high = np.array(body.bounding_box()).reshape(2, 3)
    count = int(rng.integers(1, 4))
    center = rng.uniform([0.1 * high[1], 0], [0.9 * high[1], 2 * np.pi], size=(count, 2))
    depth, size = rng.uniform(0.03, 0.16, size=count), rng.uniform(0.3, 0.8, size=count)

    def press(points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        turn = np.arctan2(points[:, 2], points[:, 0])[:, None] - center[:, 1]
        off = np.hypot(2 * np.sin(turn / 2), points[:, 1, None] - center[:, 0])
        shrink = 1 - np.sum(depth * np.exp(-((off / size) ** 2)), axis=1)
        return points * np.stack([shrink, np.ones_like(shrink), shrink], axis=1)

    reach = float(np.max(high - low))
    return body.refine_to_length(max(0.18, reach / 24)).warp_batch(press)
