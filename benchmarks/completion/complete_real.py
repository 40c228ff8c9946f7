"""Complete single depth views of real meshes with a bundled prior (or a run) and score them.

    python -m benchmarks.completion.complete_real MESHES OUT --prior mug --manifest MANIFEST.csv --turn-y=-90

MESHES is a folder of mesh files. Files whose row in the manifest (columns `file`, `up`) says `z` are turned upright
first; --turn-y then turns all of them about +y by so many degrees, to bring them to the family's convention
(docs/conventions.md): ShapeNet's mugs have their handle along -z, ours along +x. Every file is a row of the report in
OUT/report; refused files are named.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from shapeprior.cli.console import print_line
from shapeprior.cli.progress import show_progress
from shapeprior.cli.reports import print_summary
from shapeprior.datasets.layouts import find_sources
from shapeprior.datasets.prepare import prepare_dataset
from shapeprior.datasets.prepare_mesh import PrepareConfig
from shapeprior.errors import MeshError
from shapeprior.evaluation.config import EvaluateConfig
from shapeprior.evaluation.evaluate import evaluate_prior
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.io.meshes import load_mesh, save_mesh


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("meshes", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--prior", required=True)
    parser.add_argument("--manifest", type=Path, default=None)
    parser.add_argument("--turn-y", type=float, default=0.0)
    parser.add_argument("--placement", default="known")
    parser.add_argument("--resolution", type=int, default=128)
    arguments = parser.parse_args()
    up: dict[str, str] = {}
    if arguments.manifest:
        with open(arguments.manifest, encoding="utf-8", newline="") as file:
            up = {Path(row["file"]).name: row["up"] for row in csv.DictReader(file)}
    turn = Rotation.from_euler("y", arguments.turn_y, degrees=True).as_matrix()
    upright = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
    for source in find_sources(arguments.meshes, layout="folder"):
        try:
            mesh = load_mesh(source.path)
        except MeshError as error:
            print_line(f"refused  {error}")
            continue
        rotation = turn @ upright if up.get(source.path.name) == "z" else turn
        turned = TriangleMesh(vertices=mesh.vertices @ rotation.T, faces=mesh.faces)
        save_mesh((arguments.out / "turned" / source.name).with_suffix(".ply"), turned)
    config = PrepareConfig(test_share=1.0)
    data = prepare_dataset(arguments.out / "turned", arguments.out / "data", config=config, seed=0)
    for refusal in data.refused:
        print_line(f"refused  {refusal.reason}")
    config = EvaluateConfig(
        tasks=("view",), placement=arguments.placement, resolution=arguments.resolution, baselines=()
    )
    with show_progress("Evaluating", "rows") as progress:
        found = evaluate_prior(
            arguments.prior, data, arguments.out / "report", config=config, seed=0, progress=progress.update
        )
    print_summary(found)


if __name__ == "__main__":
    main()
