"""Parts of airplanes other than wings and tails: tube fuselages, engines, propellers, landing gear.

Frame: nose towards −x, +y up, mirror symmetric in z; the fuselage is about one unit long. Angles are in degrees.
`least` is the smallest thickness that a part may have, so that a signed distance grid can hold it.
"""

import manifold3d
import numpy as np

from shapeprior.families.airplane_surfaces import Parts
from shapeprior.families.lofts import Hull, both_sides, ellipsoid, rod, rounded_block, turned, unite


def jet(*, length: float, radius: float, intake: float, cone: float) -> manifold3d.Manifold:
    """A nacelle along x with its lip at x = 0: recessed by `intake` of its length, with a tail cone of share `cone`."""
    profile = [
        (intake * length, 0.0), (intake * length, 0.66 * radius), (0.0, 0.76 * radius), (0.01 * length, 0.86 * radius),
        (0.08 * length, 0.95 * radius), (0.22 * length, radius), (0.5 * length, radius), (0.78 * length, 0.84 * radius),
        (length, 0.64 * radius), (length * (0.99 + 0.1 * cone), 0.45 * radius), (length * (1.0 + cone), 0.1 * radius),
    ]  # fmt: skip
    return turned(profile, axis="x")


def propeller(
    rng: np.random.Generator, *, style: str, blades: int, radius: float, hub: float, thickness: float
) -> manifold3d.Manifold:
    """Spinner and blades around the x axis, the blades in the plane x = 0; `style` is "disc", "blades" or "none"."""
    nose = hub * rng.uniform(1.0, 2.4)
    spinner = turned(
        [(-nose, 0.12 * hub), (-0.8 * nose, 0.5 * hub), (-0.4 * nose, 0.85 * hub), (0.0, hub), (1.2 * hub, hub)],
        axis="x",
    )
    if style == "none":
        return spinner
    if style == "disc":
        half = 0.5 * thickness
        return unite([spinner, turned([(-half, radius), (half, radius)], axis="x", segments=40)])
    chord = radius * rng.uniform(0.055, 0.09) + 0.4 * thickness
    outline = np.array(
        [(0.0, -0.6), (0.3, -0.9), (0.6, -1.0), (0.9, -0.7), (1.0, -0.25),
         (1.0, 0.25), (0.9, 0.7), (0.6, 1.0), (0.3, 0.9), (0.0, 0.6)]
    ) * np.array([radius, chord])  # fmt: skip
    blade = manifold3d.CrossSection([outline], manifold3d.FillRule.NonZero).extrude(thickness).rotate((0.0, 90.0, 0.0))
    # The outline's first axis now points along -z and the second along y. For the mirror symmetry one blade has to
    # point up or down, or the gap between two blades.
    blade = blade.translate((-0.5 * thickness, 0.0, 0.0)).rotate((90.0, 0.0, 0.0))
    start = 0.0 if rng.random() < 0.5 else 180.0
    if blades % 2 == 0 and rng.random() < 0.5:
        start = 180.0 / blades if blades > 2 else 90.0
    turns = [blade.rotate((start + 360.0 * index / blades, 0.0, 0.0)) for index in range(blades)]
    return unite([spinner, *turns])


def wheel(*, x: float, y: float, z: float, radius: float, width: float) -> manifold3d.Manifold:
    """A tyre with its axle along z."""
    half = 0.5 * width
    profile = [(-half, 0.7 * radius), (-0.6 * half, radius), (0.6 * half, radius), (half, 0.7 * radius)]
    return turned(profile, axis="z", segments=20).translate((x, y, z))


def main_gear(
    rng: np.random.Generator,
    *,
    x: float,
    leg_top: tuple[float, float],
    ground: float,
    track: float,
    radius: float,
    least: float,
    pants: bool = False,
) -> Parts:
    """A pair of wheels on legs; `leg_top` is (y, z) where a leg leaves the airplane, `track` the half distance."""
    thick = max(0.25 * radius, 0.4 * least)
    width = max(0.55 * radius, least)
    axle = ground + radius
    parts = [
        wheel(x=x, y=axle, z=track, radius=radius, width=width),
        rod((x + rng.uniform(-0.3, 0.3) * radius, *leg_top), (x, axle, track), 1.5 * thick, end_radius=thick),
    ]
    if pants:
        parts.append(
            ellipsoid((x + 0.3 * radius, axle + 0.15 * radius, track), (2.1 * radius, 0.95 * radius, 0.8 * width))
        )
    return both_sides(unite(parts))


def center_gear(*, x: float, top: float, ground: float, radius: float, least: float) -> Parts:
    """A nose or tail wheel with its leg in the plane of symmetry."""
    thick = max(0.25 * radius, 0.4 * least)
    wheel_part = wheel(x=x, y=ground + radius, z=0.0, radius=radius, width=max(0.5 * radius, least))
    return [wheel_part, rod((x, top, 0.0), (x, ground + radius, 0.0), thick)]


def pod(*, center: tuple[float, float, float], length: float, radius: float) -> manifold3d.Manifold:
    """A slender streamlined body along x: a tank, float, fairing or missile; `center` is its middle."""
    share = np.array([0.0, 0.02, 0.08, 0.2, 0.4, 0.65, 0.85, 0.97, 1.0])
    size = np.array([0.08, 0.3, 0.6, 0.88, 1.0, 0.92, 0.6, 0.25, 0.1])
    profile = [(float(a), float(r)) for a, r in zip((share - 0.5) * length, size * radius, strict=True)]
    return turned(profile, axis="x", segments=16).translate(center)


def pylon(
    *, x: float, length: float, bottom: float, top: float, z: float, width: float, lean: float = 0.0
) -> manifold3d.Manifold:
    """A plate along x between two heights; its top is shifted backwards by `lean`."""
    block = rounded_block((length, top - bottom, width), corner=0.45 * width, edge=0.1 * width, axis="y")
    sheared = block.transform(
        np.array([[1.0, lean / (top - bottom), 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], dtype=np.float64)
    )
    return sheared.translate((x + 0.5 * length + 0.5 * lean, 0.5 * (top + bottom), z))


def tube_hull(rng: np.random.Generator, *, radius: float, tail_length: float) -> Hull:
    """The fuselage of an airliner or business jet: a tube with a drooped nose and a tail that rises."""
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
