"""Completes a folder of scans. Each ends as a mesh, or as a row that says why there is none."""

import csv
import io
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from shapeprior.completion.scan_job import (
    CompletionSettings,
    ScanJob,
    ScanRow,
    cached_row,
    content_sha256,
    refuse_overwriting,
    run_scan_job,
)
from shapeprior.errors import ConfigError
from shapeprior.io.files import write_bytes
from shapeprior.parallel.runner import JobRunner
from shapeprior.parallel.worker import JobFailure, WorkerLimits
from shapeprior.scans.folder import SUMMARY, find_scans

DEFAULT_LIMITS = WorkerLimits(timeout=600.0)
"""Limits of each scan. One that takes longer fails."""


def complete_folder(
    scans: Path,
    out: Path,
    *,
    prior: str,
    intrinsics: Path | None = None,
    mask: Path | None = None,
    camera_pose: Path | None = None,
    pose: Path | None = None,
    settings: CompletionSettings | None = None,
    workers: int | None = 1,
    limits: WorkerLimits = DEFAULT_LIMITS,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[ScanRow]:
    """Complete every scan of a folder, and write NAME.ply and NAME.json for each to `out`, and summary.csv.

    `shapeprior.scans.folder.find_scans` tells which files are scans and which belong together. With `prior` "auto",
    each scan gets the bundled prior that explains it best. Run again, scans whose files, prior and settings are the
    same are not completed again, unless they failed. `workers` is the number of processes: None is one for each core,
    and with 0 the work is done in this process.

    Raises:
        ScanError: there is no scan.
        ConfigError: `out` is a file or the folder of scans, a result would overwrite a file that is read, `workers` is
            negative, or the device cannot be used.
        CheckpointError: there is no such prior.
        OutputError: a file cannot be written.
    """
    runner = JobRunner(workers=workers, limits=limits)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: a file; expected a folder for the meshes of a folder of scans; choose another --out")
    if out.resolve() == scans.resolve():
        raise ConfigError(
            f"{out}: the folder of scans, some of which would be overwritten by meshes of their names; expected "
            "another folder for the meshes, such as one in it"
        )
    settings = settings or CompletionSettings()
    sha256 = content_sha256(prior, device=settings.device)  # A prior that cannot be loaded is told at once.
    found = find_scans(scans, out=out, intrinsics=intrinsics, mask=mask, camera_pose=camera_pose, pose=pose)
    jobs = [ScanJob(scan=scan, out=out, prior=prior, prior_sha256=sha256, settings=settings) for scan in found]
    rows = {job.scan.name: row for job in jobs if (row := cached_row(job)) is not None}
    logging.getLogger("shapeprior").info("%s: %d of %d scans are already completed", out, len(rows), len(jobs))
    written = {path.resolve() for job in jobs for path in (job.row_path, job.mesh_path)}
    refuse_overwriting((path for job in jobs for path in job.read_paths), written.__contains__)
    if not (out / SUMMARY).exists():
        # The table marks the folder as one of results before the first mesh is in it, so that later searches of the
        # scans' folder leave it out.
        write_bytes(out / SUMMARY, _table([]))
    pending = [job for job in jobs if job.scan.name not in rows]
    try:
        with runner.run(run_scan_job, pending) as outcomes:
            for job, outcome in outcomes:
                if isinstance(outcome, JobFailure):
                    outcome = ScanRow.failed(job, f"{job.scan.name}: {outcome.reason}")
                rows[job.scan.name] = outcome
                if progress:
                    progress(len(rows), len(jobs), job.scan.name)
    finally:  # An interrupted run keeps what is done.
        ordered = [rows[scan.name] for scan in found if scan.name in rows]
        write_bytes(out / SUMMARY, _table(ordered))
    return ordered


def _table(rows: Sequence[ScanRow]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(ScanRow)], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({
            name: f"{value:.6g}" if isinstance(value, float) else value for name, value in asdict(row).items()
        })  # fmt: skip
    # A file name that is not UTF-8 must not cost the table.
    return text.getvalue().encode("utf-8", "backslashreplace")
