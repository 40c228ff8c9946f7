"""Builders of jet fighters and tailless deltas, in the frame of `shapeprior.datasets.procedural.airplane`."""

import manifold3d
import numpy as np

from shapeprior.datasets.procedural.airplane_parts import (
    center_gear,
    jet_engine,
    main_gear,
    min_part_thickness,
    pod,
    pylon,
    tapered_wing,
    tube_hull,
)
from shapeprior.datasets.procedural.draws import chance
from shapeprior.datasets.procedural.lofts import Hull, Parts, Wing, mirrored_pair, revolve


def fighter(rng: np.random.Generator) -> Parts:
    """Build a jet fighter or trainer: delta, trapezoid or swept wing, one or two fins, side intakes, canards."""
    radius = 0.5 * rng.uniform(0.075, 0.115)
    twin = chance(rng, 0.45)
    delta = chance(rng, 0.45)
    half_span = 0.5 * (rng.uniform(0.5, 0.7) if delta else rng.uniform(0.5, 0.85))
    min_thickness = min_part_thickness(half_span)
    wide = radius * (rng.uniform(1.2, 1.9) if twin else rng.uniform(0.9, 1.25))
    end = rng.uniform(0.92, 1.0)
    hull = Hull(
        x=np.array([0.0, 0.08, 0.2, 0.38, 0.6, 0.82, end]),
        half_width=np.array([0.006, 0.45 * radius, 0.75 * radius, 0.95 * wide, wide, 0.95 * wide,
                             rng.uniform(0.65, 0.9) * wide]),
        top=radius * np.array([-0.1, 0.25, 0.6, 0.9, 0.9, 0.8, 0.6]),
        bottom=radius * np.array([-0.1 - 0.012 / radius, -0.55, -0.85, -0.95, -0.95, -0.85, -0.6]),
        exponent=rng.uniform(2.0, 3.2), round_front=rng.uniform(0.004, 0.05),
    )  # fmt: skip
    parts = [hull.solid(), _canopy(rng, hull=hull, radius=radius)]
    chord = rng.uniform(0.36, 0.5) if delta else rng.uniform(0.22, 0.36)
    lead = rng.uniform(0.9, 0.96) * end - chord if delta else rng.uniform(0.36, 0.46)
    sweep = rng.uniform(48.0, 61.0) if delta else rng.uniform(15.0, 48.0)
    tip = (
        max(chord - np.tan(np.radians(sweep)) * half_span * rng.uniform(0.8, 1.0), 0.04)
        if delta
        else chord * rng.uniform(0.2, 0.4)
    )
    wing = tapered_wing(
        root=(lead, radius * rng.uniform(-0.6, 0.7)), half_span=half_span, chords=(chord, tip), sweep=sweep,
        dihedral=rng.uniform(-6.0, 4.0), ratio=rng.uniform(0.05, 0.08), min_thickness=min_thickness, tip_round=0.15,
    )  # fmt: skip
    parts += [wing.pair(), *_nozzles(rng, hull=hull, wide=wide, radius=radius, twin=twin)]
    parts += _fighter_tail(rng, hull=hull, delta=delta, twin=twin, wide=wide, wing=wing, min_thickness=min_thickness)
    if chance(rng, 0.65):
        parts += _side_intakes(rng, wide=wide, radius=radius)
    if chance(rng, 0.4):
        long = rng.uniform(0.15, 0.28)
        strake = Wing(
            z=np.array([0.0, wide + 0.05]), lead=np.array([lead - long, lead + 0.06]),
            height=np.full(2, wing.height[0]),
            chord=np.array([long + 0.2, 0.1]), thickness=np.full(2, min_thickness), tip_round=0.0,
        )  # fmt: skip
        parts.append(strake.pair())
    return parts + _stores_and_gear(rng, wing=wing, half_span=half_span, min_thickness=min_thickness, radius=radius)


def _canopy(rng: np.random.Generator, *, hull: Hull, radius: float) -> manifold3d.Manifold:
    """Return a bubble canopy, or one that runs into a spine."""
    start, length = rng.uniform(0.13, 0.2), rng.uniform(0.14, 0.24)
    top = hull.section_at(start + 0.35 * length)[1]
    rise = radius * rng.uniform(0.35, 0.75)
    tail_end = rng.uniform(0.3, 0.5) if chance(rng, 0.4) else 0.0
    shape = Hull(
        x=np.array([start, start + 0.35 * length, start + length + tail_end]),
        half_width=radius * np.array([0.25, 0.55, 0.25]),
        top=np.array([hull.section_at(start)[1], top + rise, top + 0.1 * radius]),
        bottom=np.array([hull.section_at(start)[1], top, top]) - 0.6 * radius,
        round_front=0.3 * length, round_back=0.04,
    )  # fmt: skip
    return shape.solid(samples=14, points=20)


def _nozzles(rng: np.random.Generator, *, hull: Hull, wide: float, radius: float, twin: bool) -> Parts:
    """Return one or two hollow exhaust nozzles at the back end."""
    end = float(hull.x[-1])
    size = 0.5 * wide if twin else radius * rng.uniform(0.55, 0.75)
    long = rng.uniform(0.03, 0.08)
    depth = rng.uniform(0.3, 0.9) * long
    profile = [(-0.12, 0.7 * size), (-0.03, size), (0.0, size), (long, 0.8 * size), (long, 0.62 * size),
               (long - depth, 0.55 * size), (long - depth, 0.0)]  # fmt: skip
    nozzle = revolve(profile, axis="x").translate((end - 0.015, 0.0, 0.5 * wide if twin else 0.0))
    return mirrored_pair(nozzle) if twin else [nozzle]


def _fighter_tail(
    rng: np.random.Generator, *, hull: Hull, delta: bool, twin: bool, wide: float, wing: Wing, min_thickness: float
) -> Parts:
    """Return one or two fins, and tail planes, canards or neither."""
    parts: Parts = []
    end = float(hull.x[-1]) + rng.uniform(-0.04, 0.04)
    chord, height = rng.uniform(0.16, 0.26), rng.uniform(0.12, 0.19)
    fin = tapered_wing(
        root=(end - chord, 0.0), half_span=height + 0.03, chords=(chord, chord * rng.uniform(0.25, 0.5)),
        sweep=rng.uniform(30.0, 52.0), ratio=0.07, min_thickness=min_thickness, tip_round=0.1,
    )  # fmt: skip
    _, top, bottom = hull.section_at(end - 0.6 * chord)
    if twin and chance(rng, 0.8):
        parts += mirrored_pair(fin.single(roll=rng.uniform(65.0, 92.0), move=(0.0, 0.5 * top, 0.7 * wide)))
    else:
        parts.append(fin.single(roll=90.0, move=(0.0, top - 0.03, 0.0)))
    if not delta:
        root = 0.8 * chord
        back = end + rng.uniform(0.0, 0.05)
        plane = tapered_wing(
            root=(back - 1.3 * root, 0.3 * top + 0.7 * rng.uniform(0.5 * bottom, top)),
            half_span=rng.uniform(0.15, 0.22),
            chords=(root, rng.uniform(0.25, 0.5) * root), sweep=rng.uniform(30.0, 48.0),
            dihedral=rng.uniform(-10.0, 3.0),
            min_thickness=min_thickness, ratio=0.06, tip_round=0.1,
        )  # fmt: skip
        parts.append(plane.pair())
    elif chance(rng, 0.45):
        root = rng.uniform(0.1, 0.15)
        canard = tapered_wing(
            root=(max(float(wing.lead[0]) - rng.uniform(0.6, 1.2) * root, 0.2),
                  wing.height[0] + rng.uniform(0.2, 0.5) * top),
            half_span=rng.uniform(0.12, 0.17), chords=(root, 0.35 * root), sweep=rng.uniform(40.0, 52.0),
            min_thickness=min_thickness,
        )  # fmt: skip
        parts.append(canard.pair())
    return parts


def _side_intakes(rng: np.random.Generator, *, wide: float, radius: float) -> Parts:
    """Return boxes with open fronts on both sides of the fuselage."""
    start, length = rng.uniform(0.28, 0.36), rng.uniform(0.25, 0.45)
    tall, out = radius * rng.uniform(0.6, 0.85), wide * rng.uniform(0.3, 0.45)
    box = Hull(
        x=np.array([start, start + 0.5 * length, start + length]), half_width=np.array([out, out, 0.5 * out]),
        top=np.array([tall, tall, 0.6 * tall]), bottom=np.array([-tall, -tall, -0.6 * tall]),
        exponent=rng.uniform(3.0, 6.0), round_front=0.002, round_back=0.05,
    )  # fmt: skip
    mouth = Hull(
        x=np.array([start - 0.02, start + rng.uniform(0.02, 0.08)]), half_width=np.full(2, out - 0.006),
        top=np.full(2, tall - 0.006), bottom=np.full(2, 0.006 - tall), exponent=box.exponent,
        round_front=0.001, round_back=0.001,
    )  # fmt: skip
    shift = (0.0, rng.uniform(-0.3, 0.2) * radius, 0.85 * wide)
    return mirrored_pair((box.solid(samples=10, points=20) - mouth.solid(samples=2, points=20)).translate(shift))


def _stores_and_gear(
    rng: np.random.Generator, *, wing: Wing, half_span: float, min_thickness: float, radius: float
) -> Parts:
    """Return tanks and missiles under the wing and at its tips, and landing gear."""
    parts: Parts = []
    if chance(rng, 0.35):
        for share in rng.uniform([0.35, 0.55], [0.5, 0.75])[: 1 + int(rng.integers(2))]:
            lead, y, chord, _ = wing.section_at(share * half_span)
            size, length = rng.uniform(0.009, 0.022), rng.uniform(0.15, 0.3)
            parts += mirrored_pair(
                pod(center=(lead + 0.4 * chord, y - 1.7 * size, share * half_span), length=length, radius=size)
            )
            parts += mirrored_pair(pylon(x=lead + 0.2 * chord, length=0.5 * chord, bottom=y - 1.5 * size, top=y,
                                      z=share * half_span, width=0.7 * min_thickness))  # fmt: skip
    if chance(rng, 0.3):
        lead, y, chord, _ = wing.section_at(half_span)
        parts += mirrored_pair(
            pod(center=(lead + 0.5 * chord, y, half_span), length=rng.uniform(0.14, 0.22), radius=0.8 * min_thickness)
        )
    if chance(rng, 0.4):
        size = rng.uniform(0.02, 0.03)
        x = rng.uniform(0.52, 0.62)
        ground = -radius - rng.uniform(0.05, 0.08)
        parts += main_gear(rng, x=x, leg_top=(-0.3 * radius, 0.6 * radius), ground=ground, track=rng.uniform(0.06, 0.1),
                           radius=size, min_thickness=min_thickness)  # fmt: skip
        parts += center_gear(
            x=rng.uniform(0.2, 0.26), top=0.0, ground=ground, radius=0.8 * size, min_thickness=min_thickness
        )
    return parts


def delta_wing(rng: np.random.Generator) -> Parts:
    """Build a big tailless delta or flying wing, with or without a fin."""
    half_span = 0.5 * rng.uniform(0.75, 1.3)
    min_thickness = min_part_thickness(half_span)
    sweep = rng.uniform(32.0, 58.0)
    chord = rng.uniform(0.5, 0.75)
    tip = max(chord - np.tan(np.radians(sweep)) * half_span * rng.uniform(0.85, 1.1), 0.06)
    wing = tapered_wing(
        root=(rng.uniform(0.15, 0.95 - chord + 0.1), 0.0), half_span=half_span,
        chords=(chord, 0.5 * (chord + tip) * rng.uniform(0.85, 1.0), tip), breaks=(0.0, 0.5, 1.0), sweep=sweep,
        dihedral=rng.uniform(-3.0, 2.0), ratio=rng.uniform(0.08, 0.13), min_thickness=min_thickness,
    )  # fmt: skip
    hull = tube_hull(rng, radius=0.5 * rng.uniform(0.07, 0.12), tail_length=rng.uniform(0.4, 0.55))
    parts = [hull.solid(), wing.pair()]
    fin_chord = rng.uniform(0.14, 0.22)
    fin = tapered_wing(
        root=(0.93 - fin_chord, 0.0), half_span=rng.uniform(0.1, 0.18), chords=(fin_chord, 0.5 * fin_chord),
        sweep=rng.uniform(25.0, 48.0), min_thickness=min_thickness,
    )  # fmt: skip
    if chance(rng, 0.7):
        parts.append(fin.single(roll=90.0, move=(0.0, hull.section_at(0.93 - 0.5 * fin_chord)[1] - 0.02, 0.0)))
    else:
        z = rng.uniform(0.25, 0.5) * half_span
        parts += mirrored_pair(
            fin.single(
                roll=rng.uniform(70.0, 90.0),
                move=(wing.section_at(z)[0] + 0.8 * wing.section_at(z)[2] - 0.93 + 0.3 * fin_chord, 0.0, z),
            )
        )
    if chance(rng, 0.5):
        length, size, z = rng.uniform(0.3, 0.6), rng.uniform(0.025, 0.045), rng.uniform(0.3, 0.5) * half_span
        lead, y, local, _ = wing.section_at(z)
        engine = jet_engine(length=length, radius=size, intake=0.1, cone=0.2)
        parts += mirrored_pair(engine.translate((lead + 0.5 * (local - length), y, z)))
    return parts
