"""Completes one scan from its files to a mesh on disk, with a given prior or the one that explains it best.

The command line and folders of scans both come here. For a folder, each scan is a job that ends with a row of its
table.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from shapeprior.completion.estimate import LatentEstimate
from shapeprior.completion.prior import ShapePrior
from shapeprior.completion.registry import Recognized, bundled_priors, load, loaded, prior_digest, recognize
from shapeprior.completion.result import Completion
from shapeprior.completion.view_refinement import ViewRefinementConfig
from shapeprior.errors import CompletionError, ConfigError, OutputError, ShapePriorError
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.files import ResultRow, file_sha256
from shapeprior.scans.folder import FoundScan, ViewFiles, alternative_path, is_alternative, read_placed_scan
from shapeprior.scans.observation import Observation
from shapeprior.scans.placement import PlacementMode
from shapeprior.scans.prepared_view import PreparedView
from shapeprior.scans.read import holds_depth
from shapeprior.sdf.isosurface.extract import Edges

ANY_PRIOR = "auto"
"""Name that stands for the bundled prior whose shapes explain a scan best."""


@dataclass(frozen=True, kw_only=True)
class CompletionSettings:
    """How a scan is completed. `ShapePrior.complete` explains the fields that it shares with this class."""

    placement: PlacementMode | None = None
    sensor: tuple[float, float, float] | None = None
    """Where the sensor stood, in the frame of a point cloud."""
    resolution: int = 256
    edges: Edges = "smooth"
    detail: ViewRefinementConfig = field(default_factory=ViewRefinementConfig)
    alternatives: bool = False
    """Whether other answers that explain the scan nearly as well become meshes, too."""
    seed: int = 0
    device: str = "cpu"

    def completion(
        self, prior: ShapePrior, estimate: LatentEstimate, view: PreparedView, *, started: float | None = None
    ) -> Completion:
        """Make the mesh of an estimate with these settings (`ShapePrior.completion`)."""
        return prior.completion(
            estimate,
            view,
            resolution=self.resolution,
            edges=self.edges,
            seed=self.seed,
            detail=self.detail,
            started=started,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class CompletedView:
    """A completed view, and the prior that completed it."""

    name: str
    """Name of the prior."""
    prior: ShapePrior
    completion: Completion
    ranking: tuple[Recognized, ...] = ()
    """Results of all priors that were tried, the best first. Empty if the prior was given."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CompletedScan:
    """A completed scan and the files that were written."""

    view: CompletedView
    mesh_path: Path
    alternative_paths: tuple[Path | None, ...]
    """One for each of `Completion.alternatives`. None if it was not asked for, or has no surface."""


def complete_view(
    view: Observation | PreparedView,
    prior: ShapePrior | str,
    *,
    T_unit_world: Similarity | None,
    settings: CompletionSettings,
    prior_sha256: str | None = None,
) -> CompletedView:
    """Complete a view with a prior, with the prior of a name, or with the one that explains it best (`ANY_PRIOR`).

    Each prior is fitted to the view once. `prior_sha256` is the digest that the named prior must have. Raises the
    errors of `ShapePrior.complete` and `shapeprior.load`.
    """
    given = {"T_unit_world": T_unit_world, "placement": settings.placement, "seed": settings.seed}
    if prior != ANY_PRIOR:
        name = prior if isinstance(prior, str) else "given"
        chosen = loaded(prior, device=settings.device, sha256=prior_sha256)
        completion = chosen.complete(
            view, **given, resolution=settings.resolution, edges=settings.edges, detail=settings.detail
        )
        return CompletedView(name=name, prior=chosen, completion=completion)
    started = time.perf_counter()
    prepared = PreparedView.of(view, seed=settings.seed)
    ranking = tuple(recognize(prepared, device=settings.device, **given))
    best = ranking[0]
    if best.estimate is None:
        raise CompletionError(
            "no bundled prior has a surface that explains it; expected a scan of one of their objects; pass --prior "
            "with a prior of its category"
        )
    completion = settings.completion(best.prior, best.estimate, prepared, started=started)
    return CompletedView(name=best.name, prior=best.prior, completion=completion, ranking=ranking)


def complete_scan(
    views: Sequence[ViewFiles],
    mesh_path: Path,
    *,
    pose: Path | None,
    prior: str,
    settings: CompletionSettings,
    prior_sha256: str | None = None,
) -> CompletedScan:
    """Read a scan, complete it and write its mesh and, if asked for, those of other answers.

    Meshes of other answers that an earlier run left beside `mesh_path` are removed. Raises the errors of
    `complete_view` and `read_placed_scan`, OutputError if a mesh cannot be written, and ConfigError if a file that is
    read would be overwritten.
    """
    read = (*_files_of(views), *([pose] if pose else []))
    placed = mesh_path.parent.resolve() / mesh_path.name
    refuse_overwriting(read, lambda path: path in (placed, mesh_path.resolve()) or is_alternative(path, placed))
    view, T_unit_world = read_placed_scan(views, sensor=settings.sensor, pose=pose, placement=settings.placement)
    prepared = PreparedView.of(view, seed=settings.seed)
    done = complete_view(prepared, prior, T_unit_world=T_unit_world, settings=settings, prior_sha256=prior_sha256)
    discard_alternatives(mesh_path)
    done.completion.save(mesh_path)
    paths: list[Path | None] = []
    for number, estimate in enumerate(done.completion.alternatives, start=1):
        written = None
        # An alternative without a surface is no answer, and takes nothing away from the others.
        with contextlib.suppress(CompletionError):
            if settings.alternatives:
                other = settings.completion(done.prior, estimate, prepared)
                written = other.save(alternative_path(mesh_path, number))
        paths.append(written)
    return CompletedScan(view=done, mesh_path=mesh_path, alternative_paths=tuple(paths))


def refuse_overwriting(read: Iterable[Path], is_written: Callable[[Path], bool]) -> None:
    """Raise ConfigError if a file that is read is also written.

    `is_written` is asked for the file itself and for what it links to, both in a folder with all links resolved.
    """
    for path in read:
        if path.is_file() and (is_written(path.resolve()) or is_written(path.parent.resolve() / path.name)):
            raise ConfigError(
                f"{path}: is read, and would be overwritten by a result; expected another place for the results; "
                "choose another --out"
            )


def discard_alternatives(mesh_path: Path) -> None:
    """Remove the meshes of other answers that an earlier run wrote beside a mesh."""
    with contextlib.suppress(OSError):
        for path in sorted(mesh_path.parent.iterdir()):
            if is_alternative(path, mesh_path):
                with contextlib.suppress(OSError):
                    path.unlink()


def _files_of(views: Sequence[ViewFiles]) -> list[Path]:
    return [path for view in views for path in vars(view).values() if path is not None]


@dataclass(frozen=True, kw_only=True)
class ScanJob:
    """One scan of a folder."""

    scan: FoundScan
    out: Path
    """Folder for the mesh and the row."""
    prior: str
    """Name or folder of the prior, or `ANY_PRIOR`."""
    prior_sha256: str
    """Digest of the prior's content, because weights may be trained anew under the same name (`content_sha256`)."""
    settings: CompletionSettings

    @property
    def folder(self) -> Path:
        """The folder of scans."""
        first = self.scan.views[0].scan
        return first.parent if first.name == self.scan.name else first.parent.parent

    @property
    def row_path(self) -> Path:
        """File of the row."""
        return self.out / f"{self.scan.stem}.json"

    @property
    def mesh_path(self) -> Path:
        """File of the mesh."""
        return self.out / f"{self.scan.stem}.ply"

    @property
    def read_paths(self) -> list[Path]:
        """All files that are read."""
        return _files_of(self.scan.views) + ([self.scan.pose] if self.scan.pose else [])

    @property
    def row_file(self) -> ResultRow:
        """File of the row and of what it depends on. Files are hashed now, so that later changes of them are
        noticed."""
        return ResultRow(path=self.row_path, dependencies=self.dependencies())

    def dependencies(self) -> dict[str, object]:
        """Return everything that the result depends on, with the hashes of all files. The device changes only
        rounding."""
        views = [
            {kind: None if path is None else file_sha256(path) for kind, path in vars(view).items()}
            for view in self.scan.views
        ]
        settings = asdict(self.settings)
        del settings["device"]
        return {
            "views": views,
            "pose": None if self.scan.pose is None else file_sha256(self.scan.pose),
            "prior": self.prior_sha256,
            **settings,
        }


@dataclass(frozen=True, kw_only=True)
class ScanRow:
    """The outcome of one scan, as a row of summary.csv."""

    scan: str
    """Name of the file, or of the sub-folder of views."""
    status: str
    """explained, doubtful or unexplained (`shapeprior.completion.estimate.Verdict`), or failed."""
    reason: str
    """What speaks against the shape, or why there is no mesh."""
    prior: str
    """Name of the prior that made the shape."""
    mesh: str = ""
    """File name of the mesh. Empty if there is none."""
    faces: int = 0
    residual: float | None = None
    """Median distance of the observed points from the code's surface, in the scan's unit. None if there is no mesh."""
    explained: float = 0.0
    """Share of observed points within 2 % of the object's radius from the code's surface."""
    left_out: float = 0.0
    """Share of the scan's points that lie apart from the others and were not used."""
    seen: float = 0.0
    """Share of the surface that was seen."""
    imagined: float = 0.0
    """Share of the surface near which nothing was seen."""
    mended_places: int = 0
    """Number of places where the extraction mended a thin wall."""
    alternatives: int = 0
    """Number of other answers that explain the scan nearly as well."""
    seconds: float = 0.0

    @classmethod
    def of(cls, scan: str, done: CompletedScan) -> "ScanRow":
        """Make the row of a completed scan."""
        completion = done.view.completion
        return cls(
            scan=scan,
            status=completion.verdict.kind,
            reason="; ".join(completion.verdict.reasons),
            prior=done.view.name,
            mesh=done.mesh_path.name,
            faces=len(completion.mesh.faces),
            residual=completion.residual,
            explained=completion.explained,
            left_out=completion.outlier_share,
            seen=completion.support.seen_share,
            imagined=completion.support.imagined_share,
            mended_places=completion.mended_places,
            alternatives=len(completion.alternatives),
            seconds=completion.seconds,
        )

    @classmethod
    def failed(cls, job: ScanJob, reason: str) -> "ScanRow":
        """Make the row of a scan without a mesh."""
        return cls(scan=job.scan.name, status="failed", reason=reason, prior=job.prior)


def run_scan_job(job: ScanJob) -> ScanRow:
    """Complete one scan of a folder and write its mesh and its row. A fault of the scan becomes a row.

    The results of an earlier run are removed first, so that no mesh ever lies beside a row that is not its own. Raises
    OutputError.
    """
    kept = job.row_file
    kept.discard([job.mesh_path])
    discard_alternatives(job.mesh_path)
    try:
        views, settings = _of_their_kind(job)
        done = complete_scan(
            views,
            job.mesh_path,
            pose=job.scan.pose,
            prior=job.prior,
            settings=settings,
            prior_sha256=None if job.prior == ANY_PRIOR else job.prior_sha256,
        )
        row = ScanRow.of(job.scan.name, done)
    except OutputError:
        raise  # A full disk ends the run; it is no fault of the scan.
    except ShapePriorError as error:
        row = ScanRow.failed(job, str(error).replace(f"{job.folder}{os.sep}", ""))
    kept.write(asdict(row))
    return row


def cached_row(job: ScanJob) -> ScanRow | None:
    """Return the row of an earlier run if its mesh is there and nothing that it depends on has changed."""
    found = job.row_file.read()
    if found is None or found.keys() != {each.name for each in fields(ScanRow)} or not isinstance(found["mesh"], str):
        return None
    row = ScanRow(**found)
    return row if row.status != "failed" and (job.out / row.mesh).is_file() else None


def content_sha256(prior: str, *, device: str) -> str:
    """Return the digest of a prior, or of all that `ANY_PRIOR` stands for. Raises the errors of `shapeprior.load`."""
    names = bundled_priors() if prior == ANY_PRIOR else [prior]
    return " ".join(prior_digest(load(name, device=device)) for name in names)


def _of_their_kind(job: ScanJob) -> tuple[list[ViewFiles], CompletionSettings]:
    """Return a job's files and settings without those that were given for scans of the other kind."""
    images = [holds_depth(view.scan) for view in job.scan.views]
    views = [
        view if image else replace(view, intrinsics=None, mask=None)
        for view, image in zip(job.scan.views, images, strict=True)
    ]
    return views, replace(job.settings, sensor=None) if all(images) else job.settings
