"""Vertices and faces of marching cubes on a grid of bricks."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from shapeprior.brick_grid import SIDE, BrickGrid, corners
from shapeprior.cube_cases import CORNER_OFFSETS, EDGE_CORNERS, cube_cases
from shapeprior.surface_grid import Ask, parts

EDGE_MARGIN = 1e-3
"""Vertices keep this share of an edge's length from its ends, so that no triangle can shrink to a point or a line."""
STRAIGHT = 0.02
"""In edges: how far a vertex may be off that is not asked for once more."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Crossings:
    """Where the surface crosses the edges of a grid, and the triangles between."""

    start: Float[np.ndarray, "vertices 3"]
    """Lower end of each crossed edge, in the unit frame."""
    axis: Int[np.ndarray, "vertices"]
    """Along which each edge goes on."""
    width: float
    """Length of an edge."""
    ends: Float[np.ndarray, "vertices 2"]
    """Values at its ends, of different signs."""
    bends: Float[np.ndarray, "vertices"]
    """How far the value at an end of each edge is from that between its neighbours on twice the width (`BrickGrid.bends`)."""
    faces: Int[np.ndarray, "faces 3"]
    """Triangles, oriented outward."""

    @classmethod
    def of(cls, grid: BrickGrid) -> "Crossings":
        """All crossings of a grid whose crossed cells are known at all corners (`shapeprior.surface_grid`)."""
        numbers = [np.full(grid.values.shape, -1, dtype=np.int32) for _ in range(3)]
        starts, axes, ends, bends = [], [], [], []
        count = 0
        for bricks in parts(grid):
            at = corners(grid.padded(grid.values, bricks, fill=np.nan))
            bend = corners(grid.padded(grid.bends, bricks, fill=np.inf))
            for axis in range(3):
                low, high = at[0], at[4 >> axis]
                # A comparison with an unknown corner is false, and its product with anything NaN.
                crossed = np.flatnonzero((low * np.sign(high) < 0).reshape(-1))
                flat = bricks[crossed // SIDE**3] * SIDE**3 + crossed % SIDE**3
                numbers[axis].reshape(-1)[flat] = np.arange(count, count + len(flat))
                count += len(flat)
                starts.append(grid.points(flat))
                axes.append(np.full(len(flat), axis))
                bends.append(np.maximum(bend[0].reshape(-1)[crossed], bend[4 >> axis].reshape(-1)[crossed]))
                ends.append(np.stack([low.reshape(-1)[crossed], high.reshape(-1)[crossed]], axis=1))
        return cls(
            start=np.concatenate(starts),
            axis=np.concatenate(axes),
            width=2.0 / grid.cells,
            ends=np.concatenate(ends).astype(np.float64),
            bends=np.concatenate(bends),
            faces=_faces(grid, numbers),
        )

    def vertices(self, ask: Ask | None) -> Float[np.ndarray, "vertices 3"]:
        """Where the field is zero along each edge, by linear interpolation; with `ask`, improved by one step of false position
        where the field bends so much that this may be more than 2 % of an edge off."""
        first, last = self.ends.T
        along = first / (first - last)
        # Half the width has a quarter of the bend.
        moved = np.flatnonzero(self.bends > 4 * STRAIGHT * self.width)
        if ask is not None and len(moved):
            first, last, at = first[moved], last[moved], along[moved]
            between = ask(self._points(moved, at))
            same = np.sign(between) == np.sign(first)
            # The zero lies beyond this point, or before it.
            nearer = np.where(same, last, first)
            share = between / (between - nearer)
            along[moved] = np.where(same, at + (1.0 - at) * share, at * (1.0 - share))
        return self._points(np.arange(len(along)), np.clip(along, EDGE_MARGIN, 1.0 - EDGE_MARGIN))

    def _points(
        self, rows: Int[np.ndarray, "chosen"], along: Float[np.ndarray, "chosen"]
    ) -> Float[np.ndarray, "chosen 3"]:
        points = self.start[rows]
        points[np.arange(len(rows)), self.axis[rows]] += along * self.width
        return points


def _faces(grid: BrickGrid, numbers: list[Int[np.ndarray, "bricks 8 8 8"]]) -> Int[np.ndarray, "faces 3"]:
    """Triangles of all cells, from the number of the vertex on each edge by the edge's axis and lower corner."""
    cases = cube_cases()
    side = SIDE + 1
    edge_start = CORNER_OFFSETS[EDGE_CORNERS[:, 0]] @ np.array([side * side, side, 1])
    faces = [np.zeros((0, 3), dtype=np.int64)]
    for bricks in parts(grid):
        padded = grid.padded(grid.values, bricks, fill=np.nan)
        case = np.zeros((len(bricks), SIDE, SIDE, SIDE), dtype=np.uint8)
        for corner, negative in enumerate(corners(padded < 0)):
            case |= negative.astype(np.uint8) << np.uint8(corner)
        for unknown in corners(np.isnan(padded)):
            case[unknown] = 0
        crossed = np.flatnonzero((case.reshape(-1) != 0) & (case.reshape(-1) != 255))
        case_of = case.reshape(-1)[crossed]
        triangles = np.diff(cases.first)[case_of]
        ids = np.stack([grid.padded(number, bricks, fill=-1) for number in numbers]).reshape(-1)
        inner = crossed % SIDE**3
        base = (crossed // SIDE**3) * side**3 + inner // 64 * side**2 + inner // 8 % 8 * side + inner % 8
        edge_at = edge_start + np.arange(12) // 4 * (len(bricks) * side**3)
        nth = np.arange(triangles.sum()) - np.repeat(np.cumsum(triangles) - triangles, triangles)
        table = edge_at[cases.triangles]
        faces.append(ids[np.repeat(base, triangles)[:, None] + table[np.repeat(cases.first[case_of], triangles) + nth]])
    return np.concatenate(faces).astype(np.int64)
