"""A finished data set: samples and meshes of many shapes, each in a split. docs/formats.md describes the files."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from shapeprior.datasets.manifest import READ_THREADS, RefusedShape, ShapeRecord, read_manifest
from shapeprior.datasets.shape_files import SampleFile, file_hashes, random_row_ranges, read_mesh_unit
from shapeprior.errors import DatasetError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.store import Store, open_store
from shapeprior.sdf.sampling import SdfSamples, SurfaceSamples


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A finished data set. Its methods raise DatasetError if a file is missing or broken, or if a shape is unknown."""

    store: Store
    """The place of its files, a folder or a URL."""
    settings: dict[str, Any]
    """Settings that it was prepared with."""
    shapes: tuple[ShapeRecord, ...]
    """Shapes of all splits and categories."""
    refused: tuple[RefusedShape, ...]
    """Files that did not become shapes, each with its reason."""

    @classmethod
    def open(cls, root: str | os.PathLike[str]) -> "Dataset":
        """Open the data set at a path or a URL.

        A URL is ``s3://bucket/folder`` or any other that `shapeprior.io.store.open_store` takes. Raises
        DatasetError if the manifest is missing, broken, or names files outside the data set.
        """
        store = open_store(root)
        settings, shapes, refused = read_manifest(store)
        return cls(store=store, settings=settings, shapes=shapes, refused=refused)

    @property
    def root(self) -> str:
        """Path or URL, for messages."""
        return self.store.describe("")

    def shape(self, shape_id: str) -> ShapeRecord:
        """Return the record of a shape."""
        found = self._by_id.get(shape_id)
        if found is None:
            raise DatasetError(
                f"{self.root}: no shape {shape_id!r}; expected one of the {len(self.shapes)} of the manifest; "
                "check the id"
            )
        return found

    def split(self, name: str) -> tuple[ShapeRecord, ...]:
        """Return the shapes of one split, in manifest order."""
        return tuple(shape for shape in self.shapes if shape.split == name)

    @cached_property
    def training_sha256(self) -> str:
        """SHA-256 of all training samples; a prior stores it to tell which data it was trained on."""
        digest = hashlib.sha256()
        for shape in self.split("train"):
            digest.update(shape.samples_sha256.encode())
        return digest.hexdigest()

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """Names of all categories, sorted. Shapes without a category are not counted."""
        return tuple(sorted({shape.category for shape in self.shapes} - {""}))

    def category(self, name: str) -> "Dataset":
        """Return the same data set with the shapes of one category only."""
        shapes = tuple(shape for shape in self.shapes if shape.category == name)
        if not shapes:
            raise DatasetError(
                f"{self.root}: no category {name!r}; expected one of {', '.join(self.categories) or 'none'}; "
                "check the name"
            )
        return replace(self, shapes=shapes)

    def samples(self, shape_id: str) -> SdfSamples:
        """Return all samples of a shape, in the unit frame."""
        file = self._sample_file(shape_id)
        samples = file.samples([(0, file.count)])
        if file.surface_count is None:
            return samples
        return replace(samples, surface=file.surface([(0, file.surface_count)]))

    def sample_block(self, shape_id: str, *, start: int, count: int) -> SdfSamples:
        """Return samples `start` to `start + count` of a shape, without surface points; no other rows are read."""
        return self._sample_file(shape_id).samples([(start, start + count)])

    def random_block(self, shape_id: str, count: int, *, rng: np.random.Generator) -> SdfSamples:
        """Return `count` successive samples of a shape from a random row on, without surface points.

        After the last row comes the first. Rows are stored in random order, so a block is a random subset. No other
        rows are read.
        """
        file = self._sample_file(shape_id)
        self._require_count(file.place, "samples", file.count, count)
        return file.samples(random_row_ranges(count, file.count, rng=rng))

    def random_surface_block(self, shape_id: str, count: int, *, rng: np.random.Generator) -> SurfaceSamples:
        """Return `count` successive surface points of a shape with their normals, from a random row on."""
        file = self._sample_file(shape_id)
        total = file.surface_count or 0
        self._require_count(file.place, "surface points", total, count)
        return file.surface(random_row_ranges(count, total, rng=rng))

    def mesh_unit(self, shape_id: str) -> TriangleMesh:
        """Return the cleaned mesh of a shape, in the unit frame."""
        if self.shape(shape_id).mesh_sha256 is None:
            raise DatasetError(
                f"{self.root}: shape {shape_id} has samples only; expected a mesh; prepare the data set from meshes"
            )
        return read_mesh_unit(self.store, shape_id)

    def T_unit_world(self, shape_id: str) -> Similarity:
        """Return the similarity from the source's frame to the unit frame."""
        placement = self.shape(shape_id).T_unit_world
        try:
            return Similarity.from_json(placement or {})
        except (KeyError, ValueError) as error:
            raise DatasetError(
                f"{self.root}: no placement of shape {shape_id} ({error}); expected scale, rotation and offset; "
                "prepare it again"
            ) from None

    def verify(self) -> list[str]:
        """Compare every file with its hash in the manifest; return one line for each that is damaged or missing."""
        expected = [item for shape in self.shapes for item in file_hashes(shape)]
        with ThreadPoolExecutor(READ_THREADS) as pool:
            faults = pool.map(lambda item: self._fault(*item), expected)
            return [fault for fault in faults if fault is not None]

    @cached_property
    def _by_id(self) -> dict[str, ShapeRecord]:
        return {shape.id: shape for shape in self.shapes}

    def _sample_file(self, shape_id: str) -> SampleFile:
        record = self.shape(shape_id)
        file = SampleFile(self.store, shape_id)
        if file.count != record.samples:
            raise DatasetError(
                f"{file.place}: {file.count} samples; expected {record.samples} by the manifest; "
                "run `shapeprior prepare` again"
            )
        return file

    def _fault(self, name: str, expected_sha256: str) -> str | None:
        """Return what is wrong with a file, or None."""
        try:
            found = hashlib.sha256(self.store.read(name)).hexdigest()
        except DatasetError as error:
            return str(error)
        if found == expected_sha256:
            return None
        return (
            f"{self.store.describe(name)}: SHA-256 {found}; expected {expected_sha256}: the file has changed; "
            "run `shapeprior prepare` again"
        )

    def _require_count(self, place: str, items: str, available: int, wanted: int) -> None:
        if not 0 <= wanted <= available:
            raise DatasetError(
                f"{place}: {available} {items}; expected at least {wanted}; "
                "ask for fewer or prepare the data set with more"
            )
