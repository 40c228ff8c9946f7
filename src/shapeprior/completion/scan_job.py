"""One scan of a folder: its mesh and its row, or the reason why there is none."""

import contextlib
import json
import os
import re
import time
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

from shapeprior.completion.estimate import LatentEstimate
from shapeprior.completion.prior import ShapePrior
from shapeprior.completion.refinement import ViewRefinementConfig
from shapeprior.completion.registry import bundled_priors, load, prior_digest, recognize
from shapeprior.errors import CheckpointError, CompletionError, ShapePriorError
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.files import file_sha256, write_bytes
from shapeprior.scans.folder import FoundScan, read_placed_scan
from shapeprior.scans.observation import Observation
from shapeprior.scans.placement import PlacementMode
from shapeprior.scans.read import holds_depth
from shapeprior.sdf.isosurface.extract import Edges

ANY_PRIOR = "auto"
"""Stands for the bundled prior whose shapes explain a scan best."""


@dataclass(frozen=True, kw_only=True)
class ScanJob:
    """One scan to complete."""

    scan: FoundScan
    out: Path
    """Folder for the mesh and the row."""
    prior: str
    """Name or folder, or `ANY_PRIOR`."""
    prior_sha256: str
    """Of the content of it: weights may be trained anew under the same name."""
    placement: PlacementMode | None
    sensor: tuple[float, float, float] | None
    resolution: int
    edges: Edges
    detail: ViewRefinementConfig
    alternatives: bool
    """Whether other answers become meshes, too."""
    seed: int
    device: str

    @property
    def folder(self) -> Path:
        """The folder of scans."""
        first = self.scan.views[0].scan
        return first.parent if first.name == self.scan.name else first.parent.parent

    @property
    def row_path(self) -> Path:
        """The file of its settings and its row."""
        return self.out / f"{self.scan.stem}.json"

    @property
    def mesh_path(self) -> Path:
        """The file of its mesh."""
        return self.out / f"{self.scan.stem}.ply"

    def settings(self) -> dict[str, object]:
        """What the result depends on, the bytes of all files included; of the device, no more than rounding."""
        views = [
            {kind: None if path is None else file_sha256(path) for kind, path in vars(view).items()}
            for view in self.scan.views
        ]
        return {
            "views": views,
            "pose": None if self.scan.pose is None else file_sha256(self.scan.pose),
            "prior": self.prior_sha256,
            "placement": self.placement,
            "sensor": list(self.sensor) if self.sensor else None,
            "resolution": self.resolution,
            "edges": self.edges,
            "detail": asdict(self.detail),
            "alternatives": self.alternatives,
            "seed": self.seed,
        }


@dataclass(frozen=True, kw_only=True)
class CompletedScan:
    """What became of a scan: a row of the summary."""

    scan: str
    """Name of the file, or of the sub-folder of views."""
    status: str
    """explained, doubtful or unexplained (see `shapeprior.completion.estimate`), or failed."""
    reason: str
    """What speaks against it, or why there is no mesh."""
    prior: str
    """Whose shape it is."""
    mesh: str
    """File name; empty if there is none."""
    faces: int
    residual: float | None
    """Median distance of the observed points from the code's surface, in the scan's unit; None if there is no mesh."""
    explained: float
    """Share of observed points within 2 % of the object's radius from the code's surface."""
    outlier_share: float
    """Share of the scan's points that lie apart from the others and were not used."""
    seen: float
    """Share of the surface that was seen."""
    imagined: float
    """Share of the surface that nothing near it was seen of."""
    alternatives: int
    """Other answers that explain the scan nearly as well."""
    seconds: float

    @classmethod
    def failed(cls, job: ScanJob, reason: str) -> "CompletedScan":
        """The row of a scan without a mesh."""
        return cls(
            scan=job.scan.name,
            status="failed",
            reason=reason,
            prior=job.prior,
            mesh="",
            faces=0,
            residual=None,
            explained=0.0,
            outlier_share=0.0,
            seen=0.0,
            imagined=0.0,
            alternatives=0,
            seconds=0.0,
        )


def complete_scan(job: ScanJob) -> CompletedScan:
    """Complete one scan and write its mesh and its row. A fault of the scan is a row; raises OutputError.

    What an earlier run made of it goes first, so that no mesh is ever beside a row that is not its own.
    """
    _discard_stale(job)
    made = {"resolution": job.resolution, "edges": job.edges, "seed": job.seed, "detail": job.detail}
    try:
        view, T_unit_scan = _read(job)
        started = time.perf_counter()
        name, prior, estimate = _explained(job, view, T_unit_scan)
        done = prior.completion(estimate, view, started=started, **made)
    except ShapePriorError as error:
        row = CompletedScan.failed(job, str(error).replace(f"{job.folder}{os.sep}", ""))
    else:
        mesh = done.save(job.mesh_path)
        for number, other in enumerate(done.alternatives if job.alternatives else (), start=1):
            # One without a surface is no answer, and takes nothing away from the others.
            with contextlib.suppress(CompletionError):
                prior.completion(other, view, **made).save(job.out / f"{job.scan.stem}.other{number}.ply")
        row = CompletedScan(
            scan=job.scan.name,
            status=done.verdict.kind,
            reason="; ".join(done.verdict.reasons),
            prior=name,
            mesh=mesh.name,
            faces=len(done.mesh.faces),
            residual=done.residual,
            explained=done.explained,
            outlier_share=done.outlier_share,
            seen=done.support.seen_share,
            imagined=done.support.imagined_share,
            alternatives=len(done.alternatives),
            seconds=done.seconds,
        )
    text = json.dumps({"settings": job.settings(), "result": asdict(row)}, indent=1)
    write_bytes(job.row_path, (text + "\n").encode())
    return row


def cached_row(job: ScanJob) -> CompletedScan | None:
    """The row of an earlier run, if nothing it depends on has changed and its mesh is there."""
    try:
        found = json.loads(job.row_path.read_text(encoding="utf-8"))
        same = found["settings"] == json.loads(json.dumps(job.settings()))
        row = CompletedScan(**found["result"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return row if same and row.status != "failed" and (job.out / row.mesh).is_file() else None


def content_sha256(prior: str, *, device: str) -> str:
    """Of a prior, or of all that `ANY_PRIOR` stands for; raises as `shapeprior.completion.registry.load` does."""
    names = bundled_priors() if prior == ANY_PRIOR else [prior]
    return " ".join(prior_digest(load(name, device=device)) for name in names)


def _read(job: ScanJob) -> tuple[Observation, Similarity | None]:
    """What was given for all scans is of use to those of its kind only."""
    images = [holds_depth(view.scan) for view in job.scan.views]
    views = [
        view if image else replace(view, intrinsics=None, mask=None)
        for view, image in zip(job.scan.views, images, strict=True)
    ]
    sensor = None if all(images) else job.sensor
    return read_placed_scan(views, sensor=sensor, pose=job.scan.pose, placement=job.placement)


def _explained(
    job: ScanJob, view: Observation, T_unit_scan: Similarity | None
) -> tuple[str, ShapePrior, LatentEstimate]:
    """What a prior makes of the view, and which prior it is."""
    given = {"T_unit_world": T_unit_scan, "placement": job.placement, "seed": job.seed}
    if job.prior == ANY_PRIOR:
        best = recognize(view, device=job.device, **given)[0]
        if best.estimate is None:
            raise CompletionError(
                "no bundled prior has a surface that explains it; expected a scan of one of their objects"
            )
        return best.name, best.prior, best.estimate
    prior = _loaded(job.prior, job.prior_sha256, job.device)
    return job.prior, prior, prior.infer(view, **given)


@lru_cache(maxsize=1)
def _loaded(prior: str, sha256: str, device: str) -> ShapePrior:
    found = load(prior, device=device)
    if prior_digest(found) != sha256:
        raise CheckpointError(f"{prior}: changed while scans were completed with it; expected it to stay; run it again")
    return found


def _discard_stale(job: ScanJob) -> None:
    others = re.compile(re.escape(job.scan.stem) + r"\.other\d+\.ply")
    # The row goes before its meshes: a mesh without a row is made again.
    stale = [job.row_path, job.mesh_path]
    stale += [path for path in job.out.glob("*.ply") if others.fullmatch(path.name)]
    for path in stale:
        with contextlib.suppress(OSError):
            path.unlink()
