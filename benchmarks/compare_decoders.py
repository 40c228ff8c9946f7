"""Two decoders, the same data, the same CPU time: which learns more, and which completes better?

    python benchmarks/compare_decoders.py DATASET OUT --seconds 240 --presets deepsdf-256 triplane-64

Each preset is trained with its own recipe, its epochs chosen so that training takes about the given CPU seconds (measured over
its second and third epoch), then completes one depth view of each test shape. Prints a table; ratios within one run are what
counts.
"""

import argparse
import contextlib
import dataclasses
import json
import shutil
import time
from pathlib import Path

import numpy as np

from shapeprior.dataset import Dataset
from shapeprior.evaluate import EvaluateConfig, evaluate_prior
from shapeprior.metrics import summarize
from shapeprior.presets import Preset, preset
from shapeprior.prior import load
from shapeprior.train import train_prior


def fitted(data: Dataset, scratch: Path, recipe: Preset, seconds: float) -> Preset:
    """The recipe with as many epochs as fit into the time, by the second epoch's CPU time."""
    times: list[float] = []

    class Enough(Exception):
        pass

    def measure(_report: object) -> None:
        times.append(time.process_time())
        if len(times) == 3:
            raise Enough

    with contextlib.suppress(Enough):
        train_prior(data, scratch, preset=recipe, seed=0, progress=measure)
    shutil.rmtree(scratch)
    epochs = max(int(seconds / float(np.median(np.diff(times)))), 2)
    return dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, epochs=epochs))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--presets", nargs="+", default=["deepsdf-256", "triplane-64"])
    parser.add_argument("--max-shapes", type=int, default=None)
    arguments = parser.parse_args()
    data = Dataset.open(arguments.dataset)
    print(
        "| preset | parameters | epochs | training CPU s | final loss | IoU | F@1% | F@2% | Chamfer-L1 | completion s |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in arguments.presets:
        run = arguments.out / name
        recipe = fitted(data, arguments.out / "scratch", preset(name), arguments.seconds)
        started = time.process_time()
        train_prior(data, run, preset=recipe, seed=0)
        spent = time.process_time() - started
        loss = json.loads((run / "log.jsonl").read_text().splitlines()[-1])["loss"]
        prior = load(run)
        config = EvaluateConfig(max_shapes=arguments.max_shapes, pictures=False)
        rows = evaluate_prior(prior, data, run / "report", config=config, seed=0)
        mean = summarize([row.metrics for row in rows]).mean
        seconds = float(np.median([row.seconds for row in rows]))
        print(
            f"| {name} | {prior.decoder.parameter_count():,} | {recipe.train.epochs} | {spent:.0f} | {loss:.5f} | {mean.iou:.3f} | "
            f"{mean.fscore_1:.3f} | {mean.fscore_2:.3f} | {mean.chamfer_l1:.4f} | {seconds:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
