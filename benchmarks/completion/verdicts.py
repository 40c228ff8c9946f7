"""Measures whether a prior says so when a view shows something that it has no shape for.

    OMP_NUM_THREADS=1 python -m benchmarks.completion.verdicts PRIOR DATASET --parts others families --shapes 6

PRIOR is a run folder or a bundled prior. DATASET is one whose test split the prior was not trained on.

- others: The numbers behind each verdict, at known placement and with position and scale unknown: views of unseen
  shapes of DATASET, of a training shape of every bundled prior, of a plane and of noise, and 10 points.
- families: How often each verdict is given with position and scale unknown, for new shapes of every family, clean and
  by a consumer sensor.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.common.tables import print_machine, print_table
from shapeprior.completion.estimate import VerdictKind
from shapeprior.completion.prior import ShapePrior
from shapeprior.completion.registry import bundled_priors, load
from shapeprior.datasets.dataset import Dataset
from shapeprior.datasets.procedural import synthesize_family
from shapeprior.evaluation.ground_truth import shape_view
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.meshes import load_mesh
from shapeprior.scans.observation import Observation
from shapeprior.scans.simulation import SensorModel, camera_around, render_depth

SEED = 7
"""Of the fresh shapes; training used 0."""
KINDS: tuple[VerdictKind, ...] = ("explained", "doubtful", "unexplained")


def unseen(data: Dataset, count: int) -> Iterator[tuple[str, Observation]]:
    """Views of test shapes, spread evenly, and ten points of the first."""
    ids = [shape.id for shape in data.split("test")]
    chosen = [ids[row] for row in np.linspace(0, len(ids) - 1, min(count, len(ids))).round().astype(int)]
    views = [shape_view(data.mesh_unit(name), name, resolution=256, seed=0).observation for name in chosen]
    yield from ((f"unseen {name}", view) for name, view in zip(chosen, views, strict=True))
    yield "10 points", views[0].subsampled(10, seed=0)


def strangers() -> Iterator[tuple[str, Observation]]:
    """Views of one training shape of every bundled prior, of a plane and of noise."""
    rng = np.random.default_rng(0)
    camera, pose = camera_around(azimuth_deg=40.0, elevation_deg=25.0, resolution=256)
    for name in bundled_priors():
        other = load(name)
        depth = render_depth(other.extract(other.codes[5], resolution=128), camera, pose)
        yield f"a training {name}", Observation.from_depth(depth, camera, pose, background_is_free=True)
    eye = np.array([0.0, 0.3, 2.8])
    yield "a plane", Observation.from_points(np.column_stack([rng.uniform(-0.8, 0.8, (4000, 2)), np.zeros(4000)]), eye)
    yield "noise", Observation.from_points(rng.uniform(-0.7, 0.7, (3000, 3)), eye)


def others(prior: ShapePrior, data: Dataset, count: int) -> None:
    rows = []
    for name, view in (*unseen(data, count), *strangers()):
        for placement, given in (("known", Similarity.identity()), ("aligned", None)):
            found = prior.infer(view, T_unit_world=given)
            agreement = "-" if found.normal_agreement is None else f"{found.normal_agreement:.2f}"
            figures = (found.explained, found.violated, found.code_length, found.eikonal_error)
            rows.append([name, placement, found.verdict.kind, *(f"{value:.2f}" for value in figures), agreement])
    head = ["view", "placement", "verdict", "explained", "violated", "code", "slope error", "normals"]
    print_table("verdicts", head, rows)


def families(prior: ShapePrior, _data: Dataset, count: int) -> None:
    rows = []
    for name in bundled_priors():
        meshes = list(fresh(name, count))
        for level in ("clean", "consumer"):
            sensor = None if level == "clean" else SensorModel.level("consumer")
            views = (
                shape_view(mesh, f"{name} {number}", sensor=sensor, resolution=256, seed=SEED)
                for number, mesh in enumerate(meshes)
            )
            kinds = [prior.infer(view.observation, placement="aligned").verdict.kind for view in views]
            rows.append([name, level, *(str(kinds.count(kind)) for kind in KINDS)])
    print_table(f"verdicts, {count} fresh shapes of each family", ["family", "sensor", *KINDS], rows, words=2)


def fresh(family: str, count: int) -> Iterator[TriangleMesh]:
    """Generated shapes in their unit frames."""
    with tempfile.TemporaryDirectory() as folder:
        for path in synthesize_family(family, count=count, out=folder, seed=SEED):
            mesh = load_mesh(path)
            T_unit_world = Similarity.to_unit_sphere(mesh.vertices)
            yield TriangleMesh(vertices=T_unit_world.apply(mesh.vertices), faces=mesh.faces)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prior")
    parser.add_argument("dataset", type=Path)
    parts = {"others": others, "families": families}
    parser.add_argument("--parts", nargs="+", default=list(parts), choices=parts)
    parser.add_argument("--shapes", type=int, default=6)
    arguments = parser.parse_args()
    print_machine()
    for part in arguments.parts:
        parts[part](load(arguments.prior), Dataset.open(arguments.dataset), arguments.shapes)


if __name__ == "__main__":
    main()
