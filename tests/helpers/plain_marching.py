"""A second, plain way to the crossings of a grid: the field at every corner, in float32 as the package keeps it."""

from collections.abc import Callable

import igl
import numpy as np

from shapeprior.geometry.mesh import TriangleMesh

Field = Callable[[np.ndarray], np.ndarray]


def dense_values(field: Field, cells: int) -> np.ndarray:
    """Return the values at all corners of the cube [-1, 1]^3, x slowest; its sides are outside, and no value is
    zero."""
    axis = np.arange(cells + 1) * (2.0 / cells) - 1.0
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    values = field(grid.reshape(-1, 3)).astype(np.float32).reshape(grid.shape[:3])
    tiny = np.float32(1e-9 / cells)
    values[values == 0] = tiny
    for side in (np.s_[[0, -1]], np.s_[:, [0, -1]], np.s_[:, :, [0, -1]]):
        values[side] = np.where(values[side] < 0, tiny, values[side])
    return values


def dense_crossings(values: np.ndarray) -> np.ndarray:
    """Return the points where corner values, interpolated along an edge, are zero; in the unit frame, sorted."""
    cells = len(values) - 1
    found = []
    for axis in range(3):
        low = np.take(values, range(cells), axis=axis).astype(np.float64)
        high = np.take(values, range(1, cells + 1), axis=axis).astype(np.float64)
        where = np.argwhere((low < 0) != (high < 0))
        share = low[tuple(where.T)] / (low[tuple(where.T)] - high[tuple(where.T)])
        points = where.astype(np.float64)
        points[:, axis] += np.clip(share, 1e-3, 1.0 - 1e-3)
        found.append(points * (2.0 / cells) - 1.0)
    points = np.concatenate(found)
    return points[np.lexsort(np.round(points, 7).T)]


def in_order(points: np.ndarray) -> np.ndarray:
    return points[np.lexsort(np.round(points, 7).T)]


def assert_all_crossings(mesh: TriangleMesh, field: Field, cells: int) -> None:
    """Assert that a mesh has exactly the vertices of the full grid, and is closed and manifold."""
    np.testing.assert_allclose(in_order(mesh.vertices), dense_crossings(dense_values(field, cells)), atol=1e-7)
    assert len(np.unique(mesh.faces)) == len(mesh.vertices)
    assert mesh.is_watertight
    assert np.all(igl.is_vertex_manifold(mesh.faces))
    assert mesh.face_areas.min() > 0
