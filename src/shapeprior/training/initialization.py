"""What a run begins with, before the first step.

A start for training that already knows the shapes: codes and a coarse field from a linear model of the samples.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from shapeprior.datasets.dataset import Dataset
from shapeprior.datasets.manifest import ShapeRecord
from shapeprior.errors import DatasetError
from shapeprior.geometry.sampling import cell_centers
from shapeprior.models.checkpoint import Checkpoint, RunConfig
from shapeprior.models.decoder import seeded
from shapeprior.models.presets import build_decoder

MAX_SAMPLES = 20_000
"""Samples of a shape that the linear start looks at."""
BATCH = 256
"""Shapes whose grids are in memory at once, beside those that the linear model is fitted to."""


def initial_checkpoint(data: Dataset, shapes: Sequence[ShapeRecord], config: RunConfig) -> Checkpoint:
    """A fresh decoder and the first codes of the training shapes; depends on the samples and the seed alone.

    Raises DatasetError if samples are missing, broken or not finite.
    """
    decoder, settings = build_decoder(config.decoder, seed=config.seed), config.train
    if settings.start == "random":
        codes = torch.randn((len(shapes), decoder.code_size), generator=seeded(config.seed + 1))
        return Checkpoint(epoch=0, decoder=decoder, codes=codes * settings.code_init_deviation, optimizer={})
    fitted = np.sort(np.random.default_rng(config.seed).permutation(len(shapes))[:MAX_FITTED])
    grids = _grids(data, shapes, fitted, decoder.coarse_cells)
    start = LinearInitialization.fit(
        grids, code_size=decoder.code_size, clamp=settings.clamp, deviation=settings.code_init_deviation
    )
    codes = np.zeros((len(shapes), decoder.code_size))
    codes[fitted] = start.codes(grids)
    rest = np.setdiff1d(np.arange(len(shapes)), fitted)
    for rows in np.split(rest, np.arange(BATCH, len(rest), BATCH)):
        if len(rows):
            codes[rows] = start.codes(_grids(data, shapes, rows, decoder.coarse_cells))
    decoder.start_from(torch.from_numpy(start.mean).float(), torch.from_numpy(start.basis).float())
    return Checkpoint(epoch=0, decoder=decoder, codes=torch.from_numpy(codes).float(), optimizer={})


def _grids(
    data: Dataset, shapes: Sequence[ShapeRecord], rows: Int[np.ndarray, "rows"], cells: int
) -> Float[np.ndarray, "rows cells"]:
    def samples() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for row in rows.tolist():
            shape = shapes[row]
            block = data.sample_block(shape.id, start=0, count=min(shape.samples, MAX_SAMPLES))
            if not (np.isfinite(block.points_unit).all() and np.isfinite(block.sdf).all()):
                raise DatasetError(
                    f"{data.root}: samples of shape {shape.id} hold NaN or infinity; expected finite numbers; prepare it again"
                )
            yield block.points_unit, block.sdf

    return coarse_grids(samples(), cells)


NEIGHBOURS = 4
"""Samples that a grid value is interpolated from."""
MAX_FITTED = 1_000
"""The linear model is fitted to this many shapes; more add little and cost time."""
SPREAD = 0.5
"""Codes are as wide along each principal axis as the shapes are, to this power: 1 keeps the widths, 0 whitens."""


@dataclass(frozen=True, eq=False)
class LinearInitialization:
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
    ) -> "LinearInitialization":
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
