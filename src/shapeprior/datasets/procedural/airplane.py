"""Airplanes: airliners, business jets, turboprops, light airplanes, gliders, biplanes, fighters and deltas.

Frame: nose towards −x, +y up, wings along ±z, mirror symmetric in z. Each type has a builder, here or in the files
`airplane_fighters` and `airplane_propellers`. A builder works in units of the fuselage's length, with the fuselage from
x = 0 to about x = 1, and returns overlapping solids whose union is the airplane. Angles are in degrees. Parameters come
from continuous ranges around the proportions of aircraft that flew, so that the types blend into each other. `airplane`
picks a type and scales its airplane to metres.
"""

from collections.abc import Callable

import numpy as np

from shapeprior.datasets.procedural.airplane_fighters import delta_wing, fighter
from shapeprior.datasets.procedural.airplane_parts import (
    TailPlan,
    center_gear,
    jet_engine,
    main_gear,
    min_part_thickness,
    pod,
    pylon,
    tail,
    tapered_wing,
    tube_hull,
    winglets,
)
from shapeprior.datasets.procedural.airplane_propellers import biplane, glider, light_airplane, twin_propeller
from shapeprior.datasets.procedural.draws import chance, weighted_index
from shapeprior.datasets.procedural.lofts import Hull, Parts, Wing, mirrored_pair, unite
from shapeprior.datasets.procedural.solids import to_mesh
from shapeprior.geometry.mesh import TriangleMesh


def _airliner_gear(rng: np.random.Generator, *, hull: Hull, wing: Wing, radius: float, min_thickness: float) -> Parts:
    """Return retractable gear let down: a nose wheel and two main wheels under the wing."""
    size = radius * rng.uniform(0.25, 0.4)
    ground = -radius * rng.uniform(1.5, 2.1)
    track = radius * rng.uniform(0.9, 1.5)
    lead, y, chord, _ = wing.section_at(track)
    leg_top = (y, track) if y < 0 else (-0.5 * radius, 0.6 * radius)
    nose_x = rng.uniform(0.08, 0.14)
    return [
        *main_gear(
            rng,
            x=lead + 0.65 * chord,
            leg_top=leg_top,
            ground=ground,
            track=track,
            radius=size,
            min_thickness=min_thickness,
        ),
        *center_gear(
            x=nose_x,
            top=hull.section_at(nose_x)[1] - radius,
            ground=ground,
            radius=0.8 * size,
            min_thickness=min_thickness,
        ),
    ]


def _under_wing_jets(rng: np.random.Generator, *, wing: Wing, radius: float, count: int, min_thickness: float) -> Parts:
    """Return `count` jet engines on each side, in front of and below the wing."""
    parts: Parts = []
    length = rng.uniform(0.075, 0.125)
    size = np.clip(radius * rng.uniform(0.32, 0.52) * (0.8 if count == 2 else 1.0), 0.016, 0.042)
    intake, cone = rng.uniform(0.05, 0.5), rng.uniform(0.1, 0.35)
    shares = [rng.uniform(0.29, 0.37)] if count == 1 else [rng.uniform(0.27, 0.36), rng.uniform(0.52, 0.66)]
    ahead = rng.uniform(0.45, 0.9)
    drop = rng.uniform(0.95, 1.3) * size
    for share in shares:
        z = share * float(wing.z[-1])
        lead, y, chord, thickness = wing.section_at(z)
        parts += mirrored_pair(jet_engine(length=length, radius=size, intake=intake, cone=cone).translate(
            (lead - ahead * length, y - drop - 0.3 * thickness, z)))  # fmt: skip
        plate = pylon(x=lead - 0.75 * ahead * length, length=0.7 * length, bottom=y - drop, top=y, z=z,
                      width=max(0.7 * min_thickness, 0.2 * size), lean=0.5 * ahead * length)  # fmt: skip
        parts += mirrored_pair(plate)
        if chord < 0.05:
            break
    return parts


def airliner(rng: np.random.Generator) -> Parts:
    """Build a jet airliner or transport with engines under the wing."""
    radius = 0.5 * rng.uniform(0.075, 0.135)
    half_span = 0.5 * rng.uniform(0.78, 1.12)
    min_thickness = min_part_thickness(half_span)
    high = chance(rng, 0.12)
    hull = tube_hull(rng, radius=radius, tail_length=rng.uniform(0.28, 0.42))
    root_chord, kink = rng.uniform(0.17, 0.26), rng.uniform(0.28, 0.42)
    wing = tapered_wing(
        root=(rng.uniform(0.27, 0.37), radius * (0.85 if high else rng.uniform(-0.75, -0.45))), half_span=half_span,
        chords=(root_chord, root_chord * rng.uniform(0.55, 0.7), root_chord * rng.uniform(0.17, 0.32)),
        breaks=(0.0, kink, 1.0), sweep=rng.uniform(16.0, 26.0) if high else rng.uniform(24.0, 40.0),
        dihedral=rng.uniform(-4.0, 1.0) if high else rng.uniform(3.0, 8.0), ratio=rng.uniform(0.1, 0.13),
        min_thickness=min_thickness,
    )  # fmt: skip
    parts = [hull.solid(), wing.pair()]
    count = 2 if chance(rng, 0.33) else 1
    parts += _under_wing_jets(rng, wing=wing, radius=radius, count=count, min_thickness=min_thickness)
    style = "t" if high and chance(rng, 0.7) else "low"
    parts += tail(rng, hull=hull, plan=TailPlan(
        style=style, span=rng.uniform(0.15, 0.2), fin_height=rng.uniform(0.14, 0.22),
        chord=rng.uniform(0.09, 0.13), sweep=rng.uniform(30.0, 46.0), min_thickness=min_thickness))  # fmt: skip
    if not high:
        belly = pod(
            center=(wing.lead[0] + 0.6 * root_chord, -0.62 * radius, 0.0), length=2.0 * root_chord, radius=radius
        )
        parts.append(
            belly.scale((1.0, rng.uniform(0.75, 1.0), 1.0)) if chance(rng, 0.6) else belly.scale((1.0, 0.6, 0.9))
        )
    if chance(rng, 0.5):
        parts += winglets(rng, wing=wing, height=rng.uniform(0.02, 0.06), min_thickness=min_thickness)
    if chance(rng, 0.4):
        for share in np.linspace(0.2, rng.uniform(0.55, 0.75), 3):
            lead, y, chord, thickness = wing.section_at(share * half_span)
            place = (lead + 0.8 * chord, y - 0.3 * thickness, share * half_span)
            parts += mirrored_pair(pod(center=place, length=0.06, radius=0.6 * min_thickness))
    if chance(rng, 0.08):
        parts += _tail_engine(rng, hull=hull, radius=radius, mount=True)
    if chance(rng, 0.35):
        parts += _airliner_gear(rng, hull=hull, wing=wing, radius=radius, min_thickness=min_thickness)
    return parts


def _tail_engine(rng: np.random.Generator, *, hull: Hull, radius: float, mount: bool) -> Parts:
    """Return the third engine of a trijet, at the foot of the fin."""
    size = radius * rng.uniform(0.38, 0.52)
    length = rng.uniform(0.14, 0.24)
    x = 1.0 - length * (0.85 if mount else 1.0)
    y = hull.section_at(x + 0.4 * length)[1] + size * (0.75 if mount else 0.2)
    return [jet_engine(length=length, radius=size, intake=rng.uniform(0.05, 0.3), cone=0.1).translate((x, y, 0.0))]


def rear_engine_jet(rng: np.random.Generator) -> Parts:
    """Build a business or regional jet with two engines beside the tail, or a trijet."""
    radius = 0.5 * rng.uniform(0.07, 0.125)
    half_span = 0.5 * rng.uniform(0.72, 1.15)
    min_thickness = min_part_thickness(half_span)
    hull = tube_hull(rng, radius=radius, tail_length=rng.uniform(0.3, 0.42))
    root_chord, straight = rng.uniform(0.14, 0.22), chance(rng, 0.2)
    wing = tapered_wing(
        root=(rng.uniform(0.36, 0.5), -radius * rng.uniform(0.5, 0.85)), half_span=half_span,
        chords=(root_chord, root_chord * rng.uniform(0.6, 0.78), root_chord * rng.uniform(0.25, 0.42)),
        breaks=(0.0, rng.uniform(0.25, 0.42), 1.0),
        sweep=rng.uniform(1.0, 8.0) if straight else rng.uniform(20.0, 36.0),
        dihedral=rng.uniform(2.0, 6.0), ratio=rng.uniform(0.1, 0.13), min_thickness=min_thickness,
    )  # fmt: skip
    length, size = rng.uniform(0.1, 0.19), radius * rng.uniform(0.36, 0.6)
    x = rng.uniform(0.66, 0.74)
    y = radius * rng.uniform(0.15, 0.6)
    side = hull.section_at(x + 0.5 * length)[0] + size * rng.uniform(0.95, 1.35)
    engine = jet_engine(length=length, radius=size, intake=rng.uniform(0.05, 0.5), cone=rng.uniform(0.05, 0.3))
    stub = tapered_wing(
        root=(x + 0.2 * length, y),
        half_span=side,
        chords=(0.6 * length, 0.5 * length),
        min_thickness=1.5 * min_thickness,
    )
    parts = [hull.solid(), wing.pair(), stub.pair(), *mirrored_pair(engine.translate((x, y, side)))]
    parts += tail(rng, hull=hull, plan=TailPlan(
        style="t" if chance(rng, 0.85) else "cross", span=rng.uniform(0.12, 0.19),
        fin_height=rng.uniform(0.12, 0.18), chord=rng.uniform(0.08, 0.12),
        sweep=rng.uniform(28.0, 48.0), min_thickness=min_thickness))  # fmt: skip
    if chance(rng, 0.22):
        parts += _tail_engine(rng, hull=hull, radius=radius, mount=False)
    if chance(rng, 0.45):
        parts += winglets(rng, wing=wing, height=rng.uniform(0.02, 0.05), min_thickness=min_thickness)
    elif chance(rng, 0.15):
        lead, height, chord, _ = wing.section_at(half_span)
        parts += mirrored_pair(
            pod(center=(lead + 0.5 * chord, height, half_span), length=2.2 * chord, radius=1.3 * min_thickness)
        )
    if chance(rng, 0.35):
        parts += _airliner_gear(rng, hull=hull, wing=wing, radius=radius, min_thickness=min_thickness)
    return parts


TYPES: tuple[tuple[float, tuple[float, float], Callable[[np.random.Generator], Parts]], ...] = (
    (0.25, (28.0, 75.0), airliner),
    (0.17, (13.0, 55.0), rear_engine_jet),
    (0.17, (9.0, 35.0), twin_propeller),
    (0.17, (6.0, 12.0), light_airplane),
    (0.13, (12.0, 22.0), fighter),
    (0.05, (6.0, 9.0), biplane),
    (0.04, (6.0, 9.0), glider),
    (0.02, (15.0, 35.0), delta_wing),
)
"""(share of the airplanes, shortest and longest fuselage in metres, builder) of each type."""


def airplane(rng: np.random.Generator) -> TriangleMesh:
    """Return a random airplane in metres, with a few thousand faces."""
    _, lengths, build = TYPES[weighted_index(rng, [share for share, _, _ in TYPES])]
    length = rng.uniform(*lengths)
    return to_mesh(unite(build(rng)).scale((length, length, length)))
