"""Whether completions of views are whole, thin and smooth, from clean views to noisy ones.

    OMP_NUM_THREADS=1 python -m benchmarks.completion.view_walls --shapes mug=12 bowl=12 can=12 airplane=8

Each shape is a fresh generated one, seen by one depth view of 256 × 256 pixels, and completed at its known placement
by the code alone and with the detail of the view. A family is completed by the bundled prior of its name, or by a run
folder: --shapes my_runs/mug=12 completes mugs if the folder is named after its family.

Conditions are "clean", a level of `shapeprior.scans.simulation` such as "consumer", or a number: the standard
deviation of normal noise along the rays, in radii. The columns are those of docs/evaluation.md:

  whole     % of the shapes with as many parts and handles as the truth;
  genus     sum of the differences from the true genus, over all shapes;
  thin, thickness, roughness    medians of `thin_covered`, `thin_thickness` and `roughness_deg`;
  s         median seconds of the refinement to the view alone.

All others are means.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.common.tables import print_machine, print_table
from shapeprior.completion.estimate import LatentEstimate
from shapeprior.completion.prior import ShapePrior
from shapeprior.completion.registry import load
from shapeprior.completion.view_refinement import ViewRefinementConfig, follow_view
from shapeprior.datasets.prepare_mesh import prepare_mesh
from shapeprior.datasets.procedural import synthesize
from shapeprior.errors import CompletionError
from shapeprior.evaluation.ground_truth import GroundTruth, score_view, shape_view
from shapeprior.evaluation.mesh_metrics import TruePoints
from shapeprior.evaluation.metrics import Metrics, MetricsConfig
from shapeprior.geometry.sampling import shape_rng
from shapeprior.geometry.transforms import Similarity
from shapeprior.scans.observation import Observation
from shapeprior.scans.prepared_view import PreparedView
from shapeprior.scans.simulation import SensorModel
from shapeprior.sdf.signed_distance import SHEET_HALF_THICKNESS

METRICS = MetricsConfig(surface_points=10_000, volume_points=30_000, edge_points=2_000)
KNOWN = Similarity.identity()
CONDITIONS = ("clean", "consumer", "0.005", "0.01", "0.02", "0.03")
ARMS = {"by the code": ViewRefinementConfig(steps=0), "with detail": ViewRefinementConfig()}
MEANS = {"chamfer_l1": "Chamfer-L1", "fscore_1": "F@1%", "iou": "IoU", "normal_consistency": "normals"}
MEDIANS = {"thin_covered": "thin", "thin_thickness": "thickness", "roughness_deg": "roughness"}


@dataclass(frozen=True)
class Case:
    """A fresh shape in its unit frame, with its name and the points by which predictions are scored."""

    name: str
    truth: GroundTruth
    points: TruePoints

    @classmethod
    def of(cls, family: str, index: int, *, seed: int) -> "Case":
        mesh = synthesize(family, seed=seed, index=index)
        distance = prepare_mesh(mesh, name=family, up="y", sheet_half_thickness=SHEET_HALF_THICKNESS).distance
        points = TruePoints.draw(distance, seed=0, config=METRICS)
        return cls(f"{family} {index}", GroundTruth(surface_unit=distance.surface, distance=distance), points)

    def view(self, condition: str) -> Observation:
        """Look at it once, from a direction of its own, with the faults of one condition."""
        level = "clean" if _is_number(condition) else condition
        sensor = None if level == "clean" else SensorModel.level(level)  # pyright: ignore[reportArgumentType]
        seen = shape_view(self.truth.surface_unit, self.name, sensor=sensor, resolution=256, seed=0).observation
        return with_noise(seen, float(condition), name=self.name) if _is_number(condition) else seen


@dataclass(frozen=True)
class Row:
    """One completion, measured."""

    metrics: Metrics
    seconds: float


def with_noise(view: Observation, deviation: float, *, name: str) -> Observation:
    """Move the points along their rays by normal noise."""
    assert view.origins_world is not None
    rays = view.points_world - view.origins_world
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    noise = shape_rng(5, name).normal(0.0, deviation, (len(rays), 1))
    return replace(view, points_world=view.points_world + noise * rays)


def refinement_seconds(prior: ShapePrior, estimate: LatentEstimate, view: Observation) -> float:
    """Wall time of the refinement alone, without extraction."""
    field, view_unit = prior.field(estimate.code), PreparedView.of(view, seed=0).surface_view
    started = time.perf_counter()
    follow_view(field, view_unit, config=ViewRefinementConfig())
    return time.perf_counter() - started


def measured(case: Case, prior: ShapePrior, conditions: list[str], *, resolution: int) -> dict[tuple[str, str], Row]:
    """Complete a shape under all conditions, by all arms. A failure has the worst scores."""
    found: dict[tuple[str, str], Row] = {}
    for condition in conditions:
        view = case.view(condition)
        estimate = prior.infer(view, T_unit_world=KNOWN)
        seconds = refinement_seconds(prior, estimate, view)
        for arm, config in ARMS.items():
            try:
                mesh = prior.completion(estimate, view, resolution=resolution, detail=config).mesh_unit
                metrics = score_view(mesh, case.truth, None, seed=0, config=METRICS, points=case.points).whole
            except CompletionError:
                metrics = Metrics.worst()
            found[condition, arm] = Row(metrics, seconds)
    return found


def table_rows(found: list[dict[tuple[str, str], Row]]) -> Iterator[list[str]]:
    """Return one row for each condition and arm."""
    for condition, arm in found[0]:
        rows = [shape[condition, arm] for shape in found]
        whole = 100.0 * np.mean([row.metrics.whole for row in rows])
        genus = sum(row.metrics.genus_error for row in rows)
        means = (f"{np.mean([getattr(row.metrics, name) for row in rows]):.4f}" for name in MEANS)
        medians = (_median([getattr(row.metrics, name) for row in rows]) for name in MEDIANS)
        seconds = "" if ARMS[arm].steps == 0 else f"{np.median([row.seconds for row in rows]):.2f}"
        yield [condition, arm, f"{whole:.0f}", f"{genus:.0f}", *means, *medians, seconds]


def _median(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{np.median(known):.3f}" if known else ""


def _is_number(condition: str) -> bool:
    return condition.replace(".", "", 1).isdigit()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["mug=12", "bowl=12", "can=12", "airplane=8"])
    parser.add_argument("--conditions", nargs="+", default=list(CONDITIONS))
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--seed", type=int, default=77)
    arguments = parser.parse_args()
    print_machine()
    head = ["view", "", "whole, %", "genus", *MEANS.values(), *MEDIANS.values(), "s"]
    for entry in arguments.shapes:
        name, count = entry.rsplit("=", 1)
        prior, family = load(name), Path(name).name
        cases = (Case.of(family, index, seed=arguments.seed) for index in range(int(count)))
        found = [measured(case, prior, arguments.conditions, resolution=arguments.resolution) for case in cases]
        print_table(f"{count} of {name}", head, list(table_rows(found)), words=2)


if __name__ == "__main__":
    main()
