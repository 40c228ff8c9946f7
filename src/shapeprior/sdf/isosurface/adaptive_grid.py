"""Where the corners of a fine grid have to be known to find the zero level set of a field.

The field is asked at all corners of a coarse grid, then of grids of half the cell size near the surface. A cell is split if its
corners differ in sign, or if one of them is so near the surface that a field which grows no faster than distance may cross the
cell, unless its corners show a plain slope without a crossing. Of the corners of finer cells, only those are asked that end a
crossed edge by interpolation between the corners of the grid before, or where a part may hide that is thinner than its cells;
the others are presumed to be what interpolation says. Learned fields keep to none of this for certain:
`shapeprior.sdf.isosurface.adaptive_grid` finds where they do not.

From every cell that the surface is found to cross, follow it across faces until no corner is missing.

What can be missed are connected components that no cell of the grids before noticed.
"""

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from shapeprior.sdf.isosurface.brick_grid import (
    BATCH,
    CELL,
    CORNER_STEPS,
    CROSSED,
    HAS_EDGE,
    LOCAL,
    NEGATIVE,
    POSITIVE,
    PRESUMED,
    SIDE,
    UNKNOWN,
    BrickGrid,
    along_edges,
    ends,
    over_corners,
    some_at_a_time,
    spread,
)

Ask = Callable[[Float[np.ndarray, "points 3"]], Float[np.ndarray, "points"]]
"""Finite values of the field at points of the unit frame."""

PLAIN_SLOPE = 0.8
"""A cell without a crossing whose corners show at least this slope holds no fold of the surface: beside a thin part between them,
the field grows to both sides of it, and the slope is lost."""
DOUBT = 0.25
"""In cells: how far a surface with a plain slope may be from where the grid before puts it."""
HIDDEN = 1.0
"""In cells: values up to this may hide a part that is thinner than the cells of the grid before. A plane through a cell is at
most half its side from a corner, which is one cell of the new grid."""

_PLAIN, _DOUBTFUL = np.uint8(1), np.uint8(2)
"""Kinds of cells to split: with corners of both signs and a plain slope; and others that the surface may cross."""
_NEEDED, _ASKED = np.uint8(1), np.uint8(2)
"""Bits of corners: of a cell that the surface may cross; and with a sign that interpolation does not settle."""
_HALVES = np.arange(SIDE + 1).clip(max=SIDE - 1) // 2
_HALF_OF = (_HALVES[:, None, None] * 16 + _HALVES[:, None] * 4 + _HALVES).reshape(-1)
"""Of each of the padded corners of a brick, the cell of twice the size in which the cell above it lies."""


def surface_grid(ask: Ask, cells: int, *, coarse: int, margin: float) -> BrickGrid:
    """A grid of `cells` along each axis that is known at all corners of every cell with a crossing.

    The first grid is halved from it as often as it can be with at least `coarse` cells. Cells are split with a corner up to
    `margin` half diagonals from the surface. Of corners that no crossed edge ends at, only the sign may be known.
    """
    levels = 0
    while cells % 2 == 0 and cells // 2 >= coarse:
        cells, levels = cells // 2, levels + 1
    grid = _full_grid(ask, cells)
    for level in range(levels):
        grid = _finer_grid(ask, grid, margin=margin, first=level == 0, last=level == levels - 1)
    return grid


def _full_grid(ask: Ask, cells: int) -> BrickGrid:
    """All corners of a grid."""
    grid = BrickGrid(cells)
    grid.add(np.array(list(product(range(cells // SIDE + 1), repeat=3)), dtype=np.int32))
    for bricks in some_at_a_time(np.arange(len(grid.places)), BATCH):
        within = np.flatnonzero(np.all(grid.places[bricks][:, None] * SIDE + LOCAL <= cells, axis=-1))
        grid.ask(bricks[within // SIDE**3] * SIDE**3 + within % SIDE**3, ask)
    return grid


def _finer_grid(ask: Ask, grid: BrickGrid, *, margin: float, first: bool, last: bool) -> BrickGrid:
    """The grid of half the cell size, known where the surface may be."""
    finer = BrickGrid(2 * grid.cells)
    if len(grid.places) == 0:  # No surface is near any corner.
        return finer
    halves = grid.by_part(lambda bricks: _halved(grid, bricks, margin=margin, first=first, last=last))
    where, guesses, bits, eighths = (np.concatenate(each) for each in zip(*halves, strict=True))
    del halves
    finer.add(where)
    rows = finer.slots(where)
    finer.guesses[rows] = guesses
    del guesses
    finer.values[rows, ::2, ::2, ::2] = finer.guesses[rows, ::2, ::2, ::2]
    finer.presumed[rows, ::2, ::2, ::2] = eighths
    for part in some_at_a_time(np.arange(len(rows)), BATCH):
        flat, marks = finer.mark(bits[part], rows[part])
        unasked = ~finer.asked(flat)
        flat, marks = flat[unasked], marks[unasked]
        settled = (marks == _NEEDED) & np.isfinite(finer.guesses.reshape(-1)[flat])
        finer.presume(flat[settled])
        finer.ask(flat[~settled], ask)
    return finer


def _halved(
    grid: BrickGrid, bricks: Int[np.ndarray, "bricks"], *, margin: float, first: bool, last: bool
) -> tuple[
    Int[np.ndarray, "finer 3"], Float[np.ndarray, "finer 8 8 8"], UInt8[np.ndarray, "finer 9 9 9"],
    Bool[np.ndarray, "finer 4 4 4"],
]:  # fmt: skip
    """Of the bricks of half the cell size: their places, guesses at their corners, bits of these, and which of every second are
    presumed."""
    padded = grid.padded(grid.values, bricks, fill=np.nan)
    kinds = _cells_to_split(padded, 2.0 / grid.cells, margin=margin)
    places, guesses, wanted, eighths = [], [], [], []
    # An eighth of a brick becomes a brick.
    for octant in product((0, 1), repeat=3):
        eighth = kinds[:, *(slice(4 * o, 4 * o + 4) for o in octant)].reshape(len(bricks), 64)
        used = np.flatnonzero(eighth.any(axis=1))
        guess = _interpolated(padded[:, *(slice(4 * o, 4 * o + 5) for o in octant)][used])
        halved = (eighth[used][:, _HALF_OF].reshape(guess.shape)) * CELL
        if first:
            bits = spread(halved != 0).view(np.uint8) * (_NEEDED | _ASKED)
        else:
            bits = _wanted(guess, halved, 1.0 / grid.cells, last=last)
        places.append(grid.places[bricks[used]] * 2 + np.array(octant, dtype=np.int32))
        guesses.append(guess[:, :SIDE, :SIDE, :SIDE])
        wanted.append(bits)
        eighths.append(grid.presumed[bricks[used]][:, *(slice(4 * o, 4 * o + 4) for o in octant)])
    return np.concatenate(places), np.concatenate(guesses), np.concatenate(wanted), np.concatenate(eighths)


def _cells_to_split(
    padded: Float[np.ndarray, "bricks 9 9 9"], width: float, *, margin: float
) -> UInt8[np.ndarray, "bricks 9 9 9"]:
    """Kinds of the cells that the surface may cross, at their lowest corners; 0 for all others."""
    # Cells with unknown corners are NaN, and none of what follows.
    lowest, highest = over_corners(np.minimum, padded), over_corners(np.maximum, padded)
    near = np.maximum(lowest, -highest) <= margin * 0.5 * np.sqrt(3.0) * width
    cells = np.flatnonzero(near & CELL)
    # The rest is asked of few cells.
    flat, slope = padded.reshape(-1), np.zeros(len(cells), dtype=np.float32)
    at = [flat[cells + step] for step in CORNER_STEPS]
    for axis in range(3):
        # Mean difference along an axis: the four corners with this bit less the four without.
        difference = sum(value if corner & (4 >> axis) else -value for corner, value in enumerate(at))
        slope += np.square(difference * np.float32(0.25 / width))
    plain = slope >= PLAIN_SLOPE**2
    crossed = (lowest.reshape(-1)[cells] < 0) & (highest.reshape(-1)[cells] >= 0)
    kinds = np.zeros(padded.shape, dtype=np.uint8)
    kinds.reshape(-1)[cells] = np.where(plain, crossed * _PLAIN, _DOUBTFUL)
    return kinds


def _wanted(
    guess: Float[np.ndarray, "bricks 9 9 9"], kinds: UInt8[np.ndarray, "bricks 9 9 9"], width: float, *, last: bool
) -> UInt8[np.ndarray, "bricks 9 9 9"]:
    """Bits of the corners near where interpolation puts the surface."""
    near, sure = _signs(guess, HIDDEN * width), _signs(guess, DOUBT * width)
    doubtful = (kinds == _DOUBTFUL) & (over_corners(np.bitwise_or, near) == CROSSED)
    plain = (kinds == _PLAIN) & (over_corners(np.bitwise_or, sure) == CROSSED)
    asked, guessed = spread(doubtful), _signs(guess, 0.0)
    # Beside thin parts guesses are too large: what the next grid's rest on is asked, too.
    if last:
        asked &= near == CROSSED
    for axis in range(3):
        # If the surface crosses another edge instead, that edge has a presumed end, and `follow_surface` asks for it.
        asked |= ends((along_edges(np.bitwise_or, guessed, axis) == CROSSED) & HAS_EDGE[axis], axis)
    needed = spread(doubtful | plain)
    return needed.view(np.uint8) * _NEEDED + (needed & asked).view(np.uint8) * _ASKED


def _signs(guess: Float[np.ndarray, "bricks 9 9 9"], error: float) -> UInt8[np.ndarray, "bricks 9 9 9"]:
    """Both signs where a guess that is so far off at most does not tell which; none where there is no guess."""
    return (guess <= error).view(np.uint8) * NEGATIVE + (guess >= -error).view(np.uint8) * POSITIVE


def _interpolated(block: Float[np.ndarray, "bricks 5 5 5"]) -> Float[np.ndarray, "bricks 9 9 9"]:
    """Values at the corners of half the cells."""
    for axis in (3, 2, 1):
        at = (slice(None),) * axis
        out = np.zeros([*block.shape[:axis], 9, *block.shape[axis + 1 :]], dtype=block.dtype)
        out[*at, ::2] = block
        out[*at, 1::2] = np.float32(0.5) * (block[*at, :-1] + block[*at, 1:])
        block = out
    return block


def follow_surface(ask: Ask, grid: BrickGrid) -> None:
    """Make known all corners of every cell that the surface enters, and ask for all ends of the edges that it crosses."""
    bricks = np.arange(len(grid.places))
    while len(bricks):
        # A brick has the cells above its corners. Where its lowest corners differ in sign, the surface is in cells below, too.
        bricks = np.concatenate([bricks, _add_below(grid, bricks)])
        state = grid.state()
        changed = [np.zeros(0, dtype=np.int64)]
        for part in some_at_a_time(bricks, BATCH):
            missing = np.concatenate(grid.by_part(partial(_missing, grid, state), part))
            kept = np.flatnonzero(missing.reshape(len(part), -1).any(axis=1))
            flat = grid.mark(missing[kept].view(np.uint8), part[kept])[0]
            flat = flat[~grid.asked(flat)]
            grid.ask(flat, ask)
            changed.append(np.unique(flat // SIDE**3))
        # Cells of the bricks below have corners in these.
        places = grid.places[np.concatenate(changed)]
        found = np.unique(
            np.concatenate([grid.slots(places - np.array(o, dtype=np.int32)) for o in product((0, 1), repeat=3)])
        )
        bricks = found[found >= 0]


def _missing(
    grid: BrickGrid, states: UInt8[np.ndarray, "all 8 8 8"], bricks: Int[np.ndarray, "bricks"]
) -> Bool[np.ndarray, "bricks 9 9 9"]:
    """Unknown corners of cells with both signs, and ends of crossed edges that were presumed."""
    state = grid.padded(states, bricks, fill=UNKNOWN)
    entered = ((over_corners(np.bitwise_or, state) & (CROSSED | UNKNOWN)) == (CROSSED | UNKNOWN)) & CELL
    missing = spread(entered) & (state & UNKNOWN != 0)
    presumed = state & PRESUMED != 0
    for axis in range(3):
        both = along_edges(np.bitwise_or, state, axis)
        edges = (both & (CROSSED | PRESUMED) == (CROSSED | PRESUMED)) & HAS_EDGE[axis]
        missing |= ends(edges, axis) & presumed
    return missing


def _add_below(grid: BrickGrid, bricks: Int[np.ndarray, "bricks"]) -> Int[np.ndarray, "added"]:
    """Make room for the bricks below those whose lowest faces, or the edges between those, the surface crosses."""
    places = []
    for step in product((0, 1), repeat=3):
        if sum(step) in (1, 2):
            shared = grid.values[:, *(0 if s else slice(None) for s in step)][bricks].reshape(len(bricks), -1)
            crossed = np.any(shared < 0, axis=1) & np.any(shared >= 0, axis=1)
            places.append(grid.places[bricks[crossed]] - np.array(step, dtype=np.int32))
    return grid.add(np.concatenate(places))
