"""How well a prior holds its training shapes, and shapes it has not seen, by their codes alone.

    OMP_NUM_THREADS=1 python -m benchmarks.models.decoded_shapes PRIOR DATASET --shapes 16

PRIOR is a run folder or a bundled prior, DATASET what it was trained on (`scripts/train_bundled.py` leaves that of a
bundled prior in its work folder). Training shapes are decoded from their own codes; codes of unseen ones are fitted to
all their samples (`encode_samples`, 120 steps). Means over the shapes:

  error        clamped L1 of the field at all samples, in radii;
  wrong signs  % of the samples within 0.02 radii of the surface on whose side the field is wrong;
  normals      mean angle between the field's gradient and true normals at 2,000 points of the true surface, in degrees.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.common.tables import print_machine, print_table
from shapeprior.completion.encoding import EncodeConfig, encode_samples
from shapeprior.completion.prior import ShapePrior
from shapeprior.completion.registry import load
from shapeprior.datasets.dataset import Dataset
from shapeprior.geometry.sampling import sample_surface, select_evenly
from shapeprior.models.objective import clamped_l1

CLAMP = 0.1
NEAR = 0.02
SURFACE_POINTS = 2000


def measured(prior: ShapePrior, data: Dataset, shape_id: str, code: Tensor) -> tuple[float, float, float]:
    """Return error, share of wrong signs near the surface, and angle of normals of one shape."""
    samples, true = data.samples(shape_id), data.mesh_unit(shape_id)
    points, sdf = (torch.from_numpy(np.float32(part)) for part in (samples.points_unit, samples.sdf))
    on, faces = sample_surface(true, SURFACE_POINTS, rng=np.random.default_rng(0))
    normals = torch.from_numpy(true.face_normals[faces]).float()
    with torch.no_grad():
        found = prior.decoder(code[None], points[None])[0]
    near = sdf.abs() < NEAR
    wrong = (torch.sign(found[near]) != torch.sign(sdf[near])).float().mean()
    tangents = prior.decoder.code_tangents(code, prior.space.axes)
    slope = prior.decoder.jacobian(code, tangents, torch.from_numpy(on).float()).by_point
    angle = torch.rad2deg(torch.nn.functional.cosine_similarity(slope, normals, dim=1).clamp(-1.0, 1.0).arccos())
    return float(clamped_l1(found, sdf, CLAMP).mean()), 100.0 * float(wrong), float(angle.mean())


def fitted(prior: ShapePrior, data: Dataset, shape_id: str) -> Tensor:
    """Fit the code of an unseen shape."""
    samples = data.samples(shape_id)
    points, sdf = (torch.from_numpy(np.float32(part))[None] for part in (samples.points_unit, samples.sdf))
    config = EncodeConfig(steps=120)
    return encode_samples(prior.decoder, prior.space, points, sdf, clamp=CLAMP, config=config, seed=0)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prior")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--splits", nargs="+", default=["train", "test"], choices=["train", "test"])
    parser.add_argument("--shapes", type=int, default=16, help="of each split, evenly spread")
    arguments = parser.parse_args()
    print_machine()
    prior, data = load(arguments.prior, with_encoder=False), Dataset.open(arguments.dataset)
    rows = []
    for split in arguments.splits:
        ids = select_evenly([shape.id for shape in data.split(split)], arguments.shapes)
        found = [
            measured(prior, data, name, prior.code(name) if split == "train" else fitted(prior, data, name))
            for name in ids
        ]
        error, wrong, angle = np.mean(found, axis=0)
        rows.append([split, str(len(ids)), f"{error:.4f}", f"{wrong:.1f}", f"{angle:.1f}"])
    print_table(f"{arguments.prior}", ["split", "shapes", "error", "wrong signs, %", "normals, deg"], rows)


if __name__ == "__main__":
    main()
