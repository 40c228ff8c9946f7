"""The cells and edges of bricks, from what is known at their corners.

The 8³ corners of a brick and the lowest layers of the bricks beside it are 9³ corners: those of its 8³ cells. Everything here is
one operation along the flattened array of all bricks, in which the next corner along an axis is a fixed step away; entries that
such a step takes out of the brick mean nothing and are masked.
"""

from itertools import product

import numpy as np
from jaxtyping import Bool, Int, Shaped, UInt8

SIDE = 8
"""Corners along each axis of a brick; it has as many cells, each with its lowest corner in the brick."""

NEGATIVE, POSITIVE, UNKNOWN, PRESUMED = np.uint8(1), np.uint8(2), np.uint8(4), np.uint8(8)
"""Bits of a corner's state: its sign, or that it is not known; and that nobody asked for its sign."""
CROSSED = NEGATIVE | POSITIVE
"""What the states of some corners have together where the surface passes between them."""

_PADDED = SIDE + 1
_STEPS = (_PADDED * _PADDED, _PADDED, 1)
_INDEX = np.array(list(product(range(_PADDED), repeat=3)))

PADDED_CORNERS = _PADDED**3
HAS_EDGE: Bool[np.ndarray, "3 9 9 9"] = (_INDEX < SIDE).T.reshape(3, *(_PADDED,) * 3)
"""Which of the padded corners have a next corner along each axis."""
CELL: Bool[np.ndarray, "9 9 9"] = HAS_EDGE[0] & HAS_EDGE[1] & HAS_EDGE[2]
"""Which of them are the lowest of a cell of the brick."""

_OFFSETS = np.array(list(product((0, 1), repeat=3)))
CORNER_STEPS: tuple[int, ...] = tuple((_OFFSETS @ np.array(_STEPS)).tolist())
"""From the lowest corner of a cell to each of its corners, in the order of `cube_cases.CORNER_OFFSETS`."""


def _beyond() -> tuple[Int[np.ndarray, "512 8"], Int[np.ndarray, "512 8"]]:
    axis = np.arange(SIDE)
    local = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 1, 3) + _OFFSETS
    inside, brick = local % SIDE, local // SIDE
    by_place, by_bit = np.array([SIDE * SIDE, SIDE, 1]), np.array([4, 2, 1])
    return (inside * by_place).sum(axis=-1), (brick * by_bit).sum(axis=-1)


CORNER_LOCAL, CORNER_BRICK = _beyond()
"""Of each cell of a brick and each of its corners, in the order of `cube_cases.CORNER_OFFSETS`: where in its own brick the corner
lies, and which brick that is, as the bits of its offset along x, y and z."""


def over_corners(combine: np.ufunc, padded: Shaped[np.ndarray, "bricks 9 9 9"]) -> Shaped[np.ndarray, "bricks 9 9 9"]:
    """What the eight corners of each cell give together, at the cell's lowest corner."""
    flat = padded.reshape(-1)
    for step in _STEPS:
        out = flat.copy()
        combine(flat[:-step], flat[step:], out=out[:-step])
        flat = out
    return flat.reshape(padded.shape)


def along_edges(
    combine: np.ufunc, padded: Shaped[np.ndarray, "bricks 9 9 9"], axis: int
) -> Shaped[np.ndarray, "bricks 9 9 9"]:
    """What the two ends of each edge along an axis give together, at the lower end."""
    flat, step = padded.reshape(-1), _STEPS[axis]
    out = flat.copy()
    combine(flat[:-step], flat[step:], out=out[:-step])
    return out.reshape(padded.shape)


def ends(edges: Bool[np.ndarray, "bricks 9 9 9"], axis: int) -> Bool[np.ndarray, "bricks 9 9 9"]:
    """Both ends of some edges along an axis, which are given by their lower ones."""
    flat, step = edges.reshape(-1), _STEPS[axis]
    out = flat.copy()
    np.logical_or(flat[step:], flat[:-step], out=out[step:])
    return out.reshape(edges.shape)


def spread(cells: Bool[np.ndarray, "bricks 9 9 9"]) -> Bool[np.ndarray, "bricks 9 9 9"]:
    """All corners of some cells."""
    for axis in range(3):
        cells = ends(cells, axis)
    return cells


def crossed_cells(state: UInt8[np.ndarray, "bricks 9 9 9"]) -> Bool[np.ndarray, "bricks 9 9 9"]:
    """Cells that are known at all corners and have both signs."""
    return ((over_corners(np.bitwise_or, state) & (CROSSED | UNKNOWN)) == CROSSED) & CELL


def cases(state: UInt8[np.ndarray, "bricks 9 9 9"]) -> UInt8[np.ndarray, "bricks 9 9 9"]:
    """Of each cell the number whose bit c is set where corner c is negative, as in `shapeprior.cube_cases`."""
    flat = (state & NEGATIVE).reshape(-1)
    for step, bits in zip(_STEPS[::-1], (1, 2, 4), strict=True):
        out = flat.copy()
        out[:-step] |= flat[step:] << np.uint8(bits)
        flat = out
    return flat.reshape(state.shape)
