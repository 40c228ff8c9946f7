"""Mends thin walls: a learned field often misses the inside of a wall that is thinner than its own features, by little.

`mend_walls` makes a few corners of the grid inside, so that the surface passes on both sides of them. Corners away from
these keep their values, so that the surface stays as it is everywhere else. It does two things:

- Lost sheets are restored. Where a wall is lost, the field stays close to zero and nearly flat over several cells.
  Between two true surfaces it would fall towards both of them, so that no gap between two parts is bridged. Corners
  around a sheet are lowered as well, less and less, so that it ends in no step.
- Pin-holes are closed. The corners between the zero level and a slightly raised one are a shell around the solid. The
  shell is worn away from outside, corner by corner, but only where this joins no two places outside that were apart.
  What resists is a membrane in each opening that the raised level closes. A gap or a crevice leaves nothing, because
  the outside reaches around it.

Source of the second: Aktouf, Bertrand and Perroton 2002, "A three-dimensional holes closing algorithm". Corners outside
belong together across a face's diagonal and corners inside do not, as in the case table (`case_table`).
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from jaxtyping import Bool, Float, Int

from shapeprior.geometry.mesh import connected_labels
from shapeprior.sdf.isosurface.adaptive_grid import Evaluate, follow_surface
from shapeprior.sdf.isosurface.brick_grid import BrickGrid

MIN_SLOPE = 0.35
"""Beside a plain wall, the field falls at least this fast from a corner outside to one of the six beside it, and beside
the edge of a wall to one of the 26 around it."""
MAX_SHEET_VALUE, MAX_SHEET_CELLS = 0.004, 0.5
"""Largest value of the field in a lost sheet, in unit-sphere radii and in cells: the lesser one counts, if it is below
the level of pin-holes."""
MAX_DOUBTFUL = 8
"""Fields with more doubtful corners than this, times the squared number of cells along an axis, are no distances. They
are left as they are."""
BLENDED_RADII, MAX_BLENDED = 0.06, 8
"""Corners up to this far from a lost sheet are lowered with it, in unit-sphere radii, and in steps from corner to
corner: the lesser one counts."""
LEVEL_SLOPE, RISING_SLOPE = 0.05, 0.1
"""From a corner in a sheet, the field rises at least this fast to one side of the sheet, and does not fall faster than
this to the other. On a plain wall it falls to one side."""
REACH = 2
"""Corners of the shell up to this many steps from a doubtful one are worn away; farther ones leave nothing."""
BANDS = 3
"""Corners are worn away in so many groups, those with the largest values first, so that the least ones stay."""

_AROUND = np.array([offset for offset in product((-1, 0, 1), repeat=3) if any(offset)])
_DISTANCE = np.abs(_AROUND).sum(axis=1)
_SIX = _AROUND[_DISTANCE == 1]
"""Offsets of the other ends of edges. The two along an axis are as far from the middle."""
_BITS = 1 << np.arange(len(_AROUND))
_ON_EDGE, _IN_FACE = (int(_BITS[np.less_equal(_DISTANCE, steps)].sum()) for steps in (1, 2))
"""The corners around one that are on an edge with it, and in a face with it, as bits."""


def _links(steps: int) -> tuple[int, ...]:
    apart = np.abs(_AROUND - _AROUND[:, None])
    return tuple((((apart.max(axis=2) == 1) & (apart.sum(axis=2) <= steps)) @ _BITS).tolist())


_EDGES, _FACES = _links(1), _links(2)
"""For each corner around one: the others around it that are on an edge with it, and in a face with it, as bits."""


@dataclass(frozen=True)
class MendedWalls:
    """What was mended."""

    closed_holes: int = 0
    """Number of pin-holes that were closed."""
    restored_sheets: int = 0
    """Number of connected places where a lost sheet was restored."""

    @property
    def places(self) -> int:
        """Number of all places that were mended."""
        return self.closed_holes + self.restored_sheets


def mend_walls(evaluate: Evaluate, grid: BrickGrid, level: float) -> MendedWalls:
    """Restore lost sheets, then close the openings that are closed where the field equals `level` > 0.

    The surface of `grid` must be complete (`follow_surface`), and it is so again afterwards. The corners that became
    inside are noted in `grid.lowered`.
    """
    known = grid.values.reshape(-1)
    shell = _within(grid, np.flatnonzero((known >= 0) & (known < level)), level)
    # Around a doubtful corner, all corners are evaluated.
    doubtful = new = _doubtful(grid, shell)
    seen, turned = np.zeros(grid.values.size, dtype=np.bool_), [np.zeros(0, dtype=np.int64)]
    while len(new) and len(doubtful) <= MAX_DOUBTFUL * grid.cells**2:
        seen[new] = True
        around = _with_neighbours(grid, new)
        turned.append(_evaluate(evaluate, grid, around))
        new = _doubtful(grid, _within(grid, around, level))
        new = new[~seen[new]]
        doubtful = np.concatenate([doubtful, new])
    if len(new):
        follow_surface(evaluate, grid, np.concatenate(turned))
        return MendedWalls()
    sheet_level = min(MAX_SHEET_CELLS * 2.0 / grid.cells, MAX_SHEET_VALUE, level)
    sheets, num_sheets = _lost_sheets(grid, doubtful, sheet_level)
    near, weights = _blended(grid, sheets)
    turned.append(_evaluate(evaluate, grid, near))
    values = grid.values.reshape(-1)
    values[near] -= np.float32(sheet_level) * weights
    _turn_inside(grid, sheets, 0.0)
    shell = doubtful
    for _ in range(REACH):
        shell = _within(grid, _with_neighbours(grid, shell), level)
    turned.append(_evaluate(evaluate, grid, shell))
    membranes, num_membranes = _membranes(grid, _within(grid, shell, level), level)
    _turn_inside(grid, membranes, level)
    grid.membranes, grid.lowered = membranes, np.concatenate([near, membranes])
    changed = np.concatenate([*turned, grid.lowered])
    if len(changed):
        follow_surface(evaluate, grid, changed)
    return MendedWalls(closed_holes=num_membranes, restored_sheets=num_sheets)


def _blended(
    grid: BrickGrid, sheets: Int[np.ndarray, "sheets"]
) -> tuple[Int[np.ndarray, "near"], Float[np.ndarray, "near"]]:
    """Return the corners near lost sheets, and by how much of the sheets' level each is lowered.

    It is all of it in the sheets, and less and less around them, so that they end in no step.
    """
    steps = min(math.ceil(BLENDED_RADII * grid.cells / 2.0), MAX_BLENDED)
    reached, latest = np.zeros(grid.values.size, dtype=np.bool_), sheets
    reached[sheets] = True
    for _ in range(steps):
        latest = _with_neighbours(grid, latest)
        latest = latest[~reached[latest]]
        reached[latest] = True
    near = np.flatnonzero(reached)
    near = near[~grid.on_side(near)]
    weights = np.zeros(grid.values.size + 1, dtype=np.float32)  # The last is for -1, where there is no brick.
    weights[sheets] = 1.0
    around = grid.around(near, _AROUND)
    for _ in range(steps):
        weights[near] = (weights[near] + weights[around].sum(axis=0)) / (len(_AROUND) + 1)
        weights[sheets] = 1.0
    return near, weights[near]


def _turn_inside(grid: BrickGrid, flat: Int[np.ndarray, "corners"], level: float) -> None:
    """Lower the values of some corners, which are below a level, by that level."""
    values = grid.values.reshape(-1)
    values[flat] = np.minimum(values[flat] - np.float32(level), -np.float32(1e-6))


def _within(grid: BrickGrid, flat: Int[np.ndarray, "corners"], level: float) -> Int[np.ndarray, "within"]:
    """Return those corners that are outside by less than `level`, without those on the sides of the cube."""
    values = grid.values.reshape(-1)[flat]
    flat = flat[(values >= 0) & (values < level)]
    return flat[~grid.on_side(flat)]


def _with_neighbours(grid: BrickGrid, flat: Int[np.ndarray, "corners"]) -> Int[np.ndarray, "more"]:
    """Return corners and the 26 around each, where there is a brick; each once."""
    marked = np.zeros(grid.values.size + 1, dtype=np.bool_)  # The last is for -1, where there is no brick.
    marked[grid.around(flat, _AROUND)] = True
    marked[flat] = True
    return np.flatnonzero(marked[:-1])


def _evaluate(evaluate: Evaluate, grid: BrickGrid, flat: Int[np.ndarray, "corners"]) -> Int[np.ndarray, "turned"]:
    """Evaluate the field where it has not been; returns the corners that are inside against presumption."""
    flat = flat[~grid.is_evaluated(flat)]
    grid.evaluate(flat, evaluate)
    return flat[grid.values.reshape(-1)[flat] < 0]


def _doubtful(grid: BrickGrid, shell: Int[np.ndarray, "shell"]) -> Int[np.ndarray, "doubtful"]:
    """Return those corners of the shell that may lie in an opening: the field falls slowly from there, or the solid is
    thin or on two sides, and parts the outside."""
    known, width = grid.values.reshape(-1), 2.0 / grid.cells
    beside = grid.around(shell, _SIX)
    values = _known(grid, beside)
    inside = values < 0
    slow = ~(known.take(shell) - values.min(axis=0) >= MIN_SLOPE * width)
    thin = np.asarray((inside[:3] & inside[:2:-1]).any(axis=0))
    for direction, offset in enumerate(_SIX):
        chosen = np.flatnonzero(inside[direction] & ~(slow | thin))
        beyond = grid.around(beside[direction, chosen], offset[None])[0]
        thin[chosen] = (beyond >= 0) & (known.take(beyond) >= 0)
    parts = np.flatnonzero(thin & ~slow)
    # An unknown corner in a cell without a known one inside is outside, too.
    outside = np.concatenate([~(known < 0), [True]])[grid.around(shell[parts], _AROUND)]
    slow[parts] = (_outside_parts(outside) != 1) | (_inside_parts(outside) != 1)
    return shell[slow]


def _known(grid: BrickGrid, corners: Int[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return the values at some corners, and infinity where nothing is known."""
    values = np.where(corners < 0, np.nan, grid.values.reshape(-1).take(corners))
    values[np.isnan(values)] = np.inf
    return values


def _lost_sheets(
    grid: BrickGrid, doubtful: Int[np.ndarray, "doubtful"], level: float
) -> tuple[Int[np.ndarray, "sheets"], int]:
    """Return the corners within lost sheets that hang on the solid, and the number of connected places.

    A place that is nowhere farther from the solid than one corner is no sheet, but the rounding of a plain wall.
    """
    flat = _within(grid, doubtful, level)
    values = _known(grid, grid.around(flat, _AROUND))
    slopes = (grid.values.reshape(-1)[flat] - values) / (np.sqrt(_DISTANCE)[:, None] * 2.0 / grid.cells)
    # Of the 26 offsets, the first and the last are opposite, and so on inward.
    ahead, behind = slopes[:13], slopes[:12:-1]
    rises = (np.maximum(ahead, behind) < LEVEL_SLOPE) & (np.minimum(ahead, behind) < -RISING_SLOPE)
    kept = (slopes.max(axis=0) < MIN_SLOPE) & rises.any(axis=0)
    flat, touches = flat[kept], (values[_DISTANCE == 1][:, kept] < 0).any(axis=0)
    # By edges, as corners inside belong together, so that no crumbs arise.
    labels = _labels(grid, flat, grid.around(flat, _SIX))
    held = (np.bincount(labels, weights=touches) > 0) & (np.bincount(labels, weights=~touches) > 0)
    return flat[held[labels]], int(np.count_nonzero(held))


def _labels(
    grid: BrickGrid, corners: Int[np.ndarray, "corners"], neighbours: Int[np.ndarray, "around corners"]
) -> Int[np.ndarray, "corners"]:
    """Label the connected patches of some corners, whose neighbours are given."""
    number = np.full(grid.values.size + 1, -1)  # The last is for -1, where there is no brick.
    number[corners] = np.arange(len(corners))
    other = number[neighbours]
    links = np.stack([np.nonzero(other >= 0)[1], other[other >= 0]], axis=1)
    return connected_labels(links, len(corners))


def _outside_parts(outside: Bool[np.ndarray, "26 corners"]) -> Int[np.ndarray, "corners"]:
    """Return in how many parts the outside meets each corner, by those of the 26 corners around it that are outside."""
    masks, which = np.unique(_BITS @ outside, return_inverse=True)
    return np.array([_count_parts(mask, _IN_FACE, _FACES) for mask in masks.tolist()], dtype=np.int64)[which]


def _inside_parts(outside: Bool[np.ndarray, "26 corners"]) -> Int[np.ndarray, "corners"]:
    """Return in how many parts the inside meets each corner."""
    masks, which = np.unique(_BITS @ outside, return_inverse=True)
    counts = [_count_parts(_IN_FACE & ~mask, _ON_EDGE, _EDGES) for mask in masks.tolist()]
    return np.array(counts, dtype=np.int64)[which]


@lru_cache(maxsize=2**16)
def _count_parts(corners: int, first: int, links: tuple[int, ...]) -> int:
    """Count the connected parts of some corners around one, all as bits, that have any of the corners in `first`."""
    count = 0
    while new := corners & first & -(corners & first):
        while new:
            one = new & -new
            corners &= ~one
            new = (new | links[one.bit_length() - 1]) & corners
        count += 1
    return count


def _membranes(
    grid: BrickGrid, shell: Int[np.ndarray, "shell"], level: float
) -> tuple[Int[np.ndarray, "membranes"], int]:
    """Wear the shell away from outside, and return the corners that resist and the number of openings they close."""
    values = grid.values.reshape(-1)[shell]
    around = grid.around(shell, _AROUND)
    inside = np.concatenate([grid.values.reshape(-1) < 0, [False]])  # The last is for -1, where there is no brick.
    touches = np.asarray(inside[around[_DISTANCE == 1]].any(axis=0))
    inside[shell] = True
    # Corners of one class are not around each other, so that all of them can be looked at together.
    classes = grid.index(shell) % 2 @ np.array([4, 2, 1])
    left, parts = np.ones(len(shell), dtype=np.bool_), np.zeros(len(shell), dtype=np.int64)
    for band in range(BANDS - 1, -1, -1):
        due, changed = values >= level * (band / BANDS), True
        while changed:
            changed = False
            for each in range(8):
                rows = np.flatnonzero(left & due & (classes == each))
                parts[rows] = _outside_parts(~inside[around[:, rows]])
                worn = rows[parts[rows] == 1]
                left[worn] = False
                inside[shell[worn]] = False
                changed |= len(worn) > 0
    return _patches(grid, shell, around, left=left, touches=touches, parts=parts)


def _patches(
    grid: BrickGrid,
    shell: Int[np.ndarray, "shell"],
    around: Int[np.ndarray, "26 shell"],
    *,
    left: Bool[np.ndarray, "shell"],
    touches: Bool[np.ndarray, "shell"],
    parts: Int[np.ndarray, "shell"],
) -> tuple[Int[np.ndarray, "membranes"], int]:
    """Drop what is left far from the solid, and count the connected patches with an outside on either side."""
    labels = _labels(grid, shell[left], around[_DISTANCE <= 2][:, left])
    held = np.bincount(labels, weights=touches[left]) > 0
    closes = np.bincount(labels, weights=parts[left] > 1) > 0
    return shell[left][held[labels]], int(np.count_nonzero(held & closes))
