"""A sparse grid: values at those corners of a large regular grid that are near a surface, in bricks of 8³ corners.

A small dense table finds a brick by its place, and arithmetic finds a corner inside it, so that nothing is ever sorted
or searched. A grid of 1024³ cells takes memory only for the bricks that are used.

The 8³ corners of a brick and the lowest layers of the bricks beside it are 9³ *padded* corners: those of the brick's 8³
cells. The functions on padded arrays are single operations along the flattened array of all bricks, in which the next
corner along an axis is a fixed step away. Entries whose step leaves the brick mean nothing and are masked.
"""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from shapeprior.sdf.isosurface.case_table import CORNER_OFFSETS

Result = TypeVar("Result")

SIDE = 8
"""Corners of a brick along each axis, and as many cells, each with its lowest corner in the brick."""

NEGATIVE, POSITIVE, UNKNOWN, PRESUMED = np.uint8(1), np.uint8(2), np.uint8(4), np.uint8(8)
"""Bits of a corner's state: its sign, or that its sign is unknown; and that the sign was presumed, not evaluated."""
CROSSED = NEGATIVE | POSITIVE
"""The bits that the states of some corners have together if the surface passes between them."""

BRICKS_PER_PART = 256
"""Bricks that are processed together, so that the intermediate arrays stay in the processor's cache."""
BRICKS_PER_BATCH = 4096
"""Bricks whose corners are evaluated together, which bounds the memory."""

LOCAL_CORNERS: Int[np.ndarray, "512 3"] = np.array(list(product(range(SIDE), repeat=3)), dtype=np.int32)
"""Place of each corner in its brick."""

_NEIGHBOURS = tuple(offset for offset in product((0, 1), repeat=3) if any(offset))
"""Offsets of the bricks that hold upper corners of a brick's last cells."""

_PADDED = SIDE + 1
_STEPS = (_PADDED * _PADDED, _PADDED, 1)
_INDEX = np.array(list(product(range(_PADDED), repeat=3)))

HAS_EDGE: Bool[np.ndarray, "3 9 9 9"] = (_INDEX < SIDE).T.reshape(3, *(_PADDED,) * 3)
"""For each axis, the padded corners that have a next corner along it."""
CELL: Bool[np.ndarray, "9 9 9"] = HAS_EDGE[0] & HAS_EDGE[1] & HAS_EDGE[2]
"""The padded corners that are the lowest corner of a cell of the brick."""

CORNER_STEPS: tuple[int, ...] = tuple((CORNER_OFFSETS @ np.array(_STEPS)).tolist())
"""Steps from the lowest corner of a cell to each of its corners, in the order of `case_table.CORNER_OFFSETS`."""


def _corner_places() -> tuple[Int[np.ndarray, "512 8"], Int[np.ndarray, "512 8"]]:
    local = LOCAL_CORNERS[:, None] + CORNER_OFFSETS
    inside, brick = local % SIDE, local // SIDE
    by_place, by_bit = np.array([SIDE * SIDE, SIDE, 1]), np.array([4, 2, 1])
    return (inside * by_place).sum(axis=-1), (brick * by_bit).sum(axis=-1)


def _places_around() -> tuple[Int[np.ndarray, "27 512"], Int[np.ndarray, "27 512"]]:
    around = LOCAL_CORNERS + _AROUND[:, None]
    return (around % SIDE) @ np.array([SIDE * SIDE, SIDE, 1]), (around // SIDE + 1) @ np.array([9, 3, 1])


_AROUND = np.array(list(product((-1, 0, 1), repeat=3)), dtype=np.int32)
_AROUND_LOCAL, _AROUND_BRICK = _places_around()
"""For each offset of −1 to 1 along each axis and each corner of a brick: the place in its own brick of the corner at
that offset, and which of the 27 bricks around that is."""

CORNER_LOCAL, CORNER_BRICK = _corner_places()
"""For each cell of a brick and each of its corners, in the order of `case_table.CORNER_OFFSETS`: the corner's place in
its own brick, and which brick that is, as the bits of the brick's offset along x, y and z."""


def reduce_cells(combine: np.ufunc, padded: Shaped[np.ndarray, "bricks 9 9 9"]) -> Shaped[np.ndarray, "bricks 9 9 9"]:
    """Combine the values at the eight corners of each cell; the result is at the cell's lowest corner."""
    flat = padded.reshape(-1)
    for step in _STEPS:
        out = flat.copy()
        combine(flat[:-step], flat[step:], out=out[:-step])
        flat = out
    return flat.reshape(padded.shape)


def reduce_edges(
    combine: np.ufunc, padded: Shaped[np.ndarray, "bricks 9 9 9"], axis: int
) -> Shaped[np.ndarray, "bricks 9 9 9"]:
    """Combine the values at the two ends of each edge along an axis; the result is at the lower end."""
    flat, step = padded.reshape(-1), _STEPS[axis]
    out = flat.copy()
    combine(flat[:-step], flat[step:], out=out[:-step])
    return out.reshape(padded.shape)


def edge_ends(edges: Bool[np.ndarray, "bricks 9 9 9"], axis: int) -> Bool[np.ndarray, "bricks 9 9 9"]:
    """Mark both ends of edges along an axis, which are given by their lower ends."""
    flat, step = edges.reshape(-1), _STEPS[axis]
    out = flat.copy()
    np.logical_or(flat[step:], flat[:-step], out=out[step:])
    return out.reshape(edges.shape)


def cell_corners(cells: Bool[np.ndarray, "bricks 9 9 9"]) -> Bool[np.ndarray, "bricks 9 9 9"]:
    """Mark all corners of cells, which are given by their lowest corners."""
    for axis in range(3):
        cells = edge_ends(cells, axis)
    return cells


def crossed_cells(state: UInt8[np.ndarray, "bricks 9 9 9"]) -> Bool[np.ndarray, "bricks 9 9 9"]:
    """Mark the cells that are known at all corners and have both signs."""
    return ((reduce_cells(np.bitwise_or, state) & (CROSSED | UNKNOWN)) == CROSSED) & CELL


def cases(state: UInt8[np.ndarray, "bricks 9 9 9"]) -> UInt8[np.ndarray, "bricks 9 9 9"]:
    """Return the case of each cell: the number whose bit c is set if corner c is negative (`case_table`)."""
    flat = (state & NEGATIVE).reshape(-1)
    for step, bits in zip(_STEPS[::-1], (1, 2, 4), strict=True):
        out = flat.copy()
        out[:-step] |= flat[step:] << np.uint8(bits)
        flat = out
    return flat.reshape(state.shape)


class BrickGrid:
    """A sparse grid with the corners 0 to `cells` along each axis of the cube [−1, 1]³."""

    def __init__(self, cells: int) -> None:
        """Begin without any brick."""
        self.cells = cells
        side = cells // SIDE + 1
        self._table = np.full((side + 1, side + 1, side + 1), -1, dtype=np.int32)  # With one more layer, always empty.
        self._beside: np.ndarray | None = None
        self.places: Int[np.ndarray, "bricks 3"] = np.zeros((0, 3), dtype=np.int32)
        """Place of each brick along each axis, counted in bricks."""
        self.values: Float[np.ndarray, "bricks 8 8 8"] = np.zeros((0, SIDE, SIDE, SIDE), dtype=np.float32)
        """Values at each brick's corners; NaN where unknown."""
        self.presumed: Bool[np.ndarray, "bricks 8 8 8"] = np.zeros(self.values.shape, dtype=np.bool_)
        """Corners whose value was interpolated, not evaluated; only its sign counts, while no surface is found beside
        it."""
        self.guesses: Float[np.ndarray, "bricks 8 8 8"] = np.zeros_like(self.values)
        """Values interpolated between corners of the coarser grid; NaN where these are unknown."""
        self.lowered = np.zeros(0, dtype=np.int64)
        """Corners whose values were lowered to mend thin walls (`wall_mending.mend_walls`), by their index in the
        flattened `values`."""
        self.membranes = np.zeros(0, dtype=np.int64)
        """Those of them that close pin-holes."""

    def map_parts(
        self, function: Callable[[Int[np.ndarray, "part"]], Result], bricks: Int[np.ndarray, "chosen"] | None = None
    ) -> list[Result]:
        """Call a function on the given bricks, or all, in parts, and return its results in order.

        The function must not add bricks.
        """
        chosen = np.arange(len(self.places)) if bricks is None else bricks
        return [function(part) for part in batches(chosen, BRICKS_PER_PART)]

    def rows_of(self, places: Int[np.ndarray, "wanted 3"]) -> Int[np.ndarray, "wanted"]:
        """Return the row of the brick at each place; -1 where there is none. Places may be one beyond the last."""
        return self._table[places[:, 0], places[:, 1], places[:, 2]]

    def neighbours(self, bricks: Int[np.ndarray, "chosen"], offset: tuple[int, ...]) -> Int[np.ndarray, "chosen"]:
        """Return the row of the brick at an offset of 0 or 1 along each axis; -1 where there is none."""
        return self.rows_of(self.places[bricks] + np.array(offset, dtype=np.int32))

    def around(
        self, flat: Int[np.ndarray, "corners"], offsets: Int[np.ndarray, "offsets 3"]
    ) -> Int[np.ndarray, "offsets corners"]:
        """Return the corners at offsets of −1 to 1 along each axis, by their index in the flattened `values`; −1 where
        there is no brick."""
        if self._beside is None:
            # A place of −1 is read as the table's last layer, which is always empty.
            self._beside = np.stack([self.rows_of(self.places + offset) for offset in _AROUND], axis=1).reshape(-1)
        brick, local = flat // SIDE**3 * len(_AROUND), flat % SIDE**3
        out = np.zeros((len(offsets), len(flat)), dtype=np.int64)
        for row, offset in zip(out, (offsets + 1) @ np.array([9, 3, 1]), strict=True):
            row[:] = self._beside.take(brick + _AROUND_BRICK[offset].take(local))
            row *= SIDE**3
            row += _AROUND_LOCAL[offset].take(local)
        return np.maximum(out, -1, out=out)

    def add(self, places: Int[np.ndarray, "wanted 3"]) -> Int[np.ndarray, "added"]:
        """Add bricks, except for those that exist or lie beyond the grid; returns the rows of the new ones."""
        places = places[np.all((places >= 0) & (places < self._table.shape[0] - 1), axis=1)]
        places = places[self.rows_of(places) < 0]
        # Each brick once, in the order of the table.
        flat = np.unique(np.ravel_multi_index(tuple(places.T), self._table.shape))
        rows = np.arange(len(self.places), len(self.places) + len(flat))
        if len(flat) == 0:
            return rows
        self._table.reshape(-1)[flat] = rows
        self._beside = None
        new = np.stack(np.unravel_index(flat, self._table.shape), axis=1).astype(np.int32)
        self.places = np.concatenate([self.places, new])
        self.values = _with_rows(self.values, len(flat), np.nan)
        self.presumed = _with_rows(self.presumed, len(flat), False)
        self.guesses = _with_rows(self.guesses, len(flat), np.nan)
        return rows

    def points(self, flat: Int[np.ndarray, "corners"]) -> Float[np.ndarray, "corners 3"]:
        """Return the positions of corners, which are given by their index in the flattened `values`."""
        out = (self.places * float(SIDE)).take(flat // SIDE**3, axis=0)
        out += LOCAL_CORNERS.astype(np.float64).take(flat % SIDE**3, axis=0)
        out *= 2.0 / self.cells
        out -= 1.0
        return out

    def on_side(self, flat: Int[np.ndarray, "corners"]) -> Bool[np.ndarray, "corners"]:
        """Mark the corners on the sides of the cube, or beyond them, where the last bricks stick out."""
        last = self.cells // SIDE
        # Few bricks lie at the sides, and most shapes have none there.
        at_side = ((self.places == 0) | (self.places == last)).any(axis=1)
        out = np.zeros(len(flat), dtype=np.bool_)
        if at_side.any():
            rows = np.flatnonzero(at_side[flat // SIDE**3])
            index = self.index(flat[rows])
            out[rows] = ((index == 0) | (index >= self.cells)).any(axis=1)
        return out

    def index(self, flat: Int[np.ndarray, "corners"]) -> Int[np.ndarray, "corners 3"]:
        """Return the place of corners along each axis, counted in corners."""
        index = (self.places * np.int32(SIDE)).take(flat // SIDE**3, axis=0)
        index += LOCAL_CORNERS.take(flat % SIDE**3, axis=0)
        return index

    def state(self) -> UInt8[np.ndarray, "bricks 8 8 8"]:
        """Return the state of each corner, as bits of NEGATIVE, POSITIVE, UNKNOWN and PRESUMED."""
        out = np.zeros(self.values.shape, dtype=np.uint8)

        def fill(bricks: Int[np.ndarray, "part"]) -> None:
            part = slice(bricks[0], bricks[-1] + 1)
            values = self.values[part]
            negative = (values < 0).view(np.uint8)
            # Unknown values are NaN, for which every comparison is false.
            positive = (values >= 0).view(np.uint8)
            unknown = (negative | positive) ^ np.uint8(1)
            presumed = self.presumed[part].view(np.uint8)
            out[part] = negative * NEGATIVE + positive * POSITIVE + unknown * UNKNOWN + presumed * PRESUMED

        self.map_parts(fill)
        return out

    def padded(
        self, array: Shaped[np.ndarray, "bricks 8 8 8"], bricks: Int[np.ndarray, "chosen"], *, fill: Any
    ) -> Shaped[np.ndarray, "chosen 9 9 9"]:
        """Pad an array of the bricks' corners to all corners of their cells; the last layers come from the bricks
        beside.

        Missing bricks give `fill`. Bricks that were added after the array was made count as missing.
        """
        out = np.full((len(bricks), SIDE + 1, SIDE + 1, SIDE + 1), fill, dtype=array.dtype)
        out[:, :SIDE, :SIDE, :SIDE] = array[bricks]
        for offset in _NEIGHBOURS:
            found = self.neighbours(bricks, offset)
            rows = np.flatnonzero((found >= 0) & (found < len(array)))
            out[rows, *_layer(offset, SIDE)] = array[found[rows], *_layer(offset, 0)]
        return out

    def mark(
        self, bits: UInt8[np.ndarray, "chosen 9 9 9"], bricks: Int[np.ndarray, "chosen"]
    ) -> tuple[Int[np.ndarray, "corners"], UInt8[np.ndarray, "corners"]]:
        """Combine the bits of padded corners at the corners themselves, the reverse of `padded`.

        Bricks that are missing are added. Returns the corners with any bit, by their index in the flattened `values`,
        and their bits.
        """
        beside = [(offset, bits[:, *_layer(offset, SIDE)]) for offset in _NEIGHBOURS]
        touched = [np.flatnonzero(layer.any(axis=tuple(range(1, layer.ndim)))) for _, layer in beside]
        # A corner beyond the grid's last is marked by no cell of the grid, and its brick is not added.
        self.add(
            np.concatenate(
                [
                    self.places[bricks[rows]] + np.array(offset, dtype=np.int32)
                    for (offset, _), rows in zip(beside, touched, strict=True)
                ]
            )
        )
        marks = np.zeros(self.values.shape, dtype=np.uint8)
        marks[bricks] = bits[:, :SIDE, :SIDE, :SIDE]
        for (offset, layer), rows in zip(beside, touched, strict=True):
            found = self.neighbours(bricks[rows], offset)
            inside = found >= 0
            # No two bricks have the same neighbour in this direction, so that nothing is written twice.
            marks[found[inside], *_layer(offset, 0)] |= layer[rows[inside]]
        flat = np.flatnonzero(marks != 0)  # Without the comparison, numpy takes ten times as long.
        return flat, marks.reshape(-1)[flat]

    def is_evaluated(self, flat: Int[np.ndarray, "corners"]) -> Bool[np.ndarray, "corners"]:
        """Tell at which corners the field has been evaluated, in this grid or a coarser one."""
        return ~(np.isnan(self.values.reshape(-1)[flat]) | self.presumed.reshape(-1)[flat])

    def presume(self, flat: Int[np.ndarray, "corners"]) -> None:
        """Give corners their guessed values."""
        self.values.reshape(-1)[flat] = self.guesses.reshape(-1)[flat]
        self.presumed.reshape(-1)[flat] = True

    def interpolation_errors(self, flat: Int[np.ndarray, "corners"]) -> Float[np.ndarray, "corners"]:
        """Return how far the values of corners are from their guesses; infinite where there is no guess."""
        off = np.abs(self.values.reshape(-1)[flat] - self.guesses.reshape(-1)[flat])
        off[np.isnan(off)] = np.inf
        return off

    def evaluate(
        self,
        flat: Int[np.ndarray, "corners"],
        field: Callable[[Float[np.ndarray, "points 3"]], Float[np.ndarray, "points"]],
    ) -> None:
        """Evaluate the field at corners; corners on the sides of the cube become outside.

        Zero, which has no sign, becomes a tiny positive value.
        """
        values = field(self.points(flat)).astype(np.float32)
        # The tiny value on the sides puts the closing faces right onto them.
        tiny = np.float32(1e-9 / self.cells)
        values[values == 0] = tiny
        negative = np.flatnonzero(values < 0)
        values[negative[self.on_side(flat[negative])]] = tiny
        self.values.reshape(-1)[flat] = values
        self.presumed.reshape(-1)[flat] = False


def _with_rows(array: Shaped[np.ndarray, "rows *rest"], count: int, fill: Any) -> Shaped[np.ndarray, "more *rest"]:
    """Append rows to an array; it is copied if the memory behind it has no room for them."""
    rows = len(array)
    room = array if array.base is None else array.base
    if len(room) < rows + count:
        # A few bricks are added to many, again and again, so some room is left.
        room = np.zeros((rows + count + (rows + count) // 8, *array.shape[1:]), dtype=array.dtype)
        room[:rows] = array
    out = room[: rows + count]
    out[rows:] = fill
    return out


def batches(bricks: Int[np.ndarray, "bricks"], size: int) -> Iterator[Int[np.ndarray, "part"]]:
    """Yield successive slices of a list of bricks."""
    for start in range(0, len(bricks), size):
        yield bricks[start : start + size]


def _layer(offset: tuple[int, ...], at: int) -> tuple[slice | int, ...]:
    """Return the index of the corners that a brick shares with the one at `offset`: a face, an edge or a corner."""
    return tuple(at if step else slice(0, SIDE) for step in offset)
