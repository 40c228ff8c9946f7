"""Bricks against a plain dense array."""

from itertools import product

import numpy as np
import pytest

from shapeprior.brick_grid import SIDE, BrickGrid, corners, spread


def known_grid(cells: int, *, share: float, seed: int) -> tuple[BrickGrid, np.ndarray]:
    """A grid with a random part of its bricks, and the same values in an array, NaN elsewhere."""
    rng = np.random.default_rng(seed)
    grid = BrickGrid(cells)
    side = cells // SIDE + 1
    places = np.array(list(product(range(side), repeat=3)), dtype=np.int32)
    grid.add(places[rng.random(len(places)) < share])
    dense = np.full((side * SIDE + 1,) * 3, np.nan, dtype=np.float32)
    grid.values[:] = rng.normal(size=grid.values.shape)
    for place, values in zip(grid.places, grid.values, strict=True):
        dense[tuple(slice(SIDE * p, SIDE * p + SIDE) for p in place)] = values
    return grid, dense


@pytest.mark.parametrize("cells", [8, 20, 40])
def test_padding_takes_the_layers_of_the_bricks_beside(cells: int) -> None:
    grid, dense = known_grid(cells, share=0.7, seed=cells)
    bricks = np.arange(len(grid.places))[::-1]
    padded = grid.padded(grid.values, bricks, fill=np.nan)
    for brick, block in zip(bricks, padded, strict=True):
        place = grid.places[brick]
        np.testing.assert_array_equal(block, dense[tuple(slice(SIDE * p, SIDE * p + SIDE + 1) for p in place)])


def test_marks_reach_the_bricks_beside_and_make_room() -> None:
    grid, _ = known_grid(40, share=0.3, seed=1)
    bricks = np.flatnonzero(np.all(grid.places < 4, axis=1))  # Cells of the last bricks stick out of the grid.
    mask = np.random.default_rng(2).random((len(bricks), SIDE + 1, SIDE + 1, SIDE + 1)) < 0.05
    dense = np.zeros((49, 49, 49), dtype=bool)
    for brick, block in zip(bricks, mask, strict=True):
        dense[tuple(slice(SIDE * p, SIDE * p + SIDE + 1) for p in grid.places[brick])] |= block
    rows, marks = grid.mark(mask, bricks)
    found = np.zeros_like(dense)
    for row, block in zip(rows, marks, strict=True):
        found[tuple(slice(SIDE * p, SIDE * p + SIDE) for p in grid.places[row])] = block
    np.testing.assert_array_equal(found, dense)


def test_asking_fills_unknown_corners_only_and_closes_the_sides() -> None:
    grid = BrickGrid(16)
    grid.add(np.zeros((1, 3), dtype=np.int32))
    grid.values[0, 3, 3, 3] = 5.0
    asked: list[np.ndarray] = []

    def field(points: np.ndarray) -> np.ndarray:
        asked.append(points)
        return points[:, 0] * 0.0 - 1.0

    marks = np.zeros((1, SIDE, SIDE, SIDE), dtype=bool)
    marks[0, 3, 3, 3] = marks[0, 1, 2, 3] = marks[0, 0, 4, 4] = True
    np.testing.assert_array_equal(grid.ask(np.array([0]), marks, field), [0])
    assert len(asked[0]) == 2
    np.testing.assert_allclose(sorted(asked[0].tolist()), [[-1.0, -0.5, -0.5], [-0.875, -0.75, -0.625]])
    assert grid.values[0, 3, 3, 3] == 5.0
    assert grid.values[0, 1, 2, 3] == -1.0
    assert 0 < grid.values[0, 0, 4, 4] < 1e-8
    assert np.isnan(grid.values).sum() == SIDE**3 - 3


def test_corners_and_spread_are_each_others_reverse() -> None:
    cells = np.random.default_rng(0).random((3, SIDE, SIDE, SIDE)) < 0.02
    marked = spread(cells)
    assert np.all(np.stack(corners(marked))[:, cells])
    # Every marked corner belongs to one of the cells.
    count = np.zeros(marked.shape, dtype=int)
    for offset in product((0, 1), repeat=3):
        count[:, *(slice(o, o + SIDE) for o in offset)] += cells
    np.testing.assert_array_equal(marked, count > 0)


def test_bricks_are_added_once_and_not_beyond_the_grid() -> None:
    grid = BrickGrid(16)
    added = grid.add(np.array([[1, 1, 1], [1, 1, 1], [-1, 0, 0], [0, 3, 0]], dtype=np.int32))
    np.testing.assert_array_equal(added, [0])
    np.testing.assert_array_equal(grid.places, [[1, 1, 1]])
    assert len(grid.add(np.array([[1, 1, 1]], dtype=np.int32))) == 0
