"""Cameras: compacts, reflexes, rangefinders, folding cameras, box cameras and twin-lens reflexes, surveillance cameras.

Frame: lens along +z, width along x, +y up, the photographer's right hand at −x. Each type has a builder, which works in
units of about the body's width and returns overlapping solids whose union is the camera. Its parameters come from
continuous ranges around the proportions of cameras that were made. `camera` picks a type and scales its camera to
metres.
"""

from collections.abc import Callable

import numpy as np

from shapeprior.datasets.procedural.camera_parts import (
    block,
    dial,
    front_glass,
    frustum,
    grip,
    hood,
    hot_shoe,
    lug,
    telescope,
    top_controls,
    zoom_lens,
)
from shapeprior.datasets.procedural.draws import chance, weighted_index
from shapeprior.datasets.procedural.lofts import (
    Parts,
    ellipsoid,
    loft,
    revolve,
    rod,
    rounded_block,
    rounded_rectangle,
    unite,
)
from shapeprior.datasets.procedural.solids import to_mesh
from shapeprior.geometry.mesh import TriangleMesh


def _monitor_and_buttons(rng: np.random.Generator, *, half: float, height: float, depth: float) -> Parts:
    """Return a raised monitor and a round pad on the back, or nothing."""
    if chance(rng, 0.35):
        return []
    wide, tall = rng.uniform(0.5, 0.66), height * rng.uniform(0.6, 0.75)
    out = rng.uniform(0.008, 0.03)
    screen = block(center=(half - 0.5 * wide - 0.06, -0.05 * height, -0.5 * depth), size=(wide, tall, 2 * out + 0.04))
    pad = revolve([(-0.02 - out, rng.uniform(0.05, 0.08)), (0.02, 0.08)], axis="z", segments=24)
    return [screen, pad.translate((-half + 0.14, -0.1 * height, -0.5 * depth))]


def compact_camera(rng: np.random.Generator) -> Parts:
    """Build a point-and-shoot camera: a rounded box with a retracted or extended lens."""
    height, depth = rng.uniform(0.52, 0.72), rng.uniform(0.17, 0.36)
    if chance(rng, 0.3):
        corner, edge, axis = rng.uniform(0.2, 0.5) * depth, rng.uniform(0.02, 0.08), "y"
    else:
        corner, edge, axis = rng.uniform(0.03, 0.3) * height, rng.uniform(0.1, 0.45) * depth, "z"
    body = rounded_block((1.0, height, depth), corner=corner, edge=edge, axis=axis)
    parts: Parts = [body]
    radius = height * rng.uniform(0.27, 0.46)
    x = rng.uniform(-0.05, 0.5 - radius - 0.02) if radius < 0.44 else 0.0
    y = rng.uniform(-0.5, 0.3) * max(0.5 * height - radius - 0.02, 0.0)
    stages = int(rng.integers(1, 4))
    length = rng.uniform(0.02, 0.12) if chance(rng, 0.45) else rng.uniform(0.12, 0.5)
    lens = telescope(rng, radius=radius, length=length, sink=0.5 * depth, stages=stages)
    parts.append(lens.translate((x, y, 0.5 * depth)))
    parts += top_controls(rng, half=0.5, top=0.5 * height, depth=depth, count=int(rng.integers(1, 4)))
    parts += _monitor_and_buttons(rng, half=0.5, height=height, depth=depth)
    if chance(rng, 0.5):
        handle = grip(rng, half_width=0.5, bottom=-0.47 * height, top=rng.uniform(0.3, 0.47) * height,
                      front=0.5 * depth - 0.02, depth=rng.uniform(0.03, 0.1))  # fmt: skip
        # The handle must not stand out beyond the rounded outline of the body.
        outline = rounded_block((1.0, height, 2.0), corner=corner if axis == "z" else edge, edge=0.01)
        parts.append(handle ^ outline)
    if chance(rng, 0.6):
        flash_x = rng.uniform(-0.25, min(x - 0.5 * radius, 0.1))
        size = (rng.uniform(0.1, 0.2), rng.uniform(0.05, 0.08), 0.06)
        flash = block(center=(flash_x, 0.5 * height - 0.09, 0.5 * depth), size=size)
        parts[0] = parts[0] - flash if chance(rng, 0.5) else parts[0] + flash.translate((0.0, 0.0, -0.015))
    if chance(rng, 0.2):
        finder = frustum(base=(0.32, 0.8 * depth), top=(0.24, 0.6 * depth), height=rng.uniform(0.08, 0.14))
        parts.append(finder.translate((x, 0.5 * height - 0.03, 0.0)))
    if chance(rng, 0.4):
        parts.append(lug(x=-0.5, y=rng.uniform(-0.1, 0.35) * height, z=0.0, side=-1))
    return parts


def _reflex_body(rng: np.random.Generator, *, height: float, depth: float) -> Parts:
    """Return body, grip, shoulders and prism hump of a reflex or bridge camera; the hump is the last part."""
    if chance(rng, 0.5):
        body = rounded_block(
            (1.0, height, depth), corner=rng.uniform(0.15, 0.48) * depth, edge=rng.uniform(0.02, 0.09), axis="y"
        )
    else:
        body = rounded_block((1.0, height, depth), corner=rng.uniform(0.04, 0.2), edge=rng.uniform(0.03, 0.12))
    parts: Parts = [body]
    x = rng.uniform(0.0, 0.1)
    hump = frustum(
        base=(rng.uniform(0.36, 0.52), depth * rng.uniform(0.8, 1.1)),
        top=(rng.uniform(0.18, 0.32), depth * rng.uniform(0.5, 0.9)),
        height=rng.uniform(0.13, 0.26) + 0.08, shift=rng.uniform(-0.05, 0.12), corner=rng.uniform(0.02, 0.08),
        round_top=rng.uniform(0.08, 0.4),
    )  # fmt: skip
    parts.append(
        frustum(base=(rng.uniform(0.7, 0.95), 0.8 * depth), top=(0.5, 0.6 * depth), height=0.1).translate(
            (0.3 * x, 0.5 * height - 0.05, 0.0)
        )
    )
    if chance(rng, 0.8):
        parts.append(grip(rng, half_width=0.5, bottom=-0.5 * height, top=0.5 * height + rng.uniform(-0.06, 0.03),
                          front=0.5 * depth - 0.02, depth=rng.uniform(0.08, 0.24)))  # fmt: skip
    if chance(rng, 0.12):
        parts.append(
            block(center=(0.0, -0.5 * height - 0.12, 0.03), size=(rng.uniform(0.9, 1.0), 0.36, depth), axis="y")
        )
    parts.append(hump.translate((x, 0.5 * height - 0.08, 0.0)))
    return parts


def reflex_camera(rng: np.random.Generator) -> Parts:
    """Build a reflex, mirrorless or bridge camera: hump, grip and a lens barrel of any length."""
    height, depth = rng.uniform(0.55, 0.8), rng.uniform(0.22, 0.45)
    parts = _reflex_body(rng, height=height, depth=depth)
    low, _, back, _, crest, front = parts[-1].bounding_box()
    x = 0.5 * (low + parts[-1].bounding_box()[3])
    radius = height * rng.uniform(0.34, 0.5)
    length = rng.uniform(0.12, 0.5) if chance(rng, 0.6) else rng.uniform(0.5, 1.15)
    y = -rng.uniform(0.0, 0.08) * height
    base = 0.5 * depth
    if chance(rng, 0.7):
        bulge = rng.uniform(0.03, 0.12)
        mount = revolve(
            [(-0.5 * depth, 1.2 * radius), (0.0, 1.2 * radius), (bulge, 1.08 * radius)], axis="z", segments=40
        )
        parts.append(mount.translate((x, y, base)))
        base += bulge
    lens, last = zoom_lens(rng, radius=radius, length=length, sink=0.5 * depth, rings=int(rng.integers(2, 7)))
    parts.append(lens.translate((x, y, base)))
    if chance(rng, 0.25):
        shade = hood(rng, radius=last, length=rng.uniform(0.1, 0.3), start=lens.bounding_box()[5])
        parts.append(shade.translate((x, y, base)))
    parts += top_controls(rng, half=0.5, top=0.5 * height, depth=depth, count=int(rng.integers(1, 4)))
    parts += _monitor_and_buttons(rng, half=0.5, height=height, depth=depth)
    middle = 0.5 * (back + front)
    if chance(rng, 0.65):
        parts.append(hot_shoe(x=x, y=crest - 0.005, z=middle))
    eyepiece = block(
        center=(x, 0.5 * height + 0.02, -0.5 * depth), size=(rng.uniform(0.16, 0.24), 0.13, rng.uniform(0.08, 0.18))
    )
    window = block(center=(x, 0.5 * height + 0.02, -0.5 * depth - 0.1), size=(0.11, 0.07, 0.2))
    parts.append(eyepiece - window)
    if chance(rng, 0.07):
        stem = block(center=(x, crest + 0.12, middle), size=(0.16, 0.3, 0.12))
        parts += [stem, block(center=(x, crest + 0.33, middle + 0.05), size=(0.32, 0.2, 0.28))]
    if chance(rng, 0.5):
        parts += [lug(x=0.5 * side, y=0.35 * height, z=0.0, side=side) for side in (-1, 1)]
    return parts


def rangefinder_camera(rng: np.random.Generator) -> Parts:
    """Build a rangefinder or mirrorless camera: a slab with rounded ends, a stepped top plate, a small lens, knobs."""
    height, depth = rng.uniform(0.48, 0.62), rng.uniform(0.2, 0.3)
    body = rounded_block(
        (1.0, height, depth), corner=rng.uniform(0.2, 0.499) * depth, edge=rng.uniform(0.01, 0.04), axis="y"
    )
    parts: Parts = [body]
    top = 0.5 * height
    if chance(rng, 0.6):
        wide, rise = rng.uniform(0.45, 0.85), rng.uniform(0.04, 0.1)
        plate = rounded_block((wide, rise + 0.06, 0.85 * depth), corner=0.1 * depth, edge=0.015, axis="y")
        parts.append(plate.translate((rng.uniform(-0.5, 0.5) * (0.9 - wide), top - 0.03 + 0.5 * rise, 0.0)))
        parts.append(hot_shoe(x=0.0, y=top + rise - 0.005, z=0.0))
    else:
        parts.append(hot_shoe(x=rng.uniform(-0.1, 0.1), y=top + 0.005, z=0.0))
    radius, x = height * rng.uniform(0.26, 0.44), rng.uniform(-0.05, 0.15)
    lens, last = zoom_lens(
        rng, radius=radius, length=rng.uniform(0.08, 0.55), sink=0.5 * depth, rings=int(rng.integers(2, 6))
    )
    parts.append(lens.translate((x, -0.04 * height, 0.5 * depth)))
    if chance(rng, 0.2):
        shade = hood(rng, radius=last, length=rng.uniform(0.08, 0.16), start=lens.bounding_box()[5])
        parts.append(shade.translate((x, -0.04 * height, 0.5 * depth)))
    for place in (rng.uniform(-0.3, -0.1), rng.uniform(0.25, 0.38)):
        window = block(center=(place, 0.5 * height - 0.06, 0.5 * depth), size=(rng.uniform(0.07, 0.14), 0.06, 0.05))
        parts[0] = parts[0] - window
    parts += top_controls(rng, half=0.5, top=top, depth=depth, count=3)
    if chance(rng, 0.5):
        parts.append(dial(x=0.38, y=top, z=0.0, radius=rng.uniform(0.05, 0.08), height=rng.uniform(0.05, 0.1)))
    parts += _monitor_and_buttons(rng, half=0.5, height=height, depth=depth)
    return parts + [lug(x=0.5 * side, y=0.3 * height, z=0.0, side=side) for side in (-1, 1)]


def folding_camera(rng: np.random.Generator) -> Parts:
    """Build a folding camera: a flat body, a bed that swings down, bellows and a shutter plate."""
    upright = chance(rng, 0.4)
    wide, height = (rng.uniform(0.55, 0.7), 1.0) if upright else (1.0, rng.uniform(0.5, 0.68))
    depth = rng.uniform(0.16, 0.24)
    axis = "x" if upright else "y"
    parts: Parts = [rounded_block((wide, height, depth), corner=rng.uniform(0.25, 0.499) * depth, edge=0.02, axis=axis)]
    reach = rng.uniform(0.3, 0.55)
    open_width, open_height = 0.4 * rng.uniform(0.85, 1.1), 0.42 * rng.uniform(0.85, 1.05)
    rings = []
    folds = int(rng.integers(4, 9))
    for index, share in enumerate(np.linspace(0.0, 1.0, 2 * folds + 1)):
        size = (1.0 - 0.4 * share) * (1.0 if index % 2 else 0.88)
        outline = rounded_rectangle(0.5 * open_width * size, 0.5 * open_height * size, 0.02, corner_points=3)
        rings.append(np.column_stack([outline, np.full(len(outline), 0.3 * depth + share * (reach + 0.2 * depth))]))
    parts.append(loft(np.stack(rings)))
    floor = -0.5 * open_height - 0.03
    bed = block(
        center=(0.0, floor, 0.5 * depth + 0.48 * reach),
        size=(0.9 * open_width, 0.04, reach + 0.25),
        corner=0.3,
        axis="y",
    )
    plate_z = 0.5 * depth + reach
    radius = rng.uniform(0.11, 0.16)
    plate = block(center=(0.0, 0.5 * floor, plate_z), size=(0.3, -floor + 0.1, 0.05))
    shutter = revolve(
        [(-0.05, radius), (0.04, radius), (0.045, 0.75 * radius),
         *front_glass(end=rng.uniform(0.08, 0.14), radius=0.7 * radius, rim=0.03, depth=0.03, bulge=0.02)], axis="z",
         segments=32,
    )  # fmt: skip
    parts += [bed, plate, shutter.translate((0.0, 0.0, plate_z))]
    parts += [
        rod((0.4 * open_width * side, floor + 0.02, plate_z), (0.42 * open_width * side, 0.1, 0.4 * depth), 0.016)
        for side in (-1, 1)
    ]
    parts += top_controls(rng, half=0.5 * wide, top=0.5 * height, depth=depth, count=3)
    if chance(rng, 0.6):
        parts.append(block(center=(0.0, 0.5 * height + 0.03, 0.0), size=(0.22, 0.12, 0.7 * depth)))
    return parts


def box_camera(rng: np.random.Generator) -> Parts:
    """Build a box camera, twin-lens reflex or action camera: an upright or cubic box with one or two small lenses."""
    wide, height, depth = rng.uniform(0.55, 0.9), rng.uniform(0.75, 1.0), rng.uniform(0.3, 1.0)
    parts: Parts = [rounded_block((wide, height, depth), corner=rng.uniform(0.01, 0.12), edge=rng.uniform(0.01, 0.06))]
    front = 0.5 * depth
    radius = wide * rng.uniform(0.16, 0.27)
    twin = chance(rng, 0.45)
    radius = min(radius, (height - 0.06) / 4.7) if twin else radius
    heights = (
        [0.5 * height - 1.15 * radius - 0.02, 0.5 * height - 3.35 * radius - 0.02]
        if twin
        else [rng.uniform(-0.1, 0.3) * (height - 2 * radius)]
    )
    length = rng.uniform(0.03, 0.2)
    for y in heights:
        lens, _ = zoom_lens(rng, radius=radius, length=length, sink=0.3 * depth, rings=2)
        parts.append(lens.translate((0.0, y, front)))
    if twin:
        board = block(center=(0.0, 0.5 * (heights[0] + heights[1]), front), size=(2.5 * radius, 4.6 * radius, 0.12))
        finder = frustum(base=(0.8 * wide, 0.8 * depth), top=(0.7 * wide, 0.7 * depth), height=rng.uniform(0.1, 0.3))
        well = frustum(base=(0.6 * wide, 0.6 * depth), top=(0.66 * wide, 0.66 * depth), height=0.4).translate(
            (0.0, 0.03, 0.0)
        )
        finder = finder - well if chance(rng, 0.5) else finder
        parts += [board, finder.translate((0.0, 0.5 * height - 0.02, 0.0))]
        parts.append(
            revolve([(0.0, 0.07), (0.08, 0.07)], axis="x")
            .rotate((0, 180 * int(rng.integers(2)), 0))
            .translate((0.5 * wide - 0.02, 0, 0))
        )
    elif chance(rng, 0.6):
        grip_y = 0.5 * height + rng.uniform(0.05, 0.1)
        reach = 0.32 * depth
        parts += [rod((0.0, 0.5 * height - 0.05, end), (0.0, grip_y, end), 0.025) for end in (-reach, reach)]
        parts.append(block(center=(0.0, grip_y, 0.0), size=(0.12, 0.04, 2 * reach + 0.08)))
    else:
        parts.append(dial(x=-0.3 * wide, y=0.5 * height, z=0.0, radius=min(0.06, 0.3 * depth), height=0.03))
    return parts


def surveillance_camera(rng: np.random.Generator) -> Parts:
    """Build a webcam or surveillance camera: a barrel or ball on a foot."""
    radius = rng.uniform(0.14, 0.24)
    length = rng.uniform(0.5, 1.0)
    glass = front_glass(end=length, radius=radius, rim=0.04, depth=rng.uniform(0.03, 0.12), bulge=0.03)
    if chance(rng, 0.35):
        radius = rng.uniform(0.3, 0.45)
        head = ellipsoid((0.0, 0.0, 0.0), (radius, radius, radius), segments=40)
        eye = revolve(
            [
                (0.0, 0.5 * radius),
                *front_glass(end=1.02 * radius, radius=0.5 * radius, rim=0.04, depth=0.05, bulge=0.03),
            ],
            axis="z",
        )
        parts: Parts = [head, eye]
        length = 0.0
    elif chance(rng, 0.5):
        size = (2.0 * radius, rng.uniform(1.4, 2.0) * radius, length)
        lens = revolve(
            [(0.0, 0.5 * radius), *front_glass(end=0.1, radius=0.6 * radius, rim=0.03, depth=0.03, bulge=0.02)],
            axis="z",
        )
        parts = [block(center=(0.0, 0.0, 0.5 * length), size=size), lens.translate((0.0, 0.0, length - 0.02))]
        if chance(rng, 0.5):
            parts.append(
                block(
                    center=(0.0, 0.5 * size[1] + 0.01, 0.5 * length + 0.08), size=(1.15 * size[0], 0.05, length + 0.1)
                )
            )
    else:
        parts = [revolve([(0.0, 0.9 * radius), (0.03, radius), *glass], axis="z", segments=40)]
    down = radius + rng.uniform(0.2, 0.45)
    at = 0.5 * length
    parts.append(rod((0.0, 0.0, at), (0.0, -down, at), rng.uniform(0.04, 0.07)))
    parts.append(
        revolve(
            [(-down - 0.04, rng.uniform(0.2, 0.34)), (-down, 0.2), (-down + 0.03, 0.08)], axis="y", segments=32
        ).translate((0, 0, at))
    )
    return parts


TYPES: tuple[tuple[float, Callable[[np.random.Generator], Parts]], ...] = (
    (0.3, compact_camera),
    (0.36, reflex_camera),
    (0.15, rangefinder_camera),
    (0.07, folding_camera),
    (0.08, box_camera),
    (0.04, surveillance_camera),
)
"""(share of the cameras, builder) of each type."""


def camera(rng: np.random.Generator) -> TriangleMesh:
    """Return a random camera in metres, with a few thousand faces."""
    _, build = TYPES[weighted_index(rng, [share for share, _ in TYPES])]
    width = rng.uniform(0.09, 0.16)
    return to_mesh(unite(build(rng)).scale((width, width, width)))
