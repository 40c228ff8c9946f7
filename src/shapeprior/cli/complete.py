"""The command that completes a scan, several views of one object, or a folder of scans."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from shapeprior.cli.arguments import Device, Files, Seed
from shapeprior.cli.console import print_line
from shapeprior.errors import ConfigError, ScanError, UnexplainedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from shapeprior.completion.prior import ShapePrior
    from shapeprior.completion.result import Completion
    from shapeprior.completion.scan_job import CompletedScan
    from shapeprior.geometry.transforms import Similarity
    from shapeprior.scans.observation import Observation
    from shapeprior.scans.placement import PlacementMode


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

    The mesh is in the scan's own frame and unit. Exit code 3 means that no shape of the prior explains the scan, or one of
    the folder's scans. The mesh is written all the same, but do not trust it.

    Args:
        scans: Depth images (PNG, TIFF, EXR, NPY, NPZ) or point clouds (PLY, PCD, LAS, LAZ, XYZ, TXT, NPY, NPZ), all of one
            object. Or one folder of scans, each with its own NAME.intrinsics.json, NAME.mask.png, NAME.camera_pose.json and
            NAME.pose.json where these exist; a sub-folder holds several views of one object.
        prior: A run folder, a bundled prior (can, mug, bowl, camera, airplane), or the id owner/name of a downloaded one;
            auto tries all bundled priors and takes the one that explains the scan best.
        out: The mesh to write: .ply, .obj, .stl or .glb. For a folder of scans, the folder for the meshes and summary.csv.
        intrinsics: JSON file with the camera's focal lengths and principal point, for depth images; one for all, or one a
            view.
        mask: Image that is nonzero where the depth image shows the object; one a view.
        camera_pose: JSON file with the camera's pose, world from camera frame; one a view. The mesh is then in the world
            frame, whose +y axis points up unless --pose or --placement says otherwise.
        sensor: Position of the sensor in the frame of the point cloud. It overrides the position that the file states.
        pose: JSON file with the object's pose, scan (or world) from unit frame; a first guess if --placement is not known.
        placement: How much is known about the object's pose. known: --pose is exact. aligned: the scan's axes are the unit
            frame's, +y up; position and scale are found. upright: the turn about +y is found as well. free: any rotation is
            found. auto: known with --pose, otherwise aligned.
        resolution: Cells along each axis of the unit cube.
        edges: How sharp edges are meshed: sharp keeps them, smooth rounds them by up to a cell.
        code_only: Keep the shape as its latent code decodes. Without this, the mesh follows the scan where it saw the surface.
        alternatives: Also write the other answers that explain the scan nearly as well, as OUT.other1.ply and so on.
        workers: Processes for a folder of scans; all cores by default. 0 works in the command's own process.
    """
    from shapeprior.completion.refinement import ViewRefinementConfig
    from shapeprior.scans.folder import ViewFiles, read_placed_scan

    mode = None if placement == "auto" else placement
    if not scans:
        raise ConfigError(
            "complete without a scan; expected a depth image, a point cloud, or a folder of them, before the options: "
            "--intrinsics, --mask and --camera-pose take all names that follow them"
        )
    read = (*scans, *intrinsics, *mask, *camera_pose, *([pose] if pose else []))
    _refuse_overwriting(out, read)
    detail = ViewRefinementConfig(steps=0) if code_only else ViewRefinementConfig()
    if len(scans) == 1 and scans[0].is_dir():
        from shapeprior.cli.progress import show_progress
        from shapeprior.cli.reports import print_completed
        from shapeprior.completion.batch import complete_folder
        from shapeprior.parallel.system import usable_cores

        with show_progress("Completing", "scans") as progress:
            (given,) = ViewFiles.each(scans, intrinsics=intrinsics, masks=mask, camera_poses=camera_pose)
            rows = complete_folder(
                given.scan, out, prior=prior, placement=mode, intrinsics=given.intrinsics, mask=given.mask,
                camera_pose=given.camera_pose, pose=pose, sensor=sensor, resolution=resolution, edges=edges, detail=detail,
                alternatives=alternatives, seed=seed, device=device, workers=usable_cores() if workers is None else workers,
                progress=progress.update,
            )  # fmt: skip
        print_completed(rows, out)
        _refuse_bad_rows(rows, out, prior)
        return
    views = ViewFiles.each(scans, intrinsics=intrinsics, masks=mask, camera_poses=camera_pose)
    view, T_unit_scan = read_placed_scan(views, sensor=sensor, pose=pose, placement=mode)
    loaded, prior = _chosen_prior(prior, view, T_unit_scan, mode, seed, device)
    completion = loaded.complete(
        view, T_unit_world=T_unit_scan, placement=mode, seed=seed, resolution=resolution, edges=edges, detail=detail
    )
    completion.save(out)
    _print_completion(completion, out)
    for number, other in enumerate(completion.alternatives, start=1):
        print_line(f"  another answer fits nearly as well ({other.explained:.0%} of the points, {other.verdict.kind})")
        if alternatives:
            path = out.with_name(f"{out.stem}.other{number}{out.suffix}")
            _refuse_overwriting(path, read)
            made = loaded.completion(other, view, resolution=resolution, edges=edges, seed=seed, detail=detail)
            made.save(path)
            print_line(f"    {path}")
    if completion.verdict.kind == "unexplained":
        raise UnexplainedError(
            f"{' '.join(map(str, scans))}: no shape of prior {prior} explains it; expected a scan of its category, alone, in the "
            f"frame that --placement states; {out} means nothing"
        )


def _refuse_overwriting(out: Path, read: "Iterable[Path]") -> None:
    for path in read:
        if path.is_file() and path.resolve() == out.resolve():
            raise ConfigError(f"{out}: a file that is read; expected another name for the mesh; choose --out so")


def _refuse_bad_rows(rows: "Sequence[CompletedScan]", out: Path, prior: str) -> None:
    """Raises ScanError if scans of a folder failed, else UnexplainedError if some are not explained."""
    from shapeprior.scans.folder import SUMMARY

    table = out / SUMMARY
    failed, unexplained = ([row.scan for row in rows if row.status == kind] for kind in ("failed", "unexplained"))
    if failed:
        raise ScanError(
            f"{table}: {len(failed)} of {len(rows)} scans failed; expected a mesh of each; their reasons are in the table, and the "
            "same command tries them again"
        )
    if unexplained:
        raise UnexplainedError(
            f"{table}: no shape of prior {prior} explains {len(unexplained)} of {len(rows)} scans, such as {unexplained[0]}; "
            "expected scans of its category, each alone, in the frame that --placement states; their meshes mean nothing"
        )


def _print_completion(completion: "Completion", out: Path) -> None:
    """What came out, whether it can be believed, and how well its placement is known."""
    verdict, support = completion.verdict, completion.support
    print_line(
        f"{out}: {len(completion.mesh.faces)} faces in {completion.seconds:.1f} s; {support.seen_share:.0%} of the surface seen, "
        f"{support.imagined_share:.0%} imagined"
    )
    print_line(
        f"  {verdict.kind}: median distance of the scan's points from the code's shape {completion.residual:.3g} scan units, "
        f"{completion.explained:.0%} within 2 % of the object's radius"
    )
    if completion.outlier_share >= 0.05:
        print_line(f"  {completion.outlier_share:.0%} of the scan's points lie apart from the others and were left out")
    for reason in verdict.reasons:
        print_line(f"  but {reason}")
    if completion.deviations is not None:
        known = completion.deviations
        turn = f", turn {known.turn_deg:.1f} degrees" if known.turn_deg else ""
        radius = completion.T_unit_world.inverse().scale
        print_line(
            f"  placement, standard deviations: scale {known.scale:.1%}, offset {known.offset * radius:.3g} scan units{turn}"
        )


def _chosen_prior(
    name: str,
    view: "Observation",
    T_unit_scan: "Similarity | None",
    mode: "PlacementMode | None",
    seed: int,
    device: str,
) -> "tuple[ShapePrior, str]":
    """The prior of this name, or the bundled one that explains the view best, and its name."""
    from shapeprior.completion.registry import load, recognize

    if name != "auto":
        return load(name, device=device), name
    found = recognize(view, T_unit_world=T_unit_scan, placement=mode, seed=seed, device=device)
    for one in found:
        fit = (
            "no surface"
            if one.estimate is None
            else f"{one.estimate.verdict.kind}, objective {one.estimate.objective:.2g}"
        )
        print_line(f"{one.name:10s} {fit}")
    return found[0].prior, found[0].name
