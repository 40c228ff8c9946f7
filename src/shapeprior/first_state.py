"""What a run begins with, before the first step."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int

from shapeprior.datasets.dataset import Dataset
from shapeprior.datasets.manifest import ShapeRecord
from shapeprior.errors import DatasetError
from shapeprior.models.checkpoint import Checkpoint, RunConfig
from shapeprior.models.decoder import seeded
from shapeprior.models.presets import build_decoder
from shapeprior.warm_start import MAX_FITTED, WarmStart, coarse_grids

MAX_SAMPLES = 20_000
"""Samples of a shape that the linear start looks at."""
BATCH = 256
"""Shapes whose grids are in memory at once, beside those that the linear model is fitted to."""


def first_state(data: Dataset, shapes: Sequence[ShapeRecord], config: RunConfig) -> Checkpoint:
    """A fresh decoder and the first codes of the training shapes; depends on the samples and the seed alone.

    Raises DatasetError if samples are missing, broken or not finite.
    """
    decoder, settings = build_decoder(config.decoder, seed=config.seed), config.train
    if settings.start == "random":
        codes = torch.randn((len(shapes), decoder.code_size), generator=seeded(config.seed + 1))
        return Checkpoint(epoch=0, decoder=decoder, codes=codes * settings.code_init_deviation, optimizer={})
    fitted = np.sort(np.random.default_rng(config.seed).permutation(len(shapes))[:MAX_FITTED])
    grids = _grids(data, shapes, fitted, decoder.coarse_cells)
    start = WarmStart.fit(
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
