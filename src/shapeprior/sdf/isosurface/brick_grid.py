"""Values at those corners of a large regular grid that are near a surface, kept in bricks of 8³ corners.

A brick is found by its place in a small dense table, and what lies inside it by arithmetic, so that nothing is ever
sorted or searched; a grid of 1024³ cells takes memory for the bricks that are used.

The cells and edges of bricks, from what is known at their corners.

The 8³ corners of a brick and the lowest layers of the bricks beside it are 9³ corners: those of its 8³ cells. Everything here is
one operation along the flattened array of all bricks, in which the next corner along an axis is a fixed step away; entries that
such a step takes out of the brick mean nothing and are masked.
"""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

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
    """Of each cell the number whose bit c is set where corner c is negative, as in `shapeprior.sdf.isosurface.case_table`."""
    flat = (state & NEGATIVE).reshape(-1)
    for step, bits in zip(_STEPS[::-1], (1, 2, 4), strict=True):
        out = flat.copy()
        out[:-step] |= flat[step:] << np.uint8(bits)
        flat = out
    return flat.reshape(state.shape)


Result = TypeVar("Result")

PART = 256
"""Bricks that are looked at together: what is made of so many stays in the cache."""
BATCH = 4096
"""Bricks whose corners are asked for together, which bounds the memory."""

_AXIS = np.arange(SIDE, dtype=np.int32)
LOCAL: Int[np.ndarray, "512 3"] = np.stack(np.meshgrid(_AXIS, _AXIS, _AXIS, indexing="ij"), axis=-1).reshape(-1, 3)
"""Place of each corner of a brick."""

_NEIGHBOURS = tuple(offset for offset in product((0, 1), repeat=3) if any(offset))
"""Bricks that hold upper corners of a brick's last cells."""


class BrickGrid:
    """Corners 0 to `cells` along each axis of the cube [−1, 1]³."""

    def __init__(self, cells: int) -> None:
        self.cells = cells
        side = cells // SIDE + 1
        self._table = np.full((side + 1, side + 1, side + 1), -1, dtype=np.int32)  # One layer more, always empty.
        self.places: Int[np.ndarray, "bricks 3"] = np.zeros((0, 3), dtype=np.int32)
        """Of each brick, counted in bricks."""
        self.values: Float[np.ndarray, "bricks 8 8 8"] = np.zeros((0, SIDE, SIDE, SIDE), dtype=np.float32)
        """At each brick's corners; NaN where not known."""
        self.presumed: Bool[np.ndarray, "bricks 8 8 8"] = np.zeros(self.values.shape, dtype=np.bool_)
        """Where a value was not asked for: only its sign can be relied on, as long as no surface is found beside it."""
        self.guesses: Float[np.ndarray, "bricks 8 8 8"] = np.zeros_like(self.values)
        """What interpolation between the corners of the grid before gives; NaN where that was not asked."""

    def by_part(
        self, function: Callable[[Int[np.ndarray, "part"]], Result], bricks: Int[np.ndarray, "chosen"] | None = None
    ) -> list[Result]:
        """What a function that changes nothing says of some bricks, or all, some of them at a time, in their order."""
        chosen = np.arange(len(self.places)) if bricks is None else bricks
        return [function(part) for part in some_at_a_time(chosen, PART)]

    def slots(self, places: Int[np.ndarray, "wanted 3"]) -> Int[np.ndarray, "wanted"]:
        """Row of the brick at each place, -1 where there is none; places may be one beyond the last."""
        return self._table[places[:, 0], places[:, 1], places[:, 2]]

    def neighbours(self, bricks: Int[np.ndarray, "chosen"], offset: tuple[int, ...]) -> Int[np.ndarray, "chosen"]:
        """Row of the brick beside each, -1 where there is none; offsets of 0 and 1."""
        return self.slots(self.places[bricks] + np.array(offset, dtype=np.int32))

    def add(self, places: Int[np.ndarray, "wanted 3"]) -> Int[np.ndarray, "added"]:
        """Make room for bricks, but for those that are there, or beyond the grid; the rows of the new ones."""
        places = places[np.all((places >= 0) & (places < self._table.shape[0] - 1), axis=1)]
        places = places[self.slots(places) < 0]
        # Once each, in the order of the table.
        flat = np.unique(np.ravel_multi_index(tuple(places.T), self._table.shape))
        rows = np.arange(len(self.places), len(self.places) + len(flat))
        if len(flat) == 0:
            return rows
        self._table.reshape(-1)[flat] = rows
        new = np.stack(np.unravel_index(flat, self._table.shape), axis=1).astype(np.int32)
        self.places = np.concatenate([self.places, new])
        self.values = _with_rows(self.values, len(flat), np.nan)
        self.presumed = _with_rows(self.presumed, len(flat), False)
        self.guesses = _with_rows(self.guesses, len(flat), np.nan)
        return rows

    def points(self, flat: Int[np.ndarray, "corners"]) -> Float[np.ndarray, "corners 3"]:
        """Where corners are, given by their place in `values`, flattened."""
        out = (self.places * float(SIDE)).take(flat // SIDE**3, axis=0)
        out += LOCAL.astype(np.float64).take(flat % SIDE**3, axis=0)
        out *= 2.0 / self.cells
        out -= 1.0
        return out

    def on_side(self, flat: Int[np.ndarray, "corners"]) -> Bool[np.ndarray, "corners"]:
        """Which corners lie on the sides of the cube, or beyond, where the last bricks stick out."""
        last = self.cells // SIDE
        # Most bricks are not at the sides, and most shapes have none there.
        at_side = ((self.places == 0) | (self.places == last)).any(axis=1)
        out = np.zeros(len(flat), dtype=np.bool_)
        if at_side.any():
            rows = np.flatnonzero(at_side[flat // SIDE**3])
            index = self._index(flat[rows])
            out[rows] = ((index == 0) | (index >= self.cells)).any(axis=1)
        return out

    def _index(self, flat: Int[np.ndarray, "corners"]) -> Int[np.ndarray, "corners 3"]:
        index = (self.places * np.int32(SIDE)).take(flat // SIDE**3, axis=0)
        index += LOCAL.take(flat % SIDE**3, axis=0)
        return index

    def state(self) -> UInt8[np.ndarray, "bricks 8 8 8"]:
        """Of each corner the bits of `shapeprior.sdf.isosurface.brick_grid`."""
        out = np.zeros(self.values.shape, dtype=np.uint8)

        def fill(bricks: Int[np.ndarray, "part"]) -> None:
            part = slice(bricks[0], bricks[-1] + 1)
            values = self.values[part]
            negative = (values < 0).view(np.uint8)
            # A comparison with a value that is not known is false.
            positive = (values >= 0).view(np.uint8)
            unknown = (negative | positive) ^ np.uint8(1)
            presumed = self.presumed[part].view(np.uint8)
            out[part] = negative * NEGATIVE + positive * POSITIVE + unknown * UNKNOWN + presumed * PRESUMED

        self.by_part(fill)
        return out

    def padded(
        self, array: Shaped[np.ndarray, "bricks 8 8 8"], bricks: Int[np.ndarray, "chosen"], *, fill: Any
    ) -> Shaped[np.ndarray, "chosen 9 9 9"]:
        """What an array says of all corners of the cells of some bricks: the last layers come from the bricks beside.

        Bricks that came after the array was made count as missing.
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
        """The reverse of `padded`: the bits that corners get from a brick of theirs and from those beside.

        Adds the bricks that are missing. Returns the corners with bits, by their place in `values`, flattened, and the bits.
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
            # Each brick is beside another in this direction once, so that nothing is written twice.
            marks[found[inside], *_layer(offset, 0)] |= layer[rows[inside]]
        flat = np.flatnonzero(marks != 0)  # Of bytes, other than of truths, numpy takes ten times as long.
        return flat, marks.reshape(-1)[flat]

    def asked(self, flat: Int[np.ndarray, "corners"]) -> Bool[np.ndarray, "corners"]:
        """Which corners the field gave a value for, or the grid before."""
        return ~(np.isnan(self.values.reshape(-1)[flat]) | self.presumed.reshape(-1)[flat])

    def presume(self, flat: Int[np.ndarray, "corners"]) -> None:
        """Let corners have the values that were guessed."""
        self.values.reshape(-1)[flat] = self.guesses.reshape(-1)[flat]
        self.presumed.reshape(-1)[flat] = True

    def bends(self, flat: Int[np.ndarray, "corners"]) -> Float[np.ndarray, "corners"]:
        """How far the values of corners are from what was guessed; infinite where nothing was."""
        off = np.abs(self.values.reshape(-1)[flat] - self.guesses.reshape(-1)[flat])
        off[np.isnan(off)] = np.inf
        return off

    def ask(
        self,
        flat: Int[np.ndarray, "corners"],
        field: Callable[[Float[np.ndarray, "points 3"]], Float[np.ndarray, "points"]],
    ) -> None:
        """Evaluate corners. The sides of the cube are outside, and no value is zero, which has no sign."""
        values = field(self.points(flat)).astype(np.float32)
        # The tiny value on the sides puts the closing faces right onto them.
        tiny = np.float32(1e-9 / self.cells)
        values[values == 0] = tiny
        negative = np.flatnonzero(values < 0)
        values[negative[self.on_side(flat[negative])]] = tiny
        self.values.reshape(-1)[flat] = values
        self.presumed.reshape(-1)[flat] = False


def _with_rows(array: Shaped[np.ndarray, "rows *rest"], count: int, fill: Any) -> Shaped[np.ndarray, "more *rest"]:
    """An array that goes on with so many rows; it is copied if there is no room for them behind it in memory."""
    rows = len(array)
    room = array if array.base is None else array.base
    if len(room) < rows + count:
        # A few bricks are added to many, again and again.
        room = np.zeros((rows + count + (rows + count) // 8, *array.shape[1:]), dtype=array.dtype)
        room[:rows] = array
    out = room[: rows + count]
    out[rows:] = fill
    return out


def some_at_a_time(bricks: Int[np.ndarray, "bricks"], size: int) -> Iterator[Int[np.ndarray, "part"]]:
    """Slices of a list of bricks."""
    for start in range(0, len(bricks), size):
        yield bricks[start : start + size]


def _layer(offset: tuple[int, ...], at: int) -> tuple[slice | int, ...]:
    """The corners that a brick shares with the one at `offset`: a face, an edge or a corner of it."""
    return tuple(at if step else slice(0, SIDE) for step in offset)
