"""Many scans at once: every one ends as a mesh or as a row that says why not."""

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path

from shapeprior.errors import ConfigError, ShapePriorError
from shapeprior.extract import Edges
from shapeprior.mesh_io import write_bytes
from shapeprior.placed_scan import read_placed_scan
from shapeprior.placement import Freedom
from shapeprior.prepare_shape import source_sha256
from shapeprior.prior import ShapePrior, load
from shapeprior.scan_folder import FoundScan, find_scans
from shapeprior.scan_io import holds_depth
from shapeprior.seen_detail import DetailConfig
from shapeprior.worker_loop import Lost
from shapeprior.worker_process import WorkerLimits
from shapeprior.workers import run_jobs

SUMMARY = "summary.csv"


@dataclass(frozen=True, kw_only=True)
class ScanJob:
    """One scan to complete."""

    scan: FoundScan
    out: Path
    """Folder for the mesh and the row."""
    prior: str
    placement: Freedom | None
    sensor: tuple[float, float, float] | None
    resolution: int
    edges: Edges
    detail: DetailConfig
    seed: int
    device: str

    @property
    def folder(self) -> Path:
        """The folder of scans."""
        first = self.scan.views[0].scan
        return first.parent if first.name == self.scan.name else first.parent.parent

    def settings(self) -> dict[str, object]:
        """What the result depends on, the bytes of all files included; of the device, no more than rounding."""
        views = [
            {kind: None if path is None else source_sha256(path) for kind, path in vars(view).items()}
            for view in self.scan.views
        ]
        return {
            "views": views,
            "pose": None if self.scan.pose is None else source_sha256(self.scan.pose),
            "prior": self.prior,
            "placement": self.placement,
            "sensor": list(self.sensor) if self.sensor else None,
            "resolution": self.resolution,
            "edges": self.edges,
            "detail": asdict(self.detail),
            "seed": self.seed,
        }


@dataclass(frozen=True, kw_only=True)
class CompletedScan:
    """What became of a scan: a row of the summary."""

    scan: str
    """Name of the file, or of the sub-folder of views."""
    status: str
    """explained, doubtful or unexplained (see `shapeprior.verdict`), or failed."""
    reason: str
    """What speaks against it, or why there is no mesh."""
    mesh: str
    """File name; empty if there is none."""
    faces: int
    residual: float | None
    """Median distance of the observed points from the code's surface, in the scan's unit; None if there is no mesh."""
    explained: float
    """Share of observed points within 2 % of the object's radius from the code's surface."""
    seen: float
    """Share of the surface that was seen."""
    imagined: float
    """Share of the surface that nothing near it was seen of."""
    seconds: float


def complete_folder(
    scans: Path,
    out: Path,
    *,
    prior: str,
    placement: Freedom | None = None,
    intrinsics: Path | None = None,
    mask: Path | None = None,
    camera_pose: Path | None = None,
    pose: Path | None = None,
    sensor: tuple[float, float, float] | None = None,
    resolution: int = 256,
    edges: Edges = "smooth",
    detail: DetailConfig | None = None,
    seed: int = 0,
    device: str = "cpu",
    workers: int = 1,
    limits: WorkerLimits | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[CompletedScan]:
    """Complete every scan of a folder; writes NAME.ply and NAME.json for each to `out`, and summary.csv.

    Which files are scans, and which belong to which, is said by `shapeprior.scan_folder.find_scans`. Run again, scans whose
    files and settings are the same are not done again, but for those that failed. With 0 workers the work is done in this
    process. Raises ScanError if there is no scan, ConfigError if `out` is a file or `device` cannot be used, CheckpointError if
    there is no such prior, OutputError if a file cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: a file; expected a folder for the meshes of a folder of scans")
    load(prior, device=device)  # Says at once what is wrong with it.
    found = find_scans(scans, out=out, intrinsics=intrinsics, mask=mask, camera_pose=camera_pose, pose=pose)
    jobs = [
        ScanJob(
            scan=scan,
            out=out,
            prior=prior,
            placement=placement,
            sensor=sensor,
            resolution=resolution,
            edges=edges,
            detail=detail or DetailConfig(),
            seed=seed,
            device=device,
        )
        for scan in found
    ]
    rows = {job.scan.name: row for job in jobs if (row := _kept(job)) is not None}
    pending = [job for job in jobs if job.scan.name not in rows]
    for job, outcome in run_jobs(complete_scan, pending, workers=workers, limits=limits or WorkerLimits(timeout=600.0)):
        row = _failed(job, f"{job.scan.name}: {outcome.reason}") if isinstance(outcome, Lost) else outcome
        rows[job.scan.name] = row
        if progress:
            progress(len(rows), len(jobs), job.scan.name)
    ordered = [rows[scan.name] for scan in found]
    write_bytes(out / SUMMARY, _table(ordered))
    return ordered


def complete_scan(job: ScanJob) -> CompletedScan:
    """Complete one scan and write its mesh and its row. A fault of the scan is a row; raises OutputError."""
    try:
        # What was given for all scans is of use to those of its kind only.
        images = [holds_depth(view.scan) for view in job.scan.views]
        view, T_unit_scan = read_placed_scan(
            [
                view if image else replace(view, intrinsics=None, mask=None)
                for view, image in zip(job.scan.views, images, strict=True)
            ],
            sensor=None if all(images) else job.sensor,
            pose=job.scan.pose,
            placement=job.placement,
        )
        done = _loaded(job.prior, job.device).complete(
            view,
            T_unit_world=T_unit_scan,
            placement=job.placement,
            seed=job.seed,
            resolution=job.resolution,
            edges=job.edges,
            detail=job.detail,
        )
    except ShapePriorError as error:
        row = _failed(job, str(error).replace(f"{job.folder}{os.sep}", ""))
    else:
        mesh = done.save(job.out / f"{job.scan.stem}.ply")
        row = CompletedScan(
            scan=job.scan.name,
            status=done.verdict.kind,
            reason="; ".join(done.verdict.reasons),
            mesh=mesh.name,
            faces=len(done.mesh.faces),
            residual=done.residual,
            explained=done.explained,
            seen=done.support.seen_share,
            imagined=done.support.imagined_share,
            seconds=done.seconds,
        )
    text = json.dumps({"settings": job.settings(), "result": asdict(row)}, indent=1)
    write_bytes(_row_path(job), (text + "\n").encode())
    return row


@lru_cache(maxsize=1)
def _loaded(prior: str, device: str) -> ShapePrior:
    return load(prior, device=device)


def _row_path(job: ScanJob) -> Path:
    return job.out / f"{job.scan.stem}.json"


def _kept(job: ScanJob) -> CompletedScan | None:
    """The row of an earlier run, if nothing it depends on has changed and its mesh is there."""
    try:
        found = json.loads(_row_path(job).read_text(encoding="utf-8"))
        row = CompletedScan(**found["result"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    same = found["settings"] == json.loads(json.dumps(job.settings()))
    return row if same and row.status != "failed" and (job.out / row.mesh).is_file() else None


def _failed(job: ScanJob, reason: str) -> CompletedScan:
    return CompletedScan(
        scan=job.scan.name,
        status="failed",
        reason=reason,
        mesh="",
        faces=0,
        residual=None,
        explained=0.0,
        seen=0.0,
        imagined=0.0,
        seconds=0.0,
    )


def _table(rows: Sequence[CompletedScan]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(CompletedScan)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(_short(row) for row in rows)
    return text.getvalue().encode()


def _short(row: CompletedScan) -> dict[str, object]:
    return {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in asdict(row).items()}
