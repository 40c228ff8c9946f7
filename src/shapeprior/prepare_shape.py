"""One mesh file to one prepared shape: load, clean, normalise, sign, sample, write."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from shapeprior.clean import CleanReport, clean_mesh
from shapeprior.dataset import RefusedShape, ShapeRecord, Split, write_mesh_unit, write_samples
from shapeprior.errors import ConfigError, MeshError
from shapeprior.frames import Similarity
from shapeprior.mesh import TriangleMesh
from shapeprior.mesh_io import load_mesh
from shapeprior.sampling import SamplingConfig, SdfSamples, sample_sdf
from shapeprior.signed_distance import SHEET_HALF_THICKNESS, SignedDistance

UpAxis = Literal["y", "z"]
MIN_INSIDE_SHARE = 0.01
"""Fewer near-surface samples inside than this, and there is no solid to learn."""


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """How meshes become samples."""

    sampling: SamplingConfig = SamplingConfig()
    """Where the samples lie."""
    up: UpAxis = "y"
    """The axis that points up in the meshes; z is turned to y."""
    test_share: float = 0.2
    """Share of shapes in the test split."""
    sheet_half_thickness: float = SHEET_HALF_THICKNESS
    """Half the thickness given to surfaces without an inside, in unit-sphere radii."""

    def __post_init__(self) -> None:
        if self.up not in get_args(UpAxis):
            raise ConfigError(f"up = {self.up!r}; expected one of {', '.join(map(repr, get_args(UpAxis)))}")
        if not 0.0 <= self.test_share <= 1.0:
            raise ConfigError(f"test_share = {self.test_share}; expected 0 to 1")
        if not 0.0 <= self.sheet_half_thickness < 0.5:
            raise ConfigError(f"sheet_half_thickness = {self.sheet_half_thickness}; expected 0 to 0.5 radii")


@dataclass(frozen=True, kw_only=True)
class PrepareJob:
    """What a worker needs to prepare one file."""

    root: Path
    meshes: Path
    source: str
    shape_id: str
    split: Split
    config: PrepareConfig
    seed: int


@dataclass(frozen=True, eq=False)
class PreparedMesh:
    """A cleaned mesh in the unit frame with its signed distance."""

    mesh_unit: TriangleMesh
    T_unit_world: Similarity
    distance: SignedDistance
    clean_report: CleanReport


def prepare_mesh(mesh_world: TriangleMesh, *, name: str, config: PrepareConfig) -> PreparedMesh:
    """Clean, turn upright and normalise a mesh, and find its inside. Raises MeshError, naming `name`."""
    mesh_world, report = clean_mesh(mesh_world, name=name)
    if len(mesh_world.faces) < 4:
        raise MeshError(
            f"{name}: {len(mesh_world.faces)} distinct faces; expected at least 4, the fewest that bound a solid; "
            "drop the file or model the object"
        )
    T_upright_world = Similarity(scale=1.0, rotation=_upright_rotation(config.up), offset=np.zeros(3))
    T_unit_world = Similarity.to_unit_sphere(T_upright_world.apply(mesh_world.vertices)) @ T_upright_world
    mesh_unit = TriangleMesh(vertices=T_unit_world.apply(mesh_world.vertices), faces=mesh_world.faces)
    distance = SignedDistance(mesh_unit, sheet_half_thickness=config.sheet_half_thickness)
    if len(distance.surface.faces) == 0:
        raise MeshError(f"{name}: no face borders the outside; expected an outer surface; check the mesh")
    return PreparedMesh(mesh_unit, T_unit_world, distance, report)


def prepare_shape(job: PrepareJob) -> ShapeRecord | RefusedShape:
    """Prepare one file and write its samples and mesh. A fault of the file comes back as a refusal, never as a gap."""
    path = job.meshes / job.source
    try:
        prepared = prepare_mesh(load_mesh(path), name=str(path), config=job.config)
        samples = sample_sdf(prepared.distance, job.config.sampling, rng=shape_rng(job.seed, job.shape_id))
        _check_inside(samples, path)
    except MeshError as error:
        return RefusedShape(source=job.source, reason=str(error))
    write_mesh_unit(job.root, job.shape_id, prepared.mesh_unit)
    written = write_samples(job.root, job.shape_id, samples)
    return ShapeRecord(
        id=job.shape_id,
        source=job.source,
        source_sha256=file_sha256(path),
        split=job.split,
        samples_sha256=hashlib.sha256(written).hexdigest(),
        T_unit_world=prepared.T_unit_world.to_json(),
        checks={**asdict(prepared.clean_report), **asdict(prepared.distance.report)},
    )


def shape_rng(seed: int, shape_id: str) -> np.random.Generator:
    """A generator of the shape's own: its samples do not depend on which other shapes there are, nor on who prepares it."""
    words = np.frombuffer(hashlib.sha256(shape_id.encode()).digest(), dtype="<u4").tolist()
    return np.random.default_rng([seed, *words])


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_inside(samples: SdfSamples, path: Path) -> None:
    near = np.abs(samples.sdf) < 0.05
    share = float(np.mean(samples.sdf[near] < 0.0)) if near.any() else 0.0
    if share < MIN_INSIDE_SHARE:
        raise MeshError(
            f"{path}: {share:.1%} of the samples near the surface are inside; expected at least {MIN_INSIDE_SHARE:.0%}; "
            "close the mesh, or thicken its sheets"
        )


def _upright_rotation(up: UpAxis) -> np.ndarray:
    """Rotation that brings the up axis to +y; z up means (x, y, z) → (x, z, −y)."""
    if up == "y":
        return np.eye(3)
    return np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
