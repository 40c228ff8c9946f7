"""From every cell that the surface is found to cross, follow it across faces until no corner is missing.

What can be missed are connected components that no cell of the grids before noticed.
"""

from functools import partial
from itertools import product

import numpy as np
from jaxtyping import Bool, Int, UInt8

from shapeprior.brick_cells import (
    CELL,
    CROSSED,
    HAS_EDGE,
    PRESUMED,
    SIDE,
    UNKNOWN,
    along_edges,
    ends,
    over_corners,
    spread,
)
from shapeprior.brick_grid import BATCH, BrickGrid, some_at_a_time
from shapeprior.surface_grid import Ask


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
