"""Measures completion by a prior: its speed, its quality beside plain gradient descent, and the effect of noise, views
and unknown placements.

    python -m benchmarks.completion.completion PRIOR DATASET --parts speed adam detail --shapes 8

PRIOR is a run folder or a bundled prior. DATASET is one that the prior was not trained on, or its test split. Each part
takes one depth view of 256 x 256 pixels of each shape, as `shapeprior evaluate` does. Means include failures with the
worst score.

- speed: Seconds from view to mesh at known placement, as median and largest: the solver, extraction at 256³, and all
  together. Also of the decoder's derivatives by the code, which the solver makes once or twice.
- adam: The default solver beside 800 steps of Adam from the mean code on the same objective (rate 0.08 along half a
  cosine): CPU seconds, the objective on one fixed set of points, Chamfer-L1, F-score and IoU.
- detail: Meshes with the detail of the view and by the code alone, for clean views and for those of a consumer depth
  camera. Seconds are those of everything after the solver.
- sensor: Levels of `shapeprior.scans.simulation`, and the clean view with 20 % outliers.
- views: 1, 2, 4 and 8 views together.
- upright: Scale within 30 %, offset and turn about +y random and unknown: how often the turn is within 10 degrees and
  the scale within 5 %. `fits` forgives a shape its own symmetry. It counts completions whose F-score at 2 % in the
  scan's frame is at most 0.05 below that at known placement.
- free: The same with any turn. Both take --views views of each shape together.

`benchmarks.completion.verdicts` measures what the prior says of views that show something else.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from benchmarks.common.tables import print_machine, print_table
from shapeprior.completion.config import InferConfig
from shapeprior.completion.prior import ShapePrior
from shapeprior.completion.registry import load
from shapeprior.completion.residuals import Residuals, observed_samples
from shapeprior.completion.view_refinement import ViewRefinementConfig
from shapeprior.datasets.dataset import Dataset
from shapeprior.errors import CompletionError
from shapeprior.evaluation.ground_truth import GroundTruth, load_ground_truth, score, shape_view
from shapeprior.evaluation.metrics import Metrics, MetricsConfig
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.sampling import shape_rng
from shapeprior.geometry.transforms import Similarity
from shapeprior.scans.observation import Observation
from shapeprior.scans.prepared_view import without_outliers
from shapeprior.scans.simulation import SensorModel

METRICS = MetricsConfig(surface_points=10_000, volume_points=30_000)
KNOWN = Similarity.identity()
CONFIG = InferConfig()


@dataclass(frozen=True)
class Case:
    """A shape to complete."""

    name: str
    truth: GroundTruth

    def view(self, sensor: SensorModel | None = None, *, views: int = 1) -> Observation:
        """Its first views together; the first one is that of `shapeprior evaluate`."""
        return shape_view(
            self.truth.surface_unit, self.name, views=views, sensor=sensor, resolution=256, seed=0
        ).observation


def scored(case: Case, mesh_unit: Callable[[], TriangleMesh]) -> Metrics:
    """Metrics of a mesh that may fail to come out."""
    try:
        return score(mesh_unit(), case.truth, seed=0, config=METRICS)
    except CompletionError:
        return Metrics.worst()


def completed(prior: ShapePrior, case: Case, view: Observation) -> Metrics:
    """Metrics of the completion at known placement, at 128³."""
    return scored(case, lambda: prior.complete(view, T_unit_world=KNOWN, resolution=128).mesh_unit)


def cells(rows: list[Metrics]) -> list[str]:
    return [
        f"{np.mean([getattr(row, name) for row in rows]):.4f}" for name in ("chamfer_l1", "fscore_1", "fscore_2", "iou")
    ]


HEAD = ["Chamfer-L1", "F@1%", "F@2%", "IoU"]


def speed(prior: ShapePrior, cases: list[Case]) -> None:
    prior.complete(cases[0].view(), T_unit_world=KNOWN)  # What is made once.
    infer, extract, whole, plain, evaluations = [], [], [], [], []
    for case in cases:
        view = case.view()
        started = time.perf_counter()
        found = prior.infer(view, T_unit_world=KNOWN)
        infer.append(time.perf_counter() - started)
        started = time.perf_counter()
        mesh = prior.extract(found.code)
        extract.append(time.perf_counter() - started)
        evaluations.append(len(mesh.faces))
        whole.append(prior.complete(view, T_unit_world=KNOWN).seconds)
        plain.append(prior.complete(view, T_unit_world=KNOWN, detail=ViewRefinementConfig(steps=0)).seconds)
    points = (torch.rand((2400, 3), generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8).to(prior.codes.device)
    tangents = prior.decoder.code_tangents(prior.space.mean, prior.space.axes)
    push, use = [], []
    for _ in range(9):
        started = time.perf_counter()
        # Looked at, so that a GPU is waited for.
        float(prior.decoder.code_tangents(prior.space.mean, prior.space.axes)[0].sum())
        push.append(time.perf_counter() - started)
        started = time.perf_counter()
        float(prior.decoder.jacobian(prior.space.mean, tangents, points).by_code.sum())
        use.append(time.perf_counter() - started)
    rows = [
        [name, f"{np.median(times):.3f}", f"{max(times):.3f}"]
        for name, times in (
            ("solver", infer),
            ("extraction at 256³", extract),
            ("view to mesh", whole),
            ("view to mesh, by the code alone", plain),
            ("derivatives by the code, made", push),
            ("derivatives by the code, at 2,400 points", use),
        )
    ]
    print_table(f"speed, {len(cases)} views, {torch.get_num_threads()} threads", ["", "median, s", "largest, s"], rows)
    print(f"faces of a mesh: {np.median(evaluations):.0f}")


def adam(prior: ShapePrior, cases: list[Case], steps: int = 800) -> None:
    arms: dict[str, list[tuple[float, float, Metrics]]] = {}
    space, decoder = prior.solver.space, prior.decoder
    _ = prior.solver.infer(cases[0].view(), T_unit_world=KNOWN, mode="known", seed=0, config=CONFIG)
    for case in cases:
        view = case.view()
        samples = observed_samples(without_outliers(view.subsampled(4096, seed=0)), seed=0)
        fixed = Residuals.draw(samples, CONFIG.residuals, points=1500, free=1500, seed=9, like=prior.codes)

        def add(name: str, code: torch.Tensor, seconds: float, case: Case = case, fixed: Residuals = fixed) -> None:
            with torch.no_grad():
                left = float(fixed.of(decoder, code[None])[0])
                left += CONFIG.prior_weight * float(space.whiten(code[None]).square().mean())
            metrics = scored(case, lambda: prior.extract(code, resolution=128))
            arms.setdefault(name, []).append((seconds, left, metrics))

        for name, config in (("default", CONFIG), ("12 steps or more", replace(CONFIG, steps=12))):
            started = time.process_time()
            found = prior.infer(view, T_unit_world=KNOWN, config=config)
            add(name, found.code, time.process_time() - started)
        started = time.process_time()
        samples = observed_samples(without_outliers(view.subsampled(4096, seed=0)), seed=0)
        whitened = torch.zeros_like(space.mean).requires_grad_()
        optimizer = torch.optim.Adam([whitened], lr=0.08, betas=(0.9, 0.98))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for step in range(steps):
            drawn = Residuals.draw(samples, CONFIG.residuals, points=384, free=512, seed=step, like=prior.codes)
            value = drawn.of(decoder, space.codes(whitened[None]))[0]
            value = value + CONFIG.prior_weight * whitened.square().mean()
            (whitened.grad,) = torch.autograd.grad(value, whitened)
            optimizer.step()
            schedule.step()
        add(
            f"Adam, {steps} steps from the mean", space.codes(whitened.detach()[None])[0], time.process_time() - started
        )
    slow = np.median([entry[0] for entry in arms[f"Adam, {steps} steps from the mean"]])
    rows = []
    for name, entries in arms.items():
        seconds = np.median([entry[0] for entry in entries])
        left = np.mean([entry[1] for entry in entries])
        rows.append([name, f"{seconds:.2f}", f"{slow / seconds:.1f}", f"{left:.5f}", *cells([e[2] for e in entries])])
    print_table(f"solvers, {len(cases)} views", ["", "CPU s", "times faster", "objective", *HEAD], rows)


def detail(prior: ShapePrior, cases: list[Case]) -> None:
    rows = []
    for level in ("clean", "consumer"):
        looks = [case.view(SensorModel.level(level)) for case in cases]
        found = [prior.infer(view, T_unit_world=KNOWN) for view in looks]
        for name, config in (
            ("with detail", ViewRefinementConfig()),
            ("by the code alone", ViewRefinementConfig(steps=0)),
        ):
            metrics, seconds = [], []
            for case, view, estimate in zip(cases, looks, found, strict=True):
                try:
                    done = prior.completion(estimate, view, resolution=128, detail=config)
                except CompletionError:
                    metrics.append(Metrics.worst())
                    continue
                seconds.append(done.seconds)
                metrics.append(score(done.mesh_unit, case.truth, seed=0, config=METRICS))
            more = [
                f"{np.mean([getattr(row, key) for row in metrics]):.3f}" for key in ("fscore_05", "normal_consistency")
            ]
            rows.append([f"{level}, {name}", *cells(metrics), *more, f"{np.median(seconds):.2f}"])
    print_table(f"detail, {len(cases)} views", ["", *HEAD, "F@0.5%", "normals", "s"], rows)


def sensor(prior: ShapePrior, cases: list[Case]) -> None:
    arms = {name: SensorModel.level(name) for name in ("clean", "good", "consumer", "poor")}
    arms["20 % outliers"] = SensorModel(outliers=0.2)
    rows = [
        [name, *cells([completed(prior, case, case.view(model)) for case in cases])] for name, model in arms.items()
    ]
    print_table(f"sensor levels, {len(cases)} views", ["", *HEAD], rows)


def views(prior: ShapePrior, cases: list[Case]) -> None:
    rows = []
    for count in (1, 2, 4, 8):
        found = [completed(prior, case, case.view(views=count)) for case in cases]
        rows.append([str(count), *cells(found)])
    print_table(f"number of views, {len(cases)} shapes", ["views", *HEAD], rows)


def placements(prior: ShapePrior, cases: list[Case], mode: str, *, views: int) -> None:
    turns, scales, times, fits, kinds = [], [], [], [], []
    for case in cases:
        rng = shape_rng(7, case.name)
        turn = Rotation.from_quat(rng.normal(size=4)).as_matrix()
        if mode == "upright":
            turn = Rotation.from_rotvec([0.0, rng.uniform(0.0, 2.0 * np.pi), 0.0]).as_matrix()
        T_world_unit = Similarity(scale=float(rng.uniform(0.7, 1.3)), rotation=turn, offset=rng.uniform(-1.0, 1.0, 3))
        view = case.view(views=views)
        started = time.perf_counter()
        found = prior.infer(view.transformed(T_world_unit), placement=mode)  # pyright: ignore[reportArgumentType]
        times.append(time.perf_counter() - started)
        off = found.T_unit_world @ T_world_unit
        angle = float(np.degrees(np.arccos(np.clip((np.trace(off.rotation) - 1.0) / 2.0, -1.0, 1.0))))
        turns.append(angle < 10.0)
        scales.append(abs(off.scale - 1.0) < 0.05)
        kinds.append(found.verdict.kind)
        at_known = scored(
            case, lambda view=view: prior.extract(prior.infer(view, T_unit_world=KNOWN).code, resolution=128)
        ).fscore_2

        def in_unit(found=found, off=off) -> TriangleMesh:
            mesh = prior.extract(found.code, resolution=128)
            return TriangleMesh(vertices=off.inverse().apply(mesh.vertices), faces=mesh.faces)

        fits.append(scored(case, in_unit).fscore_2 >= at_known - 0.05)
    both = np.array(turns) & np.array(scales)
    print_table(
        f"{mode}, {len(cases)} shapes, views of each: {views}",
        ["turn < 10°", "scale < 5 %", "both", "fits", "explained", "median, s", "largest, s"],
        [[*(f"{np.mean(part):.2f}" for part in (turns, scales, both, fits, [k == "explained" for k in kinds])),
          f"{np.median(times):.1f}", f"{max(times):.1f}"]],
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prior")
    parser.add_argument("dataset", type=Path)
    parts = ["speed", "adam", "detail", "sensor", "views", "upright", "free"]
    parser.add_argument("--parts", nargs="+", default=parts, choices=parts)
    parser.add_argument("--shapes", type=int, default=8)
    parser.add_argument("--views", type=int, default=1, help="of each shape, for upright and free")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    prior, data = load(arguments.prior, device=arguments.device), Dataset.open(arguments.dataset)
    ids = [shape.id for shape in data.split("test")]
    ids = [ids[i] for i in np.linspace(0, len(ids) - 1, min(arguments.shapes, len(ids))).round().astype(int)]
    cases = [Case(shape_id, load_ground_truth(data, shape_id)) for shape_id in ids]
    print_machine()
    print(f"prior {arguments.prior}, data {data.root}")
    for part in arguments.parts:
        if part in ("upright", "free"):
            placements(prior, cases, part, views=arguments.views)
        else:
            {"speed": speed, "adam": adam, "detail": detail, "sensor": sensor, "views": views}[part](prior, cases)


if __name__ == "__main__":
    main()
