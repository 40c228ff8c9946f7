"""A start for training that already knows the shapes: codes and a coarse field from a linear model of the samples."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree

from shapeprior.geometry.sampling import cell_centers

NEIGHBOURS = 4
"""Samples that a grid value is interpolated from."""
MAX_FITTED = 1_000
"""The linear model is fitted to this many shapes; more add little and cost time."""
SPREAD = 0.5
"""Codes are as wide along each principal axis as the shapes are, to this power: 1 keeps the widths, 0 whitens."""


@dataclass(frozen=True, eq=False)
class WarmStart:
    """Principal components of the training shapes' signed distances on a coarse grid, as codes and a field linear in them.

    Auto-decoders (Park et al. 2019) start from random codes, so that at first no two shapes of one code's neighbourhood are
    alike, and each code moves only when its shape is drawn. Here similar shapes have similar codes from the first step on, and
    the decoder starts as the best linear model of shapes of that resolution. (Principal components of signed distances as a
    shape model: Leventon et al. 2000, "Statistical shape influence in geodesic active contours"; as a start for an
    auto-decoder it is ours, measured in docs/ablation.md.)
    """

    mean: Float[np.ndarray, "cells"]
    """Mean of the clamped distances at the cell centres of the cube [−1, 1]³, x slowest: the field of the code 0."""
    basis: Float[np.ndarray, "code cells"]
    """What each entry of a code adds to it."""
    projection: Float[np.ndarray, "cells code"]
    """From clamped distances less their mean to codes."""
    clamp: float

    @classmethod
    def fit(
        cls, grids: Float[np.ndarray, "shapes cells"], *, code_size: int, clamp: float, deviation: float
    ) -> "WarmStart":
        """Fit to distances on the grid (`coarse_grid`), clamped: farther values would crowd out where the surface is.

        `deviation` is the root mean square of the codes' first entries, which are the largest.
        """
        near = np.clip(grids, -clamp, clamp)
        mean = near.mean(axis=0)
        _, values, axes = np.linalg.svd(near - mean, full_matrices=False)
        used = min(code_size, len(grids) - 1, int(np.count_nonzero(values > 1e-6 * max(values[0], 1e-30))))
        basis, projection = np.zeros((code_size, grids.shape[1])), np.zeros((grids.shape[1], code_size))
        if used:
            # What a code's entry of 1 stands for, along each axis.
            unit = values[:used] / (deviation * np.sqrt(len(grids)) * (values[:used] / values[0]) ** SPREAD)
            basis[:used] = unit[:, None] * axes[:used]
            projection[:, :used] = axes[:used].T / unit
        return cls(mean=mean, basis=basis, projection=projection, clamp=clamp)

    def codes(self, grids: Float[np.ndarray, "shapes cells"]) -> Float[np.ndarray, "shapes code"]:
        """The codes of shapes, in the linear model or not."""
        return (np.clip(grids, -self.clamp, self.clamp) - self.mean) @ self.projection


def coarse_grid(
    points_unit: Float[np.ndarray, "samples 3"], sdf: Float[np.ndarray, "samples"], cells: int
) -> Float[np.ndarray, "cells"]:
    """Signed distance at the centres of cells³ cells of the cube [−1, 1]³, interpolated between the nearest samples."""
    distance, nearest = KDTree(points_unit).query(cell_centers(cells), k=min(NEIGHBOURS, len(sdf)))
    distance, nearest = distance.reshape(cells**3, -1), nearest.reshape(cells**3, -1)
    weight = 1.0 / (distance + 1e-3) ** 2
    return (weight * sdf[nearest]).sum(axis=1) / weight.sum(axis=1)


def coarse_grids(
    samples: Iterable[tuple[Float[np.ndarray, "samples 3"], Float[np.ndarray, "samples"]]], cells: int
) -> Float[np.ndarray, "shapes cells"]:
    """`coarse_grid` of each shape's points and distances."""
    return np.stack([coarse_grid(points.astype(np.float64), sdf.astype(np.float64), cells) for points, sdf in samples])
