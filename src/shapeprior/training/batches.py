"""Batches of training samples: the order of the shapes, and the blocks of samples of each.

`BatchOrder` decides which shapes make a step and where their blocks begin, independent of the number of processes.
`TrainingSamples` holds the samples in memory if they fit, or else reads blocks from the data set's files.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from shapeprior.datasets.dataset import Dataset
from shapeprior.datasets.manifest import READ_THREADS, ShapeRecord
from shapeprior.datasets.shape_files import RowRange, SampleFile, samples_name
from shapeprior.errors import DatasetError
from shapeprior.models.objective import TrainingBatch
from shapeprior.sdf.sampling import SdfSamples

ABSENT = -1
"""Stands in a plan for the shape of a lane that sits a step out."""
_DEAL_STREAM, _EPOCH_STREAM = 1, 2
"""First numbers of seed sequences: the deal and the epochs never draw the same numbers."""
HELD_BYTES = 1 << 30
"""A process holds its samples on the device if they take at most this many bytes; if not, it reads each block when it
is needed."""
MAX_OPEN_FILES = 256
"""Files that stay open between reads. Many systems allow a process about a thousand."""

Block = tuple[Tensor, ...]
"""Consecutive samples of one shape: points and distances, and surface points and normals if they are used."""
Step = tuple[Int[np.ndarray, "_"], Float[np.ndarray, "_"]]
"""The shapes of a batch, as rows of the training shapes, and where the block of each begins, as a share of its
samples."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EpochPlan:
    """The steps of an epoch."""

    rows: Int[np.ndarray, "steps lanes"]
    """Shapes of each step, as rows of the training shapes; `ABSENT` where a lane has no more."""
    starts: Float[np.ndarray, "shapes"]
    """Where the block of each shape begins, as a share of its samples, in [0, 1)."""


class BatchOrder:
    """The order of the training shapes, which follows from the seed and the epoch alone.

    Shapes are dealt onto lanes once. A step takes one shape of each lane, and an epoch takes all shapes of every lane
    in a new order. A process owns whole lanes, so that a shape stays with one process during all of training, and yet
    the batches do not depend on the number of processes.
    """

    def __init__(self, shapes: int, *, shapes_per_batch: int, seed: int) -> None:
        self.lanes = min(shapes, shapes_per_batch)
        """Shapes of a step."""
        self._seed, self._shapes = seed, shapes
        steps = -(-shapes // self.lanes)
        dealt = np.full(steps * self.lanes, ABSENT)
        dealt[:shapes] = np.random.default_rng([_DEAL_STREAM, seed]).permutation(shapes)
        self._dealt = dealt.reshape(steps, self.lanes)

    def owned(self, rank: int, size: int) -> Int[np.ndarray, "rows"]:
        """Return the shapes of one process of `size`, ascending: those of the lanes rank, rank + size, ..."""
        rows = self._dealt[:, rank::size]
        return np.sort(rows[rows != ABSENT])

    def epoch(self, epoch: int) -> EpochPlan:
        """Return the plan of an epoch, counted from 0. Lanes that are one shape short sit out the last step."""
        rng = np.random.default_rng([_EPOCH_STREAM, self._seed, epoch])
        keys = np.where(self._dealt == ABSENT, np.inf, rng.random(self._dealt.shape))
        rows = np.take_along_axis(self._dealt, np.argsort(keys, axis=0), axis=0)
        return EpochPlan(rows=rows, starts=rng.random(self._shapes))


class TrainingSamples:
    """Blocks of equal length of some training shapes. Samples keep their stored type until they become a batch."""

    def __init__(
        self,
        data: Dataset,
        shapes: Sequence[ShapeRecord],
        rows: Int[np.ndarray, "rows"],
        *,
        points: int,
        surface_points: int = 0,
        device: torch.device,
        held_bytes: int = HELD_BYTES,
    ) -> None:
        """Read all samples of this process's shapes, which are `rows` of `shapes`, if they fit into `held_bytes`.

        A block has `points` samples, or as many as the shape with the fewest among all `shapes`, and `surface_points`
        surface points, or as many as the shapes have, which may be none. Raises DatasetError, which names the shape, if
        there are no samples, or if samples are broken or not finite. Samples that are not held are checked when
        `batches` reads them.
        """
        self._data, self._shapes, self._device = data, shapes, device
        fewest = min(shapes, key=lambda shape: shape.samples)
        if fewest.samples == 0:
            raise DatasetError(
                f"{data.root}: shape {fewest.id} has no samples; expected at least 1; prepare the data set again"
            )
        self.points = min(points, fewest.samples)
        """Samples of a block."""
        self._open = lru_cache(maxsize=MAX_OPEN_FILES)(self._opened)
        # All shapes of a data set have as many surface points.
        self._surface_count = 0
        self._surface_count = (self._open(int(rows[0])).surface_count or 0) if surface_points else 0
        self.surface_points = min(surface_points, self._surface_count)
        """Surface points of a block."""
        self.held = self._bytes(rows) <= held_bytes
        """Whether the samples are in memory."""
        self._mapped = data.store.memory_map(samples_name(shapes[int(rows[0])].id)) is not None
        self._memory: dict[int, Block] = {}
        if self.held:
            with ThreadPoolExecutor(READ_THREADS) as pool:
                self._memory = dict(zip(rows.tolist(), pool.map(self._read_shape, rows.tolist()), strict=True))

    def batches(self, steps: Iterable[Step]) -> Iterator[TrainingBatch]:
        """Yield the batches of some steps.

        Over a network, the blocks of a step are read together, while the step before is used. For local files that
        takes longer than reading them one by one.
        """
        if self.held or self._mapped:
            block = self._held_block if self.held else self._read_block
            for rows, starts in steps:
                yield self._batch(rows, [block(*place) for place in _block_places(rows, starts)])
            return
        with ThreadPoolExecutor(READ_THREADS) as pool:
            requested = (
                (rows, [pool.submit(self._read_block, *place) for place in _block_places(rows, starts)])
                for rows, starts in steps
            )
            current = next(requested, None)
            while current is not None:
                following = next(requested, None)
                yield self._batch(current[0], [block.result() for block in current[1]])
                current = following

    def _batch(self, rows: Int[np.ndarray, "shapes"], blocks: Sequence[Block]) -> TrainingBatch:
        points_unit, sdf, *surface = (torch.stack(part).to(self._device).float() for part in zip(*blocks, strict=True))
        surface_points, surface_normals = surface or (None, None)
        return TrainingBatch(
            rows=torch.from_numpy(rows).to(self._device),
            points_unit=points_unit,
            sdf=sdf,
            surface_points_unit=surface_points,
            surface_normals_unit=surface_normals,
        )

    def _held_block(self, row: int, start: float) -> Block:
        counts = (self.points, self.points, self.surface_points, self.surface_points)
        return tuple(_cyclic_block(part, count, start) for part, count in zip(self._memory[row], counts, strict=False))

    def _read_block(self, row: int, start: float) -> Block:
        file = self._open(row)
        ranges = _cyclic_ranges(self.points, file.count, start)
        return self._read(row, file, ranges, _cyclic_ranges(self.surface_points, self._surface_count, start))

    def _read_shape(self, row: int) -> Block:
        """Read all samples of a shape and put them on the device."""
        file = self._opened(row)
        block = self._read(row, file, [(0, file.count)], [(0, self._surface_count)])
        return tuple(part.to(self._device) for part in block)

    def _read(
        self, row: int, file: SampleFile, ranges: Sequence[RowRange], surface_ranges: Sequence[RowRange]
    ) -> Block:
        samples = file.samples(ranges)
        if self.surface_points:
            samples = replace(samples, surface=file.surface(surface_ranges))
        require_finite(samples, self._data, self._shapes[row].id)
        parts = [samples.points_unit, samples.sdf]
        if samples.surface is not None:
            parts += [samples.surface.points_unit, samples.surface.normals_unit]
        return tuple(map(torch.from_numpy, parts))

    def _opened(self, row: int) -> SampleFile:
        shape = self._shapes[row]
        file = SampleFile(self._data.store, shape.id)
        if file.count != shape.samples:
            raise DatasetError(
                f"{file.place}: {file.count} samples; expected {shape.samples} by the manifest; "
                "prepare the data set again"
            )
        if self._surface_count and file.surface_count != self._surface_count:
            raise DatasetError(
                f"{file.place}: {file.surface_count or 0} surface points; expected {self._surface_count}, as other "
                "shapes of the data set have; prepare it again"
            )
        return file

    def _bytes(self, rows: Int[np.ndarray, "rows"]) -> int:
        """Return the size of all samples of these shapes, if all have the type of the first one."""
        if len(rows) == 0:
            return 0
        item_size = self._open(int(rows[0])).samples([(0, 1)]).sdf.itemsize
        surface = 24 * (self._surface_count if self.surface_points else 0)
        return sum(4 * item_size * self._shapes[row].samples + surface for row in rows.tolist())


def require_finite(samples: SdfSamples, data: Dataset, shape_id: str) -> None:
    """Raise DatasetError, which names the shape, if its samples hold NaN or infinity."""
    parts = [samples.points_unit, samples.sdf]
    if samples.surface is not None:
        parts += [samples.surface.points_unit, samples.surface.normals_unit]
    if not all(np.isfinite(part).all() for part in parts):
        raise DatasetError(
            f"{data.root}: samples of shape {shape_id} hold NaN or infinity; expected finite numbers; prepare it again"
        )


def _block_places(rows: Int[np.ndarray, "shapes"], starts: Float[np.ndarray, "shapes"]) -> Iterator[tuple[int, float]]:
    return zip(rows.tolist(), starts.tolist(), strict=True)


def _cyclic_ranges(count: int, total: int, start: float) -> list[RowRange]:
    """Return ranges of `count` ≤ `total` consecutive rows that begin at a share of them and wrap around to row 0."""
    first = int(start * total)
    stop = min(first + count, total)
    rest = count - (stop - first)
    return [(first, stop), (0, rest)] if rest else [(first, stop)]


def _cyclic_block(tensor: Tensor, count: int, start: float) -> Tensor:
    parts = [tensor[first:stop] for first, stop in _cyclic_ranges(count, len(tensor), start)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)
