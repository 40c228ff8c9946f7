"""How often mugs are placed rightly that show their handle, and those that do not: a mug without one can be turned in
any way.

    shapeprior evaluate mug --data MUGS --tasks view --placement upright --baselines none --max-shapes 40 --out REPORT
    python -m benchmarks.completion.handle_shown REPORT MUGS

A handle is on the side of +x of the families' mugs, whose bodies reach as far along x as along z. It is shown where at
least `SHOWN` pixels of the view see it: points 5 % farther from the body's axis than that. Right is a turn within 10
degrees and a scale within 5 %.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks.common.tables import print_table
from shapeprior.datasets.dataset import Dataset
from shapeprior.evaluation.ground_truth import shape_view

SHOWN = 10


def pixels_of_the_handle(data: Dataset, shape_id: str, *, resolution: int, seed: int) -> int | None:
    """How many pixels of the evaluation's view of a mug see its handle; None if it has none."""
    mesh = data.mesh_unit(shape_id)
    # The box is centred with the handle in it, so that the body's axis lies towards -x.
    reach = np.abs(mesh.vertices[:, 2]).max()
    beyond = mesh.vertices[:, 0].min() + 2.05 * reach
    if mesh.vertices[:, 0].max() < beyond:
        return None
    points = shape_view(mesh, shape_id, resolution=resolution, seed=seed).observation.points_world
    return int((points[:, 0] > beyond).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("dataset", type=Path)
    arguments = parser.parse_args()
    found = json.loads((arguments.report / "metrics.json").read_text(encoding="utf-8"))
    data = Dataset.open(arguments.dataset)
    right: dict[str, list[bool]] = {"shown": [], "hidden": [], "none": []}
    for row in found["rows"]:
        pixels = pixels_of_the_handle(data, row["id"], resolution=256, seed=found["seed"])
        place = row["placement"]
        good = place is not None and abs(place["turn_deg"]) <= 10.0 and abs(place["scale"] - 1.0) <= 0.05
        right["none" if pixels is None else "shown" if pixels >= SHOWN else "hidden"].append(good)
    rows = [[name, str(len(each)), str(sum(each)), f"{np.mean(each):.0%}"] for name, each in right.items() if each]
    print_table(str(arguments.report), ["handle", "views", "placed rightly", "share"], rows)


if __name__ == "__main__":
    main()
