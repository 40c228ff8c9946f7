"""A picture of sharp edges: unseen shapes, and their reconstructions by two priors from all of their samples.

    python -m benchmarks.models.edge_pictures DATASET OUT.png --priors RUN_A RUN_B --titles deepsdf-256 triplane-64
    --shapes 3

As in `refined` of `compare_decoders.py`, the code is fitted to the data set's samples, and then the prepared tensors
are fitted to more samples.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from shapeprior.completion.encoding import EncodeConfig, FieldSamples, RefineConfig, encode_samples, refine_prepared
from shapeprior.completion.registry import load
from shapeprior.datasets.dataset import Dataset
from shapeprior.evaluation.ground_truth import load_ground_truth
from shapeprior.visualization.pictures import Panel, contact_sheet, save_picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--priors", nargs="+", required=True)
    parser.add_argument("--titles", nargs="+", required=True)
    parser.add_argument("--shapes", type=int, default=3)
    arguments = parser.parse_args()
    data, priors = Dataset.open(arguments.dataset), [load(run) for run in arguments.priors]
    ids = [shape.id for shape in data.split("test")]
    rows = []
    for number in np.linspace(0, len(ids) - 1, min(arguments.shapes, len(ids))).round().astype(int):
        samples = data.samples(ids[number])
        points, sdf = (torch.from_numpy(part.astype(np.float32)) for part in (samples.points_unit, samples.sdf))
        truth = load_ground_truth(data, ids[number])
        row = [Panel(title="truth", mesh=data.mesh_unit(ids[number]))]
        for title, prior in zip(arguments.titles, priors, strict=True):
            clamp = prior.config.train.clamp
            codes = encode_samples(
                prior.decoder, prior.space, points[None], sdf[None], clamp=clamp, config=EncodeConfig(steps=120), seed=0
            )
            config, rng = RefineConfig(), np.random.default_rng(0)
            known = FieldSamples.of_shape(truth.distance, config.samples, clamp, rng=rng, like=sdf)
            with torch.no_grad():
                prepared = prior.decoder.prepare(codes)
            prepared = refine_prepared(prior.decoder, prepared, known, config=config, seed=0)
            row.append(Panel(title=title, mesh=prior.extract_prepared(prepared)))
        rows.append(row)
    save_picture(arguments.out, contact_sheet(rows))


if __name__ == "__main__":
    main()
