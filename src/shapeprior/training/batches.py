"""Which shapes make a step of training, and where their blocks of samples begin: the same whoever computes it.

Samples of the training shapes, block by block: held in memory where they fit, or read from the data set's files.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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

ABSENT = -1
"""In place of a shape where a lane sits a step out."""
_DEAL, _EPOCH = 1, 2
"""First number of a seed sequence, so that the deal and the epochs never draw the same numbers."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EpochPlan:
    """What an epoch does, step by step."""

    rows: Int[np.ndarray, "steps lanes"]
    """Shapes of each step, by their place among the training shapes; `ABSENT` where a lane is through."""
    starts: Float[np.ndarray, "shapes"]
    """Where the block of each shape begins, as a share of its samples, in [0, 1)."""


class BatchOrder:
    """Shapes dealt onto lanes once; a step takes one shape of each lane, and an epoch all of every lane in a new order.

    A process owns whole lanes, so that a shape stays with one process for all of training, and yet the batches do not depend on
    how many processes there are. Everything follows from the seed and the epoch's number.
    """

    def __init__(self, shapes: int, *, shapes_per_batch: int, seed: int) -> None:
        self.lanes = min(shapes, shapes_per_batch)
        """Shapes of a step."""
        self._seed, self._shapes = seed, shapes
        steps = -(-shapes // self.lanes)
        dealt = np.full(steps * self.lanes, ABSENT)
        dealt[:shapes] = np.random.default_rng([_DEAL, seed]).permutation(shapes)
        self._dealt = dealt.reshape(steps, self.lanes)

    def owned(self, rank: int, size: int) -> Int[np.ndarray, "rows"]:
        """Shapes of the lanes rank, rank + size, ..., in ascending order: those of one process of `size`."""
        rows = self._dealt[:, rank::size]
        return np.sort(rows[rows != ABSENT])

    def epoch(self, epoch: int) -> EpochPlan:
        """The plan of an epoch, counted from 0. Lanes that are one shape short sit out the last step."""
        rng = np.random.default_rng([_EPOCH, self._seed, epoch])
        keys = np.where(self._dealt == ABSENT, np.inf, rng.random(self._dealt.shape))
        rows = np.take_along_axis(self._dealt, np.argsort(keys, axis=0), axis=0)
        return EpochPlan(rows=rows, starts=rng.random(self._shapes))


HELD_BYTES = 1 << 30
"""Samples that take no more than this, in a process, are held on the device; others are read when their turn comes."""
OPEN_FILES = 256
"""Files that stay open in between: many systems allow a process about a thousand."""

Block = tuple[Tensor, Tensor]
"""Rows of one shape: points and distances."""
Step = tuple[Int[np.ndarray, "_"], Float[np.ndarray, "_"]]
"""Shapes of a batch, by their place among the training shapes, and where the block of each begins, as a share of its rows."""


class TrainingSamples:
    """Blocks of equal length of some training shapes, in the type they are stored in until they become a batch."""

    def __init__(
        self,
        data: Dataset,
        shapes: Sequence[ShapeRecord],
        rows: Int[np.ndarray, "rows"],
        *,
        points: int,
        device: torch.device,
        held_bytes: int = HELD_BYTES,
    ) -> None:
        """Reads all samples of the shapes with these rows among `shapes` if they fit into `held_bytes`.

        A block is `points` samples, or as many as the poorest of all shapes has. Raises
        DatasetError, naming the shape, if there are no samples, or numbers that
        are not finite; where samples are not held, `batches` does so when it meets them.
        """
        self._data, self._shapes, self._device = data, shapes, device
        poorest = min(shapes, key=lambda shape: shape.samples)
        if poorest.samples == 0:
            raise DatasetError(
                f"{data.root}: shape {poorest.id} has no samples; expected at least 1; prepare the data set again"
            )
        self.points = min(points, poorest.samples)
        """Samples of a block."""
        self._open = lru_cache(maxsize=OPEN_FILES)(self._opened)
        self.held = self._bytes(rows) <= held_bytes
        """Whether the samples are in memory."""
        self._mapped = data.store.memory_map(samples_name(shapes[int(rows[0])].id)) is not None
        self._memory: dict[int, Block] = {}
        if self.held:
            with ThreadPoolExecutor(READ_THREADS) as pool:
                self._memory = dict(zip(rows.tolist(), pool.map(self._whole, rows.tolist()), strict=True))

    def batches(self, steps: Iterable[Step]) -> Iterator[TrainingBatch]:
        """The batches of some steps. Over a network, the blocks of a step are read together, while the step before is used: with
        files of this machine that would take longer."""
        if self.held or self._mapped:
            block = self._cut if self.held else self._read
            for rows, starts in steps:
                yield self._batch(rows, [block(*place) for place in _places(rows, starts)])
            return
        with ThreadPoolExecutor(READ_THREADS) as pool:
            asked = (
                (rows, [pool.submit(self._read, *place) for place in _places(rows, starts)]) for rows, starts in steps
            )
            current = next(asked, None)
            while current is not None:
                following = next(asked, None)
                yield self._batch(current[0], [block.result() for block in current[1]])
                current = following

    def _batch(self, rows: Int[np.ndarray, "shapes"], blocks: Sequence[Block]) -> TrainingBatch:
        points_unit, sdf = (torch.stack(part).to(self._device).float() for part in zip(*blocks, strict=True))
        return TrainingBatch(rows=torch.from_numpy(rows).to(self._device), points_unit=points_unit, sdf=sdf)

    def _cut(self, row: int, start: float) -> Block:
        """A block of a shape that is held."""
        points_unit, sdf = self._memory[row]
        return _cyclic(points_unit, self.points, start), _cyclic(sdf, self.points, start)

    def _read(self, row: int, start: float) -> Block:
        """A block of a shape, out of its file."""
        file = self._open(row)
        return self._load(row, file, _cyclic_rows(self.points, file.count, start))

    def _whole(self, row: int) -> Block:
        """All rows of a shape, on the device."""
        file = self._opened(row)
        points_unit, sdf = self._load(row, file, [(0, file.count)])
        return points_unit.to(self._device), sdf.to(self._device)

    def _load(self, row: int, file: SampleFile, rows: Sequence[RowRange]) -> Block:
        read = file.samples(rows)
        if not (np.isfinite(read.points_unit).all() and np.isfinite(read.sdf).all()):
            raise DatasetError(
                f"{self._data.root}: samples of shape {self._shapes[row].id} hold NaN or infinity; expected finite numbers; "
                "prepare it again"
            )
        return torch.from_numpy(read.points_unit), torch.from_numpy(read.sdf)

    def _opened(self, row: int) -> SampleFile:
        shape = self._shapes[row]
        file = SampleFile(self._data.store, shape.id)
        if file.count != shape.samples:
            raise DatasetError(
                f"{file.place}: {file.count} samples; expected {shape.samples} by the manifest; prepare the data set again"
            )
        return file

    def _bytes(self, rows: Int[np.ndarray, "rows"]) -> int:
        """What all rows of these shapes take, if all are stored as the first is."""
        if len(rows) == 0:
            return 0
        number = self._open(int(rows[0])).samples([(0, 1)]).sdf.itemsize
        return sum(4 * number * self._shapes[row].samples for row in rows.tolist())


def _places(rows: Int[np.ndarray, "shapes"], starts: Float[np.ndarray, "shapes"]) -> Iterator[tuple[int, float]]:
    return zip(rows.tolist(), starts.tolist(), strict=True)


def _cyclic_rows(count: int, total: int, start: float) -> list[RowRange]:
    """`count` ≤ `total` successive rows from a share of them on, going on at row 0 after the last."""
    first = int(start * total)
    stop = min(first + count, total)
    rest = count - (stop - first)
    return [(first, stop), (0, rest)] if rest else [(first, stop)]


def _cyclic(tensor: Tensor, count: int, start: float) -> Tensor:
    parts = [tensor[first:stop] for first, stop in _cyclic_rows(count, len(tensor), start)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)
