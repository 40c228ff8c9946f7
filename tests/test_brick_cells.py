"""Operations along flattened bricks against the same, written cell by cell."""

from itertools import product

import numpy as np

from shapeprior.sdf.isosurface.brick_grid import (
    CELL,
    CORNER_BRICK,
    CORNER_LOCAL,
    CROSSED,
    HAS_EDGE,
    NEGATIVE,
    POSITIVE,
    SIDE,
    UNKNOWN,
    along_edges,
    cases,
    crossed_cells,
    ends,
    over_corners,
    spread,
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
    np.testing.assert_array_equal(over_corners(np.minimum, padded)[INNER], corners.min(axis=0))
    np.testing.assert_array_equal(over_corners(np.maximum, padded)[INNER], corners.max(axis=0))


def test_spread_marks_the_corners_of_cells_and_no_others() -> None:
    cells = (np.random.default_rng(1).random((4, 9, 9, 9)) < 0.02) & CELL
    expected = np.zeros_like(cells)
    for brick, x, y, z in np.argwhere(cells):
        expected[brick, x : x + 2, y : y + 2, z : z + 2] = True
    np.testing.assert_array_equal(spread(cells), expected)


def test_edges_and_their_ends() -> None:
    state = random_states(2)
    for axis in range(3):
        low, high = np.delete(state, SIDE, axis=axis + 1), np.delete(state, 0, axis=axis + 1)
        differ = ((low == NEGATIVE) & (high == POSITIVE)) | ((low == POSITIVE) & (high == NEGATIVE))
        edges = ((along_edges(np.bitwise_or, state, axis) & CROSSED) == CROSSED) & HAS_EDGE[axis]
        np.testing.assert_array_equal(np.delete(edges, SIDE, axis=axis + 1), differ)
        assert not np.take(edges, SIDE, axis=axis + 1).any()
        expected = np.zeros_like(edges)
        for place in np.argwhere(edges):
            expected[tuple(place)] = True
            place[axis + 1] += 1
            expected[tuple(place)] = True
        np.testing.assert_array_equal(ends(edges, axis), expected)


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
