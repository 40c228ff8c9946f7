"""Comparison of the default decoder with the faithful DeepSDF baseline, on the same shapes and by CPU time.

    python -m benchmarks.models.compare_decoders DATASET OUT --arms deepsdf-256 triplane-64@0.1 triplane-64@1

An arm is a preset or one of `variants`. The first one is trained as its recipe says, and its CPU time is the budget
(unless `--budget` states one). An arm with a share behind an @ gets that share of the budget: the number of its epochs
is chosen by the time of its third and fourth epoch, with the time before the first one included. Then, for `--shapes`
shapes spread evenly over the test split,

  full        the code is fitted to all samples (`encode_samples`), and the mesh compared with the true one;
  refined     the same after `refine_prepared` with its default settings, to as many fresh samples of the shape as these
              say;
  view        one depth view is completed, at known placement, as `shapeprior evaluate` does but by the code alone;
  edges       mean angle between the true normal and that of the nearest point of the full reconstruction, at points of
              the true surface within 0.02 of an edge that bends by more than 30 degrees;
  fit         clamped L1 of the fitted field at all samples of those shapes; `all_fit`: of the whole test split's, by
              the code;
  query       CPU time of a query of a prepared code, per point.

A second table has the scores of the true signed distance, meshed as the decoders' fields are. No decoder can do better.

Failures count with the worst score. Each arm and seed adds a row to OUT/results.jsonl. Rows that are there and finished
runs are not made again. The table at the end has means over the seeds. Set OMP_NUM_THREADS=1 for one thread.
"""

import argparse
import contextlib
import json
import shutil
import time
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common.tables import print_machine, print_table
from shapeprior.completion.encoding import EncodeConfig, FieldSamples, RefineConfig, encode_samples, refine_prepared
from shapeprior.completion.prior import ShapePrior
from shapeprior.completion.registry import load
from shapeprior.completion.view_refinement import ViewRefinementConfig
from shapeprior.datasets.dataset import Dataset
from shapeprior.errors import CompletionError
from shapeprior.evaluation.baselines import upper_bound
from shapeprior.evaluation.ground_truth import GroundTruth, load_ground_truth, score, shape_view
from shapeprior.evaluation.metrics import Metrics, MetricsConfig, mean_metrics
from shapeprior.geometry.transforms import Similarity
from shapeprior.models.latent_space import CodeSpace
from shapeprior.models.objective import clamped_l1
from shapeprior.models.presets import Preset, preset
from shapeprior.training.train import train_prior

COLUMNS = [
    "epochs", "cpu_s", "loss", "all_fit", "full_fit", "full_chamfer_l1", "full_iou", "full_edge_normal_deg",
    "refined_fit", "refined_chamfer_l1", "refined_iou", "refined_edge_normal_deg",
    "view_chamfer_l1", "view_fscore_2", "view_iou", "query_us",
]  # fmt: skip
METRICS = MetricsConfig(surface_points=30_000, volume_points=30_000)


def variants() -> dict[str, Preset]:
    """Return presets that differ from a named one in one thing, by name."""
    plane, mlp = preset("triplane-64"), preset("deepsdf-256")
    return {
        "triplane, random start": replace(plane, train=replace(plane.train, start="random", code_init_deviation=0.1)),
        "deepsdf-256, float32": replace(mlp, train=replace(mlp.train, precision="float32")),
        "deepsdf-256, linear start": replace(mlp, train=replace(mlp.train, start="linear", loss="banded")),
    }


class Enough(Exception):
    """Stops a run after four epochs."""


def fitted(data: Dataset, scratch: Path, recipe: Preset, seconds: float) -> Preset:
    """Return the recipe with as many epochs as fit into the time."""
    times = [time.process_time()]

    def measure(_report: object) -> None:
        times.append(time.process_time())
        if len(times) == 5:
            raise Enough

    with contextlib.suppress(Enough):
        train_prior(data, scratch, preset=recipe, seed=0, progress=measure)
    shutil.rmtree(scratch)
    epoch = float(np.median(np.diff(times)[2:]))
    before = max(times[1] - times[0] - epoch, 0.0)
    return replace(recipe, train=replace(recipe.train, epochs=max(int((seconds - before) / epoch), 1)))


def full_part(prior: ShapePrior, data: Dataset, ids: list[str], truths: Any) -> dict[str, float]:
    """Score fits to whole shapes: by the code alone, and after `refine_prepared` for the shapes with these ids."""
    every = [shape.id for shape in data.split("test")]
    samples = [data.samples(shape_id) for shape_id in every]
    points = torch.stack([torch.from_numpy(s.points_unit.astype(np.float32)) for s in samples])
    sdf = torch.stack([torch.from_numpy(s.sdf.astype(np.float32)) for s in samples])
    clamp, decoder = prior.config.train.clamp, prior.decoder
    codes = encode_samples(
        decoder, CodeSpace.fit(prior.codes), points, sdf, clamp=clamp, config=EncodeConfig(steps=120), seed=0
    )
    with torch.no_grad():
        fields = [decoder(code[None], where[None])[0] for code, where in zip(codes, points, strict=True)]
    errors = [float(clamped_l1(*pair, clamp).mean()) for pair in zip(fields, sdf, strict=True)]
    found = {"all_fit": float(np.mean(errors))}
    for name, steps in (("full", 0), ("refined", RefineConfig().steps)):
        metrics, fit = [], []
        for shape_id in ids:
            row = every.index(shape_id)
            truth, code, where, distance = truths(shape_id), codes[row], points[row], sdf[row]
            config = RefineConfig(steps=steps)
            rng = np.random.default_rng(0)
            known = FieldSamples.of_shape(truth.distance, config.samples, clamp, rng=rng, like=distance)
            with torch.nn.utils.parametrize.cached():
                with torch.no_grad():
                    prepared = decoder.prepare(code[None])
                prepared = refine_prepared(decoder, prepared, known, config=config, seed=0)
                with torch.no_grad():
                    error = clamped_l1(decoder.query(prepared, where[None])[0], distance, clamp)
            fit.append(float(error.mean()))
            try:
                mesh = prior.extract_prepared(prepared)
            except CompletionError:
                metrics.append(Metrics.worst())
                continue
            metrics.append(score(mesh, truth, seed=0, config=METRICS))
        found |= {f"{name}_{key}": value for key, value in mean_metrics(metrics).items()}
        found[f"{name}_fit"] = float(np.mean(fit))
    return found


def view_score(prior: ShapePrior, truth: GroundTruth, shape_id: str) -> Metrics:
    """Score the completion of one view of a shape."""
    view = shape_view(truth.surface_unit, shape_id, resolution=256, seed=0).observation
    try:
        completed = prior.complete(
            view, T_unit_world=Similarity.identity(), seed=0, detail=ViewRefinementConfig(steps=0)
        )
    except CompletionError:
        return Metrics.worst()
    return score(completed.mesh_unit, truth, seed=0, config=METRICS)


def of_truth(truth: GroundTruth) -> Metrics:
    """Return the scores of the true field, which only the grid and the sampling of points limit."""
    return score(upper_bound(truth.distance, resolution=256), truth, seed=0, config=METRICS)


def query_us(prior: ShapePrior) -> float:
    """Return the median CPU time of a query of a prepared code, in microseconds a point, with 4,096 points a call."""
    points = torch.rand((1, 4096, 3), generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0
    times = []
    with torch.no_grad(), torch.nn.utils.parametrize.cached():
        prepared = prior.decoder.prepare(prior.codes[:1])
        for _ in range(25):
            started = time.process_time()
            prior.decoder.query(prepared, points)
            times.append(time.process_time() - started)
    return float(np.median(times)) / 4096 * 1e6


def chosen_ids(data: Dataset, shapes: int) -> list[str]:
    """Return test shapes, spread evenly."""
    ids = [shape.id for shape in data.split("test")]
    return [ids[i] for i in np.linspace(0, len(ids) - 1, min(shapes, len(ids))).round().astype(int)]


def measured(data: Dataset, out: Path, recipe: Preset, truths: Any, *, seed: int, shapes: int) -> dict[str, float]:
    """Train one arm with one seed and measure it."""
    timing = out / "cpu_s.json"
    if not timing.exists():
        started = time.process_time()
        train_prior(data, out, preset=recipe, seed=seed)
        timing.write_text(json.dumps(time.process_time() - started), encoding="utf-8")
    spent = json.loads(timing.read_text(encoding="utf-8"))
    prior = load(out)
    ids = chosen_ids(data, shapes)
    view = [view_score(prior, truths(shape_id), shape_id) for shape_id in ids]
    log = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "epochs": prior.config.train.epochs,
        "cpu_s": spent,
        "loss": log[-1]["loss"],
        **full_part(prior, data, ids, truths),
        **{f"view_{name}": value for name, value in mean_metrics(view).items()},
        "query_us": query_us(prior),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--arms", nargs="+", default=["deepsdf-256", "triplane-64@0.1", "triplane-64@1"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--shapes", type=int, default=6, help="test shapes")
    parser.add_argument("--budget", type=float, default=None, help="CPU seconds of which an arm gets its share")
    arguments = parser.parse_args()
    data = Dataset.open(arguments.dataset)
    truths = lru_cache(maxsize=None)(lambda shape_id: load_ground_truth(data, shape_id))
    print_machine()
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = arguments.out / "results.jsonl"
    lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    found = {(row["arm"], row["seed"]): row for row in map(json.loads, lines)}
    budget = arguments.budget
    for arm in arguments.arms:
        name, _, share = arm.partition("@")
        recipe = variants().get(name) or preset(name)
        missing = [seed for seed in arguments.seeds if (arm, seed) not in found]
        if missing and share:
            recipe = fitted(data, arguments.out / "scratch", recipe, float(share) * (budget or 0.0))
        for seed in missing:
            folder = arguments.out / f"{arm.replace(' ', '_')}-{seed}"
            row = measured(data, folder, recipe, truths, seed=seed, shapes=arguments.shapes)
            found[arm, seed] = {"arm": arm, "seed": seed, **row}
            with open(results, "a", encoding="utf-8") as file:
                file.write(json.dumps(found[arm, seed]) + "\n")
        budget = budget or float(np.mean([found[arm, seed]["cpu_s"] for seed in arguments.seeds]))
    rows = []
    for arm in arguments.arms:
        of_arm = [found[arm, seed] for seed in arguments.seeds]
        rows.append([arm, *(f"{np.mean([row[column] for row in of_arm]):.4g}" for column in COLUMNS)])
    print_table(f"{arguments.dataset.name}, means over {len(arguments.seeds)} seeds", ["arm", *COLUMNS], rows)
    floor = mean_metrics([of_truth(truths(shape_id)) for shape_id in chosen_ids(data, arguments.shapes)])
    names = ["chamfer_l1", "iou", "edge_normal_deg"]
    print_table("the true signed distance, meshed at 256³", names, [[f"{floor[name]:.4g}" for name in names]], words=0)


if __name__ == "__main__":
    main()
