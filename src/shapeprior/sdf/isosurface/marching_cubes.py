"""Vertices and faces of marching cubes on a grid of bricks."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from shapeprior.sdf.isosurface.adaptive_grid import Ask
from shapeprior.sdf.isosurface.brick_grid import (
    CORNER_BRICK,
    CORNER_LOCAL,
    CROSSED,
    HAS_EDGE,
    SIDE,
    UNKNOWN,
    BrickGrid,
    along_edges,
    cases,
    crossed_cells,
)
from shapeprior.sdf.isosurface.case_table import CORNER_OFFSETS, EDGE_CORNERS, cube_cases

EDGE_MARGIN = 1e-3
"""Vertices keep this share of an edge's length from its ends, so that no triangle can shrink to a point or a line."""
STRAIGHT = 0.02
"""In edges: how far a vertex may be off that is not asked for once more."""

_BITS = np.array([[case >> axis & 1 for axis in range(3)] for case in range(8)], dtype=np.bool_)
"""Of each set of edges from one corner, given as bits: along which axes."""
_COUNTS = _BITS.sum(axis=1, dtype=np.int32)
_RANK: Int[np.ndarray, "24"] = (_BITS.cumsum(axis=1) - _BITS).astype(np.int32).reshape(-1)
"""Of each such set and axis: how many edges of the set come before."""
_EDGE: Int[np.ndarray, "6144"] = (
    (CORNER_BRICK * SIDE**3 + CORNER_LOCAL)[:, EDGE_CORNERS[:, 0]].astype(np.int32).reshape(-1)
)
"""Of each cell of a brick and each of its edges: where the edge's lower corner is, as `CORNER_BRICK` and `CORNER_LOCAL`."""
_OWN = np.zeros((SIDE + 1) ** 3, dtype=np.int32)
_OWN.reshape((SIDE + 1,) * 3)[:SIDE, :SIDE, :SIDE] = np.arange(SIDE**3, dtype=np.int32).reshape((SIDE,) * 3)
"""Of each of the padded corners that is the brick's own, its place in the brick."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EdgeCrossings:
    """Where the surface crosses the edges of a grid, and the triangles between."""

    start: Float[np.ndarray, "vertices 3"]
    """Lower end of each crossed edge, in the unit frame."""
    axis: UInt8[np.ndarray, "vertices"]
    """Along which each edge goes on."""
    width: float
    """Length of an edge."""
    ends: Float[np.ndarray, "vertices 2"]
    """Values at its ends, of different signs."""
    bends: Float[np.ndarray, "vertices"]
    """How far the value at an end of each edge is from that between its neighbours on twice the width (`BrickGrid.bends`)."""
    faces: Int[np.ndarray, "faces 3"]
    """Triangles, oriented outward."""
    cases: UInt8[np.ndarray, "cells"]
    """Of each crossed cell which corners are inside (`shapeprior.sdf.isosurface.case_table`), in the order of the faces."""

    @classmethod
    def of(cls, grid: BrickGrid) -> "EdgeCrossings":
        """All crossings of a grid whose crossed cells are known at all corners (`shapeprior.sdf.isosurface.adaptive_grid`)."""
        state = grid.state()
        padded = grid.by_part(lambda bricks: grid.padded(state, bricks, fill=UNKNOWN))
        edges = np.concatenate([np.zeros((0, SIDE, SIDE, SIDE), dtype=np.uint8), *map(_crossed_edges, padded)])
        corners = np.flatnonzero(edges != 0)
        bits = edges.reshape(-1)[corners]
        sets, counts = _BITS[bits], _COUNTS[bits]
        numbers = np.zeros(edges.size, dtype=np.int32)
        numbers[corners] = (np.cumsum(counts, dtype=np.int32) - counts) * 8 + bits
        low = np.repeat(corners, counts)
        axis = (np.flatnonzero(sets) % 3).astype(np.uint8)
        high = _next_corners(grid, low, axis)
        values = grid.values.reshape(-1)
        faces, case = _faces(grid, padded, numbers)
        return cls(
            start=grid.points(low),
            axis=axis,
            width=2.0 / grid.cells,
            ends=np.stack([values[low], values[high]], axis=1).astype(np.float64),
            bends=np.maximum(grid.bends(low), grid.bends(high)),
            faces=faces,
            cases=case,
        )

    def patches(self) -> Int[np.ndarray, "faces"]:
        """Of each face the number of its patch, from 0: the faces within one loop of the surface around a cell."""
        table = cube_cases()
        loops = [[len(loop) - 2 for loop in case] for case in table.loops]
        sizes = np.array([size for case in loops for size in case])
        first = np.concatenate([[0], np.cumsum([len(case) for case in loops])])
        counts = np.diff(first)[self.cases]
        nth = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(np.arange(counts.sum()), sizes[np.repeat(first[self.cases], counts) + nth])

    def vertices(self, ask: Ask | None, *, steps: int = 1) -> Float[np.ndarray, "vertices 3"]:
        """Where the field is zero along each edge, by linear interpolation; with `ask`, improved by steps of false position
        where the field bends so much that this may be more than 2 % of an edge off."""
        first, last = self.ends.T
        along = first / (first - last)
        # Half the width has a quarter of the bend.
        moved = np.flatnonzero(self.bends > 4 * STRAIGHT * self.width)
        if ask is not None and len(moved):
            low, high, at = np.zeros(len(moved)), np.ones(len(moved)), along[moved]
            first, last = first[moved], last[moved]
            for _ in range(steps):
                between = ask(self._points(moved, at))
                same = np.sign(between) == np.sign(first)
                # The zero lies beyond this point, or before it.
                low, first = np.where(same, at, low), np.where(same, between, first)
                high, last = np.where(same, high, at), np.where(same, last, between)
                at = low + (high - low) * (first / (first - last))
            along[moved] = at
        return self._points(np.arange(len(along)), np.clip(along, EDGE_MARGIN, 1.0 - EDGE_MARGIN))

    def _points(
        self, rows: Int[np.ndarray, "chosen"], along: Float[np.ndarray, "chosen"]
    ) -> Float[np.ndarray, "chosen 3"]:
        points = self.start[rows]
        points[np.arange(len(rows)), self.axis[rows]] += along * self.width
        return points


def _crossed_edges(padded: UInt8[np.ndarray, "bricks 9 9 9"]) -> UInt8[np.ndarray, "bricks 8 8 8"]:
    """Of each corner, along which axes the edge from it is crossed, as bits."""
    bits = np.zeros(padded.shape, dtype=np.uint8)
    for axis in range(3):
        # An unknown corner has no sign.
        crossed = ((along_edges(np.bitwise_or, padded, axis) & CROSSED) == CROSSED) & HAS_EDGE[axis]
        bits |= crossed.view(np.uint8) << np.uint8(axis)
    return bits[:, :SIDE, :SIDE, :SIDE]


def _next_corners(
    grid: BrickGrid, flat: Int[np.ndarray, "corners"], axis: UInt8[np.ndarray, "corners"]
) -> Int[np.ndarray, "corners"]:
    """The corners one step along an axis each, by their place in `BrickGrid.values`; there must be one."""
    step = np.array([SIDE * SIDE, SIDE, 1])[axis]
    out = flat + step
    leaves = np.flatnonzero(flat // step % SIDE == SIDE - 1)
    places = grid.places[flat[leaves] // SIDE**3]
    places[np.arange(len(leaves)), axis[leaves]] += 1
    out[leaves] = grid.slots(places).astype(np.int64) * SIDE**3 + flat[leaves] % SIDE**3 - step[leaves] * (SIDE - 1)
    return out


def _faces(
    grid: BrickGrid, padded: list[UInt8[np.ndarray, "_ 9 9 9"]], numbers: Int[np.ndarray, "corners"]
) -> tuple[Int[np.ndarray, "faces 3"], UInt8[np.ndarray, "cells"]]:
    """Triangles of all cells, from the states of all bricks' corners, some bricks at a time, and of each corner the number of the
    first vertex on an edge from it, times 8, plus the set of these edges; and the cells' cases."""
    table = cube_cases()
    first, edges = table.first.astype(np.int32), table.triangles.astype(np.int32)
    # Each brick and those beside it, in the order of the bits of their offsets.
    all_bricks = np.arange(len(grid.places))
    beside = np.stack([grid.neighbours(all_bricks, tuple(offset)) for offset in CORNER_OFFSETS.tolist()], axis=1)
    beside = beside.reshape(-1) * SIDE**3
    faces, all_cases, brick_before = [np.zeros((0, 3), dtype=np.int64)], [np.zeros(0, dtype=np.uint8)], 0
    for state in padded:
        cells = np.flatnonzero(crossed_cells(state)).astype(np.int32)
        case = cases(state).reshape(-1)[cells]
        all_cases.append(case)
        counts = np.diff(first)[case]
        # One row a triangle.
        ends = np.cumsum(counts, dtype=np.int32)
        row = np.repeat(first[case] - ends + counts, counts)
        row += np.arange(len(row), dtype=np.int32)
        edge = edges.take(row, axis=0)
        brick = cells // _OWN.size
        low = _EDGE.take(np.repeat(_OWN[cells - brick * _OWN.size] * 12, counts)[:, None] + edge)
        brick += brick_before
        corner = beside.take(np.repeat(brick * 8, counts)[:, None] + low // SIDE**3) + low % SIDE**3
        number = numbers.take(corner)
        faces.append((number // 8 + _RANK.take(number % 8 * 3 + edge // 4)).astype(np.int64))
        brick_before += len(state)
    return np.concatenate(faces), np.concatenate(all_cases)
