"""The first state of a run: a decoder with fresh weights, and the first codes of the training shapes.

Codes are random, or come from a linear model of the shapes' samples on a coarse grid (`LinearInitialization`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from shapeprior.datasets.dataset import Dataset
from shapeprior.datasets.manifest import ShapeRecord
from shapeprior.geometry.sampling import cell_centers
from shapeprior.models.checkpoint import Checkpoint, RunConfig
from shapeprior.models.decoder import seeded
from shapeprior.models.presets import build_decoder
from shapeprior.training.batches import require_finite

MAX_SAMPLES_PER_SHAPE = 20_000
"""Number of samples of a shape from which its coarse grid is made."""
MAX_FITTED = 1_000
"""The linear model is fitted to this many shapes. More of them add little and cost time."""
CHUNK_SHAPES = 256
"""Number of other shapes whose coarse grids are in memory at once."""
NUM_NEIGHBOURS = 4
"""A grid value is interpolated from this many nearest samples."""
WIDTH_EXPONENT = 0.5
"""Codes are as wide along each principal axis as the shapes are, to this power: 1 keeps the widths, 0 whitens."""


def initial_checkpoint(data: Dataset, shapes: Sequence[ShapeRecord], config: RunConfig) -> Checkpoint:
    """Return a fresh decoder and the first codes of the training shapes. They depend on the samples and the seed alone.

    Raises DatasetError if samples are missing, broken or not finite.
    """
    decoder, settings = build_decoder(config.decoder, seed=config.seed), config.train
    if settings.start == "random":
        codes = torch.randn((len(shapes), decoder.code_size), generator=seeded(config.seed + 1))
        return Checkpoint(epoch=0, decoder=decoder, codes=codes * settings.code_init_deviation, optimizer={})
    fitted = np.sort(np.random.default_rng(config.seed).permutation(len(shapes))[:MAX_FITTED])
    grids = _stored_grids(data, shapes, fitted, decoder.coarse_cells)
    model = LinearInitialization.fit(
        grids, code_size=decoder.code_size, clamp=settings.clamp, deviation=settings.code_init_deviation
    )
    codes = np.zeros((len(shapes), decoder.code_size))
    codes[fitted] = model.codes(grids)
    rest = np.setdiff1d(np.arange(len(shapes)), fitted)
    for rows in np.split(rest, np.arange(CHUNK_SHAPES, len(rest), CHUNK_SHAPES)):
        if len(rows):
            codes[rows] = model.codes(_stored_grids(data, shapes, rows, decoder.coarse_cells))
    decoder.set_coarse_field(torch.from_numpy(model.mean).float(), torch.from_numpy(model.basis).float())
    return Checkpoint(epoch=0, decoder=decoder, codes=torch.from_numpy(codes).float(), optimizer={})


def _stored_grids(
    data: Dataset, shapes: Sequence[ShapeRecord], rows: Int[np.ndarray, "rows"], cells: int
) -> Float[np.ndarray, "rows cells"]:
    """Return the coarse grids of some training shapes, made of their stored samples."""

    def samples() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for row in rows.tolist():
            shape = shapes[row]
            block = data.sample_block(shape.id, start=0, count=min(shape.samples, MAX_SAMPLES_PER_SHAPE))
            require_finite(block, data, shape.id)
            yield block.points_unit, block.sdf

    return coarse_grids(samples(), cells)


@dataclass(frozen=True, eq=False)
class LinearInitialization:
    """Principal components of the training shapes' coarse distance grids, as codes and a field linear in them.

    Auto-decoders (Park et al. 2019) start from random codes, so that neighbouring codes belong to unlike shapes at
    first, and each code moves only when its shape is drawn. With this start, similar shapes have similar codes from the
    first step on, and the decoder starts as the best linear model of the shapes at that resolution. Principal
    components of signed distances are a shape model of Leventon et al. 2000, "Statistical shape influence in geodesic
    active contours". Their use as the start of an auto-decoder is ours; docs/ablation.md has measurements.
    """

    mean: Float[np.ndarray, "cells"]
    """Mean of the clamped distances at the cell centres of the cube [−1, 1]³, x slowest. It is the field of the code
    0."""
    basis: Float[np.ndarray, "code cells"]
    """Change of the field with each entry of a code."""
    projection: Float[np.ndarray, "cells code"]
    """Matrix from clamped distances, less their mean, to codes."""
    clamp: float
    """Distances are clamped to ± this value, in unit-sphere radii."""

    @classmethod
    def fit(
        cls, grids: Float[np.ndarray, "shapes cells"], *, code_size: int, clamp: float, deviation: float
    ) -> "LinearInitialization":
        """Fit the model to distances on the grid (`coarse_grid`).

        They are clamped, because larger ones would outweigh those near the surface. `deviation` is the root mean square
        of the codes' first entries, which are the largest.
        """
        near = np.clip(grids, -clamp, clamp)
        mean = near.mean(axis=0)
        _, values, axes = np.linalg.svd(near - mean, full_matrices=False)
        used = min(code_size, len(grids) - 1, int(np.count_nonzero(values > 1e-6 * max(values[0], 1e-30))))
        basis, projection = np.zeros((code_size, grids.shape[1])), np.zeros((grids.shape[1], code_size))
        if used:
            # Length along each principal axis that an entry of 1 stands for.
            unit = values[:used] / (deviation * np.sqrt(len(grids)) * (values[:used] / values[0]) ** WIDTH_EXPONENT)
            basis[:used] = unit[:, None] * axes[:used]
            projection[:, :used] = axes[:used].T / unit
        return cls(mean=mean, basis=basis, projection=projection, clamp=clamp)

    def codes(self, grids: Float[np.ndarray, "shapes cells"]) -> Float[np.ndarray, "shapes code"]:
        """Return the codes of shapes, whether the model was fitted to them or not."""
        return (np.clip(grids, -self.clamp, self.clamp) - self.mean) @ self.projection


def coarse_grid(
    points_unit: Float[np.ndarray, "samples 3"], sdf: Float[np.ndarray, "samples"], cells: int
) -> Float[np.ndarray, "cells"]:
    """Return signed distances at the centres of cells³ cells of the cube [−1, 1]³, interpolated from the nearest
    samples."""
    distance, nearest = KDTree(points_unit).query(cell_centers(cells), k=min(NUM_NEIGHBOURS, len(sdf)))
    distance, nearest = distance.reshape(cells**3, -1), nearest.reshape(cells**3, -1)
    weight = 1.0 / (distance + 1e-3) ** 2
    return (weight * sdf[nearest]).sum(axis=1) / weight.sum(axis=1)


def coarse_grids(
    samples: Iterable[tuple[Float[np.ndarray, "samples 3"], Float[np.ndarray, "samples"]]], cells: int
) -> Float[np.ndarray, "shapes cells"]:
    """Return the `coarse_grid` of each shape's points and distances."""
    return np.stack([coarse_grid(points.astype(np.float64), sdf.astype(np.float64), cells) for points, sdf in samples])
