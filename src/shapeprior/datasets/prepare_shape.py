"""One preparation job: from one file of a collection to a stored shape, or to a recorded refusal."""

from dataclasses import asdict, dataclass

import numpy as np

from shapeprior.datasets.deepsdf_format import normalization_path, read_deepsdf_normalization, read_deepsdf_samples
from shapeprior.datasets.manifest import RefusalKind, RefusedShape, ShapeRecord, write_record
from shapeprior.datasets.mesh_source import MeshSource, Split, UpAxis
from shapeprior.datasets.prepare_mesh import (
    PrepareConfig,
    inside_share_near_surface,
    prepare_mesh,
    rotation_to_y_up,
    sample_mesh,
    source_unit,
    source_up,
)
from shapeprior.datasets.shape_files import mesh_name, samples_name, write_mesh_unit, write_samples
from shapeprior.datasets.splits import stretch_mesh
from shapeprior.errors import MeshError, ShapePriorError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.sampling import shape_rng
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.files import file_sha256
from shapeprior.io.meshes import load_mesh
from shapeprior.io.store import Store
from shapeprior.sdf.sampling import SdfSamples


@dataclass(frozen=True, kw_only=True)
class PrepareJob:
    """Everything that a worker needs to prepare one file."""

    store: Store
    """Where the data set is written."""
    source: MeshSource
    """The file."""
    split: Split
    """Split of the shape."""
    config: PrepareConfig
    """Settings of the data set."""
    seed: int
    """Seed of the data set; each shape has a random generator of its own, made of this and its id."""


def prepare_shape(job: PrepareJob) -> ShapeRecord | RefusedShape:
    """Prepare one file and write its samples, mesh and record; a file that cannot be prepared is recorded as a refusal.

    A path that ends in .npz is read as samples that DeepSDF made. Raises OutputError if the files cannot be written.
    """
    sha256 = file_sha256(job.source.path)
    try:
        record = _prepare_samples(job, sha256) if job.source.path.suffix == ".npz" else _prepare_mesh(job, sha256)
    except MeshError as error:
        # The data set must be the same on all machines, so it holds the name of the file and not its path.
        reason = str(error).replace(str(job.source.path), job.source.name)
        return refuse(job, kind="refused", reason=reason, sha256=sha256)
    except ShapePriorError:
        raise
    except Exception as error:
        # A defect of this package must not cost the other shapes of a long run. A later run tries this file again.
        found = f"{job.source.name}: {type(error).__name__}: {error}"
        reason = f"{found}; expected no such error: please report it with the file"
        return refuse(job, kind="crashed", reason=reason, sha256=sha256)
    write_record(job.store, record)
    return record


def refuse(job: PrepareJob, *, kind: RefusalKind, reason: str, sha256: str) -> RefusedShape:
    """Record that a file did not become a shape, and remove the files of an earlier shape of this id."""
    record = RefusedShape(
        id=job.source.shape_id, source=job.source.name, source_sha256=sha256, kind=kind, reason=reason
    )
    for name in (samples_name(record.id), mesh_name(record.id)):
        job.store.remove(name)
    write_record(job.store, record)
    return record


def _prepare_mesh(job: PrepareJob, sha256: str) -> ShapeRecord:
    config, source = job.config, job.source
    up = source_up(source, config)
    mesh_world = load_mesh(source.path)
    if source.variant:
        mesh_world = stretch_mesh(mesh_world, config.stretch, rng=shape_rng(job.seed, f"{source.shape_id} factors"))
    prepared = prepare_mesh(mesh_world, name=str(source.path), up=up, sheet_half_thickness=config.sheet_half_thickness)
    samples, inside_share = sample_mesh(
        prepared, config, name=str(source.path), rng=shape_rng(job.seed, source.shape_id), flag="--min-confidence"
    )
    checks = {**asdict(prepared.clean_report), **asdict(prepared.distance.report), "inside_share": inside_share}
    # The record has a field of its own for it.
    del checks["confidence"]
    return _store_shape(
        job,
        sha256,
        samples,
        prepared.mesh_unit,
        # No similarity maps the file to a stretched copy.
        T_unit_world=None if source.variant else prepared.T_unit_world,
        up=up,
        confidence=prepared.distance.confidence,
        checks=checks,
    )


def _prepare_samples(job: PrepareJob, sha256: str) -> ShapeRecord:
    """Take over samples that DeepSDF made: as many as the settings ask for, turned upright, and otherwise unchanged."""
    path, sampling = job.source.path, job.config.sampling
    if sampling.surface:
        raise MeshError(
            f"{path}: no surface points; expected {sampling.surface}; ask for none, or prepare from meshes instead"
        )
    samples = read_deepsdf_samples(path, max_samples=sampling.count, rng=shape_rng(job.seed, job.source.shape_id))
    up = source_up(job.source, job.config)
    T_upright_world = rotation_to_y_up(up)
    points_unit = T_upright_world.apply_vectors(samples.points_unit.astype(np.float64)).astype(np.float32)
    samples = SdfSamples(points_unit=points_unit, sdf=samples.sdf, strategy=samples.strategy)
    inside_share = inside_share_near_surface(samples, job.config.min_inside_share, name=str(path))
    normalization = normalization_path(path)
    return _store_shape(
        job,
        sha256,
        samples,
        None,
        T_unit_world=T_upright_world @ read_deepsdf_normalization(normalization) if normalization else None,
        up=up,
        confidence=None,
        checks={"inside_share": inside_share},
    )


def _store_shape(
    job: PrepareJob,
    sha256: str,
    samples: SdfSamples,
    mesh_unit: TriangleMesh | None,
    *,
    T_unit_world: Similarity | None,
    up: UpAxis,
    confidence: float | None,
    checks: dict[str, object],
) -> ShapeRecord:
    """Write a shape's samples and mesh, if it has one, and return its record."""
    source = job.source
    return ShapeRecord(
        id=source.shape_id,
        source=source.name,
        source_sha256=sha256,
        category=source.category,
        split=job.split,
        samples=len(samples.sdf),
        samples_sha256=write_samples(job.store, source.shape_id, samples),
        mesh_sha256=None if mesh_unit is None else write_mesh_unit(job.store, source.shape_id, mesh_unit),
        T_unit_world=None if T_unit_world is None else T_unit_world.to_json(),
        unit=source_unit(source, job.config),
        up=up,
        confidence=confidence,
        checks=checks,
    )
