"""A data set of three shapes with made-up numbers, and stores that watch or spoil what is read from them."""

import mmap
from dataclasses import replace
from typing import Any

import numpy as np
from helpers.plain_geometry import random_similarity, sphere

from shapeprior.datasets.dataset import Dataset
from shapeprior.datasets.manifest import RefusedShape, ShapeRecord, write_manifest, write_record
from shapeprior.datasets.shape_files import write_mesh_unit, write_samples
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.io.store import Store
from shapeprior.sdf.sampling import SdfSamples, SurfaceSamples

COUNT = 200
"""Samples of each shape."""
SURFACE_COUNT = 30
"""Surface points of each shape."""
SETTINGS = {"prepare": {"up": "y"}, "seed": 3}
PLACEMENT = random_similarity(np.random.default_rng(8), scale=0.3)


def some_mesh() -> TriangleMesh:
    mesh = sphere(radius=0.9, subdivisions=1)
    return replace(mesh, vertices=mesh.vertices.astype(np.float32).astype(np.float64))


def some_samples(seed: int = 0, dtype: str = "float16", *, surface: bool = True) -> SdfSamples:
    rng = np.random.default_rng(seed)
    normals = rng.standard_normal((SURFACE_COUNT, 3))
    return SdfSamples(
        points_unit=rng.standard_normal((COUNT, 3)).astype(dtype),
        sdf=rng.standard_normal(COUNT).astype(dtype),
        strategy=rng.integers(0, 4, COUNT).astype(np.uint8),
        surface=SurfaceSamples(
            points_unit=rng.standard_normal((SURFACE_COUNT, 3)).astype(np.float32),
            normals_unit=(normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32),
        )
        if surface
        else None,
    )


def some_record(shape_id: str, **changes: Any) -> ShapeRecord:
    record = ShapeRecord(
        id=shape_id,
        source=f"{shape_id}.obj",
        source_sha256="ab" * 32,
        category="",
        split="train",
        samples=COUNT,
        samples_sha256="cd" * 32,
        mesh_sha256="ef" * 32,
        T_unit_world=PLACEMENT.to_json(),
        unit=None,
        up="y",
        confidence=0.75,
        checks={"faces": 80, "skin_share": 1.0},
    )
    return replace(record, **changes)


def some_refusal(shape_id: str, **changes: Any) -> RefusedShape:
    refusal = RefusedShape(
        id=shape_id,
        source=f"{shape_id}.obj",
        source_sha256="12" * 32,
        kind="refused",
        reason=f"{shape_id}.obj: the file is empty; expected a triangle mesh; export it again",
    )
    return replace(refusal, **changes)


def write_shape(store: Store, record: ShapeRecord, samples: SdfSamples) -> ShapeRecord:
    """Write the files of a shape; returns its record with their hashes."""
    record = replace(
        record,
        samples=len(samples.sdf),
        samples_sha256=write_samples(store, record.id, samples),
        mesh_sha256=write_mesh_unit(store, record.id, some_mesh()),
    )
    write_record(store, record)
    return record


def write_dataset(store: Store) -> Dataset:
    """Two mugs, one of them to test on, and a bowl; a fourth file was refused."""
    shapes = (
        write_shape(store, some_record("a", category="mug"), some_samples(0)),
        write_shape(store, some_record("mugs/b-1.x_2", category="mug", split="test"), some_samples(1)),
        write_shape(store, some_record("c", category="bowl", unit=0.01), some_samples(2, "float32", surface=False)),
    )
    refused = (some_refusal("d"),)
    write_record(store, refused[0])
    write_manifest(store, settings=SETTINGS, shapes=shapes, refused=refused)
    return Dataset(store=store, settings=SETTINGS, shapes=shapes, refused=refused)


class WatchedMap(mmap.mmap):
    """A memory map that adds up the bytes taken from it."""

    taken = 0

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        self.taken += len(found)
        return found


class WatchedStore:
    """A store that lists what is read from the one behind it: (name, bytes)."""

    def __init__(self, store: Store, *, maps: bool = False) -> None:
        self.store = store
        self.maps = maps
        self.reads: list[tuple[str, int]] = []
        self.mapped: list[WatchedMap] = []

    @property
    def total(self) -> int:
        """Bytes read so far."""
        return sum(count for _, count in self.reads) + sum(memory.taken for memory in self.mapped)

    def read(self, name: str) -> bytes:
        data = self.store.read(name)
        self.reads.append((name, len(data)))
        return data

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        data = self.store.read_range(name, start, stop)
        self.reads.append((name, len(data)))
        return data

    def memory_map(self, name: str) -> mmap.mmap | None:
        if not self.maps:
            return None
        with open(self.describe(name), "rb") as file:
            self.mapped.append(WatchedMap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return self.mapped[-1]

    def size(self, name: str) -> int:
        return self.store.size(name)

    def exists(self, name: str) -> bool:
        return self.store.exists(name)

    def write(self, name: str, data: bytes) -> None:
        self.store.write(name, data)

    def remove(self, name: str) -> None:
        self.store.remove(name)

    def names(self, folder: str) -> list[str]:
        return self.store.names(folder)

    def describe(self, name: str) -> str:
        return self.store.describe(name)
