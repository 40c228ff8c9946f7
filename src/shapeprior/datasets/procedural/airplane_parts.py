"""Parts of airplanes: wings and tails, fuselages, engines, propellers, landing gear.

Frame: nose towards −x, +y up, mirror symmetric in z; the fuselage is about one unit long. Angles are in degrees.
`min_thickness` is the smallest thickness that a part may have, so that a signed distance grid can resolve it.
"""

from dataclasses import dataclass

import manifold3d
import numpy as np

from shapeprior.datasets.procedural.draws import chance
from shapeprior.datasets.procedural.lofts import (
    Hull,
    Parts,
    Wing,
    ellipsoid,
    mirrored_pair,
    revolve,
    rod,
    rounded_block,
    unite,
)


def min_part_thickness(half_span: float) -> float:
    """Return the smallest thickness of a part: about 1 % of the extent of an airplane with a fuselage of length 1."""
    return 0.01 * max(2.0 * half_span, 1.0)


def tapered_wing(
    *,
    root: tuple[float, float],
    half_span: float,
    chords: tuple[float, ...],
    breaks: tuple[float, ...] = (0.0, 1.0),
    sweep: float = 0.0,
    dihedral: float = 0.0,
    ratio: float = 0.12,
    min_thickness: float,
    tip_round: float = 0.3,
) -> Wing:
    """Return a wing with a straight, swept leading edge and a trailing edge of straight pieces.

    `root` is (x, y) of the leading edge at z = 0. `chords` are the chords at the shares `breaks` of the half span.
    `ratio` is the thickness as a share of the chord.
    """
    share = np.unique(np.concatenate([np.linspace(0.0, 1.0, 5), np.asarray(breaks)]))
    chord = np.interp(share, breaks, chords)
    z = share * half_span
    return Wing(
        z=z,
        lead=root[0] + np.tan(np.radians(sweep)) * z,
        height=root[1] + np.tan(np.radians(dihedral)) * z,
        chord=chord,
        thickness=np.maximum(ratio * chord, min_thickness * (1.0 - 0.25 * share)),
        tip_round=tip_round,
    )


def rounded_wing(
    *,
    root: tuple[float, float],
    half_span: float,
    chord: float,
    power: float,
    lead_share: float,
    dihedral: float,
    ratio: float,
    min_thickness: float,
) -> Wing:
    """Return a wing whose chord is (1 − share^power)^(1/2) at a share of the half span.

    That is an ellipse for power 2 and nearly a rectangle for large powers. Towards the tip, `lead_share` of the lost
    chord is taken from the leading edge and the rest from the trailing edge.
    """
    share = np.array([0.0, 0.2, 0.4, 0.55, 0.7, 0.82, 0.91, 0.97, 0.995])
    chords = chord * np.sqrt(1.0 - share**power)
    z = share * half_span
    return Wing(
        z=z,
        lead=root[0] + lead_share * (chord - chords),
        height=root[1] + np.tan(np.radians(dihedral)) * z,
        chord=chords,
        thickness=np.maximum(ratio * chords, min_thickness * np.clip(2.0 * np.sqrt(1.0 - share), 0.4, 1.0)),
        tip_round=0.0,
    )


@dataclass(frozen=True, kw_only=True)
class TailPlan:
    """Proportions of a tail, in fuselage lengths."""

    style: str
    """"low", "cross" or "t" (height of the tail plane on the fin), "v", or "twin" (fins at the tail plane's tips)."""
    span: float
    """Half span of the tail plane."""
    fin_height: float
    """Height of the fin above the fuselage."""
    chord: float
    """Root chord of the tail plane."""
    sweep: float
    """Sweep of the fin's leading edge, in degrees."""
    min_thickness: float
    """Smallest thickness of any part."""

    def __post_init__(self) -> None:
        if self.style not in ("low", "cross", "t", "v", "twin"):
            raise ValueError(f"the style of a tail is low, cross, t, v or twin; got {self.style!r}")


def tail(rng: np.random.Generator, *, hull: Hull, plan: TailPlan) -> Parts:
    """Return the fin and tail plane at the back of a fuselage."""
    end = float(hull.x[-1]) - rng.uniform(0.0, 0.04)
    if plan.style == "v":
        return _v_tail(rng, hull=hull, plan=plan, end=end)
    if plan.style == "twin":
        return _twin_tail(rng, hull=hull, plan=plan, end=end)
    high = plan.style == "t"
    taper = rng.uniform(0.35, 0.75)
    fin_chord = plan.chord * (rng.uniform(1.2, 1.6) if high else rng.uniform(1.1, 1.5))
    fin_taper = rng.uniform(0.65, 0.85) if high else rng.uniform(0.3, 0.65)
    lead = end - fin_chord
    half_width, top, bottom = hull.section_at(lead + 0.6 * fin_chord)
    sink = min(0.7 * (top - bottom), 0.03)
    fin = tapered_wing(
        root=(lead, 0.0), half_span=plan.fin_height + sink, chords=(fin_chord, fin_taper * fin_chord), sweep=plan.sweep,
        min_thickness=plan.min_thickness, ratio=rng.uniform(0.09, 0.13),
        tip_round=0.1 if high else rng.uniform(0.1, 0.5),
    )  # fmt: skip
    parts = [fin.single(roll=90.0, move=(0.0, top - sink, 0.0))]
    if chance(rng, 0.35):
        parts.append(_dorsal_fillet(rng, plan=plan, lead=lead, base=top - sink, height=0.35 * plan.fin_height + sink))
    if plan.style == "low":
        root = (end - plan.chord * rng.uniform(0.85, 1.15), bottom + rng.uniform(0.4, 0.75) * (top - bottom))
    else:
        share = 0.97 if high else rng.uniform(0.3, 0.6)
        at_lead, _, at_chord, _ = fin.section_at(share * (plan.fin_height + sink))
        shift = 0.5 * (at_chord - plan.chord) * rng.uniform(0.3, 1.0)
        root = (at_lead + shift, top - sink + share * (plan.fin_height + sink))
    plane = tapered_wing(
        root=root, half_span=max(plan.span, 1.5 * half_width), chords=(plan.chord, taper * plan.chord),
        sweep=(0.7 if high else 0.8) * plan.sweep, min_thickness=plan.min_thickness, ratio=rng.uniform(0.08, 0.12),
        dihedral=rng.uniform(-2.0, 9.0) if plan.style == "low" else rng.uniform(-3.0, 2.0),
        tip_round=rng.uniform(0.1, 0.5),
    )  # fmt: skip
    return [*parts, plane.pair()]


def _v_tail(rng: np.random.Generator, *, hull: Hull, plan: TailPlan, end: float) -> Parts:
    """Return two tail planes that are fins as well."""
    lead = end - plan.chord
    _, top, bottom = hull.section_at(lead + 0.5 * plan.chord)
    blade = tapered_wing(
        root=(lead, 0.0), half_span=1.15 * plan.span, chords=(plan.chord, rng.uniform(0.35, 0.75) * plan.chord),
        sweep=plan.sweep, min_thickness=plan.min_thickness,
    )  # fmt: skip
    return mirrored_pair(blade.single(roll=rng.uniform(30.0, 50.0), move=(0.0, 0.5 * (top + bottom), 0.0)))


def _dorsal_fillet(
    rng: np.random.Generator, *, plan: TailPlan, lead: float, base: float, height: float
) -> manifold3d.Manifold:
    """Return the low fillet in front of a fin."""
    length = rng.uniform(0.05, 0.12)
    meet = lead + np.tan(np.radians(plan.sweep)) * height
    blade = Wing(
        z=np.array([0.0, height]), lead=np.array([lead - length, meet]), height=np.zeros(2),
        chord=np.array([length + 0.05, 0.03]), thickness=np.full(2, plan.min_thickness), tip_round=0.0,
    )  # fmt: skip
    return blade.single(roll=90.0, move=(0.0, base, 0.0))


def _twin_tail(rng: np.random.Generator, *, hull: Hull, plan: TailPlan, end: float) -> Parts:
    """Return a tail plane with a fin at each tip."""
    chord = plan.chord
    _, top, bottom = hull.section_at(end - 0.5 * chord)
    height = bottom + 0.7 * (top - bottom)
    plane = tapered_wing(
        root=(end - chord, height), half_span=plan.span, chords=(chord, 0.9 * chord), min_thickness=plan.min_thickness
    )
    below = rng.uniform(0.15, 0.5) * plan.fin_height
    fin = tapered_wing(
        root=(end - chord, 0.0), half_span=plan.fin_height, chords=(1.05 * chord, 0.6 * chord),
        sweep=rng.uniform(5.0, 30.0), min_thickness=plan.min_thickness, tip_round=rng.uniform(0.2, 0.5),
    )  # fmt: skip
    return [plane.pair(), *mirrored_pair(fin.single(roll=90.0, move=(0.0, height - below, plan.span)))]


def winglets(rng: np.random.Generator, *, wing: Wing, height: float, min_thickness: float) -> Parts:
    """Return upturned blades at the tips of a wing."""
    lead, y, chord, _ = wing.section_at(float(wing.z[-1]))
    root = chord * rng.uniform(0.7, 0.95)
    blade = tapered_wing(
        root=(0.0, 0.0), half_span=height, chords=(root, rng.uniform(0.35, 0.6) * root), sweep=rng.uniform(25.0, 50.0),
        min_thickness=0.8 * min_thickness, tip_round=0.3,
    )  # fmt: skip
    roll = rng.uniform(60.0, 85.0)
    return mirrored_pair(
        blade.single(
            roll=roll, move=(lead + 0.04 * chord, y - 0.2 * min_thickness, float(wing.z[-1]) - 0.3 * min_thickness)
        )
    )


def jet_engine(*, length: float, radius: float, intake: float, cone: float) -> manifold3d.Manifold:
    """Return a jet engine along x with its lip at x = 0.

    `intake` is the depth of the intake and `cone` the length of the tail cone, both as shares of `length`.
    """
    profile = [
        (intake * length, 0.0), (intake * length, 0.66 * radius), (0.0, 0.76 * radius), (0.01 * length, 0.86 * radius),
        (0.08 * length, 0.95 * radius), (0.22 * length, radius), (0.5 * length, radius), (0.78 * length, 0.84 * radius),
        (length, 0.64 * radius), (length * (0.99 + 0.1 * cone), 0.45 * radius), (length * (1.0 + cone), 0.1 * radius),
    ]  # fmt: skip
    return revolve(profile, axis="x")


def propeller(
    rng: np.random.Generator, *, style: str, blades: int, radius: float, hub: float, thickness: float
) -> manifold3d.Manifold:
    """Return a spinner around the x axis, with blades in the plane x = 0, a disc in their place, or neither.

    `style` is "blades", "disc" (a propeller that turns fast) or "none".
    """
    nose = hub * rng.uniform(1.0, 2.4)
    spinner = revolve(
        [(-nose, 0.12 * hub), (-0.8 * nose, 0.5 * hub), (-0.4 * nose, 0.85 * hub), (0.0, hub), (1.2 * hub, hub)],
        axis="x",
    )
    if style == "none":
        return spinner
    if style == "disc":
        half = 0.5 * thickness
        return unite([spinner, revolve([(-half, radius), (half, radius)], axis="x", segments=40)])
    chord = radius * rng.uniform(0.055, 0.09) + 0.4 * thickness
    outline = np.array(
        [(0.0, -0.6), (0.3, -0.9), (0.6, -1.0), (0.9, -0.7), (1.0, -0.25),
         (1.0, 0.25), (0.9, 0.7), (0.6, 1.0), (0.3, 0.9), (0.0, 0.6)]
    ) * np.array([radius, chord])  # fmt: skip
    blade = manifold3d.CrossSection([outline], manifold3d.FillRule.NonZero).extrude(thickness).rotate((0.0, 90.0, 0.0))
    # The outline's first axis now points along -z and the second along y. The propeller is mirror symmetric in z only
    # if a blade, or the gap between two blades, points up or down.
    blade = blade.translate((-0.5 * thickness, 0.0, 0.0)).rotate((90.0, 0.0, 0.0))
    start = 0.0 if chance(rng, 0.5) else 180.0
    if blades % 2 == 0 and chance(rng, 0.5):
        start = 180.0 / blades if blades > 2 else 90.0
    turns = [blade.rotate((start + 360.0 * index / blades, 0.0, 0.0)) for index in range(blades)]
    return unite([spinner, *turns])


def wheel(*, x: float, y: float, z: float, radius: float, width: float) -> manifold3d.Manifold:
    """Return a tyre with its axle along z."""
    half = 0.5 * width
    profile = [(-half, 0.7 * radius), (-0.6 * half, radius), (0.6 * half, radius), (half, 0.7 * radius)]
    return revolve(profile, axis="z", segments=20).translate((x, y, z))


def main_gear(
    rng: np.random.Generator,
    *,
    x: float,
    leg_top: tuple[float, float],
    ground: float,
    track: float,
    radius: float,
    min_thickness: float,
    pants: bool = False,
) -> Parts:
    """Return a pair of wheels on legs, with wheel fairings if `pants` is true.

    `leg_top` is (y, z) where a leg leaves the airplane, and `track` is half the distance between the wheels.
    """
    thick = max(0.25 * radius, 0.4 * min_thickness)
    width = max(0.55 * radius, min_thickness)
    axle = ground + radius
    parts = [
        wheel(x=x, y=axle, z=track, radius=radius, width=width),
        rod((x + rng.uniform(-0.3, 0.3) * radius, *leg_top), (x, axle, track), 1.5 * thick, end_radius=thick),
    ]
    if pants:
        parts.append(
            ellipsoid((x + 0.3 * radius, axle + 0.15 * radius, track), (2.1 * radius, 0.95 * radius, 0.8 * width))
        )
    return mirrored_pair(unite(parts))


def center_gear(*, x: float, top: float, ground: float, radius: float, min_thickness: float) -> Parts:
    """Return a nose or tail wheel with its leg in the plane of symmetry."""
    thick = max(0.25 * radius, 0.4 * min_thickness)
    wheel_part = wheel(x=x, y=ground + radius, z=0.0, radius=radius, width=max(0.5 * radius, min_thickness))
    return [wheel_part, rod((x, top, 0.0), (x, ground + radius, 0.0), thick)]


def pod(*, center: tuple[float, float, float], length: float, radius: float) -> manifold3d.Manifold:
    """Return a slender streamlined body along x, such as a tank, float, fairing or missile, around `center`."""
    share = np.array([0.0, 0.02, 0.08, 0.2, 0.4, 0.65, 0.85, 0.97, 1.0])
    size = np.array([0.08, 0.3, 0.6, 0.88, 1.0, 0.92, 0.6, 0.25, 0.1])
    profile = [(float(a), float(r)) for a, r in zip((share - 0.5) * length, size * radius, strict=True)]
    return revolve(profile, axis="x", segments=16).translate(center)


def pylon(
    *, x: float, length: float, bottom: float, top: float, z: float, width: float, lean: float = 0.0
) -> manifold3d.Manifold:
    """Return a plate along x between two heights, with its top shifted backwards by `lean`."""
    block = rounded_block((length, top - bottom, width), corner=0.45 * width, edge=0.1 * width, axis="y")
    sheared = block.transform(
        np.array([[1.0, lean / (top - bottom), 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], dtype=np.float64)
    )
    return sheared.translate((x + 0.5 * length + 0.5 * lean, 0.5 * (top + bottom), z))


def tube_hull(rng: np.random.Generator, *, radius: float, tail_length: float) -> Hull:
    """Return the fuselage of an airliner or business jet: a tube with a drooped nose and a rising tail."""
    nose = radius * rng.uniform(2.2, 3.6)
    tall = radius * rng.uniform(0.95, 1.15)
    droop = rng.uniform(0.1, 0.45) * radius
    end_height = rng.uniform(0.3, 0.8)
    end_half = rng.uniform(0.12, 0.22)
    tops = [0.4 * tall - droop, 0.72 * tall - 0.5 * droop, 0.95 * tall, tall, tall, 0.97 * tall]
    depths = [0.5 + 0.5 * droop / tall, 0.85, 0.97, 1.0, 1.0, rng.uniform(0.35, 0.65), end_half - end_height]
    return Hull(
        x=np.array([0.0, 0.3 * nose, 0.6 * nose, nose, 1 - tail_length, 1 - 0.45 * tail_length, 1.0]),
        half_width=radius * np.array([0.42, 0.72, 0.9, 1.0, 1.0, rng.uniform(0.65, 0.8), rng.uniform(0.14, 0.24)]),
        top=np.array([*tops, (end_height + end_half) * tall]),
        bottom=-tall * np.array(depths),
        exponent=rng.uniform(2.0, 2.25),
        round_front=0.4 * nose * rng.uniform(0.8, 1.2),
        round_back=0.4 * end_half * radius,
    )
