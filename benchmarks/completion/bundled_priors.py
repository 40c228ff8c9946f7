"""How well the bundled priors complete generated shapes that they were not trained on.

    python -m benchmarks.completion.bundled_priors OUT --count 6

Makes shapes of seed 1 (training used seed 0) of every family that has a bundled prior, renders one depth view of each
and completes it, with the placement known and with position and scale estimated. Prints one row a family and placement:
means over all shapes, failures included.
"""

import argparse
from pathlib import Path

import numpy as np

from shapeprior.completion.registry import bundled_priors
from shapeprior.datasets.prepare import prepare_dataset
from shapeprior.datasets.prepare_mesh import PrepareConfig
from shapeprior.datasets.procedural import synthesize_family
from shapeprior.evaluation.config import EvaluateConfig
from shapeprior.evaluation.evaluate import evaluate_prior
from shapeprior.evaluation.summary import find_summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--families", nargs="+", default=bundled_priors())
    parser.add_argument("--placements", nargs="+", default=["known", "aligned"])
    arguments = parser.parse_args()
    print("| family | placement | shapes | failures | IoU | F@1% | F@2% | Chamfer-L1 | normals | median s |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for family in arguments.families:
        folder = arguments.out / family
        synthesize_family(family, count=arguments.count, out=folder / "meshes", seed=1)
        data = prepare_dataset(folder / "meshes", folder / "data", config=PrepareConfig(test_share=1.0), seed=1)
        for placement in arguments.placements:
            config = EvaluateConfig(tasks=("view",), placement=placement, baselines=(), pictures=False)
            found = evaluate_prior(family, data, folder / placement, config=config, seed=1)
            mean = {
                name: find_summary(found["summary"], name)["mean"]
                for name in ("iou", "fscore_1", "fscore_2", "chamfer_l1", "normal_consistency")
            }
            failures = sum(row["failure"] is not None for row in found["rows"])
            seconds = float(np.median([row["seconds"] or 0.0 for row in found["rows"]]))
            scores = f"{mean['iou']:.3f} | {mean['fscore_1']:.3f} | {mean['fscore_2']:.3f} | {mean['chamfer_l1']:.4f}"
            print(
                f"| {family} | {placement} | {len(found['rows'])} | {failures} | {scores} | "
                f"{mean['normal_consistency']:.3f} | {seconds:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
