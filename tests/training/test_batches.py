"""Batches: an epoch has every shape once, for any number of processes, and blocks hold the rows of the file.

Blocks are the same whether samples are held or read, and every fault names its shape.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.small_dataset import COUNT, WatchedStore, some_record, some_samples, write_shape
from hypothesis import given
from hypothesis import strategies as st

from shapeprior.datasets.dataset import Dataset
from shapeprior.errors import DatasetError
from shapeprior.io.store import LocalStore, Store
from shapeprior.models.objective import TrainingBatch
from shapeprior.sdf.sampling import SurfaceSamples
from shapeprior.training import batches as batches_module
from shapeprior.training.batches import ABSENT, BatchOrder, TrainingSamples

sizes = st.integers(1, 60)


@given(shapes=sizes, shapes_per_batch=sizes, seed=st.integers(0, 5), epoch=st.integers(0, 9))
def test_an_epoch_has_every_shape_once_in_full_batches(
    shapes: int, shapes_per_batch: int, seed: int, epoch: int
) -> None:
    order = BatchOrder(shapes, shapes_per_batch=shapes_per_batch, seed=seed)
    plan = order.epoch(epoch)
    present = plan.rows != ABSENT
    assert sorted(plan.rows[present].tolist()) == list(range(shapes))
    assert present[:-1].all()
    assert present[-1].any()
    assert plan.rows.shape[1] == order.lanes == min(shapes, shapes_per_batch)
    assert plan.starts.shape == (shapes,)
    assert ((plan.starts >= 0) & (plan.starts < 1)).all()


@given(shapes=sizes, shapes_per_batch=sizes, seed=st.integers(0, 5), size=st.integers(1, 6))
def test_processes_share_the_shapes_and_keep_theirs(shapes: int, shapes_per_batch: int, seed: int, size: int) -> None:
    order = BatchOrder(shapes, shapes_per_batch=shapes_per_batch, seed=seed)
    owned = [order.owned(rank, size).tolist() for rank in range(size)]
    assert sorted(row for rows in owned for row in rows) == list(range(shapes))
    for epoch in (0, 1):
        plan = order.epoch(epoch)
        for rank in range(size):
            lanes = plan.rows[:, rank::size]
            assert sorted(lanes[lanes != ABSENT].tolist()) == owned[rank]


@pytest.mark.parametrize("change", ["seed", "epoch"])
def test_another_seed_or_epoch_is_another_order(change: str) -> None:
    plans = []
    for number in range(4):
        order = BatchOrder(50, shapes_per_batch=7, seed=number if change == "seed" else 0)
        again = BatchOrder(50, shapes_per_batch=7, seed=number if change == "seed" else 0)
        plan = order.epoch(number if change == "epoch" else 0)
        np.testing.assert_array_equal(plan.rows, again.epoch(number if change == "epoch" else 0).rows)
        plans.append(plan)
    for first in range(4):
        for second in range(first):
            assert (plans[first].rows != plans[second].rows).mean() > 0.5
            assert np.abs(plans[first].starts - plans[second].starts).mean() > 0.2


def test_the_deal_of_a_seed_is_not_an_epoch_of_another() -> None:
    """NumPy makes the same generator of [seed] and [seed, 0]."""
    first, second = BatchOrder(30, shapes_per_batch=1, seed=4), BatchOrder(30, shapes_per_batch=30, seed=4)
    assert first.epoch(0).rows.ravel().tolist() != second.epoch(0).rows.ravel().tolist()


def test_any_two_shapes_of_different_lanes_meet() -> None:
    order = BatchOrder(6, shapes_per_batch=2, seed=1)
    lanes = [set(order.owned(rank, 2).tolist()) for rank in range(2)]
    met = {frozenset(step.tolist()) for epoch in range(200) for step in order.epoch(epoch).rows}
    assert met == {frozenset((a, b)) for a in lanes[0] for b in lanes[1]}


SURFACE_COUNT = 30
WAYS = pytest.mark.parametrize("way", ["held", "mapped", "over a network"])


def write(store: Store, names: str = "abcd", dtype: str = "float16") -> Dataset:
    shapes = tuple(
        write_shape(store, some_record(name), some_samples(number, dtype)) for number, name in enumerate(names)
    )
    return Dataset(store=store, settings={}, shapes=shapes, refused=())


def some_surface(number: int) -> SurfaceSamples:
    rng = np.random.default_rng([7, number])
    normals = rng.standard_normal((SURFACE_COUNT, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    points = rng.uniform(-1.0, 1.0, (SURFACE_COUNT, 3))
    return SurfaceSamples(points_unit=points.astype(np.float32), normals_unit=normals.astype(np.float32))


def opened(
    data: Dataset, way: str = "held", *, points: int = 50, surface_points: int = 0, rows: Any = None
) -> TrainingSamples:
    if way == "over a network":
        data = replace(data, store=WatchedStore(data.store))
    return TrainingSamples(
        data,
        data.shapes,
        np.arange(len(data.shapes)) if rows is None else rows,
        points=points,
        surface_points=surface_points,
        device=torch.device("cpu"),
        held_bytes=1 << 30 if way == "held" else 0,
    )


def batches(samples: TrainingSamples, *steps: tuple[list[int], list[float]]) -> list[TrainingBatch]:
    return list(samples.batches([(np.array(rows), np.array(starts)) for rows, starts in steps]))


@WAYS
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_block_goes_on_at_the_first_row_after_the_last(tmp_path: Path, way: str, dtype: str) -> None:
    data = write(LocalStore(tmp_path), dtype=dtype)
    samples = opened(data, way, points=60)
    assert samples.held == (way == "held")
    found = batches(samples, ([2, 0], [0.1, 0.95]), ([3], [0.0]), ([1, 2, 3], [0.999, 0.5, 0.7]))
    assert [batch.rows.tolist() for batch in found] == [[2, 0], [3], [1, 2, 3]]
    for batch, starts in zip(found, ([0.1, 0.95], [0.0], [0.999, 0.5, 0.7]), strict=True):
        assert {part.dtype for part in (batch.rows, batch.points_unit, batch.sdf)} == {torch.float32, torch.int64}
        assert batch.surface_points_unit is batch.surface_normals_unit is None
        for place, (row, start) in enumerate(zip(batch.rows.tolist(), starts, strict=True)):
            stored = data.samples(data.shapes[row].id)
            columns = (int(start * COUNT) + np.arange(60)) % COUNT
            for ours, theirs in (
                (batch.points_unit, stored.points_unit[columns]),
                (batch.sdf, stored.sdf[columns]),
            ):
                np.testing.assert_array_equal(ours[place].numpy(), theirs.astype(np.float32))


@WAYS
def test_surface_points_come_in_blocks_of_their_own(tmp_path: Path, way: str) -> None:
    store = LocalStore(tmp_path)
    shapes = tuple(
        write_shape(store, some_record(name), replace(some_samples(number), surface=some_surface(number)))
        for number, name in enumerate("ab")
    )
    data = Dataset(store=store, settings={}, shapes=shapes, refused=())
    for wanted, expected in ((12, 12), (99, SURFACE_COUNT)):
        samples = opened(data, way, points=20, surface_points=wanted)
        (batch,) = batches(samples, ([1, 0], [0.9, 0.2]))
        assert batch.surface_points_unit is not None
        assert batch.surface_normals_unit is not None
        for place, (row, start) in enumerate(((1, 0.9), (0, 0.2))):
            columns = (int(start * SURFACE_COUNT) + np.arange(expected)) % SURFACE_COUNT
            stored = some_surface(row)
            np.testing.assert_array_equal(batch.surface_points_unit[place].numpy(), stored.points_unit[columns])
            np.testing.assert_array_equal(batch.surface_normals_unit[place].numpy(), stored.normals_unit[columns])


def test_surface_points_that_are_no_numbers_or_differ_in_number_are_refused(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    broken = some_surface(0)
    broken.normals_unit[3] = np.nan
    first = write_shape(store, some_record("a"), replace(some_samples(0), surface=broken))
    second = write_shape(store, some_record("b"), some_samples(1, surface=False))
    data = Dataset(store=store, settings={}, shapes=(first,), refused=())
    with pytest.raises(DatasetError, match="shape a hold NaN"):
        opened(data, surface_points=5)
    other = write_shape(store, some_record("c"), replace(some_samples(0), surface=some_surface(0)))
    data = Dataset(store=store, settings={}, shapes=(other, second), refused=())
    with pytest.raises(DatasetError, match=f"0 surface points; expected {SURFACE_COUNT}"):
        opened(data, surface_points=5)


@WAYS
def test_blocks_are_as_long_as_the_poorest_shape_allows(tmp_path: Path, way: str) -> None:
    data = write(LocalStore(tmp_path))
    few = some_samples(9)
    few = replace(few, points_unit=few.points_unit[:33], sdf=few.sdf[:33], strategy=few.strategy[:33])
    data = replace(data, shapes=(*data.shapes, write_shape(data.store, some_record("e"), few)))
    for points, expected in ((20, 20), (33, 33), (50, 33), (10**9, 33)):
        # All shapes of the set count, not only those of this process.
        samples = opened(data, way, points=points, rows=np.array([0, 1]))
        assert samples.points == expected
        (batch,) = batches(samples, ([0, 1], [0.9, 0.2]))
        assert batch.sdf.shape == (2, expected)


@pytest.mark.slow
def test_all_rows_are_used(tmp_path: Path) -> None:
    samples = opened(write(LocalStore(tmp_path), names="a"), points=50)
    starts = np.random.default_rng(0).random(2000)
    seen = Counter(
        value for batch in batches(samples, *[([0], [start]) for start in starts]) for value in batch.sdf[0].tolist()
    )
    counts = np.array(list(seen.values()))
    # Each row is in a quarter of the blocks, 500 with a deviation of 19. Equal distances are counted together.
    assert counts.min() > 400
    assert np.median(counts) < 600


def test_samples_are_held_if_they_fit(tmp_path: Path) -> None:
    data = write(LocalStore(tmp_path), dtype="float32")
    rows, device = np.arange(4), torch.device("cpu")
    size = 4 * COUNT * 16
    for spare, held in ((0, True), (-1, False)):
        samples = TrainingSamples(data, data.shapes, rows, points=9, device=device, held_bytes=size + spare)
        assert samples.held == held


def test_of_samples_that_are_not_held_only_blocks_are_read(tmp_path: Path) -> None:
    data = write(LocalStore(tmp_path))
    store = WatchedStore(data.store)
    samples = opened(replace(data, store=store), "not held")
    before = store.total
    batches(samples, ([1], [0.3]), ([2], [0.5]))
    # For each shape: the header, and 50 rows of three float16 coordinates, a distance and a strategy.
    assert store.total - before == 2 * (1024 + 50 * 9)


def test_files_are_closed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches_module, "MAX_OPEN_FILES", 2)
    samples = opened(write(LocalStore(tmp_path)), "mapped")
    for _ in range(3):
        batches(samples, *[([row], [0.5]) for row in range(4)])
    info = samples._open.cache_info()
    assert info.currsize == 2
    assert info.misses > 4


@WAYS
@pytest.mark.parametrize("field", ["points_unit", "sdf"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_name_the_shape(tmp_path: Path, way: str, field: str, bad: float) -> None:
    data = write(LocalStore(tmp_path))
    broken = some_samples(1)
    getattr(broken, field)[7] = bad
    write_shape(data.store, some_record("b"), broken)
    with pytest.raises(DatasetError, match="samples of shape b hold NaN or infinity"):
        batches(opened(data, way), ([0], [0.0]), ([1], [0.0]))


@WAYS
def test_files_that_are_not_what_the_manifest_says(tmp_path: Path, way: str) -> None:
    data = write(LocalStore(tmp_path))
    few = some_samples(9, surface=False)
    few = replace(few, points_unit=few.points_unit[:33], sdf=few.sdf[:33], strategy=few.strategy[:33])
    write_shape(data.store, some_record("b"), few)
    with pytest.raises(DatasetError, match=r"b\.safetensors: 33 samples; expected 200 by the manifest"):
        batches(opened(data, way), ([1], [0.0]))
    data.store.remove("samples/c.safetensors")
    with pytest.raises(DatasetError, match=r"c\.safetensors"):
        batches(opened(data, way, rows=np.array([0, 2])), ([2], [0.0]))


def test_no_samples(tmp_path: Path) -> None:
    data = write(LocalStore(tmp_path))
    data = replace(data, shapes=(*data.shapes, some_record("e", samples=0)))
    with pytest.raises(DatasetError, match="shape e has no samples"):
        opened(data)
