"""Cans and tins: drinks cans, food cans, flat fish tins, spray cans and canisters, upright around y.

Lengths are in units of the body's radius; `can` scales them to metres at the end.
"""

import math

import numpy as np
from jaxtyping import Float
from manifold3d import CrossSection, Manifold

from shapeprior.datasets.procedural.draws import chance, log_normal
from shapeprior.datasets.procedural.solids import (
    Plan,
    box,
    ellipse,
    largest_piece,
    lathe,
    polar_plan,
    polygon_plan,
    rectangle_plan,
    round_corners,
    round_plan,
    section,
    to_standing_mesh,
)
from shapeprior.geometry.mesh import TriangleMesh

_THINNEST = 0.03
"""Smallest thickness of walls and rims that stand free, in radii of the can's bounding sphere.

Sheet metal is ten times thinner, but modelled opened cans are 0.014 to 0.044 as well, and no decoder that reads
planes of 64 cells holds less than a cell, 0.03.
"""


def can(rng: np.random.Generator) -> TriangleMesh:
    """Return a random can in metres that stands on y = 0; it is solid, unless it is one of the few opened ones."""
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
    if chance(rng, 0.08):
        body = _dented(body, rng)
    return to_standing_mesh(body, unit=unit)


def _round_plan(rng: np.random.Generator) -> Plan:
    """Return a circle, or for a few cans a polygon."""
    if chance(rng, 0.07):
        return polygon_plan(int(rng.integers(8, 21)), flat_front=chance(rng, 0.5))
    return round_plan(int(rng.integers(56, 81)))


def _drinks_can(rng: np.random.Generator) -> Manifold:
    """Return a can with necks at both ends, a lid sunk into a seam, a domed underside, and perhaps a tab."""
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
    rim, least = lid + rng.uniform(0.01, 0.05), _least_thickness(height)
    body = body + box((lid - seam_width, height - seam), (rim, height))
    body = body - ellipse((0.0, 0.0), (stand - max(rng.uniform(0.03, 0.08), least), rng.uniform(0.1, 0.35)))
    inner = min(lid - seam_width, rim - least)
    if _is_opened(rng):
        return lathe(_hollowed_out(body, height, min(inner, lid - least), _opened_wall(height, rng)), _round_plan(rng))
    body = body - _lid_recess(height, inner, deep, rng)
    solid = lathe(round_corners(body, convex=0.012, concave=0.01), _round_plan(rng))
    if chance(rng, 0.6):
        solid = solid + _tab(height - deep, inner, rng)
    return solid


def _is_opened(rng: np.random.Generator) -> bool:
    return chance(rng, 0.1)


def _least_thickness(height: float) -> float:
    """Return `_THINNEST` in radii of the body of a can of that height."""
    return _THINNEST * math.hypot(1.0, 0.5 * height)


def _opened_wall(height: float, rng: np.random.Generator) -> float:
    """Return the thickness of an opened can's wall, in radii of its body."""
    return rng.uniform(1.0, 1.7) * _least_thickness(height)


def _lid_recess(height: float, inner: float, deep: float, rng: np.random.Generator) -> CrossSection:
    """Return the section to cut away above a sunken lid: a countersink with a raised panel, and concentric beads."""
    slope = rng.uniform(0.0, 0.06)
    recess = section(np.array([[inner - slope, height - deep], [inner, height + 1.0]]))
    panel, rise = 0.0, 0.0
    if chance(rng, 0.6):
        panel, rise = inner * rng.uniform(0.7, 0.92), deep * rng.uniform(0.1, 0.6)
        recess = recess - section(np.array([[panel, height - deep - 1], [panel - 0.4 * rise, height - deep + rise]]))
    for radius in inner * rng.uniform(0.2, 0.85, size=int(rng.integers(0, 4))):
        size = rng.uniform(0.01, 0.025)
        surface = height - deep + (rise if radius < panel else 0.0)
        bead = ellipse((float(radius), surface), (1.5 * size, size))
        recess = recess - bead if chance(rng, 0.6) else recess + bead
    return recess


def _hollowed_out(body: CrossSection, height: float, inner: float, wall: float) -> CrossSection:
    """Return the body of an opened can: hollow, and with the lid cut out within radius `inner`."""
    hollow = body.offset(-wall) ^ box((0.0, 0.0), (9.0, height - 0.08))
    opening = box((0.0, height - max(0.12, 1.5 * wall)), (inner, 9.0))
    return round_corners(body - largest_piece(hollow) - opening, convex=0.3 * wall)


def _tab(lid: float, inner: float, rng: np.random.Generator) -> Manifold:
    """Return a pull tab: a flat oval with a finger hole on the lid, from its middle towards its edge.

    Most tabs lie on the lid, without a slit of air that no field resolves. The others stand up, as opened ones do, and
    have no hole, since the ring around it would be thinner than `_THINNEST`.
    """
    length, width = inner * rng.uniform(0.3, 0.45), inner * rng.uniform(0.16, 0.26)
    oval = CrossSection.circle(1.0, 32).scale((length, width))
    hole = CrossSection.circle(1.0, 24).scale((0.4 * length, 0.6 * width)).translate((0.42 * length, 0.0))
    stands = chance(rng, 0.15)
    thickness = rng.uniform(0.06, 0.09) if stands else rng.uniform(0.03, 0.06)
    plate = (
        (oval if stands else oval - hole)
        .extrude(thickness + 0.02)
        .translate((rng.uniform(0.2, 0.95) * length, 0.0, -0.02))
    )
    root = min(0.4, 0.3 * lid)
    stem = CrossSection.circle(0.45 * width, 24).extrude(root + 0.02).translate((0.05 * length, 0.0, -root))
    tilt = rng.uniform(20, 60) if stands else 0.0
    tab = (plate.rotate((0.0, -tilt, 0.0)) + stem).rotate((-90.0, 0.0, 0.0))
    return tab.rotate((0.0, rng.uniform(0, 360), 0.0)).translate((0.0, lid, 0.0))


def _add_ribs(path: Float[np.ndarray, "points 2"], rng: np.random.Generator) -> Float[np.ndarray, "points 2"]:
    """Press rings into a side: one or two groups of waves."""
    height = float(path[-1, 1])
    radius = path[:, 0].copy()
    for _ in range(int(rng.integers(1, 3))):
        center, half = height * rng.uniform(0.25, 0.75), height * rng.uniform(0.06, 0.3)
        waves = int(rng.integers(1, 9))
        phase = np.clip((path[:, 1] - center + half) / (2 * half), 0, 1)
        shape = np.abs(np.sin(np.pi * waves * phase)) if chance(rng, 0.5) else np.sin(np.pi * waves * phase) ** 2
        radius += rng.uniform(-0.04, 0.025) * shape
    return np.stack([radius, path[:, 1]], axis=1)


def _random_side(height: float, rng: np.random.Generator) -> Float[np.ndarray, "points 2"]:
    """Return a straight or ribbed side as (radius, height)."""
    path = np.stack([np.ones(120), np.linspace(0, height, 120)], axis=1)
    if chance(rng, 0.25):
        path[:, 0] -= rng.uniform(0.0, 0.08) * path[:, 1] / height
    return _add_ribs(path, rng) if chance(rng, 0.4) else path


def _body_with_rounded_foot(side: Float[np.ndarray, "points 2"], radius: float) -> CrossSection:
    """Return the body under a side, with a rounded lower edge and a sharp upper edge."""
    height = float(side[-1, 1])
    taller = np.concatenate([side, [[side[-1, 0], height + 1.0]]])
    return round_corners(section(taller), convex=min(radius, 0.4 * height)) ^ box((0.0, 0.0), (9.0, height))


def _food_can(rng: np.random.Generator) -> Manifold:
    """Return a cylinder with seams at one or both ends, sunken lids, and often ribs."""
    height = log_normal(rng, 2.1, 0.5, low=0.5, high=5.0)
    seam, out, width = rng.uniform(0.03, 0.12), rng.uniform(0.005, 0.06), rng.uniform(0.03, 0.09)
    side = _random_side(height, rng)
    foot_radius, top_radius = float(side[0, 0]), float(side[-1, 0])
    body = section(side) + box((top_radius - width - 0.05, height - seam), (top_radius + out, height))
    inner = top_radius + out - max(width + out + 0.02, _least_thickness(height))
    deep = rng.uniform(0.03, 0.16)
    if chance(rng, 0.6):
        body = body + box((foot_radius - width - 0.05, 0.0), (foot_radius + out, seam))
        under = rng.uniform(0.02, 0.14)
    else:
        body = body ^ (_body_with_rounded_foot(side, rng.uniform(0.02, 0.15)) + box((0.0, 0.5 * height), (9.0, height)))
        under = rng.uniform(0.01, 0.06)
    if chance(rng, 0.85):
        recess = min(inner, foot_radius - _least_thickness(height))
        body = body - section(np.array([[recess, -1.0], [recess, under]]))
    plan = _round_plan(rng)
    if _is_opened(rng):
        inner = min(inner, top_radius - _least_thickness(height))
        return lathe(_hollowed_out(body, height, inner, _opened_wall(height, rng)), plan)
    if chance(rng, 0.9):
        body = body - _lid_recess(height, inner, deep, rng)
    else:
        deep = 0.0
    solid = lathe(round_corners(body, convex=rng.uniform(0.004, 0.02), concave=rng.uniform(0.002, 0.02)), plan)
    if chance(rng, 0.25):
        solid = solid + _tab(height - deep, inner, rng)
    return solid


def _flat_tin(rng: np.random.Generator) -> Manifold:
    """Return a low tin with a rim: a rounded rectangle, an oval, the shape of a ham, or round."""
    height = rng.uniform(0.22, 0.8)
    kind = rng.random()
    if kind < 0.55:
        half_width = rng.uniform(0.5, 0.95)
        plan = rectangle_plan(half_width, corner=half_width * rng.uniform(0.4, 0.95), segments=72)
    elif kind < 0.85:
        angles = np.linspace(0, 2 * np.pi, 80, endpoint=False)
        egg = 1 + (rng.uniform(0.02, 0.16) * np.cos(angles) if chance(rng, 0.5) else 0 * angles)
        power = rng.uniform(2.0, 3.2)
        blunt = (np.abs(np.cos(angles)) ** power + np.abs(np.sin(angles)) ** power) ** (-1 / power)
        plan = polar_plan(egg * blunt, aspect=rng.uniform(0.5, 0.95))
    else:
        plan = _round_plan(rng)
    foot = 1 - rng.uniform(0, 0.12) * rng.integers(0, 2)
    path = np.array([[foot, 0.0], [0.5 * (foot + 1), 0.5 * height], [1.0, height]])
    body = _body_with_rounded_foot(path, rng.uniform(0.02, 0.3) * height)
    out, seam = rng.uniform(0.0, 0.07), rng.uniform(0.03, 0.1)
    body = body + box((0.8, height - seam), (1 + out, height))
    if chance(rng, 0.3):
        body = body + box((foot - 0.2, 0.0), (foot + out, seam))
    if chance(rng, 0.6):
        body = body - section(np.array([[0.88 * foot, -1.0], [0.86 * foot, rng.uniform(0.01, 0.06)]]))
    deep = rng.uniform(0.02, 0.14) * min(1.0, 2 * height)
    inner = 1 - rng.uniform(0.03, 0.08) - (1 - foot) * deep / height
    if _is_opened(rng):
        return lathe(_hollowed_out(body, height, inner - 0.04, _opened_wall(height, rng)), plan)
    if chance(rng, 0.9):
        body = body - _lid_recess(height, inner, deep, rng)
    else:
        deep = 0.0
    solid = lathe(round_corners(body, convex=rng.uniform(0.004, 0.02)), plan)
    if chance(rng, 0.4):
        solid = solid + _tab(height - deep, 0.6, rng)
    return solid


def _spray_can(rng: np.random.Generator) -> Manifold:
    """Return a tall cylinder with a shoulder and a cap, or a valve."""
    height, shoulder = rng.uniform(3.0, 6.5), rng.uniform(0.15, 0.9)
    neck = rng.uniform(0.3, 0.75)
    angle = np.linspace(0, np.pi / 2, 14)
    dome = np.stack([neck + (1 - neck) * np.cos(angle), height + shoulder * np.sin(angle)], axis=1)
    body = section(np.concatenate([[[1.0, 0.0]], dome]))
    top = height + shoulder
    if chance(rng, 0.6):
        body = body + box((0.8, 0.0), (1 + rng.uniform(0, 0.05), rng.uniform(0.04, 0.1)))
    if chance(rng, 0.6):
        body = body + ellipse((0.92, height), (rng.uniform(0.08, 0.13), rng.uniform(0.03, 0.08)))
    least = _least_thickness(top + 1.0)
    body = body - ellipse((0.0, 0.0), (min(rng.uniform(0.75, 0.92), 1.0 - least), rng.uniform(0.05, 0.35)))
    if chance(rng, 0.6):
        cap, tall = rng.uniform(max(neck, 0.6), 1.0), rng.uniform(0.5, 1.8)
        lid = section(np.array([[cap, height], [cap * rng.uniform(0.8, 1.0), top + tall]]))
        body = body + round_corners(lid, convex=rng.uniform(0.02, 0.3) * cap)
    else:
        collar, stem = neck * rng.uniform(0.5, 1.0), max(rng.uniform(0.15, 0.4) * neck, 0.6 * least)
        body = body + box((0.0, top - 0.1), (collar, top + rng.uniform(0.05, 0.25)))
        body = body + box((0.0, top - 0.1), (stem, top + rng.uniform(0.3, 0.9)))
    return lathe(round_corners(body, convex=0.01, concave=rng.uniform(0.005, 0.04)), _round_plan(rng))


def _canister(rng: np.random.Generator) -> Manifold:
    """Return a tube or tin with a slip-on or plug lid, as for salt, snacks, coffee or paint."""
    height = rng.uniform(0.5, 5.5)
    lid = min(rng.uniform(0.1, 0.5), 0.5 * height)
    over = rng.uniform(-0.15, 0.06)
    body = round_corners(section(_random_side(height, rng)), convex=rng.uniform(0.005, 0.12))
    cover = section(np.array([[1 + over, height - (lid if over > 0 else 0.05)], [1 + over * 0.9, height + 0.4 * lid]]))
    body = body + round_corners(cover, convex=rng.uniform(0.005, 0.06))
    if chance(rng, 0.5):
        sunk = min((1 + over) * rng.uniform(0.6, 0.95), 1 + 0.9 * over - _least_thickness(height))
        body = body - box((0.0, height + lid * rng.uniform(0.05, 0.38)), (sunk, 9.0))
    if chance(rng, 0.3):
        knob = rng.uniform(0.08, 0.25)
        body = body + ellipse((0.0, height + 0.4 * lid + 0.6 * knob), (knob, knob * rng.uniform(0.5, 1.0)))
        body = body + box((0.0, height), (0.6 * knob, height + 0.4 * lid + 0.3 * knob))
    if chance(rng, 0.7):
        radius = min(rng.uniform(0.8, 0.95), 1.0 - _least_thickness(height))
        body = body - box((0.0, -1.0), (radius, rng.uniform(0.01, 0.12)))
    if chance(rng, 0.3):
        plan = rectangle_plan(rng.uniform(0.6, 1.0), corner=rng.uniform(0.15, 0.5))
    else:
        plan = _round_plan(rng)
    return lathe(round_corners(body, convex=rng.uniform(0.004, 0.02), concave=0.005), plan)


def _dented(body: Manifold, rng: np.random.Generator) -> Manifold:
    """Push smooth dents into the side, towards the axis."""
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
