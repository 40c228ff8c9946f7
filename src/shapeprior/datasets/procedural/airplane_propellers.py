"""Builders of airplanes with propellers or no engine, in the frame of `shapeprior.datasets.procedural.airplane`."""

import manifold3d
import numpy as np

from shapeprior.datasets.procedural.airplane_parts import (
    TailPlan,
    center_gear,
    main_gear,
    min_part_thickness,
    pod,
    propeller,
    rounded_wing,
    tail,
    tapered_wing,
    tube_hull,
)
from shapeprior.datasets.procedural.draws import chance
from shapeprior.datasets.procedural.lofts import Hull, Parts, Wing, mirrored_pair, revolve, rod, rounded_block


def _nacelle(
    rng: np.random.Generator,
    *,
    wing: Wing,
    z: float,
    size: float,
    disc: float,
    style: str,
    blades: int,
    min_thickness: float,
) -> Parts:
    """Return a piston or turboprop engine through the wing at `z`, with its propeller."""
    lead, y, chord, _ = wing.section_at(z)
    ahead, behind = rng.uniform(0.06, 0.12), chord * rng.uniform(0.5, 1.15)
    offset = y - size * rng.uniform(-0.2, 0.5)
    tall = rng.uniform(0.9, 1.3) * size
    body = Hull(
        x=np.array([lead - ahead, lead - 0.6 * ahead, lead + 0.3 * chord, lead + behind]),
        half_width=size * np.array([0.6, 0.9, 1.0, 0.3]), top=offset + tall * np.array([0.6, 0.9, 0.9, 0.35]),
        bottom=offset - tall * np.array([0.7, 1.0, 1.0, 0.0]), exponent=rng.uniform(2.0, 3.0),
        round_front=0.02, round_back=0.02,
    )  # fmt: skip
    turn = propeller(rng, style=style, blades=blades, radius=disc, hub=0.4 * size, thickness=min_thickness)
    return [
        body.solid(samples=10, points=20).translate((0, 0, z)),
        turn.translate((lead - ahead - 0.3 * size, offset, z)),
    ]


def _propeller_style(rng: np.random.Generator) -> str:
    return str(rng.choice(np.array(["disc", "blades", "none"]), p=[0.2, 0.55, 0.25]))


def twin_propeller(rng: np.random.Generator) -> Parts:
    """Build a regional turboprop, transport or light twin: two or four propeller engines on the wing."""
    radius = 0.5 * rng.uniform(0.085, 0.145)
    half_span = 0.5 * rng.uniform(0.95, 1.4)
    min_thickness = min_part_thickness(half_span)
    high = chance(rng, 0.5)
    hull = tube_hull(rng, radius=radius, tail_length=rng.uniform(0.35, 0.55))
    root_chord = rng.uniform(0.11, 0.19)
    wing = tapered_wing(
        root=(rng.uniform(0.3, 0.42), radius * (rng.uniform(0.85, 1.05) if high else rng.uniform(-0.85, -0.5))),
        half_span=half_span, chords=(root_chord, root_chord, root_chord * rng.uniform(0.4, 0.75)),
        breaks=(0.0, rng.uniform(0.15, 0.5), 1.0), sweep=rng.uniform(-1.0, 7.0),
        dihedral=rng.uniform(0.0, 3.0) if high else rng.uniform(3.0, 7.0), ratio=rng.uniform(0.12, 0.16),
        min_thickness=min_thickness,
        tip_round=rng.uniform(0.1, 0.5),
    )  # fmt: skip
    parts = [hull.solid(), wing.pair()]
    blades, style = int(rng.integers(2, 7)), _propeller_style(rng)
    disc, size = rng.uniform(0.055, 0.085), rng.uniform(0.022, 0.034)
    inner = radius + disc + rng.uniform(0.005, 0.04)
    places = [inner, inner + 2.1 * disc] if chance(rng, 0.2) else [inner]
    seed = int(rng.integers(2**32))
    for z in places:
        # Every nacelle has a generator with the same seed, so that inner and outer ones look alike.
        nacelle_rng = np.random.default_rng(seed)
        for part in _nacelle(
            nacelle_rng, wing=wing, z=z, size=size, disc=disc, style=style, blades=blades, min_thickness=min_thickness
        ):
            parts += mirrored_pair(part)
    parts += tail(rng, hull=hull, plan=TailPlan(
        style=str(rng.choice(np.array(["low", "cross", "t", "twin"]), p=[0.45, 0.1, 0.38, 0.07])),
        span=rng.uniform(0.15, 0.22), fin_height=rng.uniform(0.13, 0.22), chord=rng.uniform(0.09, 0.13),
        sweep=rng.uniform(10.0, 40.0), min_thickness=min_thickness))  # fmt: skip
    if high and chance(rng, 0.5):
        sponson = pod(
            center=(wing.lead[0] + 0.6 * root_chord, -0.7 * radius, 0.75 * radius), length=0.24, radius=0.5 * radius
        )
        parts += mirrored_pair(sponson)
    if not high and chance(rng, 0.25):
        lead, y, chord, _ = wing.section_at(half_span)
        parts += mirrored_pair(
            pod(center=(lead + 0.5 * chord, y, half_span), length=rng.uniform(0.15, 0.24), radius=0.02)
        )
    if chance(rng, 0.06):
        parts += _radome(x=float(wing.lead[0]) + root_chord, bottom=radius, radius=rng.uniform(0.18, 0.24))
    if chance(rng, 0.5):
        parts += _transport_gear(rng, wing=wing, radius=radius, track=1.3 * radius if high else inner, high=high)
    return parts


def _transport_gear(rng: np.random.Generator, *, wing: Wing, radius: float, track: float, high: bool) -> Parts:
    """Return a nose wheel and main wheels under the wing or, with a high wing, under the fuselage."""
    min_thickness = min_part_thickness(float(wing.z[-1]))
    size = rng.uniform(0.018, 0.03)
    track *= rng.uniform(0.7, 1.0)
    ground = -radius - rng.uniform(0.04, 0.08)
    lead, y, chord, _ = wing.section_at(track)
    leg_top = (-0.5 * radius, 0.6 * radius) if high else (y, track)
    x = lead + 0.6 * chord
    return [
        *main_gear(rng, x=x, leg_top=leg_top, ground=ground, track=track, radius=size, min_thickness=min_thickness),
        *center_gear(
            x=rng.uniform(0.08, 0.15), top=-0.2 * radius, ground=ground, radius=0.8 * size, min_thickness=min_thickness
        ),
    ]


def _radome(*, x: float, bottom: float, radius: float) -> Parts:
    """Return the disc of an early-warning radar on its pillar."""
    y = bottom + 0.06
    lens = revolve([(-0.02, 0.5 * radius), (-0.01, 0.9 * radius), (0.0, radius), (0.01, 0.9 * radius),
                   (0.02, 0.5 * radius)], axis="y", segments=40)  # fmt: skip
    return [lens.translate((x, y, 0.0)), rod((x, 0.0, 0.0), (x, y, 0.0), 0.03)]


def _single_engine_hull(
    rng: np.random.Generator, *, half_width: float, cabin: float, cowl: float, cockpit: float
) -> Hull:
    """Return the fuselage of a single-engine airplane: cowling, cabin, tail cone.

    `cowl` and `cabin` are the heights of the tops of cowling and cabin, which are equal if the cabin does not stand
    out. `cockpit` is the x of the windshield's foot.
    """
    depth = rng.uniform(0.06, 0.09)
    behind = cockpit + rng.uniform(0.2, 0.32)
    end_top = rng.uniform(0.0, 0.04)
    return Hull(
        x=np.array([0.0, 0.05, cockpit, cockpit + 0.09, behind, 0.5 * (behind + 1.0), 1.0]),
        half_width=half_width * np.array([0.62, 0.85, 0.95, 1.0, 0.92, rng.uniform(0.45, 0.65), 0.15]),
        top=np.array([0.7 * cowl, 0.92 * cowl, cowl, cabin, max(0.85 * cabin, 0.8 * cowl),
                      0.4 * cabin + 0.6 * end_top, end_top]),
        bottom=-depth * np.array([0.6, 0.85, 1.0, 1.05, 0.95, 0.55, rng.uniform(-0.1, 0.25) + 0.15]),
        exponent=rng.uniform(2.1, 3.4), round_front=rng.uniform(0.01, 0.03), round_back=0.01,
    )  # fmt: skip


def _fixed_gear(rng: np.random.Generator, *, hull: Hull, wing: Wing, min_thickness: float) -> Parts:
    """Return the fixed gear of a light airplane, with a nose wheel or a tail wheel, or floats."""
    size = rng.uniform(0.022, 0.034)
    ground = -rng.uniform(0.15, 0.19)
    track = rng.uniform(0.11, 0.17)
    nose_wheel = chance(rng, 0.6)
    lead, _, chord, _ = wing.section_at(0.0)
    x = lead + chord * (rng.uniform(0.45, 0.65) if nose_wheel else rng.uniform(0.0, 0.12))
    if chance(rng, 0.08):
        float_pod = pod(center=(0.36, ground, track), length=rng.uniform(0.65, 0.8), radius=0.035)
        legs = [rod((x + step, -0.03, 0.04), (x + step, ground, track), 0.7 * min_thickness) for step in (-0.12, 0.12)]
        return [side for part in [float_pod, *legs] for side in mirrored_pair(part)]
    parts = main_gear(
        rng, x=x, leg_top=(hull.section_at(x)[2] + 0.03, 0.5 * hull.section_at(x)[0]), ground=ground, track=track,
        radius=size, min_thickness=min_thickness, pants=chance(rng, 0.3),
    )  # fmt: skip
    if nose_wheel:
        return parts + center_gear(x=0.07, top=-0.02, ground=ground, radius=0.9 * size, min_thickness=min_thickness)
    return parts + center_gear(
        x=0.94,
        top=hull.section_at(0.94)[1] - 0.01,
        ground=-0.06,
        radius=0.4 * size + 0.5 * min_thickness,
        min_thickness=min_thickness,
    )


def _nose_propeller(rng: np.random.Generator, *, hull: Hull, min_thickness: float) -> Parts:
    """Return the propeller in front of a single-engine airplane."""
    _, top, bottom = hull.section_at(0.0)
    y = 0.5 * (top + bottom)
    turn = propeller(
        rng, style=_propeller_style(rng), blades=int(rng.integers(2, 5)), radius=rng.uniform(0.11, 0.16),
        hub=rng.uniform(0.014, 0.03), thickness=min_thickness,
    )  # fmt: skip
    return [turn.translate((-0.012, y, 0.0))]


def light_airplane(rng: np.random.Generator) -> Parts:
    """Build a single-engine airplane with a high or low wing: trainers, tourers and propeller fighters."""
    high = chance(rng, 0.5)
    half_span = 0.5 * rng.uniform(1.1, 1.6)
    min_thickness = min_part_thickness(half_span)
    half_width, cowl = rng.uniform(0.05, 0.085), rng.uniform(0.04, 0.075)
    cabin = cowl + (rng.uniform(0.03, 0.07) if high else rng.uniform(0.0, 0.06))
    cockpit = rng.uniform(0.16, 0.24) if high else rng.uniform(0.18, 0.36)
    hull = _single_engine_hull(rng, half_width=half_width, cabin=cabin, cowl=cowl, cockpit=cockpit)
    chord = rng.uniform(0.16, 0.25)
    root = (rng.uniform(0.2, 0.3), cabin - rng.uniform(-0.008, 0.015) if high else -rng.uniform(0.03, 0.06))
    dihedral = rng.uniform(0.0, 3.0) if high else rng.uniform(3.0, 8.0)
    if chance(rng, 0.35):
        wing = rounded_wing(
            root=root, half_span=half_span, chord=chord * 1.1, power=rng.choice(np.array([2.0, 2.5, 4.0, 8.0, 16.0])),
            lead_share=rng.uniform(0.3, 0.6), dihedral=dihedral, ratio=rng.uniform(0.11, 0.15),
            min_thickness=min_thickness,
        )  # fmt: skip
    else:
        wing = tapered_wing(
            root=root, half_span=half_span,
            chords=(chord, chord * rng.uniform(0.9, 1.0), chord * rng.uniform(0.45, 1.0)),
            breaks=(0.0, rng.uniform(0.2, 0.6), 1.0), sweep=rng.uniform(-2.0, 6.0), dihedral=dihedral,
            ratio=rng.uniform(0.11, 0.16), min_thickness=min_thickness, tip_round=rng.uniform(0.05, 0.5),
        )  # fmt: skip
    parts = [hull.solid(), wing.pair(), *_nose_propeller(rng, hull=hull, min_thickness=min_thickness)]
    if not high and chance(rng, 0.6):
        parts.append(_bubble_canopy(rng, hull=hull, start=cockpit, half_width=half_width))
    parts += tail(rng, hull=hull, plan=TailPlan(
        style=str(rng.choice(np.array(["low", "cross", "t", "twin", "v"]), p=[0.77, 0.06, 0.08, 0.05, 0.04])),
        span=rng.uniform(0.19, 0.26), fin_height=rng.uniform(0.11, 0.18), chord=rng.uniform(0.1, 0.15),
        sweep=rng.uniform(0.0, 42.0), min_thickness=min_thickness))  # fmt: skip
    if chance(rng, 0.75 if high else 0.6):
        parts += _fixed_gear(rng, hull=hull, wing=wing, min_thickness=min_thickness)
    if high and chance(rng, 0.55):
        z = half_span * rng.uniform(0.4, 0.6)
        lead, y, local, _ = wing.section_at(z)
        foot = root[0] + rng.uniform(0.2, 0.4) * chord
        parts += mirrored_pair(rod((foot, -0.04, 0.6 * half_width), (lead + 0.4 * local, y, z), 0.45 * min_thickness))
    return parts


def _bubble_canopy(rng: np.random.Generator, *, hull: Hull, start: float, half_width: float) -> manifold3d.Manifold:
    """Return a bubble canopy on top of the fuselage."""
    length, rise = rng.uniform(0.14, 0.3), rng.uniform(0.025, 0.05)
    base = hull.section_at(start)[1]
    top = hull.section_at(start + 0.4 * length)[1]
    shape = Hull(
        x=np.array([start - 0.03, start + 0.4 * length, start + length]),
        half_width=half_width * np.array([0.5, 0.8, 0.4]),
        top=np.array([base, top + rise, hull.section_at(start + length)[1] + 0.005]),
        bottom=np.array([base, top, top]) - 0.06,
        exponent=2.2, round_front=0.3 * length, round_back=0.05,
    )  # fmt: skip
    return shape.solid(samples=12, points=20)


def biplane(rng: np.random.Generator) -> Parts:
    """Build a biplane: two wings joined by struts, an open or closed cockpit, fixed gear."""
    half_span = 0.5 * rng.uniform(1.05, 1.45)
    min_thickness = min_part_thickness(half_span)
    half_width, cowl = rng.uniform(0.05, 0.075), rng.uniform(0.05, 0.075)
    hull = _single_engine_hull(
        rng, half_width=half_width, cabin=cowl + rng.uniform(0.0, 0.04), cowl=cowl, cockpit=rng.uniform(0.22, 0.34)
    )
    chord, gap = rng.uniform(0.15, 0.21), rng.uniform(0.16, 0.23)
    lower_y = -rng.uniform(0.045, 0.065)
    shared = {
        "chord": chord,
        "power": rng.uniform(4.0, 16.0),
        "lead_share": rng.uniform(0.3, 0.6),
        "min_thickness": min_thickness,
    }
    sweep_share = rng.uniform(-0.35, 0.45)
    lower_span = half_span * rng.uniform(0.8, 1.0)
    lead = rng.uniform(0.17, 0.25)
    lower = rounded_wing(
        root=(lead + sweep_share * chord, lower_y),
        half_span=lower_span,
        dihedral=rng.uniform(0.0, 4.0),
        ratio=0.1,
        **shared,
    )
    upper = rounded_wing(
        root=(lead, lower_y + gap), half_span=half_span, dihedral=rng.uniform(0.0, 3.0), ratio=0.1, **shared
    )
    parts = [hull.solid(), lower.pair(), upper.pair(), *_nose_propeller(rng, hull=hull, min_thickness=min_thickness)]
    for share in [0.75, 0.4][: 1 + int(rng.integers(2))]:
        z = share * lower_span
        for along in (0.2, 0.7):
            low_lead, low_y, low_chord, _ = lower.section_at(z)
            up_lead, up_y, up_chord, _ = upper.section_at(z)
            strut = rod(
                (low_lead + along * low_chord, low_y, z), (up_lead + along * up_chord, up_y, z), 0.45 * min_thickness
            )
            parts += mirrored_pair(strut)
    for along in (0.2, 0.7):
        x = lead + along * chord
        parts += mirrored_pair(rod((x, 0.0, 0.5 * half_width), (x, lower_y + gap, 0.09), 0.45 * min_thickness))
    if chance(rng, 0.25):
        parts.append(rounded_block((0.8 * chord, gap, 1.4 * half_width), corner=0.03, edge=0.01, axis="y").translate(
            (lead + 0.5 * chord, lower_y + 0.5 * gap, 0.0)))  # fmt: skip
    parts += tail(rng, hull=hull, plan=TailPlan(
        style="low", span=rng.uniform(0.19, 0.24), fin_height=rng.uniform(0.1, 0.15),
        chord=rng.uniform(0.11, 0.15), sweep=rng.uniform(10.0, 40.0), min_thickness=min_thickness))  # fmt: skip
    return parts + _fixed_gear(rng, hull=hull, wing=lower, min_thickness=min_thickness)


def glider(rng: np.random.Generator) -> Parts:
    """Build a sailplane: a pod with a thin boom and long narrow wings."""
    half_span = 0.5 * rng.uniform(1.8, 2.6)
    min_thickness = 0.8 * min_part_thickness(half_span)
    half_width = rng.uniform(0.036, 0.048)
    boom = max(0.5 * min_thickness, rng.uniform(0.011, 0.018))
    hull = Hull(
        x=np.array([0.0, 0.1, 0.24, 0.38, 0.55, 1.0]),
        half_width=np.array([0.4, 0.85, 1.0, 0.75, 0.0, 0.0]) * half_width
        + np.array([0, 0, 0, 0, 1.2, 1.0]) * boom, top=np.array([0.01, 0.045, 0.07, 0.055, 0.03, 0.03 + 0.5 * boom]),
        bottom=np.array([-0.03, -0.05, -0.06, -0.05, 0.025 - 2 * boom, 0.02 - boom]), round_front=0.07,
    )  # fmt: skip
    chord = rng.uniform(0.11, 0.15)
    wing = tapered_wing(
        root=(rng.uniform(0.28, 0.34), rng.uniform(0.0, 0.05)), half_span=half_span,
        chords=(chord, chord * rng.uniform(0.75, 0.95), chord * rng.uniform(0.35, 0.5)),
        breaks=(0.0, rng.uniform(0.45, 0.7), 1.0),
        sweep=rng.uniform(-1.0, 2.0), dihedral=rng.uniform(1.0, 4.5), ratio=0.15, min_thickness=min_thickness,
        tip_round=rng.uniform(0.2, 1.0),
    )  # fmt: skip
    parts = [hull.solid(), wing.pair()]
    return parts + tail(rng, hull=hull, plan=TailPlan(
        style=str(rng.choice(np.array(["t", "low", "v"]), p=[0.75, 0.15, 0.1])),
        span=rng.uniform(0.17, 0.24), fin_height=rng.uniform(0.14, 0.19), chord=rng.uniform(0.075, 0.1),
        sweep=rng.uniform(5.0, 25.0), min_thickness=min_thickness))  # fmt: skip
