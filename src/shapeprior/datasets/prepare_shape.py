"""One file to one prepared shape: load, clean, normalise, sign, sample, write."""

from dataclasses import asdict, dataclass

import numpy as np

from shapeprior.datasets.deepsdf_format import normalization_path, read_deepsdf_normalization, read_deepsdf_samples
from shapeprior.datasets.manifest import Record, RefusalKind, RefusedShape, ShapeRecord, Split, write_record
from shapeprior.datasets.mesh_source import MeshSource
from shapeprior.datasets.prepare_mesh import (
    PrepareConfig,
    _inside_share,
    _upright,
    prepare_mesh,
    sample_mesh,
    source_unit,
    source_up,
)
from shapeprior.datasets.shape_files import mesh_name, samples_name, write_mesh_unit, write_samples
from shapeprior.datasets.splits import stretched
from shapeprior.errors import MeshError, ShapePriorError
from shapeprior.geometry.sampling import shape_rng
from shapeprior.io.files import source_sha256
from shapeprior.io.meshes import load_mesh
from shapeprior.io.store import Store
from shapeprior.sdf.sampling import SdfSamples


@dataclass(frozen=True, kw_only=True)
class PrepareJob:
    """What a worker needs to prepare one file."""

    store: Store
    """Where the data set is written."""
    source: MeshSource
    """The file."""
    split: Split
    config: PrepareConfig
    seed: int


def prepare_shape(job: PrepareJob) -> Record:
    """Prepare one file and write its samples, mesh and record. A fault of the file is recorded as a refusal, never a gap.

    A path that ends in .npz is read as samples that DeepSDF made. Raises OutputError if the files cannot be written.
    """
    sha256 = source_sha256(job.source.path)
    try:
        record = _prepare_samples(job, sha256) if job.source.path.suffix == ".npz" else _prepare_mesh(job, sha256)
    except MeshError as error:
        # Paths differ between machines, and the data set must not.
        reason = str(error).replace(str(job.source.path), job.source.name)
        return refuse(job, kind="refused", reason=reason, sha256=sha256)
    except ShapePriorError:
        raise
    except Exception as error:
        # A fault of ours must not cost the other shapes of a long run; a later run tries this one again.
        reason = f"{job.source.name}: {type(error).__name__}: {error}; expected no such thing: please report it with the file"
        return refuse(job, kind="crashed", reason=reason, sha256=sha256)
    write_record(job.store, record)
    return record


def refuse(job: PrepareJob, *, kind: RefusalKind, reason: str, sha256: str) -> RefusedShape:
    """Record that a file did not become a shape, and remove what may be there of an earlier one."""
    record = RefusedShape(
        id=job.source.shape_id, source=job.source.name, source_sha256=sha256, kind=kind, reason=reason
    )
    for name in (samples_name(record.id), mesh_name(record.id)):
        job.store.remove(name)
    write_record(job.store, record)
    return record


def _prepare_mesh(job: PrepareJob, sha256: str) -> ShapeRecord:
    config, path = job.config, job.source.path
    up = source_up(job.source, config)
    mesh_world = load_mesh(path)
    if job.source.variant:
        mesh_world = stretched(mesh_world, config.stretch, rng=shape_rng(job.seed, f"{job.source.shape_id} factors"))
    prepared = prepare_mesh(mesh_world, name=str(path), up=up, sheet_half_thickness=config.sheet_half_thickness)
    samples, inside_share = sample_mesh(
        prepared, config, name=str(path), rng=shape_rng(job.seed, job.source.shape_id), flag="--min-confidence"
    )
    checks = {**asdict(prepared.clean_report), **asdict(prepared.distance.report), "inside_share": inside_share}
    del checks["confidence"]
    return ShapeRecord(
        id=job.source.shape_id,
        source=job.source.name,
        source_sha256=sha256,
        category=job.source.category,
        split=job.split,
        samples=len(samples.sdf),
        samples_sha256=write_samples(job.store, job.source.shape_id, samples),
        mesh_sha256=write_mesh_unit(job.store, job.source.shape_id, prepared.mesh_unit),
        # No similarity leads from the file to a stretched copy.
        T_unit_world=None if job.source.variant else prepared.T_unit_world.to_json(),
        unit=source_unit(job.source, config),
        up=up,
        confidence=prepared.distance.confidence,
        checks=checks,
    )


def _prepare_samples(job: PrepareJob, sha256: str) -> ShapeRecord:
    """Take over samples that DeepSDF made: as many as the settings ask for, turned upright, as exact as they were."""
    path, sampling = job.source.path, job.config.sampling
    if sampling.surface:
        raise MeshError(f"{path}: no surface points; expected {sampling.surface}; ask for none, or prepare from meshes")
    samples = read_deepsdf_samples(path, max_samples=sampling.count, rng=shape_rng(job.seed, job.source.shape_id))
    up = source_up(job.source, job.config)
    turned = _upright(up).apply_vectors(samples.points_unit.astype(np.float64)).astype(np.float32)
    samples = SdfSamples(points_unit=turned, sdf=samples.sdf, strategy=samples.strategy)
    inside_share = _inside_share(samples, job.config.min_inside_share, name=str(path))
    placed_by = normalization_path(path)
    return ShapeRecord(
        id=job.source.shape_id,
        source=job.source.name,
        source_sha256=sha256,
        category=job.source.category,
        split=job.split,
        samples=len(samples.sdf),
        samples_sha256=write_samples(job.store, job.source.shape_id, samples),
        mesh_sha256=None,
        T_unit_world=(_upright(up) @ read_deepsdf_normalization(placed_by)).to_json() if placed_by else None,
        unit=source_unit(job.source, job.config),
        up=up,
        confidence=None,
        checks={"inside_share": inside_share},
    )
