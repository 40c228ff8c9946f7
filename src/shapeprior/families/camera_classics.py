"""Folding cameras, box cameras, twin-lens reflexes, webcams and surveillance cameras.

Frame: lens along +z, width along x, +y up. Every function returns overlapping solids whose union is the camera.
"""

import numpy as np

from shapeprior.families.camera_parts import Parts, block, chance, dial, front_glass, frustum, top_controls, zoom_lens
from shapeprior.families.lofts import ellipsoid, loft, rod, rounded_block, rounded_rectangle, turned


def folding_camera(rng: np.random.Generator) -> Parts:
    """Folding cameras: a flat body, a bed that swings down, bellows and a shutter plate."""
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
    shutter = turned(
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
    """Box cameras, twin-lens reflexes and action cameras: an upright or cubic box with one or two small lenses."""
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
            turned([(0.0, 0.07), (0.08, 0.07)], axis="x")
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
    """Webcams and surveillance cameras: a barrel or ball on a foot."""
    radius = rng.uniform(0.14, 0.24)
    length = rng.uniform(0.5, 1.0)
    glass = front_glass(end=length, radius=radius, rim=0.04, depth=rng.uniform(0.03, 0.12), bulge=0.03)
    if chance(rng, 0.35):
        radius = rng.uniform(0.3, 0.45)
        head = ellipsoid((0.0, 0.0, 0.0), (radius, radius, radius), segments=40)
        eye = turned(
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
        lens = turned(
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
        parts = [turned([(0.0, 0.9 * radius), (0.03, radius), *glass], axis="z", segments=40)]
    down = radius + rng.uniform(0.2, 0.45)
    at = 0.5 * length
    parts.append(rod((0.0, 0.0, at), (0.0, -down, at), rng.uniform(0.04, 0.07)))
    parts.append(
        turned(
            [(-down - 0.04, rng.uniform(0.2, 0.34)), (-down, 0.2), (-down + 0.03, 0.08)], axis="y", segments=32
        ).translate((0, 0, at))
    )
    return parts
