"""The sparse grid of bricks: operations on padded bricks cell by cell, and storage against a dense array."""

from itertools import product

import numpy as np
import pytest

from shapeprior.sdf.isosurface.brick_grid import (
    CELL,
    CORNER_BRICK,
    CORNER_LOCAL,
    CROSSED,
    HAS_EDGE,
    NEGATIVE,
    POSITIVE,
    PRESUMED,
    SIDE,
    UNKNOWN,
    BrickGrid,
    cases,
    cell_corners,
    crossed_cells,
    edge_ends,
    reduce_cells,
    reduce_edges,
)
from shapeprior.sdf.isosurface.case_table import CORNER_OFFSETS

INNER = np.s_[:, :SIDE, :SIDE, :SIDE]


def shifted(padded: np.ndarray, offset: tuple[int, ...]) -> np.ndarray:
    return padded[:, *(slice(o, o + SIDE) for o in offset)]


def random_states(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).choice(
        np.array([NEGATIVE, POSITIVE, UNKNOWN]), size=(5, 9, 9, 9), p=[0.5, 0.45, 0.05]
    )


def test_over_corners_is_what_the_eight_corners_give() -> None:
    padded = np.random.default_rng(0).normal(size=(4, 9, 9, 9)).astype(np.float32)
    corners = np.stack([shifted(padded, offset) for offset in product((0, 1), repeat=3)])
    np.testing.assert_array_equal(reduce_cells(np.minimum, padded)[INNER], corners.min(axis=0))
    np.testing.assert_array_equal(reduce_cells(np.maximum, padded)[INNER], corners.max(axis=0))


def test_spread_marks_the_corners_of_cells_and_no_others() -> None:
    cells = (np.random.default_rng(1).random((4, 9, 9, 9)) < 0.02) & CELL
    expected = np.zeros_like(cells)
    for brick, x, y, z in np.argwhere(cells):
        expected[brick, x : x + 2, y : y + 2, z : z + 2] = True
    np.testing.assert_array_equal(cell_corners(cells), expected)


def test_edges_and_their_ends() -> None:
    state = random_states(2)
    for axis in range(3):
        low, high = np.delete(state, SIDE, axis=axis + 1), np.delete(state, 0, axis=axis + 1)
        differ = ((low == NEGATIVE) & (high == POSITIVE)) | ((low == POSITIVE) & (high == NEGATIVE))
        edges = ((reduce_edges(np.bitwise_or, state, axis) & CROSSED) == CROSSED) & HAS_EDGE[axis]
        np.testing.assert_array_equal(np.delete(edges, SIDE, axis=axis + 1), differ)
        assert not np.take(edges, SIDE, axis=axis + 1).any()
        expected = np.zeros_like(edges)
        for place in np.argwhere(edges):
            expected[tuple(place)] = True
            place[axis + 1] += 1
            expected[tuple(place)] = True
        np.testing.assert_array_equal(edge_ends(edges, axis), expected)


def test_crossed_cells_are_known_and_have_both_signs_and_their_cases_are_the_corners_bits() -> None:
    state = random_states(3)
    corners = np.stack([shifted(state, tuple(offset)) for offset in CORNER_OFFSETS.tolist()])
    known = (corners != UNKNOWN).all(axis=0)
    both = (corners == NEGATIVE).any(axis=0) & (corners == POSITIVE).any(axis=0)
    found = crossed_cells(state)
    np.testing.assert_array_equal(found[INNER], known & both)
    assert not (found & ~CELL).any()
    numbers = ((corners == NEGATIVE) << np.arange(8)[:, None, None, None, None]).sum(axis=0)
    np.testing.assert_array_equal(cases(state)[INNER], numbers)


def test_corners_of_cells_are_found_in_the_brick_or_the_one_beside() -> None:
    for local, place in enumerate(product(range(SIDE), repeat=3)):
        for corner, offset in enumerate(CORNER_OFFSETS):
            at = np.array(place) + offset
            assert np.ravel_multi_index(tuple(at % SIDE), (SIDE,) * 3) == CORNER_LOCAL[local, corner]
            np.testing.assert_array_equal(at // SIDE, CORNER_OFFSETS[CORNER_BRICK[local, corner]])


def known_grid(cells: int, *, share: float, seed: int) -> tuple[BrickGrid, np.ndarray]:
    """Return a grid with a random part of its bricks, and a dense array of the same values, NaN elsewhere."""
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


def test_bricks_that_came_later_are_missing_in_what_was_made_before() -> None:
    grid = BrickGrid(16)
    grid.add(np.zeros((1, 3), dtype=np.int32))
    grid.values[:] = 1.0
    state = grid.state()
    grid.add(np.array([[1, 0, 0]], dtype=np.int32))
    padded = grid.padded(state, np.array([0]), fill=UNKNOWN)
    assert np.all(padded[0, SIDE] == UNKNOWN)
    assert np.all(padded[0, :SIDE, :SIDE, :SIDE] == POSITIVE)


def test_marks_reach_the_bricks_beside_and_make_room() -> None:
    grid, _ = known_grid(40, share=0.3, seed=1)
    bricks = np.flatnonzero(
        np.all(grid.places < 4, axis=1)
    )  # Without the last bricks, whose cells stick out of the grid.
    rng = np.random.default_rng(2)
    shape = (len(bricks), SIDE + 1, SIDE + 1, SIDE + 1)
    bits = np.where(rng.random(shape) < 0.05, rng.integers(1, 4, shape), 0).astype(np.uint8)
    dense = np.zeros((49, 49, 49), dtype=np.uint8)
    for brick, block in zip(bricks, bits, strict=True):
        dense[tuple(slice(SIDE * p, SIDE * p + SIDE + 1) for p in grid.places[brick])] |= block
    flat, marks = grid.mark(bits, bricks)
    found = np.zeros_like(dense)
    index = np.round((grid.points(flat) + 1.0) * 20.0).astype(int)
    found[tuple(index.T)] = marks
    np.testing.assert_array_equal(found, dense)
    assert np.all(marks > 0)


def test_asking_gives_values_and_closes_the_sides() -> None:
    grid = BrickGrid(16)
    grid.add(np.zeros((1, 3), dtype=np.int32))
    asked: list[np.ndarray] = []

    def field(points: np.ndarray) -> np.ndarray:
        asked.append(points)
        return points[:, 0] * 0.0 - 1.0

    inner, side = (int(np.ravel_multi_index(index, (SIDE,) * 3)) for index in ((1, 2, 3), (0, 4, 4)))
    grid.evaluate(np.array([inner, side]), field)
    np.testing.assert_allclose(asked[0].tolist(), [[-0.875, -0.75, -0.625], [-1.0, -0.5, -0.5]])
    assert grid.values[0, 1, 2, 3] == -1.0
    assert 0 < grid.values[0, 0, 4, 4] < 1e-8
    assert np.isnan(grid.values).sum() == SIDE**3 - 2


def test_presumed_values_are_known_but_not_asked_until_they_are() -> None:
    grid = BrickGrid(16)
    grid.add(np.zeros((1, 3), dtype=np.int32))
    corners = np.array([73, 74, 75])
    grid.evaluate(corners[:1], lambda points: np.full(len(points), 0.5))
    grid.guesses.reshape(-1)[corners[1:2]] = -0.5
    grid.presume(corners[1:2])
    np.testing.assert_array_equal(grid.is_evaluated(corners), [True, False, False])
    np.testing.assert_array_equal(grid.state().reshape(-1)[corners], [POSITIVE, NEGATIVE | PRESUMED, UNKNOWN])
    grid.evaluate(corners[1:2], lambda points: np.full(len(points), 0.25))
    np.testing.assert_array_equal(grid.is_evaluated(corners), [True, True, False])
    assert grid.values.reshape(-1)[74] == 0.25
    np.testing.assert_array_equal(grid.interpolation_errors(corners), [np.inf, 0.75, np.inf])


def test_bricks_are_added_once_and_not_beyond_the_grid() -> None:
    grid = BrickGrid(16)
    added = grid.add(np.array([[1, 1, 1], [1, 1, 1], [-1, 0, 0], [0, 3, 0]], dtype=np.int32))
    np.testing.assert_array_equal(added, [0])
    np.testing.assert_array_equal(grid.places, [[1, 1, 1]])
    assert len(grid.add(np.array([[1, 1, 1]], dtype=np.int32))) == 0


def test_bricks_keep_what_they_know_while_others_are_added() -> None:
    rng = np.random.default_rng(4)
    grid = BrickGrid(40)
    places = rng.permutation(np.array(list(product(range(6), repeat=3)), dtype=np.int32))
    for start, stop in ((0, 20), (20, 21), (15, 40), (40, 42), (42, 200)):
        known = len(grid.places)
        rows = grid.add(places[start:stop])
        np.testing.assert_array_equal(rows, np.arange(known, stop))
        np.testing.assert_array_equal(grid.rows_of(grid.places), np.arange(stop))
        assert np.isnan(grid.values[rows]).all()
        assert np.isnan(grid.guesses[rows]).all()
        assert not grid.presumed[rows].any()
        for brick in range(known):
            assert np.all(grid.values[brick] == grid.places[brick] @ [100, 10, 1])
            assert np.all(grid.guesses[brick] == -grid.values[brick])
        for brick in rows:
            grid.values[brick] = grid.places[brick] @ [100, 10, 1]
            grid.guesses[brick] = -grid.values[brick]
            grid.presumed[brick, 0, 0, 0] = True
    assert grid.presumed.sum() == 200


@pytest.mark.parametrize("cells", [16, 20])
def test_corners_on_the_sides_of_the_cube(cells: int) -> None:
    grid, _ = known_grid(cells, share=1.0, seed=5)
    flat = np.arange(grid.values.size)
    points = grid.points(flat)
    np.testing.assert_array_equal(grid.on_side(flat), np.abs(points).max(axis=1) > 1.0 - 1e-9)
    inner = BrickGrid(cells)
    inner.add(np.array([[1, 1, 1]], dtype=np.int32))
    assert not inner.on_side(np.arange(SIDE**3)).any()
