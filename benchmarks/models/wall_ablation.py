"""What each part of the recipe does for whole, thin and smooth walls: arms of `ablation.py`, at equal CPU time.

    OMP_NUM_THREADS=1 python -m benchmarks.models.wall_ablation DATASET --seconds 100 --shapes 180 --seeds 0 1 2

DATASET must have samples across walls and surface points (see `ablation.py`). The first `--shapes` training shapes are
used. Columns, over `--codes` of them decoded from their own codes at 128³:

  whole, raised, genus   as in `wholeness.py`;
  covered, thickness, roughness   means of `thin_covered`, `thin_thickness` and `roughness_deg`;
  Chamfer    mean `chamfer_l1` to the true shape, in radii;
  volume     median of the volume over the true one;
  slope      mean of | |gradient| - 1 | of the field on the true surface: how far it is from a distance there.
"""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.common.tables import print_machine, print_table
from benchmarks.models.ablation import Shapes, train
from benchmarks.models.ablation_arms import arms
from benchmarks.models.wholeness import LOST, RAISED, detail
from shapeprior.datasets.dataset import Dataset
from shapeprior.errors import CompletionError
from shapeprior.evaluation.structure.topology import topology, true_topology
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.proximity import FaceTree
from shapeprior.geometry.sampling import sample_surface, select_evenly
from shapeprior.models.decoder import DecodedField, Decoder
from shapeprior.sdf.isosurface.extract import ExtractConfig, extract_mesh
from shapeprior.sdf.signed_distance import SignedDistance

ARMS = [
    "triplane", "triplane, no wall samples", "triplane, plain upsampling", "triplane, no slope",
    "triplane, none of these", "triplane, inside 2",
]  # fmt: skip
POINTS = 10_000


def chamfer(found: TriangleMesh, true: TriangleMesh) -> float:
    """Return `chamfer_l1` from points of both surfaces to the other mesh."""
    there, back = (
        FaceTree(onto).distance(sample_surface(mesh, POINTS, rng=np.random.default_rng(0))[0])
        for mesh, onto in ((found, true), (true, found))
    )
    return 0.5 * float(there.mean() + back.mean())


def _lowered(field: DecodedField, points: np.ndarray) -> np.ndarray:
    return field(points) - RAISED


def measured(decoder: Decoder, codes: torch.Tensor, data: Dataset, rows: dict[str, int]) -> list[str]:
    """Return the cells of one trained arm, for the shapes in `rows`."""
    whole = raised_whole = wrong = 0
    details, distances, volumes, slopes = [], [], [], []
    for shape_id, row in rows.items():
        mesh_true = data.mesh_unit(shape_id)
        truth = SignedDistance(mesh_true)
        true, field = true_topology(truth), DecodedField.of_code(decoder, codes[row].detach())
        on_surface = sample_surface(truth.surface, POINTS, rng=np.random.default_rng(0))[0]
        slopes.append(np.abs(np.linalg.norm(field.gradient(on_surface)[1], axis=1) - 1.0).mean())
        try:
            mesh = extract_mesh(field, ExtractConfig(resolution=128)).mesh
            raised = topology(extract_mesh(partial(_lowered, field), ExtractConfig(resolution=128)).mesh)
        except CompletionError:
            mesh, raised = None, LOST
        found = LOST if mesh is None else topology(mesh)
        whole, raised_whole, wrong = (
            whole + (found == true),
            raised_whole + (raised == true),
            wrong + abs(found.genus - true.genus),
        )
        if mesh is not None:
            details.append(detail(truth, mesh))
            distances.append(chamfer(mesh, mesh_true))
            volumes.append(mesh.volume / mesh_true.volume)
    covered, thickness, roughness = np.nanmean(np.array(details), axis=0)
    count = len(rows)
    return [
        f"{100 * whole / count:.0f}", f"{100 * raised_whole / count:.0f}", str(wrong), f"{covered:.3f}",
        f"{thickness:.2f}", f"{roughness:.2f}", f"{np.mean(distances):.4f}", f"{np.median(volumes):.3f}",
        f"{np.mean(slopes):.3f}",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--arms", nargs="+", default=ARMS)
    parser.add_argument("--seconds", type=float, default=100.0)
    parser.add_argument("--shapes", type=int, default=180)
    parser.add_argument("--codes", type=int, default=24)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    arguments = parser.parse_args()
    print_machine()
    data = Dataset.open(arguments.dataset)
    used = [shape for shape in data.shapes if shape.split == "train"][: arguments.shapes]
    data = replace(data, shapes=tuple(used))
    shapes = Shapes.read(data, "train")
    rows = {shape_id: shapes.ids.index(shape_id) for shape_id in select_evenly(shapes.ids, arguments.codes)}
    table = []
    for name in arguments.arms:
        for seed in arguments.seeds:
            decoder, codes, steps = train(arms()[name], shapes, arguments.seconds, seed=seed)
            table.append([name, str(seed), str(steps), *measured(decoder, codes, data, rows)])
            print(table[-1], flush=True)
    header = ["arm", "seed", "steps", "whole, %", "raised, %", "genus", "covered", "thickness", "roughness, deg"]
    title = f"{arguments.dataset.name}: {len(shapes.ids)} shapes, {arguments.seconds:.0f} CPU s"
    print_table(title, [*header, "Chamfer", "volume", "slope"], table)


if __name__ == "__main__":
    main()
