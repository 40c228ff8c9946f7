"""A folder of meshes to a data set, on all cores, resumable."""

import hashlib
import json
import multiprocessing
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from shapeprior.config import config_to_json
from shapeprior.dataset import (
    Dataset,
    RefusedShape,
    ShapeRecord,
    check_shape_id,
    mesh_path,
    samples_path,
    write_manifest,
)
from shapeprior.errors import ConfigError, DatasetError, MeshError, OutputError
from shapeprior.mesh_io import MESH_SUFFIXES, write_bytes
from shapeprior.prepare_shape import PrepareConfig, PrepareJob, file_sha256, prepare_shape

Progress = Callable[[int, int, str], None]
"""Called with (done, total, source) after each shape."""
Outcome = ShapeRecord | RefusedShape
"""What becomes of a source."""


def prepare_dataset(
    meshes: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    config: PrepareConfig,
    seed: int,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Prepare every mesh below a folder and write the data set folder `out`.

    Shapes that an earlier, interrupted run finished with the same settings are kept. Each file ends as a shape or as a
    refusal with its reason. `workers` defaults to the number of cores; the bytes written do not depend on it. One worker
    works in this process, where a mesh that makes a library crash ends everything; more are processes of their own, so
    that a script that calls this needs its ``if __name__ == "__main__":``.

    Raises MeshError if the folder holds no mesh or none could be prepared, DatasetError if `out` was made with other
    settings, OutputError if it cannot be written, ConfigError for a negative seed or fewer than one worker.
    """
    if seed < 0:
        raise ConfigError(f"seed = {seed}; expected 0 or more")
    if workers is not None and workers < 1:
        raise ConfigError(f"workers = {workers}; expected at least 1 process")
    meshes, out = Path(meshes), Path(out)
    sources = find_meshes(meshes)
    settings = {"prepare": config_to_json(config), "seed": seed}
    _claim_folder(out, settings)
    jobs = _jobs(meshes, out, sources, config, seed)
    done: dict[str, Outcome] = {}
    pending: list[PrepareJob] = []
    for job in jobs:
        kept = _finished(job)
        if kept is None:
            pending.append(job)
        else:
            done[job.source] = kept
    for job, outcome in _run(pending, workers or os.cpu_count() or 1):
        done[job.source] = outcome
        if isinstance(outcome, ShapeRecord):
            write_bytes(_record_path(job), (json.dumps(asdict(outcome), indent=1) + "\n").encode())
        if progress:
            progress(len(done), len(jobs), job.source)
    outcomes = [done[source] for source in sources]
    dataset = Dataset(
        root=out,
        settings=settings,
        shapes=tuple(outcome for outcome in outcomes if isinstance(outcome, ShapeRecord)),
        refused=tuple(outcome for outcome in outcomes if isinstance(outcome, RefusedShape)),
    )
    if not dataset.shapes:
        # Nothing half-written stays behind.
        (out / "settings.json").unlink()
        out.rmdir()
        reasons = "".join(f"\n  {refusal.reason}" for refusal in dataset.refused)
        raise MeshError(f"{meshes}: none of {len(sources)} files could be prepared; expected at least one:{reasons}")
    write_manifest(dataset)
    return dataset


def find_meshes(folder: Path) -> list[str]:
    """Mesh files below a folder, as sorted relative paths; raises MeshError if there is none."""
    if not folder.is_dir():
        raise MeshError(f"{folder}: not a folder; expected a folder of meshes; name one")
    found = sorted(
        str(path.relative_to(folder).as_posix())
        for path in folder.rglob("*")
        if path.suffix.lower() in MESH_SUFFIXES and path.is_file()
    )
    if not found:
        raise MeshError(f"{folder}: no meshes; expected files with {' '.join(MESH_SUFFIXES)}; name another folder")
    return found


def _jobs(meshes: Path, root: Path, sources: Sequence[str], config: PrepareConfig, seed: int) -> list[PrepareJob]:
    ids = _shape_ids(sources)
    # The split goes by a hash of the name, so that it does not depend on which other shapes are refused.
    ranked = sorted(ids, key=lambda shape_id: hashlib.sha256(f"{seed}/{shape_id}".encode()).digest())
    test = set(ranked[: round(len(ranked) * config.test_share)])
    return [
        PrepareJob(
            root=root,
            meshes=meshes,
            source=source,
            shape_id=shape_id,
            split="test" if shape_id in test else "train",
            config=config,
            seed=seed,
        )
        for source, shape_id in zip(sources, ids, strict=True)
    ]


def _shape_ids(sources: Sequence[str]) -> list[str]:
    """The path without suffix, in safe characters; the later of two files that would share it gets a number."""
    ids: dict[str, None] = {}
    for source in sources:
        stem = re.sub(r"[^A-Za-z0-9._/-]", "_", source.rsplit(".", 1)[0])
        stem = "/".join(re.sub(r"^[.-]", "_", part) or "_" for part in stem.split("/"))
        candidate, number = stem, 2
        while candidate in ids:
            candidate, number = f"{stem}_{number}", number + 1
        ids[check_shape_id(candidate, where=source)] = None
    return list(ids)


def _claim_folder(out: Path, settings: dict[str, object]) -> None:
    """Write the settings first, so that a later run with other settings notices."""
    path = out / "settings.json"
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = None
        if found != settings:
            raise DatasetError(
                f"{out}: was prepared with other settings; expected those of this run; choose another folder or delete it"
            )
        return
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: is a file; expected a new folder; choose another output")
    # What a killed first write left behind starts with a dot, and does not count.
    if out.exists() and any(not entry.name.startswith(".") for entry in out.iterdir()):
        raise DatasetError(f"{out}: is not empty and not a data set; expected a new folder; choose another one")
    write_bytes(path, (json.dumps(settings, indent=1) + "\n").encode())


def _record_path(job: PrepareJob) -> Path:
    return job.root / "records" / f"{job.shape_id}.json"


def _finished(job: PrepareJob) -> ShapeRecord | None:
    """The record of an earlier run, if its source is unchanged and its files are whole."""
    try:
        record = ShapeRecord(**json.loads(_record_path(job).read_text(encoding="utf-8")))
        whole = (
            record.source_sha256 == file_sha256(job.meshes / job.source)
            and record.samples_sha256 == file_sha256(samples_path(job.root, job.shape_id))
            and record.split == job.split
            and mesh_path(job.root, job.shape_id).exists()
        )
    except (OSError, ValueError, TypeError):
        return None
    return record if whole else None


def _run(
    jobs: Sequence[PrepareJob], workers: int, work: Callable[[PrepareJob], Outcome] = prepare_shape
) -> Iterator[tuple[PrepareJob, Outcome]]:
    """Run jobs in worker processes. A job whose worker dies is tried once more, alone, then refused."""
    if workers == 1:
        for job in jobs:
            yield job, work(job)
        return
    left = list(jobs)
    while left:
        futures: dict[Future[Outcome], PrepareJob] = {}
        orphans: set[PrepareJob] = set()
        with _pool(min(workers, len(left))) as pool:
            try:
                for job in left:
                    futures[pool.submit(work, job)] = job
            except BrokenProcessPool:
                orphans.update(left[len(futures) :])
            for future in as_completed(futures):
                try:
                    yield futures[future], future.result()
                except BrokenProcessPool:
                    orphans.add(futures[future])
        left = [job for job in left if job in orphans]
        # Whose fault it was cannot be told from here, but jobs are begun in order: the first few get a process of their
        # own each, and the rest go on together.
        suspects = 4 * workers
        for job in left[:suspects]:
            yield job, _run_alone(job, work)
        left = left[suspects:]


def _run_alone(job: PrepareJob, work: Callable[[PrepareJob], Outcome]) -> Outcome:
    with _pool(1) as pool:
        try:
            return pool.submit(work, job).result()
        except BrokenProcessPool:
            return RefusedShape(
                source=job.source,
                reason=f"{job.meshes / job.source}: the process died while preparing it, twice; "
                "expected a mesh that the geometry libraries survive; repair or drop the file",
            )


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    # Fresh interpreters: forking a process that runs native threads can deadlock.
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield pool
    finally:
        # Nothing is pending at a good end; at a bad one, nobody wants the rest.
        pool.shutdown(cancel_futures=True)
