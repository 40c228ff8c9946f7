"""The demo: complete a depth image with a prior; both ship with the package."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shapeprior.cli.console import print_line
from shapeprior.cli.reports import print_metrics

if TYPE_CHECKING:
    from shapeprior.completion.result import Completion
    from shapeprior.evaluation.metrics import Metrics


@dataclass(frozen=True, kw_only=True, eq=False)
class DemoResult:
    """The completion of the demo's scan, its scores, and where it was written."""

    completion: "Completion"
    metrics: "Metrics"
    """Scores against the true mesh, which the prior has never seen."""
    mesh_path: Path
    picture_path: Path
    scan_path: Path
    seconds: float
    """Time from view to mesh."""


def run_demo(out: str | os.PathLike[str], *, seed: int = 0) -> DemoResult:
    """Complete the bundled depth image and write its mesh and a picture to the folder `out`.

    Raises OutputError if that cannot be written.
    """
    from shapeprior.completion.registry import bundled_folder, load
    from shapeprior.evaluation.ground_truth import GroundTruth, score
    from shapeprior.evaluation.metrics import MetricsConfig
    from shapeprior.io.meshes import load_mesh, save_mesh
    from shapeprior.scans.placement import read_pose
    from shapeprior.scans.read import read_scan
    from shapeprior.sdf.signed_distance import SignedDistance
    from shapeprior.visualization.pictures import comparison_picture, completion_panels, save_picture

    out, folder = Path(out), bundled_folder() / "demo"
    settings = json.loads((folder / "demo.json").read_text(encoding="utf-8"))
    scan = folder / "depth.png"
    view_camera = read_scan(scan, intrinsics=folder / "intrinsics.json", background_is_free=True)
    T_unit_camera = read_pose(folder / "pose.json").inverse()
    prior = load(settings["prior"])
    completion = prior.complete(view_camera, T_unit_world=T_unit_camera, seed=seed)
    true_unit = load_mesh(folder / "truth.ply")
    truth = GroundTruth(surface_unit=true_unit, distance=SignedDistance(true_unit))
    metrics = score(completion.mesh_unit, truth, seed=seed, config=MetricsConfig())
    mesh_path = save_mesh(out / "completion.ply", completion.mesh)
    panels = completion_panels(view_camera.transformed(T_unit_camera), completion.mesh_unit, true_unit)
    picture_path = save_picture(out / "completion.png", comparison_picture(panels))
    return DemoResult(
        completion=completion,
        metrics=metrics,
        mesh_path=mesh_path,
        picture_path=picture_path,
        scan_path=scan,
        seconds=completion.seconds,
    )


def demo(out: Path = Path("shapeprior-demo")) -> None:
    """Complete a depth image that ships with the package, and write a mesh and a picture.

    Args:
        out: Folder for the mesh and the picture.
    """
    result = run_demo(out)
    print_line(f"completed {result.scan_path.name} in {result.seconds:.1f} s")
    print_line("compared with the true mesh, which the prior has never seen:")
    print_metrics(result.metrics)
    print_line(f"mesh     {result.mesh_path}")
    print_line(f"picture  {result.picture_path}")
