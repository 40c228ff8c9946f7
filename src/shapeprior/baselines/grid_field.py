"""Signed distance on a regular grid, read between its nodes: how the baselines hold shapes."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import map_coordinates
from scipy.sparse import csr_array

from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.sdf.isosurface.extract import ExtractConfig, extract_mesh

CELLS = 48
"""Cells along each axis of the cube [-1, 1]³; the nodes are their centres, as in `shapeprior.geometry.sampling`."""
CLAMP = 0.2
"""Distances beyond this, in unit-sphere radii, say nothing of the surface and are cut off: about five cells."""


@dataclass(frozen=True, eq=False)
class GridField:
    """A field that is linear between the nodes along each axis; outside of them it is as at the nearest node."""

    values: Float[np.ndarray, "cells cells cells"]

    def __call__(self, points_unit: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
        """The field at points of the unit frame."""
        place = (points_unit.T + 1.0) * (0.5 * len(self.values)) - 0.5
        return map_coordinates(self.values, place, order=1, mode="nearest")

    def mesh(self, resolution: int) -> TriangleMesh:
        """The zero level set, in the unit frame. Raises CompletionError if there is none."""
        # A mean of fields is less steep than a distance, so that more cells can hold the surface.
        return extract_mesh(self, ExtractConfig(resolution=resolution, margin=3.0)).mesh


def node_weights(points_unit: Float[np.ndarray, "points 3"], cells: int) -> csr_array:
    """The matrix (points, cells³) that takes the values at the nodes, x slowest, to those at the points, as `GridField` does."""
    place = np.clip((points_unit + 1.0) * (0.5 * cells) - 0.5, 0.0, cells - 1.0)
    low = np.minimum(place.astype(np.int64), cells - 2)
    share = place - low
    rows, columns, weights = [], [], []
    for corner in np.ndindex(2, 2, 2):
        step = np.array(corner)
        rows.append(np.arange(len(place)))
        columns.append(_flat(low + step, cells))
        weights.append(np.where(step == 1, share, 1.0 - share).prod(axis=1))
    entries = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
    return csr_array(entries, shape=(len(place), cells**3))


def _flat(nodes: Int[np.ndarray, "points 3"], cells: int) -> Int[np.ndarray, "points"]:
    return (nodes[:, 0] * cells + nodes[:, 1]) * cells + nodes[:, 2]
