"""Values at those corners of a large regular grid that are near a surface, kept in bricks of 8³ corners.

A brick is found by its place in a small dense table, and what lies inside it by arithmetic, so that nothing is ever
sorted or searched; a grid of 1024³ cells takes memory for the bricks that are used.
"""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

SIDE = 8
"""Corners along each axis of a brick; it has as many cells, each with its lowest corner in the brick."""

_AXIS = np.arange(SIDE)
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
        self.bends: Float[np.ndarray, "bricks 8 8 8"] = np.zeros_like(self.values)
        """How far each value is from what interpolation between its neighbours gave; infinite where that was not asked."""

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
        self._table.reshape(-1)[flat] = rows
        new = np.stack(np.unravel_index(flat, self._table.shape), axis=1).astype(np.int32)
        self.places = np.concatenate([self.places, new])
        fresh = np.full((len(flat), SIDE, SIDE, SIDE), np.nan, dtype=np.float32)
        self.values = np.concatenate([self.values, fresh])
        self.bends = np.concatenate([self.bends, np.full_like(fresh, np.inf)])
        return rows

    def points(self, flat: Int[np.ndarray, "corners"]) -> Float[np.ndarray, "corners 3"]:
        """Where corners are, given by their place in `values`, flattened."""
        return (self.places[flat // SIDE**3] * SIDE + LOCAL[flat % SIDE**3]) * (2.0 / self.cells) - 1.0

    def on_side(self, flat: Int[np.ndarray, "corners"]) -> Bool[np.ndarray, "corners"]:
        """Which corners lie on the sides of the cube, or beyond, where the last bricks stick out."""
        index = self.places[flat // SIDE**3] * SIDE + LOCAL[flat % SIDE**3]
        return np.any((index == 0) | (index >= self.cells), axis=1)

    def padded(
        self, array: Shaped[np.ndarray, "bricks 8 8 8"], bricks: Int[np.ndarray, "chosen"], *, fill: Any
    ) -> Shaped[np.ndarray, "chosen 9 9 9"]:
        """Values at all corners of the cells of some bricks: the last layers come from the bricks beside."""
        out = np.full((len(bricks), SIDE + 1, SIDE + 1, SIDE + 1), fill, dtype=array.dtype)
        out[:, :SIDE, :SIDE, :SIDE] = array[bricks]
        for offset in _NEIGHBOURS:
            found = self.neighbours(bricks, offset)
            rows = np.flatnonzero(found >= 0)
            out[rows, *_layer(offset, SIDE)] = array[found[rows], *_layer(offset, 0)]
        return out

    def mark(
        self, mask: Bool[np.ndarray, "chosen 9 9 9"], bricks: Int[np.ndarray, "chosen"]
    ) -> tuple[Int[np.ndarray, "bricks"], Bool[np.ndarray, "bricks 8 8 8"]]:
        """The reverse of `padded`: which corners are marked by a brick of theirs or by one beside.

        Adds the bricks that are missing. Returns the bricks with marks, and the marks in each of them.
        """
        beside = [(offset, mask[:, *_layer(offset, SIDE)]) for offset in _NEIGHBOURS]
        touched = [np.flatnonzero(layer.reshape(len(mask), -1).any(axis=1)) for _, layer in beside]
        # A corner beyond the grid's last is marked by no cell of the grid, and its brick is not added.
        self.add(
            np.concatenate(
                [
                    self.places[bricks[rows]] + np.array(offset, dtype=np.int32)
                    for (offset, _), rows in zip(beside, touched, strict=True)
                ]
            )
        )
        marks = np.zeros(self.values.shape, dtype=np.bool_)
        marks[bricks] = mask[:, :SIDE, :SIDE, :SIDE]
        for (offset, layer), rows in zip(beside, touched, strict=True):
            found = self.neighbours(bricks[rows], offset)
            inside = found >= 0
            # Each brick is beside another in this direction once, so that nothing is written twice.
            marks[found[inside], *_layer(offset, 0)] |= layer[rows[inside]]
        rows = np.flatnonzero(marks.reshape(len(marks), -1).any(axis=1))
        return rows, marks[rows]

    def ask(
        self, bricks: Int[np.ndarray, "chosen"], marks: Bool[np.ndarray, "chosen 8 8 8"],
        field: Callable[[Float[np.ndarray, "points 3"]], Float[np.ndarray, "points"]],
    ) -> Int[np.ndarray, "asked"]:  # fmt: skip
        """Evaluate the marked corners that are not known yet; the bricks in which something became known.

        The sides of the cube are outside, and no value is zero, which has no sign.
        """
        wanted = marks & np.isnan(self.values[bricks])
        flat = np.flatnonzero(wanted)
        flat = bricks[flat // SIDE**3] * SIDE**3 + flat % SIDE**3
        values = field(self.points(flat)).astype(np.float32)
        # The tiny value on the sides puts the closing faces right onto them.
        tiny = np.float32(1e-9 / self.cells)
        values[values == 0] = tiny
        values[(values < 0) & self.on_side(flat)] = tiny
        self.values.reshape(-1)[flat] = values
        return bricks[wanted.reshape(len(bricks), -1).any(axis=1)]


def _layer(offset: tuple[int, ...], at: int) -> tuple[slice | int, ...]:
    """The corners that a brick shares with the one at `offset`: a face, an edge or a corner of it."""
    return tuple(at if step else slice(0, SIDE) for step in offset)


def corners(
    padded: Shaped[np.ndarray, "bricks 9 9 9"],
) -> list[Shaped[np.ndarray, "bricks 8 8 8"]]:
    """The values at the eight corners of each cell of each brick, in the order of `cube_cases.CORNER_OFFSETS`."""
    return [padded[:, x : x + SIDE, y : y + SIDE, z : z + SIDE] for x, y, z in product((0, 1), repeat=3)]


def spread(cells: Bool[np.ndarray, "bricks 8 8 8"]) -> Bool[np.ndarray, "bricks 9 9 9"]:
    """All corners of some cells."""
    out = np.zeros((len(cells), SIDE + 1, SIDE + 1, SIDE + 1), dtype=np.bool_)
    for x, y, z in product((0, 1), repeat=3):
        out[:, x : x + SIDE, y : y + SIDE, z : z + SIDE] |= cells
    return out
