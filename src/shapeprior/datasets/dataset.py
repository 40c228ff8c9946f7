"""A data set: samples and meshes of many shapes, split by shape. The format is on one page, docs/formats.md."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from shapeprior.datasets.manifest import READERS, RefusedShape, ShapeRecord, read_manifest
from shapeprior.datasets.shape_files import SampleFile, mesh_name, random_blocks, read_mesh_unit, samples_name
from shapeprior.errors import DatasetError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.store import Store, open_store
from shapeprior.sdf.sampling import SdfSamples, SurfaceSamples


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A finished data set. Its methods raise DatasetError if a file is missing or broken, or there is no such shape."""

    store: Store
    """Where it lies."""
    settings: dict[str, Any]
    """The settings that it was prepared with."""
    shapes: tuple[ShapeRecord, ...]
    """The shapes, of all splits and categories."""
    refused: tuple[RefusedShape, ...]
    """The files that did not become shapes, each with its reason."""

    @classmethod
    def open(cls, root: str | os.PathLike[str]) -> "Dataset":
        """Read the manifest at a path or a URL (``s3://bucket/folder`` and others, see `shapeprior.io.store.open_store`).

        Raises DatasetError if it is missing, broken, or names files outside the data set.
        """
        store = open_store(root)
        settings, shapes, refused = read_manifest(store)
        return cls(store=store, settings=settings, shapes=shapes, refused=refused)

    @property
    def root(self) -> str:
        """The path or URL, for messages."""
        return self.store.describe("")

    def shape(self, shape_id: str) -> ShapeRecord:
        """The record of a shape."""
        found = self._by_id.get(shape_id)
        if found is None:
            raise DatasetError(
                f"{self.root}: no shape {shape_id!r}; expected one of the {len(self.shapes)} of the manifest; check the id"
            )
        return found

    def split(self, name: str) -> tuple[ShapeRecord, ...]:
        """The shapes of one split, in manifest order."""
        return tuple(shape for shape in self.shapes if shape.split == name)

    @cached_property
    def training_sha256(self) -> str:
        """Hash of the training split's samples, by which a prior knows what it was trained on."""
        digest = hashlib.sha256()
        for shape in self.split("train"):
            digest.update(shape.samples_sha256.encode())
        return digest.hexdigest()

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """The categories that there are, sorted; shapes whose collection states none count as "" and are left out."""
        return tuple(sorted({shape.category for shape in self.shapes} - {""}))

    def category(self, name: str) -> "Dataset":
        """The same data set with the shapes of one category only."""
        shapes = tuple(shape for shape in self.shapes if shape.category == name)
        if not shapes:
            raise DatasetError(
                f"{self.root}: no category {name!r}; expected one of {', '.join(self.categories) or 'none'}; check the name"
            )
        return replace(self, shapes=shapes)

    def samples(self, shape_id: str) -> SdfSamples:
        """All samples of a shape, in the unit frame."""
        file = self._sample_file(shape_id)
        samples = file.samples([(0, file.count)])
        if file.surface_count is None:
            return samples
        return replace(samples, surface=file.surface([(0, file.surface_count)]))

    def sample_block(self, shape_id: str, *, start: int, count: int) -> SdfSamples:
        """Samples start to start + count of a shape, without surface points; the rest of the file is not read."""
        return self._sample_file(shape_id).samples([(start, start + count)])

    def random_block(self, shape_id: str, count: int, *, rng: np.random.Generator) -> SdfSamples:
        """`count` samples of a shape from a random row on (after the last row comes the first), without surface points.

        Rows are in random order, so that a block is a random subset; the rest of the file is not read.
        """
        file = self._sample_file(shape_id)
        self._require_count(file.place, "samples", file.count, count)
        return file.samples(random_blocks(count, file.count, rng=rng))

    def random_surface_block(self, shape_id: str, count: int, *, rng: np.random.Generator) -> SurfaceSamples:
        """`count` points of a shape's surface with their normals, from a random row on."""
        file = self._sample_file(shape_id)
        total = file.surface_count or 0
        self._require_count(file.place, "surface points", total, count)
        return file.surface(random_blocks(count, total, rng=rng))

    def mesh_unit(self, shape_id: str) -> TriangleMesh:
        """The cleaned mesh of a shape, in the unit frame."""
        if self.shape(shape_id).mesh_sha256 is None:
            raise DatasetError(
                f"{self.root}: shape {shape_id} has samples only; expected a mesh; prepare the data set from meshes"
            )
        return read_mesh_unit(self.store, shape_id)

    def T_unit_world(self, shape_id: str) -> Similarity:
        """How the source's frame maps to the unit frame."""
        placement = self.shape(shape_id).T_unit_world
        try:
            return Similarity.from_json(placement or {})
        except (KeyError, ValueError) as error:
            raise DatasetError(f"{self.root}: no placement of shape {shape_id} ({error}); prepare it again") from None

    def verify(self) -> list[str]:
        """Compare the bytes of every file with the manifest; one line for each that is damaged or missing."""
        hashes = [(samples_name(shape.id), shape.samples_sha256) for shape in self.shapes]
        hashes += [(mesh_name(shape.id), shape.mesh_sha256) for shape in self.shapes if shape.mesh_sha256]
        with ThreadPoolExecutor(READERS) as pool:
            faults = pool.map(lambda item: self._fault(*item), hashes)
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

    def _fault(self, name: str, sha256: str) -> str | None:
        try:
            found = hashlib.sha256(self.store.read(name)).hexdigest()
        except DatasetError as error:
            return str(error)
        if found == sha256:
            return None
        return (
            f"{self.store.describe(name)}: SHA-256 {found}; expected {sha256}: the file was changed or damaged; "
            "run `shapeprior prepare` again"
        )

    def _require_count(self, place: str, what: str, found: int, asked: int) -> None:
        if not 0 <= asked <= found:
            raise DatasetError(
                f"{place}: {found} {what}; expected at least {asked}; ask for fewer or prepare the data set with more"
            )
