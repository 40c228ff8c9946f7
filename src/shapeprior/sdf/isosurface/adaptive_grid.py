"""The adaptive grid: at which corners of a fine grid a field must be known to find its zero level set.

`surface_grid` evaluates the field at all corners of a coarse grid, then on grids of half the cell size near the
surface. A cell is split if its corners differ in sign, or if one of them is so near the surface that a field which
grows no faster than distance may cross the cell. It is not split if its corners have one sign and show a plain slope.
The field is evaluated only at those corners of finer cells that end an edge which the surface crosses, by interpolation
between the corners of the coarser grid, or where a part may hide that is thinner than its cells. All other corners are
presumed to have the interpolated values.

Learned fields need not keep to these bounds. `follow_surface` therefore goes from every cell that the surface crosses
to its neighbours, until no corner of a crossed cell is missing. Only connected components that no cell of the coarser
grids noticed can be missed.
"""

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from shapeprior.sdf.isosurface.brick_grid import (
    BRICKS_PER_BATCH,
    CELL,
    CORNER_STEPS,
    CROSSED,
    HAS_EDGE,
    LOCAL_CORNERS,
    NEGATIVE,
    POSITIVE,
    PRESUMED,
    SIDE,
    UNKNOWN,
    BrickGrid,
    batches,
    cell_corners,
    edge_ends,
    reduce_cells,
    reduce_edges,
)

Evaluate = Callable[[Float[np.ndarray, "points 3"]], Float[np.ndarray, "points"]]
"""A function that returns the field's values, all finite, at points of the unit frame."""

MIN_PLAIN_SLOPE = 0.8
"""A cell without a crossing whose corners show at least this slope holds no fold of the surface. If a thin part were
between the corners, the field would grow to both sides of it, and the slope would be lost."""
MAX_PLAIN_ERROR = 0.25
"""Distance, in cells, that a surface with a plain slope may have from where the coarser grid puts it."""
MAX_HIDDEN_VALUE = 1.0
"""Values up to this, in cells, may hide a part that is thinner than the coarser grid's cells. A plane through a cell is
at most half the cell's side from a corner, which is one cell of the finer grid."""

_PLAIN, _DOUBTFUL = np.uint8(1), np.uint8(2)
"""Kinds of cells to split: those with corners of both signs and a plain slope, and all others that the surface may
cross."""
_NEEDED, _EVALUATED = np.uint8(1), np.uint8(2)
"""Bits of corners: those of a cell that the surface may cross, and those whose sign interpolation does not settle."""
_HALVES = np.arange(SIDE + 1).clip(max=SIDE - 1) // 2
_HALF_OF = (_HALVES[:, None, None] * 16 + _HALVES[:, None] * 4 + _HALVES).reshape(-1)
"""For each padded corner of a brick, the cell of the coarser grid that holds the cell above the corner."""


def surface_grid(evaluate: Evaluate, cells: int, *, coarse: int, margin: float) -> BrickGrid:
    """Return a grid that is known at all corners of every cell with a crossing.

    At other corners, only the sign may be right.

    Args:
        evaluate: The field.
        cells: Cells of the grid along each axis.
        coarse: The first grid has half as many cells, halved as often as that leaves at least `coarse` cells.
        margin: Cells with a corner up to this many half diagonals from the surface are split.
    """
    levels = 0
    while cells % 2 == 0 and cells // 2 >= coarse:
        cells, levels = cells // 2, levels + 1
    grid = _full_grid(evaluate, cells)
    for level in range(levels):
        grid = _refine_grid(evaluate, grid, margin=margin, first=level == 0, last=level == levels - 1)
    return grid


def _full_grid(evaluate: Evaluate, cells: int) -> BrickGrid:
    """Evaluate all corners of a grid."""
    grid = BrickGrid(cells)
    grid.add(np.array(list(product(range(cells // SIDE + 1), repeat=3)), dtype=np.int32))
    for bricks in batches(np.arange(len(grid.places)), BRICKS_PER_BATCH):
        within = np.flatnonzero(np.all(grid.places[bricks][:, None] * SIDE + LOCAL_CORNERS <= cells, axis=-1))
        grid.evaluate(bricks[within // SIDE**3] * SIDE**3 + within % SIDE**3, evaluate)
    return grid


def _refine_grid(evaluate: Evaluate, grid: BrickGrid, *, margin: float, first: bool, last: bool) -> BrickGrid:
    """Return the grid of half the cell size, known where the surface may be."""
    finer = BrickGrid(2 * grid.cells)
    if len(grid.places) == 0:  # No surface is near any corner.
        return finer
    halves = grid.map_parts(lambda bricks: _split_bricks(grid, bricks, margin=margin, first=first, last=last))
    where, guesses, bits, eighths = (np.concatenate(each) for each in zip(*halves, strict=True))
    del halves
    finer.add(where)
    rows = finer.rows_of(where)
    finer.guesses[rows] = guesses
    del guesses
    finer.values[rows, ::2, ::2, ::2] = finer.guesses[rows, ::2, ::2, ::2]
    finer.presumed[rows, ::2, ::2, ::2] = eighths
    for part in batches(np.arange(len(rows)), BRICKS_PER_BATCH):
        flat, marks = finer.mark(bits[part], rows[part])
        missing = ~finer.is_evaluated(flat)
        flat, marks = flat[missing], marks[missing]
        settled = (marks == _NEEDED) & np.isfinite(finer.guesses.reshape(-1)[flat])
        finer.presume(flat[settled])
        finer.evaluate(flat[~settled], evaluate)
    return finer


def _split_bricks(
    grid: BrickGrid, bricks: Int[np.ndarray, "bricks"], *, margin: float, first: bool, last: bool
) -> tuple[
    Int[np.ndarray, "finer 3"], Float[np.ndarray, "finer 8 8 8"], UInt8[np.ndarray, "finer 9 9 9"],
    Bool[np.ndarray, "finer 4 4 4"],
]:  # fmt: skip
    """Split some bricks into those of half the cell size.

    Returns the finer bricks' places, the guesses at their corners, the bits of these, and which of every second corner
    are presumed.
    """
    padded = grid.padded(grid.values, bricks, fill=np.nan)
    kinds = _cells_to_split(padded, 2.0 / grid.cells, margin=margin)
    places, guesses, wanted, eighths = [], [], [], []
    # An eighth of each brick becomes a brick of the finer grid.
    for octant in product((0, 1), repeat=3):
        eighth = kinds[:, *(slice(4 * o, 4 * o + 4) for o in octant)].reshape(len(bricks), 64)
        used = np.flatnonzero(eighth.any(axis=1))
        guess = _interpolated(padded[:, *(slice(4 * o, 4 * o + 5) for o in octant)][used])
        halved = (eighth[used][:, _HALF_OF].reshape(guess.shape)) * CELL
        if first:
            bits = cell_corners(halved != 0).view(np.uint8) * (_NEEDED | _EVALUATED)
        else:
            bits = _corner_bits(guess, halved, 1.0 / grid.cells, last=last)
        places.append(grid.places[bricks[used]] * 2 + np.array(octant, dtype=np.int32))
        guesses.append(guess[:, :SIDE, :SIDE, :SIDE])
        wanted.append(bits)
        eighths.append(grid.presumed[bricks[used]][:, *(slice(4 * o, 4 * o + 4) for o in octant)])
    return np.concatenate(places), np.concatenate(guesses), np.concatenate(wanted), np.concatenate(eighths)


def _cells_to_split(
    padded: Float[np.ndarray, "bricks 9 9 9"], width: float, *, margin: float
) -> UInt8[np.ndarray, "bricks 9 9 9"]:
    """Return the kinds of the cells that the surface may cross, at the cells' lowest corners; 0 for all others."""
    # Cells with unknown corners are NaN, for which every comparison below is false.
    lowest, highest = reduce_cells(np.minimum, padded), reduce_cells(np.maximum, padded)
    near = np.maximum(lowest, -highest) <= margin * 0.5 * np.sqrt(3.0) * width
    cells = np.flatnonzero(near & CELL)
    # Few cells are near the surface, and the slope is computed for them alone.
    flat, slope = padded.reshape(-1), np.zeros(len(cells), dtype=np.float32)
    at = [flat[cells + step] for step in CORNER_STEPS]
    for axis in range(3):
        # The mean difference along the axis: the four corners with its bit, less the four without.
        difference = sum(value if corner & (4 >> axis) else -value for corner, value in enumerate(at))
        slope += np.square(difference * np.float32(0.25 / width))
    plain = slope >= MIN_PLAIN_SLOPE**2
    crossed = (lowest.reshape(-1)[cells] < 0) & (highest.reshape(-1)[cells] >= 0)
    kinds = np.zeros(padded.shape, dtype=np.uint8)
    kinds.reshape(-1)[cells] = np.where(plain, crossed * _PLAIN, _DOUBTFUL)
    return kinds


def _corner_bits(
    guess: Float[np.ndarray, "bricks 9 9 9"], kinds: UInt8[np.ndarray, "bricks 9 9 9"], width: float, *, last: bool
) -> UInt8[np.ndarray, "bricks 9 9 9"]:
    """Return the bits of the corners near the surface as interpolation puts it."""
    near, sure = _signs(guess, MAX_HIDDEN_VALUE * width), _signs(guess, MAX_PLAIN_ERROR * width)
    doubtful = (kinds == _DOUBTFUL) & (reduce_cells(np.bitwise_or, near) == CROSSED)
    plain = (kinds == _PLAIN) & (reduce_cells(np.bitwise_or, sure) == CROSSED)
    evaluated, guessed = cell_corners(doubtful), _signs(guess, 0.0)
    # Beside thin parts guesses are too large. The next grid's guesses rest on these corners, so all are evaluated but
    # the last grid's.
    if last:
        evaluated &= near == CROSSED
    for axis in range(3):
        # If the surface crosses another edge instead, that edge has a presumed end, and `follow_surface` evaluates it.
        evaluated |= edge_ends((reduce_edges(np.bitwise_or, guessed, axis) == CROSSED) & HAS_EDGE[axis], axis)
    needed = cell_corners(doubtful | plain)
    return needed.view(np.uint8) * _NEEDED + (needed & evaluated).view(np.uint8) * _EVALUATED


def _signs(guess: Float[np.ndarray, "bricks 9 9 9"], error: float) -> UInt8[np.ndarray, "bricks 9 9 9"]:
    """Return the signs that a guess with at most this error allows: both if it does not tell, none if it is NaN."""
    return (guess <= error).view(np.uint8) * NEGATIVE + (guess >= -error).view(np.uint8) * POSITIVE


def _interpolated(block: Float[np.ndarray, "bricks 5 5 5"]) -> Float[np.ndarray, "bricks 9 9 9"]:
    """Interpolate values linearly at the corners of cells of half the size."""
    for axis in (3, 2, 1):
        at = (slice(None),) * axis
        out = np.zeros([*block.shape[:axis], 9, *block.shape[axis + 1 :]], dtype=block.dtype)
        out[*at, ::2] = block
        out[*at, 1::2] = np.float32(0.5) * (block[*at, :-1] + block[*at, 1:])
        block = out
    return block


def follow_surface(evaluate: Evaluate, grid: BrickGrid, changed: Int[np.ndarray, "corners"] | None = None) -> None:
    """Follow the surface from cell to cell until it is complete.

    Afterwards all corners of every cell that the surface enters are known, and the field has been evaluated at both
    ends of every edge that it crosses. If that was so before some corners changed, following may begin at these.
    """
    bricks = np.arange(len(grid.places)) if changed is None else _bricks_at(grid, changed)
    while len(bricks):
        # A brick holds the cells above its corners. Where its lowest corners differ in sign, the surface is in cells
        # below.
        bricks = np.concatenate([bricks, _add_below(grid, bricks)])
        state = grid.state()
        touched = [np.zeros(0, dtype=np.int64)]
        for part in batches(bricks, BRICKS_PER_BATCH):
            missing = np.concatenate(grid.map_parts(partial(_missing, grid, state), part))
            kept = np.flatnonzero(missing.reshape(len(part), -1).any(axis=1))
            flat = grid.mark(missing[kept].view(np.uint8), part[kept])[0]
            flat = flat[~grid.is_evaluated(flat)]
            grid.evaluate(flat, evaluate)
            touched.append(flat)
        bricks = _bricks_at(grid, np.concatenate(touched))


def _bricks_at(grid: BrickGrid, flat: Int[np.ndarray, "corners"]) -> Int[np.ndarray, "bricks"]:
    """Return the bricks that hold cells at some corners: the corners' own, and those below."""
    places = grid.places[np.unique(flat // SIDE**3)]
    found = np.unique(
        np.concatenate([grid.rows_of(places - np.array(o, dtype=np.int32)) for o in product((0, 1), repeat=3)])
    )
    return found[found >= 0]


def _missing(
    grid: BrickGrid, states: UInt8[np.ndarray, "all 8 8 8"], bricks: Int[np.ndarray, "bricks"]
) -> Bool[np.ndarray, "bricks 9 9 9"]:
    """Mark the unknown corners of cells with both signs, and the presumed ends of crossed edges."""
    state = grid.padded(states, bricks, fill=UNKNOWN)
    entered = ((reduce_cells(np.bitwise_or, state) & (CROSSED | UNKNOWN)) == (CROSSED | UNKNOWN)) & CELL
    missing = cell_corners(entered) & (state & UNKNOWN != 0)
    presumed = state & PRESUMED != 0
    for axis in range(3):
        both = reduce_edges(np.bitwise_or, state, axis)
        edges = (both & (CROSSED | PRESUMED) == (CROSSED | PRESUMED)) & HAS_EDGE[axis]
        missing |= edge_ends(edges, axis) & presumed
    return missing


def _add_below(grid: BrickGrid, bricks: Int[np.ndarray, "bricks"]) -> Int[np.ndarray, "added"]:
    """Add the bricks below those whose lowest faces, or the edges between these faces, the surface crosses."""
    places = []
    for step in product((0, 1), repeat=3):
        if sum(step) in (1, 2):
            shared = grid.values[:, *(0 if s else slice(None) for s in step)][bricks].reshape(len(bricks), -1)
            crossed = np.any(shared < 0, axis=1) & np.any(shared >= 0, axis=1)
            places.append(grid.places[bricks[crossed]] - np.array(step, dtype=np.int32))
    return grid.add(np.concatenate(places))
