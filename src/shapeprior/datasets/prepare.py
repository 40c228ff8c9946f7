"""A collection of meshes to a data set: on all cores or a cluster, resumable, and growing with the collection.

Whether a place can take a data set: it is new, or holds one that was begun with the same settings.
"""

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from shapeprior.config import config_to_json
from shapeprior.datasets.dataset import Dataset
from shapeprior.datasets.layouts import Layout, find_sources
from shapeprior.datasets.manifest import (
    MANIFEST,
    READERS,
    Record,
    RefusedShape,
    ShapeRecord,
    read_shape_records,
    record_name,
    write_manifest,
    write_record,
)
from shapeprior.datasets.mesh_source import MeshSource
from shapeprior.datasets.prepare_mesh import PrepareConfig, source_unit, source_up
from shapeprior.datasets.prepare_shape import PrepareJob, prepare_shape, refuse
from shapeprior.datasets.shape_files import mesh_name, samples_name
from shapeprior.datasets.splits import assign_splits, keep_ids, with_variants
from shapeprior.errors import ConfigError, DatasetError, MeshError, OutputError
from shapeprior.io.files import source_sha256
from shapeprior.io.store import LocalStore, Store, open_store
from shapeprior.io.tensor_file import TensorFile
from shapeprior.parallel.dask_cluster import run_on_cluster
from shapeprior.parallel.pool import run_jobs
from shapeprior.parallel.system import usable_cores
from shapeprior.parallel.worker import JobFailure, WorkerLimits

Progress = Callable[[int, int, str], None]
"""Called with (done, total, source) after each shape; what an earlier run did counts as done."""

ACCEPTANCE = frozenset({"prepare.min_confidence", "prepare.min_inside_share", "prepare.variants"})
"""Settings that a later run may change: they decide which shapes are refused or added, and nothing about the others."""
REMEDIES = {
    "crashed": "expected a mesh that the geometry libraries survive; repair or drop the file",
    "timeout": "expected less; simplify the mesh, or allow more time with --timeout",
    "memory": "expected less; simplify the mesh, or allow more with --memory",
}
"""What to do about a file that cost its process."""
MAX_REASONS = 20
"""Reasons listed in an error at most."""


def prepare_dataset(
    meshes: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    config: PrepareConfig,
    seed: int,
    layout: Layout = "auto",
    root: Path | None = None,
    categories: Sequence[str] = (),
    workers: int | None = None,
    cluster: str | None = None,
    limits: WorkerLimits | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Prepare every mesh of a collection and write the data set at `out`, a folder or a URL.

    `meshes`, `layout`, `root` and `categories` are those of `find_sources`. Each file ends as a shape or as a refusal with
    its reason. The work is done by `workers` processes, by default one a core, or by those of the Dask scheduler at
    `cluster`, which see the same files under the same paths; a mesh that crashes them, takes too long or too much memory
    costs only itself. 0 workers are none: the work is done in this process, without limits, for debugging. The bytes
    written depend on none of this.

    Run again, it does what is missing: what was interrupted, files that are new or have changed, and those that crashed or
    exceeded the limits, which `limits` may have raised. Shapes keep their ids and splits (see `assign_splits`). Shapes whose
    files are gone from the collection leave the manifest; `left_over` names them.

    Raises MeshError if the collection holds no mesh or none could be prepared, DatasetError if `out` was made with other
    settings or a list of meshes cannot be read, OutputError if it cannot be written, ConfigError for a negative seed or
    number of workers, unknown layout or category, or a cluster that does not answer.
    """
    if seed < 0:
        raise ConfigError(f"seed = {seed}; expected 0 or more")
    if workers is not None and workers < 0:
        raise ConfigError(f"workers = {workers}; expected 0 or more processes")
    sources = find_sources(meshes, layout=layout, root=root, categories=categories)
    store = open_store(out)
    settings = {"prepare": config_to_json(config), "seed": seed}
    records = _begin(store, settings)
    jobs = _jobs(store, sources, records, config, seed)
    outcomes = _kept(jobs, records)
    pending = [job for job in jobs if job.source.shape_id not in outcomes]
    logging.getLogger("shapeprior").info("%s: %d of %d shapes are already prepared", out, len(outcomes), len(jobs))
    if any(isinstance(records.get(job.source.shape_id), ShapeRecord) for job in pending):
        # A shape that the manifest names will change.
        store.remove(MANIFEST)
    limits = limits or WorkerLimits()
    if cluster is None:
        running = run_jobs(
            prepare_shape, pending, workers=usable_cores() if workers is None else workers, limits=limits
        )
    else:
        running = run_on_cluster(prepare_shape, pending, address=cluster, limits=limits)
    # Closed here, so that no process outlives an interrupt.
    with contextlib.closing(running):
        _collect(running, outcomes, len(jobs), progress)
    dataset = _dataset(store, settings, [outcomes[job.source.shape_id] for job in jobs])
    if not dataset.shapes:
        _give_up(store, records)
        reasons = [refusal.reason for refusal in dataset.refused]
        more = [f"and {len(reasons) - MAX_REASONS} more"] if len(reasons) > MAX_REASONS else []
        listed = "".join(f"\n  {reason}" for reason in reasons[:MAX_REASONS] + more)
        raise MeshError(f"{meshes}: none of {len(jobs)} files could be prepared; expected at least one:{listed}")
    write_manifest(store, settings=settings, shapes=dataset.shapes, refused=dataset.refused)
    return dataset


def left_over(dataset: Dataset) -> list[str]:
    """Ids of shapes that earlier runs prepared and the data set no longer names; their files are still there."""
    named = {record.id for record in (*dataset.shapes, *dataset.refused)}
    recorded = {name.removeprefix("records/").removesuffix(".json") for name in dataset.store.names("records")}
    return sorted(recorded - named)


def _begin(store: Store, settings: Mapping[str, object]) -> dict[str, Record]:
    """Claim the place for these settings; returns what earlier runs have recorded."""
    earlier = begin_or_resume(store, settings, loose=ACCEPTANCE)
    records = {} if earlier is None else read_shape_records(store)
    if earlier != settings:
        # What was refused by another measure may do now. Forgotten first, in case this is interrupted.
        for record in list(records.values()):
            if isinstance(record, RefusedShape):
                store.remove(record_name(record.id))
                del records[record.id]
        write_settings(store, settings)
    return records


def _jobs(
    store: Store, sources: Sequence[MeshSource], records: Mapping[str, Record], config: PrepareConfig, seed: int
) -> list[PrepareJob]:
    sources = keep_ids(sources, records)
    splits = assign_splits(sources, records, test_share=config.test_share, seed=seed)
    sources, splits = with_variants(sources, splits, config.variants)
    if isinstance(store, LocalStore):
        # Workers of a cluster may stand in another folder.
        store = LocalStore(store.root.absolute())
    return [
        PrepareJob(
            store=store,
            source=replace(source, path=source.path.absolute()),
            split=splits[source.shape_id],
            config=config,
            seed=seed,
        )
        for source in sources
    ]


def _kept(jobs: Sequence[PrepareJob], records: Mapping[str, Record]) -> dict[str, Record]:
    """What of the records still holds, by id."""
    recorded = [(job, records[job.source.shape_id]) for job in jobs if job.source.shape_id in records]
    with ThreadPoolExecutor(READERS) as threads:
        checked = threads.map(lambda pair: _checked(*pair), recorded)
        return {record.id: record for record in checked if record is not None}


def _checked(job: PrepareJob, record: Record) -> Record | None:
    """The record, if its source is unchanged and its files are whole; with what the collection says of it now."""
    source, config = job.source, job.config
    if isinstance(record, RefusedShape):
        final = record.kind == "refused" and record.source == source.name
        return record if final and record.source_sha256 == source_sha256(source.path) else None
    accepted = record.confidence is None or record.confidence >= config.min_confidence
    inside_share = record.checks.get("inside_share")
    accepted &= isinstance(inside_share, float | int) and inside_share >= config.min_inside_share
    if not accepted or record.up != source_up(source, config):
        return None
    if record.source_sha256 != source_sha256(source.path) or not _is_whole(job.store, record):
        return None
    now = replace(
        record,
        source=source.name,
        category=source.category,
        split=job.split,
        unit=source_unit(source, config),
    )
    if now != record:
        write_record(job.store, now)
    return now


def _is_whole(store: Store, record: ShapeRecord) -> bool:
    """Whether a shape's files are as they were written; at a URL, whether they are there and as long as they should be."""
    files = [(samples_name(record.id), record.samples_sha256)]
    files += [(mesh_name(record.id), record.mesh_sha256)] if record.mesh_sha256 else []
    try:
        if isinstance(store, LocalStore):
            return all(hashlib.sha256(store.read(name)).hexdigest() == sha256 for name, sha256 in files)
        for name, _ in files:
            TensorFile(store, name)
    except DatasetError:
        return False
    return True


def _collect(
    running: Generator[tuple[PrepareJob, Record | JobFailure], None, None],
    outcomes: dict[str, Record],
    total: int,
    progress: Progress | None,
) -> None:
    for job, outcome in running:
        if isinstance(outcome, JobFailure):
            reason = f"{job.source.name}: {outcome.reason}; {REMEDIES[outcome.kind]}"
            outcome = refuse(job, kind=outcome.kind, reason=reason, sha256=source_sha256(job.source.path))
        if isinstance(outcome, RefusedShape):
            logging.getLogger("shapeprior").info("%s: %s", outcome.kind, outcome.reason)
        outcomes[job.source.shape_id] = outcome
        if progress:
            progress(len(outcomes), total, job.source.name)


def _dataset(store: Store, settings: Mapping[str, object], records: Sequence[Record]) -> Dataset:
    return Dataset(
        store=store,
        settings=dict(settings),
        shapes=tuple(record for record in records if isinstance(record, ShapeRecord)),
        refused=tuple(record for record in records if isinstance(record, RefusedShape)),
    )


def _give_up(store: Store, records: Mapping[str, Record]) -> None:
    """Leave nothing behind where nothing could be prepared, unless an earlier run did."""
    if any(isinstance(record, ShapeRecord) for record in records.values()):
        return
    for name in (*store.names("records"), SETTINGS):
        store.remove(name)
    if isinstance(store, LocalStore):
        for folder, _, _ in os.walk(store.root, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)


SETTINGS = "settings.json"
_ABSENT = "nothing"


def begin_or_resume(store: Store, settings: Mapping[str, Any], *, loose: frozenset[str]) -> dict[str, Any] | None:
    """The settings that a data set at `store` was begun with; None if the place is new.

    Settings named in `loose` (as ``prepare.min_confidence``) may differ. Raises DatasetError if another does, or if something
    else is there, and OutputError if the place is no folder.
    """
    if not store.exists(SETTINGS):
        others = _contents(store)
        if others:
            raise DatasetError(
                f"{store.describe('')}: holds '{others[0]}' and is not a data set; expected a new folder; choose another one"
            )
        return None
    place = store.describe(SETTINGS)
    try:
        found = json.loads(store.read(SETTINGS))
        if not isinstance(found, dict):
            raise ValueError(f"{type(found).__name__} in place of an object")
    except (ValueError, RecursionError) as error:
        raise DatasetError(
            f"{place}: cannot be read ({error}); expected the settings of a data set; choose another folder or delete this one"
        ) from None
    for name, before, asked in _differences(found, settings):
        if name not in loose:
            raise DatasetError(
                f"{store.describe('')}: was prepared with other settings: {name} = {before}, now {asked}; expected the same; "
                "choose another folder or the earlier setting"
            )
    return found


def write_settings(store: Store, settings: Mapping[str, Any]) -> None:
    """Write or replace the settings. Raises OutputError."""
    store.write(SETTINGS, (json.dumps(settings, indent=1, allow_nan=False) + "\n").encode())


def _contents(store: Store) -> list[str]:
    if not isinstance(store, LocalStore):
        return store.names("")
    if store.root.exists() and not store.root.is_dir():
        raise OutputError(f"{store.root}: is a file; expected a new folder; choose another output")
    # What a killed first write left behind starts with a dot, and does not count.
    names = os.listdir(store.root) if store.root.exists() else []
    return sorted(name for name in names if not name.startswith("."))


def _differences(found: object, asked: object, name: str = "") -> Iterator[tuple[str, str, str]]:
    """Names of settings that differ, as keys with dots, and what they are on either side."""
    if isinstance(found, dict) and isinstance(asked, dict):
        for key in sorted(found.keys() | asked.keys()):
            below = f"{name}.{key}" if name else key
            yield from _differences(found.get(key, _ABSENT), asked.get(key, _ABSENT), below)
    elif found != asked:
        yield name, str(found), str(asked)
