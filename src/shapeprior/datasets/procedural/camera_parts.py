"""Parts of cameras: lenses, lens hoods, prism humps, grips, dials, hot shoes, strap lugs.

Frame: lens along +z, width along x, +y up, the photographer's right hand at −x. The body is about one unit wide.
"""

import manifold3d
import numpy as np

from shapeprior.datasets.procedural.draws import chance
from shapeprior.datasets.procedural.lofts import Parts, loft, revolve, rod, rounded_block, rounded_rectangle


def front_glass(*, end: float, radius: float, rim: float, depth: float, bulge: float) -> list[tuple[float, float]]:
    """Return the end of a barrel's profile at z = `end`: a rim, a recess, and a front element that bulges."""
    inner = radius - rim
    floor = end - depth
    return [
        (end, radius), (end, inner), (floor, 0.94 * inner), (floor + 0.55 * bulge, 0.6 * inner),
        (floor + 0.9 * bulge, 0.3 * inner), (floor + bulge, 0.0),
    ]  # fmt: skip


def zoom_lens(
    rng: np.random.Generator, *, radius: float, length: float, sink: float, rings: int
) -> tuple[manifold3d.Manifold, float]:
    """Return an interchangeable lens with `rings` steps, from z = −sink to `length`, and the radius of its front."""
    # No ring lies at z = 0, where the face of the mount is: two rings that nearly coincide would give twin vertices.
    profile = [(-sink, 0.85 * radius), (-0.013, 0.85 * radius)]
    cuts = np.sort(rng.uniform(0.08, 0.9, size=rings)) * length
    current = radius * rng.uniform(0.86, 1.0)
    profile.append((-0.004, current))
    grow = rng.uniform(0.88, 1.13, size=rings)
    for cut, factor in zip(cuts, grow, strict=True):
        profile.append((float(cut), current))
        following = float(np.clip(current * factor, 0.72 * radius, 1.15 * radius))
        profile.append((float(cut) + 0.012, following))
        current = following
    kept = [profile[0]]
    for along, size in profile[1:]:
        if along > kept[-1][0]:
            kept.append((along, size))
    end = max(length, kept[-1][0] + 0.02)
    bevel = 0.02 * radius
    kept.append((end - 0.4 * bevel, current))
    depth = rng.uniform(0.02, 0.1) * (1.0 if length > 0.15 else 0.4)
    kept += front_glass(end=end, radius=current - bevel, rim=max(0.022, rng.uniform(0.06, 0.2) * current), depth=depth,
                        bulge=rng.uniform(0.0, 0.9) * depth)  # fmt: skip
    return revolve(kept, axis="z", segments=40), current


def telescope(
    rng: np.random.Generator, *, radius: float, length: float, sink: float, stages: int
) -> manifold3d.Manifold:
    """Return the telescoping lens of a compact camera: a base ring and `stages` barrels that get narrower."""
    ring = min(0.4 * length, rng.uniform(0.01, 0.06))
    profile = [(-sink, radius), (0.5 * ring, radius), (ring, radius * rng.uniform(0.93, 0.98))]
    current = radius * rng.uniform(0.8, 0.92)
    for end in ring + (length - ring) * np.cumsum(rng.dirichlet(np.full(stages, 4.0))):
        profile += [(profile[-1][0] + 0.004, current), (max(float(end), profile[-1][0] + 0.01), current)]
        current *= rng.uniform(0.8, 0.92)
    end, last = profile.pop()
    depth = min(0.5 * (end + sink), rng.uniform(0.008, 0.03))
    profile += front_glass(end=max(end, profile[-1][0] + 0.005), radius=last, rim=last * rng.uniform(0.12, 0.45),
                           depth=depth, bulge=rng.uniform(0.0, 0.8) * depth)  # fmt: skip
    return revolve(profile, axis="z", segments=40)


def hood(rng: np.random.Generator, *, radius: float, length: float, start: float) -> manifold3d.Manifold:
    """Return a hollow lens hood from z = `start`, conical or straight; some rims are cut to four petals."""
    wall = max(0.028, 0.08 * radius)
    wide = radius * rng.uniform(1.0, 1.25) + wall
    near = radius + wall
    end = start + length
    # The bore of the back is narrower than the barrel, so that hood and lens are joined.
    back = near - 1.6 * wall
    outer = [(start - 0.06, back), (start - 0.06, near), (start - 0.013, near), (end, wide), (end, wide - wall)]
    bore = [(start - 0.07, back), (start + 0.01, near - wall), (end + 0.01, wide - wall)]
    shell = revolve(outer, axis="z", segments=40) - revolve(bore, axis="z", segments=40)
    if chance(rng, 0.4):
        bite = min(0.45 * wide, 0.7 * length)
        for angle in (45.0, 135.0):
            reach = 2.0 * wide
            cutter = rod((-reach, 0.0, end + 0.35 * bite), (reach, 0.0, end + 0.35 * bite), bite)
            shell -= cutter.rotate((0.0, 0.0, angle))
    return shell


def frustum(
    *,
    base: tuple[float, float],
    top: tuple[float, float],
    height: float,
    shift: float = 0.0,
    corner: float = 0.03,
    round_top: float = 0.15,
) -> manifold3d.Manifold:
    """Return a prism that stands on y = 0 and narrows upwards; sizes are (width along x, depth along z).

    `shift` moves the top along z, and `round_top` is the share of the height over which the top edge is rounded.
    """
    rings = []
    for level, inset in [(0.0, 0.0), (1.0 - round_top, 0.0), (1.0 - 0.4 * round_top, 0.4), (1.0, 1.0)]:
        width, depth = (b + (t - b) * level - 0.8 * inset * round_top * height for b, t in zip(base, top, strict=True))
        width, depth = max(width, 0.3 * top[0]), max(depth, 0.3 * top[1])
        outline = rounded_rectangle(0.5 * width, 0.5 * depth, min(corner, 0.4 * width, 0.4 * depth), corner_points=4)
        ring = np.zeros((len(outline), 3))
        ring[:, 0], ring[:, 1], ring[:, 2] = outline[:, 0], level * height, outline[:, 1] + shift * level
        rings.append(ring)
    return loft(np.stack(rings))


def dial(*, x: float, y: float, z: float, radius: float, height: float, sink: float = 0.05) -> manifold3d.Manifold:
    """Return a knob, button or dial that stands on y = `y` and reaches `sink` below it."""
    profile = [(y - sink, radius), (y + 0.8 * height, radius), (y + height, 0.88 * radius)]
    return revolve(profile, axis="y", segments=24).translate((x, 0.0, z))


def block(
    *, center: tuple[float, float, float], size: tuple[float, float, float], corner: float = 0.2, axis: str = "z"
) -> manifold3d.Manifold:
    """Return a rounded box; `corner` is the corner radius as a share of the smallest extent."""
    radius = corner * min(size)
    return rounded_block(size, corner=radius, edge=0.6 * radius, axis=axis).translate(center)


def hot_shoe(*, x: float, y: float, z: float) -> manifold3d.Manifold:
    """Return the rails for a flash on top of a camera."""
    base = block(center=(x, y, z), size=(0.13, 0.04, 0.13), corner=0.15)
    slot = block(center=(x, y + 0.02, z - 0.02), size=(0.085, 0.025, 0.14), corner=0.1)
    return base - slot


def lug(*, x: float, y: float, z: float, side: int) -> manifold3d.Manifold:
    """Return a strap ring at the side of the body; `side` is −1 or +1 along x."""
    outline = [(-0.02, 0.022), (-0.02, 0.042), (0.0, 0.048), (0.02, 0.042), (0.02, 0.022), (-0.02, 0.022)]
    ring = revolve(outline[1:5], axis="z", segments=16) - revolve([(-0.03, 0.02), (0.03, 0.02)], axis="z", segments=12)
    return ring.translate((x + 0.022 * side, y, z))


def grip(
    rng: np.random.Generator, *, half_width: float, bottom: float, top: float, front: float, depth: float
) -> manifold3d.Manifold:
    """Return the handle for the right hand: a rounded column in front of the body's −x end, with a sloping top."""
    width = rng.uniform(0.2, 0.3) * 2 * half_width
    height = top - bottom
    column = rounded_block((width, height, 2 * depth), corner=min(0.45 * width, 0.8 * depth),
                           edge=rng.uniform(0.03, 0.08), axis="y", taper=rng.uniform(0.85, 1.0))  # fmt: skip
    column = column.translate((-half_width + 0.5 * width, bottom + 0.5 * height, front))
    slope = rng.uniform(0.0, 25.0)
    cutter = manifold3d.Manifold.cube((2 * width, 1.0, 4.0), True).translate((0.0, 0.5, 0.0)).rotate((slope, 0.0, 0.0))
    return column - cutter.translate((-half_width + 0.5 * width, top - 0.01, front))


def top_controls(rng: np.random.Generator, *, half: float, top: float, depth: float, count: int) -> Parts:
    """Return the shutter button and dials on top: `count` at most, first on the −x side; `depth` is the body's."""
    parts: Parts = []
    places = [(-0.8, -0.62), (-0.55, -0.38), (0.45, 0.8)]
    for low, high in places[:count]:
        radius = min(rng.uniform(0.025, 0.085), 0.4 * depth)
        z = rng.uniform(-0.5, 0.5) * (depth - 2 * radius)
        x = rng.uniform(low, high) * half
        height = rng.uniform(0.012, 0.06)
        parts.append(dial(x=x, y=top, z=z, radius=radius, height=height))
        if chance(rng, 0.3):
            parts.append(dial(x=x, y=top + height, z=z, radius=0.5 * radius, height=0.02))
    return parts
