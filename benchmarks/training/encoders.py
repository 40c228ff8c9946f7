"""Training recipes of encoders: one prior, encoders trained in several ways, tested on views of unseen shapes.

    OMP_NUM_THREADS=1 python -m benchmarks.training.encoders RUN DATASET --arms default "256 points, 1200 steps"

RUN is a trained prior, which is not changed, and DATASET is the data set that it was trained on. Each arm renders its
views and trains its encoder, which is then shown eight views of each shape of the test split (true meshes, spoilt as in
training). Columns are means over the views that are upright:

  CPU s      rendering and training, of this process and all its threads;
  turn       % within 10 degrees about +y, by the likeliest of its steps;
  scale      % within 5 %;
  both       % of the views with both;
  bias       mean error of the scale: below zero, objects are taken to be larger than they are;
  offset     mean distance of the found origin from the true one, in the view frame (1 is the view's root mean square
             radius);
  stated     root mean square of the scale's error over the deviation that is stated for it: 1 if that is right;
  upright    % of all views that are correctly classified as upright or fallen.
"""

import argparse
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.common.tables import print_machine, print_table
from shapeprior.completion.registry import load
from shapeprior.datasets.dataset import Dataset
from shapeprior.models.encoder import ViewEncoder
from shapeprior.training.encoder_views import ShapeViews, ViewConfig
from shapeprior.training.train_encoder import EncoderTraining, train_encoder

VIEWS = 8

DECODED = ", decoded"
"""Ends the names of arms whose views are of the decoder's meshes of the training codes, not of the true meshes."""

HEADER = ("arm", "CPU s", "turn, %", "scale, %", "both, %", "bias, %", "offset", "stated", "upright, %")


def arms() -> dict[str, EncoderTraining]:
    """Return all arms by name; the first is the default."""
    usual = EncoderTraining()
    return {
        "default": usual,
        f"default{DECODED}": usual,
        "1200 shapes, 16 views": replace(usual, max_shapes=1200, views_per_shape=16),
        "256 points": replace(usual, points_per_view=256),
        "256 points, 1200 steps": replace(usual, points_per_view=256, steps=1200),
        "1200 steps": replace(usual, steps=1200),
        "4000 steps": replace(usual, steps=4000),
        "half the rates": replace(usual, rate=1e-3, matrix_rate=5e-3),
    }


def unseen_views(data: Dataset) -> ShapeViews:
    """Render views of the test split's true meshes."""
    rng = np.random.default_rng(0)
    found = [
        ShapeViews.render(data.mesh_unit(shape.id), row, count=VIEWS, config=ViewConfig(), rng=rng)
        for row, shape in enumerate(data.split("test"))
    ]
    return ShapeViews.concatenated([part for part in found if part is not None])


def measured(encoder: ViewEncoder, views: ShapeViews) -> tuple[float, ...]:
    """Return all columns but the first two."""
    rows = np.arange(len(views.shapes))
    batch = views.batch(rows, points=encoder.config.points, config=ViewConfig(), rng=np.random.default_rng(1))
    with torch.no_grad():
        said = encoder(torch.from_numpy(batch.points_view), torch.from_numpy(batch.sensors_view))
    stands = batch.upright
    told = (said.upright.numpy() > 0.0) == stands
    off = said.placement.numpy()[stands] - batch.placement[stands]
    steps = said.turns.numpy()[stands].argmax(axis=1) * (2.0 * np.pi / encoder.config.turns)
    apart = np.abs(np.angle(np.exp(1j * (steps - batch.turns[stands]))))
    turn, scale = apart < np.deg2rad(10.0), np.abs(np.expm1(off[:, 0])) < 0.05
    stated = off[:, 0] / said.placement_deviation.numpy()[stands, 0]
    return (
        100.0 * turn.mean(),
        100.0 * scale.mean(),
        100.0 * (turn & scale).mean(),
        100.0 * float(off[:, 0].mean()),
        float(np.linalg.norm(off[:, 1:], axis=1).mean()),
        float(np.sqrt(np.square(stated).mean())),
        100.0 * told.mean(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--arms", nargs="+", default=["default"], choices=arms())
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    print_machine()
    data = Dataset.open(arguments.dataset)
    views = unseen_views(data)
    rows = []
    for name in arguments.arms:
        for seed in arguments.seeds:
            with tempfile.TemporaryDirectory() as folder:
                run = Path(shutil.copytree(arguments.run, Path(folder) / "run"))
                started = time.process_time()
                recipe = arms()[name]
                shown = None if name.endswith(DECODED) else data
                train_encoder(run, data=shown, recipe=recipe, seed=seed)
                seconds = time.process_time() - started
                encoder = load(run).encoder
            assert encoder is not None
            turn, scale, both, bias, offset, stated, upright = measured(encoder, views)
            shares = [f"{share:.1f}" for share in (turn, scale, both)]
            rows.append(
                [name, f"{seconds:.0f}", *shares, f"{bias:.1f}", f"{offset:.3f}", f"{stated:.2f}", f"{upright:.1f}"]
            )
            print(rows[-1], flush=True)
    print_table(f"{arguments.run.name}, {len(views.shapes)} views", HEADER, rows)


if __name__ == "__main__":
    main()
