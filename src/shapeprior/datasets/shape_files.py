"""The files of one shape: its samples and its mesh. Their layout is on one page, docs/formats.md."""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped
from safetensors.numpy import save

from shapeprior.errors import DatasetError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.io.store import Store
from shapeprior.io.tensor_file import TensorFile
from shapeprior.sdf.sampling import SdfSamples, SurfaceSamples

Rows = tuple[int, int]
"""First row and the one after the last."""


def samples_name(shape_id: str) -> str:
    """Where a shape's samples lie in the store."""
    return f"samples/{shape_id}.safetensors"


def mesh_name(shape_id: str) -> str:
    """Where a shape's cleaned mesh lies in the store."""
    return f"meshes/{shape_id}.safetensors"


def write_samples(store: Store, shape_id: str, samples: SdfSamples) -> str:
    """Write a shape's samples, in their order; returns the file's SHA-256. Raises OutputError."""
    tensors = {"points_unit": samples.points_unit, "sdf": samples.sdf, "strategy": samples.strategy}
    if samples.surface is not None:
        tensors["surface_points_unit"] = samples.surface.points_unit
        tensors["surface_normals_unit"] = samples.surface.normals_unit
    return _write(store, samples_name(shape_id), tensors)


def write_mesh_unit(store: Store, shape_id: str, mesh_unit: TriangleMesh) -> str:
    """Write a shape's cleaned mesh, exactly; returns the file's SHA-256. Raises OutputError.

    Positions that float32 holds take half the space. No others are rounded here: the samples belong to the mesh as it was
    measured, and on an open mesh a rounding of 3e-8 radii can turn what is called inside at a few places.
    """
    rounded = mesh_unit.vertices.astype(np.float32)
    vertices = rounded if np.array_equal(rounded, mesh_unit.vertices) else mesh_unit.vertices
    return _write(store, mesh_name(shape_id), {"vertices": vertices, "faces": mesh_unit.faces.astype(np.int32)})


class SampleFile:
    """A shape's samples, open; blocks of rows can be read alone."""

    def __init__(self, store: Store, shape_id: str) -> None:
        """Raises DatasetError if the file is missing, cut, or holds other tensors than samples."""
        self._file = TensorFile(store, samples_name(shape_id))
        self.count = self._file.require("sdf", ("F16", "F32"), ())
        """Samples."""
        self._require_rows("points_unit", self._file.tensors["sdf"].type, (3,), self.count)
        self._require_rows("strategy", "U8", (), self.count)
        self.surface_count: int | None = None
        """Points of the surface; None if the data set was prepared without them."""
        if "surface_points_unit" in self._file.tensors:
            self.surface_count = self._file.require("surface_points_unit", ("F32",), (3,))
            self._require_rows("surface_normals_unit", "F32", (3,), self.surface_count)

    @property
    def place(self) -> str:
        """Path or URL, for messages."""
        return self._file.place

    def samples(self, blocks: Sequence[Rows]) -> SdfSamples:
        """The samples of some blocks of rows, without surface points."""
        return SdfSamples(
            points_unit=self._rows("points_unit", blocks),
            sdf=self._rows("sdf", blocks),
            strategy=self._rows("strategy", blocks),
            surface=None,
        )

    def surface(self, blocks: Sequence[Rows]) -> SurfaceSamples:
        """Some blocks of rows of the surface points, which must be there."""
        return SurfaceSamples(
            points_unit=self._rows("surface_points_unit", blocks),
            normals_unit=self._rows("surface_normals_unit", blocks),
        )

    def _rows(self, tensor: str, blocks: Sequence[Rows]) -> Shaped[np.ndarray, "rows *columns"]:
        return np.concatenate([self._file.rows(tensor, start, stop) for start, stop in blocks])

    def _require_rows(self, tensor: str, kind: str, columns: tuple[int, ...], count: int) -> None:
        found = self._file.require(tensor, (kind,), columns)
        if found != count:
            raise DatasetError(
                f"{self.place}: {found} rows of '{tensor}'; expected {count}; run `shapeprior prepare` again"
            )


def random_blocks(count: int, total: int, *, rng: np.random.Generator) -> list[Rows]:
    """`count` successive rows of `total` from a random start, going on at row 0 after the last; count ≤ total."""
    start = int(rng.integers(total)) if total else 0
    stop = min(start + count, total)
    rest = count - (stop - start)
    return [(start, stop), (0, rest)] if rest else [(start, stop)]


def read_mesh_unit(store: Store, shape_id: str) -> TriangleMesh:
    """A shape's cleaned mesh; raises DatasetError if its file is missing, cut, or no mesh."""
    file = TensorFile(store, mesh_name(shape_id))
    vertices = file.rows("vertices", 0, file.require("vertices", ("F32", "F64"), (3,)))
    faces = file.rows("faces", 0, file.require("faces", ("I32",), (3,)))
    if faces.min(initial=0) < 0 or faces.max(initial=-1) >= len(vertices):
        raise DatasetError(
            f"{file.place}: faces of vertices {faces.min()} to {faces.max()}, but there are {len(vertices)}; "
            "expected indices within range; run `shapeprior prepare` again"
        )
    return TriangleMesh(vertices=vertices.astype(np.float64), faces=faces.astype(np.int64))


def _write(store: Store, name: str, tensors: dict[str, np.ndarray]) -> str:
    data = save(tensors)
    store.write(name, data)
    return hashlib.sha256(data).hexdigest()
