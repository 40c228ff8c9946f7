"""Turn a collection of meshes into a data set: on all cores or a cluster, resumable, and growing with the collection.

A data set may be written to a place that is new, or that holds a data set which was begun with the same settings.
"""

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from shapeprior.config import config_to_json
from shapeprior.datasets.dataset import Dataset
from shapeprior.datasets.layouts import Layout, find_sources
from shapeprior.datasets.manifest import (
    MANIFEST,
    READ_THREADS,
    RefusedShape,
    ShapeRecord,
    read_shape_records,
    record_name,
    recorded_ids,
    write_manifest,
    write_record,
)
from shapeprior.datasets.mesh_source import MeshSource
from shapeprior.datasets.prepare_mesh import PrepareConfig, source_unit, source_up
from shapeprior.datasets.prepare_shape import PrepareJob, prepare_shape, refuse
from shapeprior.datasets.shape_files import file_hashes
from shapeprior.datasets.splits import add_variants, assign_splits, keep_recorded_ids
from shapeprior.errors import ConfigError, DatasetError, MeshError, OutputError
from shapeprior.io.files import FileSpec, file_sha256
from shapeprior.io.store import LocalStore, Store, open_store
from shapeprior.io.tensor_file import TensorFile
from shapeprior.parallel.runner import JobRunner
from shapeprior.parallel.worker import JobFailure, WorkerLimits

Progress = Callable[[int, int, str], None]
"""Called with (done, total, source) after each shape. Shapes that an earlier run prepared count as done."""

SETTINGS = "settings.json"
ADJUSTABLE_SETTINGS = frozenset({"prepare.min_confidence", "prepare.min_inside_share", "prepare.variants"})
"""Settings that a later run may change: they decide which shapes are refused or added, and leave the others alone."""
REMEDIES = {
    "crashed": "expected a mesh that the geometry libraries survive; repair or drop the file",
    "timeout": "expected less; simplify the mesh, or allow more time with --timeout",
    "memory": "expected less; simplify the mesh, or allow more with --memory",
}
"""Expectation and advice in the reason of a refusal, by what the file did to its process."""
MAX_LISTED_REASONS = 20
"""Most refusals that are listed in one error."""
_NOT_SET = "nothing"
"""Value of a missing setting, in messages."""
_SETTINGS_FILE = FileSpec(
    error=DatasetError,
    expected="the settings of a data set",
    advice="choose another folder or delete this one",
)


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

    `meshes`, `layout`, `root` and `categories` are those of `find_sources`. Each file becomes a shape or a refusal with
    its reason. The bytes written depend neither on the number of processes nor on where they run.

    A later run with the same settings does what is missing: shapes that an interruption left out, files that are new or
    have changed, and files that crashed or exceeded the limits, which may have been raised. Shapes keep their ids and
    splits (see `assign_splits`). Shapes whose files are gone from the collection leave the manifest; `orphaned_ids`
    names them.

    Args:
        meshes: A folder, or a file that lists meshes.
        out: Where the data set is written.
        config: How meshes become samples.
        seed: Seed of splits and samples.
        layout: How the collection is laid out.
        root: The folder of the files that a list or split names.
        categories: Keep only the shapes of these categories.
        workers: Number of processes, by default one for each core. With 0 the work is done in this process, without
            limits, for debugging.
        cluster: Address of a Dask scheduler whose workers do the work instead. They must see the same files under the
            same paths.
        limits: Time and memory of one shape. A mesh that exceeds them, or crashes its process, costs only itself.
        progress: Called after each shape.

    Raises:
        MeshError: The collection holds no mesh, or none could be prepared.
        DatasetError: `out` was made with other settings, or a list of meshes cannot be read.
        OutputError: `out` cannot be written.
        ConfigError: The seed or the number of workers is negative, the layout or a category is unknown, or the cluster
            does not answer.
    """
    if seed < 0:
        raise ConfigError(f"seed = {seed}; expected 0 or more")
    runner = JobRunner(workers=workers, cluster=cluster, limits=limits or WorkerLimits())
    sources = find_sources(meshes, layout=layout, root=root, categories=categories)
    store = open_store(out)
    settings = {"prepare": config_to_json(config), "seed": seed}
    records = _begin_or_resume(store, settings)
    jobs = _jobs(store, sources, records, config, seed)
    outcomes = _reusable_records(jobs, records)
    pending = [job for job in jobs if job.source.shape_id not in outcomes]
    logging.getLogger("shapeprior").info("%s: %d of %d shapes are already prepared", out, len(outcomes), len(jobs))
    if any(isinstance(records.get(job.source.shape_id), ShapeRecord) for job in pending):
        # A shape in the manifest will change, so the manifest is no longer true.
        store.remove(MANIFEST)
    with runner.run(prepare_shape, pending) as ended:
        _collect_outcomes(ended, outcomes, len(jobs), progress)
    dataset = _dataset(store, settings, [outcomes[job.source.shape_id] for job in jobs])
    if not dataset.shapes:
        _clean_up(store, records)
        reasons = [refusal.reason for refusal in dataset.refused]
        more = [f"and {len(reasons) - MAX_LISTED_REASONS} more"] if len(reasons) > MAX_LISTED_REASONS else []
        listed = "".join(f"\n  {reason}" for reason in reasons[:MAX_LISTED_REASONS] + more)
        raise MeshError(f"{meshes}: none of {len(jobs)} files could be prepared; expected at least one:{listed}")
    write_manifest(store, settings=settings, shapes=dataset.shapes, refused=dataset.refused)
    return dataset


def orphaned_ids(dataset: Dataset) -> list[str]:
    """Return the ids of shapes that earlier runs prepared and the data set no longer names; their files still exist."""
    named = {record.id for record in (*dataset.shapes, *dataset.refused)}
    return sorted(set(recorded_ids(dataset.store)) - named)


def _begin_or_resume(store: Store, settings: Mapping[str, object]) -> dict[str, ShapeRecord | RefusedShape]:
    """Reserve a place for a data set with these settings; return the records of earlier runs."""
    earlier = read_earlier_settings(store, settings, adjustable=ADJUSTABLE_SETTINGS)
    records = {} if earlier is None else read_shape_records(store)
    if earlier != settings:
        # Shapes that other settings refused may be accepted now. They are forgotten before the new settings are
        # written, so that an interruption in between does no harm.
        for record in list(records.values()):
            if isinstance(record, RefusedShape):
                store.remove(record_name(record.id))
                del records[record.id]
        write_settings(store, settings)
    return records


def _jobs(
    store: Store,
    sources: Sequence[MeshSource],
    records: Mapping[str, ShapeRecord | RefusedShape],
    config: PrepareConfig,
    seed: int,
) -> list[PrepareJob]:
    sources = keep_recorded_ids(sources, records)
    splits = assign_splits(sources, records, test_share=config.test_share, seed=seed)
    sources, splits = add_variants(sources, splits, config.variants)
    if isinstance(store, LocalStore):
        # Workers of a cluster may have another working directory.
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


def _reusable_records(
    jobs: Sequence[PrepareJob], records: Mapping[str, ShapeRecord | RefusedShape]
) -> dict[str, ShapeRecord | RefusedShape]:
    """Return the records of earlier runs that still hold, by id."""
    recorded = [(job, records[job.source.shape_id]) for job in jobs if job.source.shape_id in records]
    with ThreadPoolExecutor(READ_THREADS) as threads:
        checked = threads.map(lambda pair: _reusable_record(*pair), recorded)
        return {record.id: record for record in checked if record is not None}


def _reusable_record(job: PrepareJob, record: ShapeRecord | RefusedShape) -> ShapeRecord | RefusedShape | None:
    """Return the record of an earlier run, brought up to date, if its source is unchanged and its files are whole.

    The name, category, split and unit that the collection states now replace the recorded ones.
    """
    source, config = job.source, job.config
    if isinstance(record, RefusedShape):
        final = record.kind == "refused" and record.source == source.name
        return record if final and record.source_sha256 == file_sha256(source.path) else None
    accepted = record.confidence is None or record.confidence >= config.min_confidence
    inside_share = record.checks.get("inside_share")
    accepted &= isinstance(inside_share, float | int) and inside_share >= config.min_inside_share
    if not accepted or record.up != source_up(source, config):
        return None
    if record.source_sha256 != file_sha256(source.path) or not _is_whole(job.store, record):
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
    """Return whether a shape's files are as they were written.

    At a URL this only checks that they exist and have the right length.
    """
    try:
        if isinstance(store, LocalStore):
            return all(hashlib.sha256(store.read(name)).hexdigest() == sha256 for name, sha256 in file_hashes(record))
        for name, _ in file_hashes(record):
            TensorFile(store, name)
    except DatasetError:
        return False
    return True


def _collect_outcomes(
    ended: Iterable[tuple[PrepareJob, ShapeRecord | RefusedShape | JobFailure]],
    outcomes: dict[str, ShapeRecord | RefusedShape],
    total: int,
    progress: Progress | None,
) -> None:
    """Add the outcome of each job as it ends; the file of a job that cost its process becomes a refusal."""
    for job, outcome in ended:
        if isinstance(outcome, JobFailure):
            reason = f"{job.source.name}: {outcome.reason}; {REMEDIES[outcome.kind]}"
            outcome = refuse(job, kind=outcome.kind, reason=reason, sha256=file_sha256(job.source.path))
        if isinstance(outcome, RefusedShape):
            logging.getLogger("shapeprior").info("%s: %s", outcome.kind, outcome.reason)
        outcomes[job.source.shape_id] = outcome
        if progress:
            progress(len(outcomes), total, job.source.name)


def _dataset(store: Store, settings: Mapping[str, object], records: Sequence[ShapeRecord | RefusedShape]) -> Dataset:
    return Dataset(
        store=store,
        settings=dict(settings),
        shapes=tuple(record for record in records if isinstance(record, ShapeRecord)),
        refused=tuple(record for record in records if isinstance(record, RefusedShape)),
    )


def _clean_up(store: Store, records: Mapping[str, ShapeRecord | RefusedShape]) -> None:
    """Remove what a run without a single shape has written, unless an earlier run prepared shapes here."""
    if any(isinstance(record, ShapeRecord) for record in records.values()):
        return
    for name in (*store.names("records"), SETTINGS):
        store.remove(name)
    if isinstance(store, LocalStore):
        for folder, _, _ in os.walk(store.root, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def read_earlier_settings(
    store: Store, settings: Mapping[str, Any], *, adjustable: frozenset[str]
) -> dict[str, Any] | None:
    """Return the settings that the data set at `store` was begun with; None if the place is new.

    Settings named in `adjustable` (such as ``prepare.min_confidence``) may differ from `settings`. Raises DatasetError
    if any other differs or if something else is there, and OutputError if the place is a file.
    """
    if not store.exists(SETTINGS):
        others = _visible_names(store)
        if others:
            raise DatasetError(
                f"{store.describe('')}: holds '{others[0]}' and is not a data set; expected a new folder; "
                "choose another one"
            )
        return None
    found = _SETTINGS_FILE.parse_json(store.read(SETTINGS), dict, store.describe(SETTINGS))
    for name, before, asked in _differing_settings(found, settings):
        if name not in adjustable:
            raise DatasetError(
                f"{store.describe('')}: was prepared with other settings: {name} = {before}, now {asked}; "
                "expected the same; choose another folder or the earlier setting"
            )
    return found


def write_settings(store: Store, settings: Mapping[str, Any]) -> None:
    """Write or replace the settings of a data set. Raises OutputError."""
    store.write(SETTINGS, (json.dumps(settings, indent=1, allow_nan=False) + "\n").encode())


def _visible_names(store: Store) -> list[str]:
    """Return the names in a place; raises OutputError if it is a file."""
    if not isinstance(store, LocalStore):
        return store.names("")
    if store.root.exists() and not store.root.is_dir():
        raise OutputError(f"{store.root}: is a file; expected a new folder; choose another output")
    # Files whose name starts with a dot may be left from a first run that was killed while it wrote.
    names = os.listdir(store.root) if store.root.exists() else []
    return sorted(name for name in names if not name.startswith("."))


def _differing_settings(found: object, asked: object, name: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield each setting that differs, by its keys joined with dots, with its earlier value and the one asked for."""
    if isinstance(found, dict) and isinstance(asked, dict):
        for key in sorted(found.keys() | asked.keys()):
            below = f"{name}.{key}" if name else key
            yield from _differing_settings(found.get(key, _NOT_SET), asked.get(key, _NOT_SET), below)
    elif found != asked:
        yield name, str(found), str(asked)
