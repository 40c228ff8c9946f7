"""Where the corners of a fine grid have to be known to find the zero level set of a field.

The field is asked at all corners of a coarse grid, then of grids of half the cell size near the surface. A cell is split if its
corners differ in sign, or if one of them is so near the surface that a field which grows no faster than distance may cross the
cell, unless its corners show a plain slope without a crossing. For the last grid, only those corners are asked where
interpolation between the corners of the one before puts the surface, give or take a quarter of a cell. Learned fields keep to
none of this for certain: from every cell that the surface is found to cross it is followed across faces until no corner is
missing. What can be missed are connected components that no coarse cell noticed.
"""

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from jaxtyping import Bool, Float, Int

from shapeprior.brick_grid import LOCAL, SIDE, BrickGrid, corners, spread

Ask = Callable[[Float[np.ndarray, "points 3"]], Float[np.ndarray, "points"]]
"""Finite values of the field at points of the unit frame."""

PART = 4096
"""Bricks that are looked at together, which bounds the memory."""
PLAIN_SLOPE = 0.8
"""A cell without a crossing whose corners show at least this slope holds no fold of the surface: beside a thin part between them,
the field grows to both sides of it, and the slope is lost."""
DOUBT = 0.25
"""In cells: how far a surface with a plain slope may be from where the grid before puts it."""
HIDDEN = 1.0
"""In cells: values up to this may hide a part that is thinner than the cells of the grid before. A plane through a cell is at
most half its side from a corner, which is one cell of the new grid."""


def surface_grid(ask: Ask, cells: int, *, coarse: int, margin: float) -> BrickGrid:
    """A grid of `cells` along each axis that is known at all corners of every cell with a crossing.

    The first grid is halved from it as often as it can be with at least `coarse` cells. Cells are split with a corner up to
    `margin` half diagonals from the surface.
    """
    levels = 0
    while cells % 2 == 0 and cells // 2 >= coarse:
        cells, levels = cells // 2, levels + 1
    grid = _full_grid(ask, cells)
    for level in range(levels):
        grid = _finer_grid(ask, grid, margin=margin, first=level == 0)
    _follow_surface(ask, grid)
    return grid


def parts(grid: BrickGrid) -> Iterator[Int[np.ndarray, "bricks"]]:
    """All bricks of a grid, some at a time."""
    return _split(np.arange(len(grid.places)))


def _split(bricks: Int[np.ndarray, "bricks"]) -> Iterator[Int[np.ndarray, "part"]]:
    for start in range(0, len(bricks), PART):
        yield bricks[start : start + PART]


def _full_grid(ask: Ask, cells: int) -> BrickGrid:
    """All corners of a grid."""
    grid = BrickGrid(cells)
    grid.add(np.array(list(product(range(cells // SIDE + 1), repeat=3)), dtype=np.int32))
    for bricks in parts(grid):
        index = grid.places[bricks][:, None] * SIDE + LOCAL
        within = np.all(index <= cells, axis=-1).reshape(-1, SIDE, SIDE, SIDE)
        grid.ask(bricks, within, ask)
    return grid


def _finer_grid(ask: Ask, grid: BrickGrid, *, margin: float, first: bool) -> BrickGrid:
    """The grid of half the cell size, known where the surface may be."""
    finer = BrickGrid(2 * grid.cells)
    places, guessed, wanted = [], [], []
    for bricks in parts(grid):
        padded = grid.padded(grid.values, bricks, fill=np.nan)
        plain, doubtful = _cells_to_split(padded, 2.0 / grid.cells, margin=margin)
        split = plain | doubtful
        # An eighth of a brick becomes a brick.
        for octant in product((0, 1), repeat=3):
            half = tuple(slice(4 * o, 4 * o + 4) for o in octant)
            used = np.flatnonzero(split[:, *half].reshape(len(bricks), -1).any(axis=1))
            block = padded[used][:, *(slice(4 * o, 4 * o + 5) for o in octant)]
            cells = _doubled(split[used][:, *half])
            between, width = _interpolated(block), 2.0 / finer.cells
            if not first:
                sure = ~_doubled(doubtful[used][:, *half])
                cells &= _near_zero(between, HIDDEN * width) & ~(sure & ~_near_zero(between, DOUBT * width))
            places.append(grid.places[bricks[used]] * 2 + np.array(octant, dtype=np.int32))
            guessed.append(between[:, :SIDE, :SIDE, :SIDE])
            wanted.append(cells)
    where = np.concatenate(places)
    finer.add(where)
    rows = finer.slots(where)
    guess = np.concatenate(guessed)
    finer.values[rows, ::2, ::2, ::2] = guess[:, ::2, ::2, ::2]
    _ask_cells(ask, finer, rows, np.concatenate(wanted))
    finer.bends[rows] = np.nan_to_num(np.abs(finer.values[rows] - guess), nan=np.inf)
    return finer


def _ask_cells(
    ask: Ask, grid: BrickGrid, rows: Int[np.ndarray, "bricks"], cells: Bool[np.ndarray, "bricks 8 8 8"]
) -> Int[np.ndarray, "changed"]:
    """Make all corners of some cells known; the bricks in which that changed anything."""
    changed = []
    for part in _split(np.arange(len(rows))):
        changed.append(grid.ask(*grid.mark(spread(cells[part]), rows[part]), ask))
    return np.unique(np.concatenate(changed)) if changed else np.zeros(0, dtype=np.int64)


def _cells_to_split(
    padded: Float[np.ndarray, "bricks 9 9 9"], width: float, *, margin: float
) -> tuple[Bool[np.ndarray, "bricks 8 8 8"], Bool[np.ndarray, "bricks 8 8 8"]]:
    """Which cells have corners of both signs and a plain slope, and which others the surface may cross."""
    at = corners(padded)
    lowest, highest = at[0], at[0]
    for value in at[1:]:
        # Cells with unknown corners are NaN, and none of what follows.
        lowest, highest = np.minimum(lowest, value), np.maximum(highest, value)
    near = np.maximum(lowest, -highest) <= margin * 0.5 * np.sqrt(3.0) * width
    slope = np.zeros_like(lowest)
    for axis in range(3):
        # Mean difference along an axis: the four corners with this bit less the four without.
        difference = np.zeros_like(lowest)
        for corner, value in enumerate(at):
            difference += value if corner & (4 >> axis) else -value
        slope += np.square(difference * np.float32(0.25 / width))
    plain = slope >= PLAIN_SLOPE**2
    return (lowest < 0) & (highest >= 0) & plain, near & ~plain


def _doubled(cells: Bool[np.ndarray, "bricks 4 4 4"]) -> Bool[np.ndarray, "bricks 8 8 8"]:
    return cells.repeat(2, axis=1).repeat(2, axis=2).repeat(2, axis=3)


def _interpolated(block: Float[np.ndarray, "bricks 5 5 5"]) -> Float[np.ndarray, "bricks 9 9 9"]:
    """Values at the corners of half the cells."""
    for axis in (1, 2, 3):
        low, high = (np.take(block, range(start, start + 4), axis=axis) for start in (0, 1))
        out = np.zeros([*block.shape[:axis], 9, *block.shape[axis + 1 :]], dtype=block.dtype)
        at = (slice(None),) * axis
        out[*at, ::2] = block
        out[*at, 1::2] = 0.5 * (low + high)
        block = out
    return block


def _near_zero(padded: Float[np.ndarray, "bricks 9 9 9"], distance: float) -> Bool[np.ndarray, "bricks 8 8 8"]:
    """Cells whose corners have a value not above `distance`, and one not below its negative."""
    low, high = _touched(padded <= distance), _touched(padded >= -distance)
    return low & high


def _touched(mask: Bool[np.ndarray, "bricks 9 9 9"]) -> Bool[np.ndarray, "bricks 8 8 8"]:
    """Cells with a marked corner."""
    out = np.zeros((len(mask), SIDE, SIDE, SIDE), dtype=np.bool_)
    for part in corners(mask):
        out |= part
    return out


def _follow_surface(ask: Ask, grid: BrickGrid) -> None:
    """Add the corners of the cells that the surface enters until none is missing."""
    bricks = np.arange(len(grid.places))
    while len(bricks):
        # A brick has the cells above its corners. Where its lowest corners differ in sign, the surface is in cells below, too.
        bricks = np.concatenate([bricks, *(_add_below(grid, part) for part in _split(bricks))])
        rows, cells = [], []
        for part in _split(bricks):
            padded = grid.padded(grid.values, part, fill=np.nan)
            entered = _touched(padded < 0) & _touched(padded >= 0) & _touched(np.isnan(padded))
            kept = np.flatnonzero(entered.reshape(len(part), -1).any(axis=1))
            rows.append(part[kept])
            cells.append(entered[kept])
        changed = _ask_cells(ask, grid, np.concatenate(rows), np.concatenate(cells))
        # Cells of the bricks below have corners in these.
        below = [grid.slots(grid.places[changed] - np.array(o, dtype=np.int32)) for o in product((0, 1), repeat=3)]
        found = np.unique(np.concatenate(below))
        bricks = found[found >= 0]


def _add_below(grid: BrickGrid, bricks: Int[np.ndarray, "bricks"]) -> Int[np.ndarray, "added"]:
    """Make room for the bricks below those whose lowest faces, or the edges between those, the surface crosses."""
    places = []
    for step in product((0, 1), repeat=3):
        if sum(step) in (1, 2):
            shared = grid.values[bricks][:, *(0 if s else slice(None) for s in step)].reshape(len(bricks), -1)
            crossed = np.any(shared < 0, axis=1) & np.any(shared >= 0, axis=1)
            places.append(grid.places[bricks[crossed]] - np.array(step, dtype=np.int32))
    return grid.add(np.concatenate(places))
