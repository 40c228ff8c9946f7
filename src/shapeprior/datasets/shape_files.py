"""The two files of a shape, its samples and its mesh, both safetensors. docs/formats.md describes them."""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped
from safetensors.numpy import save

from shapeprior.datasets.manifest import ShapeRecord
from shapeprior.errors import DatasetError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.io.store import Store
from shapeprior.io.tensor_file import TensorFile
from shapeprior.sdf.sampling import SdfSamples, SurfaceSamples

RowRange = tuple[int, int]
"""First row, and the row after the last."""


def samples_name(shape_id: str) -> str:
    """Return the name of a shape's samples in the store."""
    return f"samples/{shape_id}.safetensors"


def mesh_name(shape_id: str) -> str:
    """Return the name of a shape's cleaned mesh in the store."""
    return f"meshes/{shape_id}.safetensors"


def file_hashes(record: ShapeRecord) -> list[tuple[str, str]]:
    """Return the names of a shape's files in the store, each with the SHA-256 that the record states."""
    hashes = [(samples_name(record.id), record.samples_sha256)]
    return hashes if record.mesh_sha256 is None else [*hashes, (mesh_name(record.id), record.mesh_sha256)]


def write_samples(store: Store, shape_id: str, samples: SdfSamples) -> str:
    """Write a shape's samples, in their order, and return the file's SHA-256. Raises OutputError."""
    tensors = {"points_unit": samples.points_unit, "sdf": samples.sdf, "strategy": samples.strategy}
    if samples.surface is not None:
        tensors["surface_points_unit"] = samples.surface.points_unit
        tensors["surface_normals_unit"] = samples.surface.normals_unit
    return _write_tensors(store, samples_name(shape_id), tensors)


def write_mesh_unit(store: Store, shape_id: str, mesh_unit: TriangleMesh) -> str:
    """Write a shape's cleaned mesh exactly, and return the file's SHA-256. Raises OutputError.

    Vertices are stored as float32 if that loses nothing, else as float64. They are never rounded: the samples belong to
    the mesh as it was measured, and on an open mesh a rounding of 3e-8 radii can change the sign at a few places.
    """
    rounded = mesh_unit.vertices.astype(np.float32)
    vertices = rounded if np.array_equal(rounded, mesh_unit.vertices) else mesh_unit.vertices
    return _write_tensors(store, mesh_name(shape_id), {"vertices": vertices, "faces": mesh_unit.faces.astype(np.int32)})


class SampleFile:
    """The open file of a shape's samples; ranges of rows are read without the rest."""

    def __init__(self, store: Store, shape_id: str) -> None:
        """Open the samples of a shape.

        Raises DatasetError if the file is missing, truncated, or holds other tensors.
        """
        self._file = TensorFile(store, samples_name(shape_id))
        self.count = self._file.require("sdf", ("F16", "F32"), ())
        """Number of samples."""
        self._require_rows("points_unit", self._file.tensors["sdf"].type, (3,), self.count)
        self._require_rows("strategy", "U8", (), self.count)
        self.surface_count: int | None = None
        """Number of surface points; None if the data set was prepared without them."""
        if "surface_points_unit" in self._file.tensors:
            self.surface_count = self._file.require("surface_points_unit", ("F32",), (3,))
            self._require_rows("surface_normals_unit", "F32", (3,), self.surface_count)

    @property
    def place(self) -> str:
        """Path or URL, for messages."""
        return self._file.place

    def samples(self, ranges: Sequence[RowRange]) -> SdfSamples:
        """Return the samples in some ranges of rows, joined in their order, without surface points."""
        return SdfSamples(
            points_unit=self._rows("points_unit", ranges),
            sdf=self._rows("sdf", ranges),
            strategy=self._rows("strategy", ranges),
            surface=None,
        )

    def surface(self, ranges: Sequence[RowRange]) -> SurfaceSamples:
        """Return the surface points in some ranges of rows, joined in their order; the file must have some."""
        return SurfaceSamples(
            points_unit=self._rows("surface_points_unit", ranges),
            normals_unit=self._rows("surface_normals_unit", ranges),
        )

    def _rows(self, tensor: str, ranges: Sequence[RowRange]) -> Shaped[np.ndarray, "rows *columns"]:
        return np.concatenate([self._file.rows(tensor, start, stop) for start, stop in ranges])

    def _require_rows(self, tensor: str, kind: str, columns: tuple[int, ...], count: int) -> None:
        found = self._file.require(tensor, (kind,), columns)
        if found != count:
            raise DatasetError(
                f"{self.place}: {found} rows of '{tensor}'; expected {count}; run `shapeprior prepare` again"
            )


def random_row_ranges(count: int, total: int, *, rng: np.random.Generator) -> list[RowRange]:
    """Return ranges of `count` successive rows from a random start, where row 0 follows the last of `total` rows.

    `count` is at most `total`.
    """
    start = int(rng.integers(total)) if total else 0
    stop = min(start + count, total)
    rest = count - (stop - start)
    return [(start, stop), (0, rest)] if rest else [(start, stop)]


def read_mesh_unit(store: Store, shape_id: str) -> TriangleMesh:
    """Return a shape's cleaned mesh; raises DatasetError if its file is missing, truncated, or not a mesh."""
    file = TensorFile(store, mesh_name(shape_id))
    vertices = file.rows("vertices", 0, file.require("vertices", ("F32", "F64"), (3,)))
    faces = file.rows("faces", 0, file.require("faces", ("I32",), (3,)))
    if faces.min(initial=0) < 0 or faces.max(initial=-1) >= len(vertices):
        raise DatasetError(
            f"{file.place}: faces with vertices {faces.min()} to {faces.max()}, but there are {len(vertices)}; "
            "expected indices within range; run `shapeprior prepare` again"
        )
    return TriangleMesh(vertices=vertices.astype(np.float64), faces=faces.astype(np.int64))


def _write_tensors(store: Store, name: str, tensors: dict[str, np.ndarray]) -> str:
    data = save(tensors)
    store.write(name, data)
    return hashlib.sha256(data).hexdigest()
