"""A data set folder: samples and meshes of many shapes, split by shape. The format is on one page, docs/formats.md."""

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from shapeprior.errors import DatasetError
from shapeprior.frames import Similarity
from shapeprior.mesh import TriangleMesh
from shapeprior.mesh_io import write_bytes
from shapeprior.sampling import SdfSamples

FORMAT = "shapeprior-dataset"
VERSION = 1
SHAPE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")

Split = Literal["train", "test"]
Row = TypeVar("Row")


@dataclass(frozen=True, kw_only=True)
class ShapeRecord:
    """One prepared shape, a row of the manifest."""

    id: str
    """Path of the source below the mesh folder, without suffix; unique in the data set."""
    source: str
    """File name of the source below the mesh folder."""
    source_sha256: str
    """Hash of the source's bytes: a changed file is prepared again."""
    split: str
    """train or test."""
    samples_sha256: str
    """Hash of the samples' file."""
    T_unit_world: dict[str, object]
    """How the source's frame maps to the unit frame; `Similarity.from_json` reads it."""
    checks: dict[str, object]
    """What cleaning and the sign tests found."""


@dataclass(frozen=True, kw_only=True)
class RefusedShape:
    """One source that could not be prepared; it stays in the manifest with its reason."""

    source: str
    """File name below the mesh folder."""
    reason: str
    """What was found, what was expected, what to do."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A finished data set folder."""

    root: Path
    settings: dict[str, Any]
    shapes: tuple[ShapeRecord, ...]
    refused: tuple[RefusedShape, ...]

    @classmethod
    def open(cls, root: str | os.PathLike[str]) -> "Dataset":
        """Read the manifest; raises DatasetError if it is missing, broken, or names files outside the folder."""
        root = Path(root)
        path = root / "manifest.json"
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DatasetError(
                f"{root}: no manifest.json; expected a finished data set; run `shapeprior prepare MESHES --out {root}`"
            ) from None
        except (OSError, ValueError, RecursionError) as error:
            raise DatasetError(f"{path}: cannot be read ({error}); expected JSON; prepare the data set again") from None
        try:
            found = (manifest["format"], manifest["version"])
            if found != (FORMAT, VERSION):
                raise DatasetError(f"{path}: format {found}; expected {(FORMAT, VERSION)}; prepare the data set again")
            shapes = tuple(_row(ShapeRecord, row) for row in manifest["shapes"])
            refused = tuple(_row(RefusedShape, row) for row in manifest["refused"])
            settings = dict(manifest["settings"])
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{path}: not a manifest ({error}); prepare the data set again") from None
        for shape in shapes:
            check_shape_id(shape.id, where=str(path))
            if shape.split not in get_args(Split):
                raise DatasetError(f"{path}: shape {shape.id} is in split {shape.split!r}; expected train or test")
        return cls(root=root, settings=settings, shapes=shapes, refused=refused)

    def split(self, name: str) -> tuple[ShapeRecord, ...]:
        """The shapes of one split, in manifest order."""
        return tuple(shape for shape in self.shapes if shape.split == name)

    def samples(self, shape_id: str) -> SdfSamples:
        """The SDF samples of a shape, in the unit frame."""
        tensors = _load(samples_path(self.root, shape_id), {"points_unit": np.float32, "sdf": np.float32})
        if tensors["sdf"].shape != tensors["points_unit"].shape[:1]:
            raise DatasetError(f"{samples_path(self.root, shape_id)}: points without distances; prepare it again")
        return SdfSamples(points_unit=tensors["points_unit"], sdf=tensors["sdf"])

    def mesh_unit(self, shape_id: str) -> TriangleMesh:
        """The cleaned mesh of a shape, in the unit frame."""
        tensors = _load(mesh_path(self.root, shape_id), {"vertices": np.float64, "faces": np.int32})
        vertices, faces = tensors["vertices"], tensors["faces"].astype(np.int64)
        if faces.min(initial=0) < 0 or faces.max(initial=-1) >= len(vertices):
            raise DatasetError(f"{mesh_path(self.root, shape_id)}: faces without vertices; prepare it again")
        return TriangleMesh(vertices=vertices, faces=faces)

    def T_unit_world(self, shape_id: str) -> Similarity:
        """How the source's frame maps to the unit frame."""
        placements = {shape.id: shape.T_unit_world for shape in self.shapes}
        try:
            return Similarity.from_json(placements[shape_id])
        except (KeyError, ValueError) as error:
            raise DatasetError(f"{self.root}: no placement of shape {shape_id} ({error}); prepare it again") from None


def write_samples(root: Path, shape_id: str, samples: SdfSamples) -> bytes:
    """Write a shape's samples; returns the bytes written, for hashing."""
    data = save({"points_unit": samples.points_unit, "sdf": samples.sdf})
    write_bytes(samples_path(root, shape_id), data)
    return data


def write_mesh_unit(root: Path, shape_id: str, mesh_unit: TriangleMesh) -> None:
    """Write a shape's cleaned mesh."""
    data = save({"vertices": mesh_unit.vertices, "faces": mesh_unit.faces.astype(np.int32)})
    write_bytes(mesh_path(root, shape_id), data)


def write_manifest(dataset: Dataset) -> None:
    """Write manifest.json; it comes last, so that a folder with one is finished."""
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "settings": dataset.settings,
        "shapes": [asdict(shape) for shape in dataset.shapes],
        "refused": [asdict(shape) for shape in dataset.refused],
    }
    write_bytes(dataset.root / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode())


def samples_path(root: Path, shape_id: str) -> Path:
    """Where a shape's samples lie."""
    return root / "samples" / f"{shape_id}.safetensors"


def mesh_path(root: Path, shape_id: str) -> Path:
    """Where a shape's cleaned mesh lies."""
    return root / "meshes" / f"{shape_id}.safetensors"


def check_shape_id(shape_id: str, *, where: str) -> str:
    """Refuse ids that could leave the folder; raises DatasetError."""
    if not SHAPE_ID.fullmatch(shape_id):
        raise DatasetError(f"{where}: shape id {shape_id!r}; expected letters, digits, '.', '_', '-' between slashes")
    return shape_id


def _row(cls: type[Row], row: dict[str, Any]) -> Row:
    """One row of the manifest; raises KeyError or TypeError if a field is missing, unknown or of another type."""
    for name, hint in get_type_hints(cls).items():
        if not isinstance(row[name], get_origin(hint) or hint):
            raise TypeError(f"{name} is {row[name]!r}")
    return cls(**row)


def _load(path: Path, dtypes: dict[str, type[np.generic]]) -> dict[str, np.ndarray]:
    try:
        tensors = load_file(path)
    except FileNotFoundError:
        raise DatasetError(f"{path}: missing, but the manifest names it; run `shapeprior prepare` again") from None
    # A TypeError is a tensor of a type that numpy does not have.
    except (OSError, SafetensorError, TypeError) as error:
        raise DatasetError(f"{path}: cannot be read ({error}); run `shapeprior prepare` again") from None
    for name, dtype in dtypes.items():
        if name not in tensors:
            raise DatasetError(f"{path}: no tensor '{name}'; expected {', '.join(dtypes)}; prepare it again")
        tensor = tensors[name]
        columns = () if name == "sdf" else (3,)
        if tensor.dtype != dtype or tensor.shape[1:] != columns or tensor.ndim == 0:
            raise DatasetError(
                f"{path}: tensor '{name}' is {tensor.dtype} {tensor.shape}; expected {dtype.__name__} "
                f"{('rows', *columns)}; prepare it again"
            )
    return tensors
