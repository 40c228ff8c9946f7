"""Decoders and recipes on the same data, at the same CPU time: what is learnt, what unseen shapes it fits, and what it completes.

    python benchmarks/compare_decoders.py DATASET OUT --seconds 150 --arms deepsdf-256 triplane-64 triplane-64@0.1 --seeds 0 1 2

An arm is a preset or one of VARIANTS, trained for the given CPU seconds, or for a share of them behind an @: its epochs are chosen
so that training takes about so long (measured over its third and fourth epoch; the schedule fits the epochs, and what comes
before the first one is within the time). Then, for the first shapes of the test split,

  full        the code is fitted to all samples (`encode_samples`), and the mesh compared with the true one;
  view        one depth view is completed, as `shapeprior evaluate` does;
  edges       mean angle between the true normal and that of the nearest point of the full reconstruction, at points of the true
              surface within 0.02 of an edge that bends by more than 30 degrees;
  query       CPU time of a query of a prepared code, per point.

Failures count with the worst score. A row an arm and seed, written to OUT/results.jsonl, and means over the seeds at the end. One
thread: set OMP_NUM_THREADS=1. Ratios within one run are what counts.
"""

import argparse
import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from edge_normals import edge_normal_error
from tables import print_machine, print_table

from shapeprior.code_space import CodeSpace
from shapeprior.dataset import Dataset
from shapeprior.encode_samples import EncodeConfig, encode_samples
from shapeprior.errors import CompletionError
from shapeprior.evaluate import EvaluateConfig, evaluate_prior, load_truth, score
from shapeprior.metrics import Metrics, MetricsConfig, summarize
from shapeprior.presets import Preset, preset
from shapeprior.prior import ShapePrior, load
from shapeprior.train import train_prior

COLUMNS = [
    "epochs",
    "cpu_s",
    "loss",
    "full_chamfer_l1",
    "full_iou",
    "edges_deg",
    "view_chamfer_l1",
    "view_iou",
    "query_us",
]


def variants() -> dict[str, Preset]:
    """Changes of one thing each, by name."""
    plane, mlp = preset("triplane-64"), preset("deepsdf-256")
    return {
        "triplane, random start": replace(plane, train=replace(plane.train, start="random", code_init_deviation=0.1)),
        "triplane, clamped loss": replace(plane, train=replace(plane.train, loss="clamped")),
        "triplane, 4096 points": replace(plane, train=replace(plane.train, points_per_shape=4096)),
        "triplane, 32 x 32 planes": replace(plane, decoder=replace(plane.decoder, channels=(48, 32, 24))),
        "triplane, 4-cell volume": replace(plane, decoder=replace(plane.decoder, volume=4)),
        "deepsdf-256, linear start": replace(mlp, train=replace(mlp.train, start="linear", loss="banded")),
    }


class Enough(Exception):
    """Four epochs are over."""


def fitted(data: Dataset, scratch: Path, recipe: Preset, seconds: float) -> Preset:
    """The recipe with as many epochs as fit into the time."""
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


def reconstructions(prior: ShapePrior, data: Dataset, ids: list[str]) -> Iterator[Any]:
    """Meshes of the test shapes from their fitted codes; None where there is no surface."""
    samples = [data.samples(shape_id) for shape_id in ids]
    codes = encode_samples(
        prior.decoder,
        CodeSpace.fit(prior.codes),
        torch.stack([torch.from_numpy(s.points_unit.astype(np.float32)) for s in samples]),
        torch.stack([torch.from_numpy(s.sdf.astype(np.float32)) for s in samples]),
        clamp=prior.config.train.clamp,
        config=EncodeConfig(steps=120),
        seed=0,
    )
    for code in codes:
        try:
            yield prior.extract(code)
        except CompletionError:
            yield None


def query_us(prior: ShapePrior) -> float:
    """Median CPU microseconds a point of a prepared code, 4,096 points a call."""
    points = torch.rand((1, 4096, 3), generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0
    times = []
    with torch.no_grad():
        prepared = prior.decoder.prepare(prior.codes[:1])
        for _ in range(15):
            started = time.process_time()
            prior.decoder.query(prepared, points)
            times.append(time.process_time() - started)
    return float(np.median(times)) / 4096 * 1e6


def measured(data: Dataset, out: Path, recipe: Preset, *, seed: int, shapes: int, views: int) -> dict[str, float]:
    """Train one arm with one seed and measure it."""
    started = time.process_time()
    train_prior(data, out, preset=recipe, seed=seed)
    spent = time.process_time() - started
    prior = load(out)
    ids = [shape.id for shape in data.split("test")]
    ids = [ids[i] for i in np.linspace(0, len(ids) - 1, min(shapes, len(ids))).round().astype(int)]
    full, edges = [], []
    for shape_id, mesh in zip(ids, reconstructions(prior, data, ids), strict=True):
        truth = load_truth(data, shape_id)
        failed = mesh is None
        full.append(Metrics.worst() if failed else score(mesh, truth, seed=0, config=MetricsConfig()))
        edges.append(90.0 if failed else edge_normal_error(truth.surface_unit, mesh, seed=0))
    config = EvaluateConfig(max_shapes=views, pictures=False)
    view = [row.metrics for row in evaluate_prior(prior, data, out / "report", config=config, seed=0)]
    log = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "epochs": recipe.train.epochs,
        "cpu_s": spent,
        "loss": log[-1]["loss"],
        **{f"full_{name}": value for name, value in asdict(summarize(full).mean).items()},
        "edges_deg": float(np.nanmean(edges)),
        **{f"view_{name}": value for name, value in asdict(summarize(view).mean).items()},
        "query_us": query_us(prior),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--arms", nargs="+", default=["deepsdf-256", "triplane-64", "triplane-64@0.1"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--shapes", type=int, default=10, help="test shapes fitted from their samples")
    parser.add_argument("--views", type=int, default=6, help="test shapes completed from a view")
    arguments = parser.parse_args()
    data = Dataset.open(arguments.dataset)
    print_machine()
    arguments.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[dict[str, float]]] = {}
    for arm in arguments.arms:
        name, _, share = arm.partition("@")
        recipe = variants().get(name) or preset(name)
        recipe = fitted(data, arguments.out / "scratch", recipe, arguments.seconds * float(share or 1))
        for seed in arguments.seeds:
            folder = arguments.out / f"{arm.replace(' ', '_')}-{seed}"
            row = measured(data, folder, recipe, seed=seed, shapes=arguments.shapes, views=arguments.views)
            found.setdefault(arm, []).append(row)
            with open(arguments.out / "results.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps({"arm": arm, "seed": seed, **row}) + "\n")
    rows = [
        [arm, *(f"{np.mean([row[column] for row in of_arm]):.4g}" for column in COLUMNS)]
        for arm, of_arm in found.items()
    ]
    print_table(f"{data.root.rsplit('/', 1)[-1]}, means over seeds", ["arm", *COLUMNS], rows)


if __name__ == "__main__":
    main()
