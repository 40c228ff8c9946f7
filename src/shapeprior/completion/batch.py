"""Many scans at once: every one ends as a mesh or as a row that says why not."""

import csv
import io
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from shapeprior.completion.refinement import ViewRefinementConfig
from shapeprior.completion.scan_job import CompletedScan, ScanJob, cached_row, complete_scan, content_sha256
from shapeprior.errors import ConfigError
from shapeprior.io.files import write_bytes
from shapeprior.parallel.pool import run_jobs
from shapeprior.parallel.worker import JobFailure, WorkerLimits
from shapeprior.scans.folder import SUMMARY, find_scans
from shapeprior.scans.placement import PlacementMode
from shapeprior.sdf.isosurface.extract import Edges


def complete_folder(
    scans: Path,
    out: Path,
    *,
    prior: str,
    placement: PlacementMode | None = None,
    intrinsics: Path | None = None,
    mask: Path | None = None,
    camera_pose: Path | None = None,
    pose: Path | None = None,
    sensor: tuple[float, float, float] | None = None,
    resolution: int = 256,
    edges: Edges = "smooth",
    detail: ViewRefinementConfig | None = None,
    alternatives: bool = False,
    seed: int = 0,
    device: str = "cpu",
    workers: int = 1,
    limits: WorkerLimits | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[CompletedScan]:
    """Complete every scan of a folder; writes NAME.ply and NAME.json for each to `out`, and summary.csv.

    Which files are scans, and which belong to which, is said by `shapeprior.scans.folder.find_scans`. `prior` "auto" takes for each
    scan the bundled prior that explains it best; `alternatives` writes other answers, too, as NAME.other1.ply and so on. Run again,
    scans whose files, prior and settings are the same are not done again, but for those that failed. With 0 workers the work is
    done in this process. Raises ScanError if there is no scan, ConfigError if `out` is a file or the folder of scans itself, or
    `device` cannot be used, CheckpointError if there is no such prior, OutputError if a file cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: a file; expected a folder for the meshes of a folder of scans")
    if out.resolve() == scans.resolve():
        raise ConfigError(
            f"{out}: the folder of scans, some of which would be overwritten by meshes of their names; expected another folder "
            "for the meshes, such as one in it"
        )
    sha256 = content_sha256(prior, device=device)  # Says at once what is wrong with it.
    found = find_scans(scans, out=out, intrinsics=intrinsics, mask=mask, camera_pose=camera_pose, pose=pose)
    jobs = [
        ScanJob(
            scan=scan,
            out=out,
            prior=prior,
            prior_sha256=sha256,
            placement=placement,
            sensor=sensor,
            resolution=resolution,
            edges=edges,
            detail=detail or ViewRefinementConfig(),
            alternatives=alternatives,
            seed=seed,
            device=device,
        )
        for scan in found
    ]
    rows = {job.scan.name: row for job in jobs if (row := cached_row(job)) is not None}
    logging.getLogger("shapeprior").info("%s: %d of %d scans are already completed", out, len(rows), len(jobs))
    _refuse_overwriting(jobs)
    if not (out / SUMMARY).exists():
        # Marks the folder as one of results, which later searches of the scans' folder leave out, before the first mesh is in it.
        write_bytes(out / SUMMARY, _table([]))
    pending = [job for job in jobs if job.scan.name not in rows]
    try:
        for job, outcome in run_jobs(
            complete_scan, pending, workers=workers, limits=limits or WorkerLimits(timeout=600.0)
        ):
            lost = isinstance(outcome, JobFailure)
            row = CompletedScan.failed(job, f"{job.scan.name}: {outcome.reason}") if lost else outcome
            rows[job.scan.name] = row
            if progress:
                progress(len(rows), len(jobs), job.scan.name)
    finally:  # Interrupted, too: what is done stays done.
        ordered = [rows[scan.name] for scan in found if scan.name in rows]
        write_bytes(out / SUMMARY, _table(ordered))
    return ordered


def _refuse_overwriting(jobs: Sequence[ScanJob]) -> None:
    """Raises ConfigError if a file that is read would be one that is written."""
    written = {path.resolve() for job in jobs for path in (job.row_path, job.mesh_path)}
    for job in jobs:
        read = [path for view in job.scan.views for path in vars(view).values()] + [job.scan.pose]
        for path in read:
            if path is not None and path.resolve() in written:
                raise ConfigError(f"{path}: would be overwritten by a result; expected another folder for the results")


def _table(rows: Sequence[CompletedScan]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(CompletedScan)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(_short(row) for row in rows)
    return text.getvalue().encode()


def _short(row: CompletedScan) -> dict[str, object]:
    return {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in asdict(row).items()}
