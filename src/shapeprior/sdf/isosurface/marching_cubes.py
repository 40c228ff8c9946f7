"""Marching cubes on a grid of bricks: a vertex on each edge that the surface crosses, and the faces between them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from shapeprior.sdf.isosurface.adaptive_grid import Evaluate
from shapeprior.sdf.isosurface.brick_grid import (
    CORNER_BRICK,
    CORNER_LOCAL,
    CROSSED,
    HAS_EDGE,
    SIDE,
    UNKNOWN,
    BrickGrid,
    cases,
    crossed_cells,
    reduce_edges,
)
from shapeprior.sdf.isosurface.case_table import CORNER_OFFSETS, EDGE_CORNERS, cube_cases

EDGE_MARGIN = 1e-3
"""Smallest distance of a vertex from the ends of its edge, as a share of the edge: no triangle can shrink to
nothing."""
MAX_VERTEX_ERROR = 0.02
"""Largest error of a vertex that is not projected, as a share of its edge."""
CLOSING_MARGIN = 0.1
"""Smallest distance of a vertex that closes a pin-hole from the ends of its edge, as a share of the edge: it keeps the
two sides apart."""
NUM_EVENING_STEPS = 10
"""Steps by which vertices that close pin-holes are evened out."""

_EDGE_SETS = np.array([[case >> axis & 1 for axis in range(3)] for case in range(8)], dtype=np.bool_)
"""For each set of edges from one corner, given as bits: the axes along which they go."""
_EDGE_COUNTS = _EDGE_SETS.sum(axis=1, dtype=np.int32)
_EDGE_RANK: Int[np.ndarray, "24"] = (_EDGE_SETS.cumsum(axis=1) - _EDGE_SETS).astype(np.int32).reshape(-1)
"""For each such set and axis: how many edges of the set come before that axis."""
_EDGE_CORNER_PLACE: Int[np.ndarray, "6144"] = (
    (CORNER_BRICK * SIDE**3 + CORNER_LOCAL)[:, EDGE_CORNERS[:, 0]].astype(np.int32).reshape(-1)
)
"""For each cell of a brick and each of its edges: the place of the edge's lower corner, by `CORNER_BRICK` and
`CORNER_LOCAL`."""
_OWN_CORNER = np.zeros((SIDE + 1) ** 3, dtype=np.int32)
_OWN_CORNER.reshape((SIDE + 1,) * 3)[:SIDE, :SIDE, :SIDE] = np.arange(SIDE**3, dtype=np.int32).reshape((SIDE,) * 3)
"""For each padded corner that is the brick's own: its place in the brick."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EdgeCrossings:
    """The crossings of the surface with the edges of a grid, and the triangles between them."""

    start: Float[np.ndarray, "vertices 3"]
    """Lower end of each crossed edge, in the unit frame."""
    axis: UInt8[np.ndarray, "vertices"]
    """Axis along which each edge goes."""
    width: float
    """Length of an edge, in the unit frame."""
    ends: Float[np.ndarray, "vertices 2"]
    """Values of the field at the ends of each edge, which have different signs."""
    interpolation_errors: Float[np.ndarray, "vertices"]
    """Largest difference of the values at the ends of each edge from those interpolated on the coarser grid
    (`BrickGrid.interpolation_errors`)."""
    mended: Bool[np.ndarray, "vertices"]
    """Edges from a corner that was lowered to mend a thin wall (`BrickGrid.lowered`); the field need not be zero
    there."""
    closing: Bool[np.ndarray, "vertices"]
    """Those of them that close pin-holes (`BrickGrid.membranes`)."""
    faces: Int[np.ndarray, "faces 3"]
    """Triangles, oriented outward."""
    cases: UInt8[np.ndarray, "cells"]
    """Case of each crossed cell (`case_table`), in the order of the faces."""

    @classmethod
    def of(cls, grid: BrickGrid) -> "EdgeCrossings":
        """Find all crossings of a grid whose crossed cells are known at all corners
        (`adaptive_grid.follow_surface`)."""
        state = grid.state()
        padded = grid.map_parts(lambda bricks: grid.padded(state, bricks, fill=UNKNOWN))
        edges = np.concatenate([np.zeros((0, SIDE, SIDE, SIDE), dtype=np.uint8), *map(_crossed_edges, padded)])
        corners = np.flatnonzero(edges != 0)
        bits = edges.reshape(-1)[corners]
        sets, counts = _EDGE_SETS[bits], _EDGE_COUNTS[bits]
        numbers = np.zeros(edges.size, dtype=np.int32)
        numbers[corners] = (np.cumsum(counts, dtype=np.int32) - counts) * 8 + bits
        low = np.repeat(corners, counts)
        axis = (np.flatnonzero(sets) % 3).astype(np.uint8)
        high = _next_corners(grid, low, axis)
        values = grid.values.reshape(-1)
        is_lowered, is_membrane = np.zeros((2, len(values)), dtype=np.bool_)
        is_lowered[grid.lowered], is_membrane[grid.membranes] = True, True
        faces, case = _faces(grid, padded, numbers)
        return cls(
            start=grid.points(low),
            axis=axis,
            width=2.0 / grid.cells,
            ends=np.stack([values[low], values[high]], axis=1).astype(np.float64),
            interpolation_errors=np.maximum(grid.interpolation_errors(low), grid.interpolation_errors(high)),
            mended=is_lowered[low] | is_lowered[high],
            closing=is_membrane[low] | is_membrane[high],
            faces=faces,
            cases=case,
        )

    def patches(self) -> Int[np.ndarray, "faces"]:
        """Return the patch of each face, from 0: a patch is the faces within one loop of the surface around a cell."""
        table = cube_cases()
        loops = [[len(loop) - 2 for loop in case] for case in table.loops]
        sizes = np.array([size for case in loops for size in case])
        first = np.concatenate([[0], np.cumsum([len(case) for case in loops])])
        counts = np.diff(first)[self.cases]
        nth = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(np.arange(counts.sum()), sizes[np.repeat(first[self.cases], counts) + nth])

    def vertices(self, evaluate: Evaluate | None, *, steps: int = 1) -> Float[np.ndarray, "vertices 3"]:
        """Return the points where the field is zero along each edge, by linear interpolation.

        With `evaluate`, points that may be more than 2 % of an edge off are improved by steps of false position. Points
        of mended walls stay, and those that close pin-holes are evened out.
        """
        first, last = self.ends.T
        along = first / (first - last)
        # On half the width, the error of interpolation is a quarter.
        moved = np.flatnonzero((self.interpolation_errors > 4 * MAX_VERTEX_ERROR * self.width) & ~self.mended)
        if evaluate is not None and len(moved):
            low, high, at = np.zeros(len(moved)), np.ones(len(moved)), along[moved]
            first, last = first[moved], last[moved]
            for _ in range(steps):
                between = evaluate(self._points(moved, at))
                same = np.sign(between) == np.sign(first)
                # The bracket shrinks to the side of this point on which the zero lies.
                low, first = np.where(same, at, low), np.where(same, between, first)
                high, last = np.where(same, high, at), np.where(same, last, between)
                at = low + (high - low) * (first / (first - last))
            along[moved] = at
        along = np.clip(along, EDGE_MARGIN, 1.0 - EDGE_MARGIN)
        return self._points(np.arange(len(along)), self._evened(along) if self.closing.any() else along)

    def _evened(self, along: Float[np.ndarray, "vertices"]) -> Float[np.ndarray, "vertices"]:
        """Move the vertices that close pin-holes along their edges towards the means of their neighbours, step by
        step."""
        rows = np.flatnonzero(self.closing)
        # Each side of a face leads from a vertex to another of its neighbours.
        faces = self.faces[self.closing[self.faces].any(axis=1)]
        sides = faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
        sides = sides[self.closing[sides[:, 0]]]
        first = np.searchsorted(rows, sides[:, 0])
        counts = np.bincount(first, minlength=len(rows))
        axis, along = self.axis[sides[:, 0]], along.copy()
        for _ in range(NUM_EVENING_STEPS):
            heights = self._points(sides[:, 1], along[sides[:, 1]])[np.arange(len(sides)), axis]
            means = np.bincount(first, weights=heights, minlength=len(rows)) / counts
            target = (means - self.start[rows, self.axis[rows]]) / self.width
            along[rows] = np.clip(0.5 * (along[rows] + target), CLOSING_MARGIN, 1.0 - CLOSING_MARGIN)
        return along

    def _points(
        self, rows: Int[np.ndarray, "chosen"], along: Float[np.ndarray, "chosen"]
    ) -> Float[np.ndarray, "chosen 3"]:
        points = self.start[rows]
        points[np.arange(len(rows)), self.axis[rows]] += along * self.width
        return points


def _crossed_edges(padded: UInt8[np.ndarray, "bricks 9 9 9"]) -> UInt8[np.ndarray, "bricks 8 8 8"]:
    """Return, as bits, the axes along which the edge from each corner is crossed."""
    bits = np.zeros(padded.shape, dtype=np.uint8)
    for axis in range(3):
        # An unknown corner has neither sign, so that no edge at it counts as crossed.
        crossed = ((reduce_edges(np.bitwise_or, padded, axis) & CROSSED) == CROSSED) & HAS_EDGE[axis]
        bits |= crossed.view(np.uint8) << np.uint8(axis)
    return bits[:, :SIDE, :SIDE, :SIDE]


def _next_corners(
    grid: BrickGrid, flat: Int[np.ndarray, "corners"], axis: UInt8[np.ndarray, "corners"]
) -> Int[np.ndarray, "corners"]:
    """Return the next corner along an axis from each corner, by its index in the flattened `values`; there must be
    one."""
    step = np.array([SIDE * SIDE, SIDE, 1])[axis]
    out = flat + step
    leaves = np.flatnonzero(flat // step % SIDE == SIDE - 1)
    places = grid.places[flat[leaves] // SIDE**3]
    places[np.arange(len(leaves)), axis[leaves]] += 1
    out[leaves] = grid.rows_of(places).astype(np.int64) * SIDE**3 + flat[leaves] % SIDE**3 - step[leaves] * (SIDE - 1)
    return out


def _faces(
    grid: BrickGrid, padded: list[UInt8[np.ndarray, "_ 9 9 9"]], numbers: Int[np.ndarray, "corners"]
) -> tuple[Int[np.ndarray, "faces 3"], UInt8[np.ndarray, "cells"]]:
    """Return the triangles of all cells, and the cells' cases.

    Args:
        grid: The grid. padded: States of all bricks' padded corners, in parts. numbers: For each corner, the number of
        the first vertex on an edge from it, times 8, plus the set of these edges.
    """
    table = cube_cases()
    first, edges = table.first.astype(np.int32), table.triangles.astype(np.int32)
    # Each brick and the seven beside it, in the order of the bits of their offsets.
    all_bricks = np.arange(len(grid.places))
    beside = np.stack([grid.neighbours(all_bricks, tuple(offset)) for offset in CORNER_OFFSETS.tolist()], axis=1)
    beside = beside.reshape(-1) * SIDE**3
    faces, all_cases, brick_before = [np.zeros((0, 3), dtype=np.int64)], [np.zeros(0, dtype=np.uint8)], 0
    for state in padded:
        cells = np.flatnonzero(crossed_cells(state)).astype(np.int32)
        case = cases(state).reshape(-1)[cells]
        all_cases.append(case)
        counts = np.diff(first)[case]
        # One row for each triangle.
        ends = np.cumsum(counts, dtype=np.int32)
        row = np.repeat(first[case] - ends + counts, counts)
        row += np.arange(len(row), dtype=np.int32)
        edge = edges.take(row, axis=0)
        brick = cells // _OWN_CORNER.size
        low = _EDGE_CORNER_PLACE.take(
            np.repeat(_OWN_CORNER[cells - brick * _OWN_CORNER.size] * 12, counts)[:, None] + edge
        )
        brick += brick_before
        corner = beside.take(np.repeat(brick * 8, counts)[:, None] + low // SIDE**3) + low % SIDE**3
        number = numbers.take(corner)
        faces.append((number // 8 + _EDGE_RANK.take(number % 8 * 3 + edge // 4)).astype(np.int64))
        brick_before += len(state)
    return np.concatenate(faces), np.concatenate(all_cases)
