"""Whether decoded shapes are whole, thin where the object is thin, and smooth where it is smooth.

    OMP_NUM_THREADS=1 python -m benchmarks.models.wholeness mug bowl --data WORK/data --codes 200 --samples 200

Each prior is a run folder or the name of a bundled prior; WORK/data/NAME is the data set that it was trained on. There
is one row for each set of shapes:

  codes      decoded training codes, evenly spread, against their true shapes;
  samples    codes drawn from the prior (seed 0). They have no true shape. Such a shape is whole if it is in one part,
             with a genus that at least 1 % of the true training shapes have.

  whole      % with as many parts and as many openings (genus) as the truth;
  raised     the same for the surface where the field is `RAISED`, which pin-holes below the grid's cells do not reach;
  genus      sum of the differences from the true genus, of both;
  thin, thickness, roughness   medians of `thin_covered`, `thin_thickness` and `roughness_deg` (docs/evaluation.md) over
             the first `--detail` shapes.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.common.tables import print_machine, print_table
from shapeprior.completion.prior import ShapePrior
from shapeprior.completion.registry import load
from shapeprior.datasets.dataset import Dataset
from shapeprior.errors import CompletionError
from shapeprior.evaluation.structure.roughness import SmoothDiscs
from shapeprior.evaluation.structure.thin_walls import ThinWalls
from shapeprior.evaluation.structure.topology import Topology, topology, true_topology
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.proximity import FaceTree
from shapeprior.geometry.raycasting import RayScene
from shapeprior.geometry.sampling import select_evenly
from shapeprior.models.decoder import DecodedField
from shapeprior.sdf.isosurface.extract import ExtractConfig, extract_mesh
from shapeprior.sdf.signed_distance import SignedDistance

RAISED = 0.004
"""Level of the second surface, in radii: half a cell of the grid of 256³ cells."""
LOST = Topology(parts=0, genus=0)
"""Topology of a shape without a surface."""


def decoded(prior: ShapePrior, code: object, *, resolution: int, level: float) -> TriangleMesh | None:
    """Return the surface of a code where the field has this value, or None if there is none."""
    field = DecodedField.of_code(prior.decoder, prior.codes.new_tensor(code))
    try:
        return extract_mesh(lambda points: field(points) - level, ExtractConfig(resolution=resolution)).mesh
    except CompletionError:
        return None


def topologies(prior: ShapePrior, code: object, resolution: int) -> tuple[Topology, Topology, TriangleMesh | None]:
    """Return the topology at the level 0 and at the raised level, and the mesh at the level 0."""
    plain, raised = (decoded(prior, code, resolution=resolution, level=level) for level in (0.0, RAISED))
    return (
        LOST if plain is None else topology(plain),
        LOST if raised is None else topology(raised),
        plain,
    )


def detail(truth: SignedDistance, mesh: TriangleMesh) -> tuple[float, float, float]:
    """Return the covered share of thin walls, their thickness over the true one, and the roughness; NaN for none."""
    walls, discs = ThinWalls.of(truth), SmoothDiscs.of(truth, seed=0)
    covered = thickness = roughness = np.nan
    if walls is not None:
        scores = walls.scores(RayScene(mesh), SignedDistance(mesh).inside)
        covered, thickness = scores.covered, np.nan if scores.thickness is None else scores.thickness
    if discs is not None:
        roughness = discs.roughness_deg(mesh, FaceTree(mesh))
    return covered, thickness, roughness


def measured(name: str, data: Dataset, arguments: argparse.Namespace) -> list[list[str]]:
    """Return the rows of a prior."""
    prior = load(name, with_encoder=False)
    ids = select_evenly(list(prior.config.shape_ids), arguments.codes)
    truths, whole, whole_raised, wrong, wrong_raised, details = [], 0, 0, 0, 0, []
    for row, shape_id in enumerate(ids):
        truth = SignedDistance(data.mesh_unit(shape_id))
        true = true_topology(truth)
        truths.append(true)
        plain, raised, mesh = topologies(prior, prior.code(shape_id), arguments.resolution)
        whole, whole_raised = whole + (plain == true), whole_raised + (raised == true)
        wrong, wrong_raised = wrong + abs(plain.genus - true.genus), wrong_raised + abs(raised.genus - true.genus)
        if row < arguments.detail and mesh is not None:
            details.append(detail(truth, mesh))
    rows = [_row(name, "codes", len(ids), whole, whole_raised, wrong, wrong_raised, details)]
    genera = Counter(true.genus for true in truths)
    usual = [genus for genus, count in genera.items() if count >= 0.01 * len(truths)]
    whole = whole_raised = wrong = wrong_raised = 0
    for code in prior.sample(arguments.samples, seed=0) if arguments.samples else []:
        plain, raised, _ = topologies(prior, code, arguments.resolution)
        whole += plain.parts == 1 and plain.genus in usual
        whole_raised += raised.parts == 1 and raised.genus in usual
        wrong += min(abs(plain.genus - genus) for genus in usual)
        wrong_raised += min(abs(raised.genus - genus) for genus in usual)
    if arguments.samples:
        rows.append(_row(name, "samples", arguments.samples, whole, whole_raised, wrong, wrong_raised, []))
    print(*rows, f"usual genera: {sorted(usual)}", sep="\n", flush=True)
    return rows


def _row(
    name: str,
    kind: str,
    count: int,
    whole: int,
    whole_raised: int,
    wrong: int,
    wrong_raised: int,
    details: list[tuple[float, float, float]],
) -> list[str]:
    medians = np.full(3, np.nan) if not details else np.nanmedian(np.array(details), axis=0)
    cells = [f"{100 * share / count:.1f}" for share in (whole, whole_raised)]
    return [name, kind, str(count), *cells, str(wrong), str(wrong_raised), *(f"{value:.3f}" for value in medians)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("priors", nargs="+")
    parser.add_argument("--data", type=Path, required=True, help="folder with each prior's data set")
    parser.add_argument("--codes", type=int, default=200)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--detail", type=int, default=40)
    parser.add_argument("--resolution", type=int, default=128)
    arguments = parser.parse_args()
    print_machine()
    rows = [
        row
        for name in arguments.priors
        for row in measured(name, Dataset.open(arguments.data / Path(name).name), arguments)
    ]
    header = ["prior", "shapes", "count", "whole, %", "raised, %", "genus", "raised"]
    print_table(f"decoded at {arguments.resolution}³", [*header, "thin covered", "thickness", "roughness, deg"], rows)


if __name__ == "__main__":
    main()
