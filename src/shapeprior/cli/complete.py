"""The command that completes a scan, several views of one object, or a folder of scans."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from shapeprior.cli.arguments import Device, Files, Seed
from shapeprior.cli.console import print_line
from shapeprior.errors import ConfigError, ScanError, UnexplainedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shapeprior.completion.result import Completion
    from shapeprior.completion.scan_job import CompletedScan, CompletionSettings, ScanRow
    from shapeprior.scans.folder import ViewFiles


def complete(
    scans: Annotated[Positional[tuple[Path, ...]], arg(metavar="PATH [PATH ...]")],
    *,
    prior: str,
    out: Path,
    intrinsics: Files = (),
    mask: Files = (),
    camera_pose: Files = (),
    sensor: tuple[float, float, float] | None = None,
    pose: Path | None = None,
    placement: Literal["auto", "known", "aligned", "upright", "free"] = "auto",
    resolution: int = 256,
    edges: Literal["smooth", "sharp"] = "smooth",
    code_only: FlagCreatePairsOff[bool] = False,
    alternatives: FlagCreatePairsOff[bool] = False,
    workers: int | None = None,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Complete one partial view, several views of one object, or every scan in a folder, into a closed mesh.

    The mesh is in the scan's own frame and unit. Exit code 3 means that no shape of the prior explains the scan, or one
    of the folder's scans. The mesh is written all the same, but do not trust it.

    Args:
        scans: Depth images (PNG, TIFF, EXR, NPY, NPZ) or point clouds (PLY, PCD, LAS, LAZ, XYZ, TXT, NPY, NPZ), all of
            one object. Or one folder of scans, each with its own NAME.intrinsics.json, NAME.mask.png,
            NAME.camera_pose.json and NAME.pose.json where these exist; a sub-folder holds several views of one object.
        prior: A run folder, a bundled prior (can, mug, bowl, camera, airplane), or the id owner/name of a downloaded
            one; auto tries all bundled priors and takes the one that explains the scan best.
        out: The mesh to write: .ply, .obj, .stl or .glb. For a folder of scans, the folder for the meshes and
            summary.csv.
        intrinsics: JSON file with the camera's focal lengths and principal point, for depth images; one for all, or one
            a view.
        mask: Image that is nonzero where the depth image shows the object; one a view.
        camera_pose: JSON file with the camera's pose, world from camera frame; one a view. The mesh is then in the
            world frame, whose +y axis points up unless --pose or --placement says otherwise.
        sensor: Position of the sensor in the frame of the point cloud. It overrides the position that the file states.
        pose: JSON file with the object's pose, scan (or world) from unit frame; a first guess if --placement is not
            known.
        placement: How much is known about the object's pose. known: --pose is exact. aligned: the scan's axes are the
            unit frame's, +y up; position and scale are found. upright: the turn about +y is found as well. free: any
            rotation is found. auto: known with --pose, otherwise aligned.
        resolution: Cells along each axis of the unit cube.
        edges: How sharp edges are meshed: sharp keeps them, smooth rounds them by up to a cell.
        code_only: Keep the shape as its latent code decodes. Without this, the mesh follows the scan where it saw the
            surface.
        alternatives: Also write the other answers that explain the scan nearly as well, as OUT.other1.ply and so on.
            Such meshes of an earlier run beside OUT are removed in any case.
        workers: Processes for a folder of scans; all cores by default. 0 works in the command's own process.
    """
    from shapeprior.completion.scan_job import CompletionSettings, complete_scan
    from shapeprior.completion.view_refinement import ViewRefinementConfig
    from shapeprior.scans.folder import ViewFiles

    if not scans:
        raise ConfigError(
            "complete without a scan; expected a depth image, a point cloud, or a folder of them, before the options: "
            "--intrinsics, --mask and --camera-pose take all names that follow them"
        )
    views = ViewFiles.each(scans, intrinsics=intrinsics, masks=mask, camera_poses=camera_pose)
    settings = CompletionSettings(
        placement=None if placement == "auto" else placement,
        sensor=sensor,
        resolution=resolution,
        edges=edges,
        detail=ViewRefinementConfig(steps=0) if code_only else ViewRefinementConfig(),
        alternatives=alternatives,
        seed=seed,
        device=device,
    )
    if len(scans) == 1 and scans[0].is_dir():
        _complete_folder(views[0], out, prior=prior, pose=pose, settings=settings, workers=workers)
        return
    done = complete_scan(views, out, pose=pose, prior=prior, settings=settings)
    _print_completed_scan(done)
    if done.view.completion.verdict.kind == "unexplained":
        raise UnexplainedError(
            f"{' '.join(map(str, scans))}: no shape of prior {done.view.name} explains it; expected a scan of its "
            f"category, alone, in the frame that --placement states; {out} means nothing"
        )


def _complete_folder(
    given: "ViewFiles", out: Path, *, prior: str, pose: Path | None, settings: "CompletionSettings", workers: int | None
) -> None:
    from shapeprior.cli.progress import show_progress
    from shapeprior.cli.reports import print_completed
    from shapeprior.completion.batch import complete_folder

    with show_progress("Completing", "scans") as progress:
        rows = complete_folder(
            given.scan,
            out,
            prior=prior,
            intrinsics=given.intrinsics,
            mask=given.mask,
            camera_pose=given.camera_pose,
            pose=pose,
            settings=settings,
            workers=workers,
            progress=progress.update,
        )
    print_completed(rows, out)
    _refuse_bad_rows(rows, out, prior)


def _refuse_bad_rows(rows: "Sequence[ScanRow]", out: Path, prior: str) -> None:
    """Raise ScanError if scans of a folder failed, else UnexplainedError if some are not explained."""
    from shapeprior.scans.folder import SUMMARY

    table = out / SUMMARY
    failed, unexplained = ([row.scan for row in rows if row.status == kind] for kind in ("failed", "unexplained"))
    if failed:
        raise ScanError(
            f"{table}: {len(failed)} of {len(rows)} scans failed; expected a mesh of each; their reasons are in the "
            "table, and the same command tries them again"
        )
    if unexplained:
        raise UnexplainedError(
            f"{table}: no shape of prior {prior} explains {len(unexplained)} of {len(rows)} scans, such as "
            f"{unexplained[0]}; expected scans of its category, each alone, in the frame that --placement states; "
            "their meshes mean nothing"
        )


def _print_completed_scan(done: "CompletedScan") -> None:
    """Print the fits of all priors that were tried, the result, and the other answers."""
    for one in done.view.ranking:
        fit = "no surface"
        if one.estimate is not None:
            fit = f"{one.estimate.verdict.kind}, objective {one.estimate.objective:.2g}"
        print_line(f"{one.name:10s} {fit}")
    completion = done.view.completion
    _print_completion(completion, done.mesh_path)
    for other, path in zip(completion.alternatives, done.alternative_paths, strict=True):
        print_line(f"  another answer fits nearly as well ({other.explained:.0%} of the points, {other.verdict.kind})")
        if path is not None:
            print_line(f"    {path}")


def _print_completion(completion: "Completion", out: Path) -> None:
    """Print the result, its verdict, and how well its placement is known."""
    verdict, support = completion.verdict, completion.support
    print_line(
        f"{out}: {len(completion.mesh.faces)} faces in {completion.seconds:.1f} s; {support.seen_share:.0%} of the "
        f"surface seen, {support.imagined_share:.0%} imagined"
    )
    print_line(
        f"  {verdict.kind}: median distance of the scan's points from the code's shape {completion.residual:.3g} scan "
        f"units, {completion.explained:.0%} within 2 % of the object's radius"
    )
    if completion.mended_places:
        places = "1 place" if completion.mended_places == 1 else f"{completion.mended_places} places"
        print_line(f"  thin walls mended in {places}, where the field only just misses them")
    if completion.outlier_share >= 0.05:
        print_line(f"  {completion.outlier_share:.0%} of the scan's points lie apart from the others and were left out")
    for reason in verdict.reasons:
        print_line(f"  but {reason}")
    if completion.deviations is not None:
        known = completion.deviations
        turn = f", turn {known.turn_deg:.1f} degrees" if known.turn_deg else ""
        radius = completion.T_unit_world.inverse().scale
        print_line(
            f"  placement, standard deviations: scale {known.scale:.1%}, offset {known.offset * radius:.3g} scan "
            f"units{turn}"
        )
