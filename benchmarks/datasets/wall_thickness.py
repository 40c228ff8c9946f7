"""Local thickness of solids, of the generated families side by side with folders of meshes.

    python -m benchmarks.datasets.wall_thickness [MESHES] --families mug bowl can --count 60 --seed 5 --list 5

MESHES is a folder whose subfolders are categories of mesh files; without it, only generated shapes are measured. Every
mesh is prepared as `prepare_mesh` does, and lengths are unit-sphere radii. The thickness at a point of the surface is
the length of the inward ray to the opposite face. "p10" and "p50" are a shape's 10th percentile and median. The shares
are means over the shapes of the surface with less thickness. `--list` names the thinnest shapes of each row.

Faces with the outside on both sides have no thickness. Meshes of which these are more than a tenth are counted as
sheets and left out. Inside and outside are the package's own, so that the faces' orientation does not matter.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float

from benchmarks.common.tables import print_table
from shapeprior.datasets.prepare_mesh import prepare_mesh
from shapeprior.datasets.procedural import FAMILIES, synthesize
from shapeprior.errors import MeshError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.raycasting import RayScene
from shapeprior.geometry.sampling import sample_surface
from shapeprior.io.meshes import MESH_SUFFIXES, load_mesh

MAX_SHEET_SHARE = 0.1
"""Meshes with more of their surface in sheets are left out."""
STEP = 2e-4
"""Distance from the surface, in radii, at which a point's sides are told apart and at which its ray starts."""
SHARES_BELOW = (0.02, 0.03, 0.04)
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("meshes", type=Path, nargs="?", help="folder of folders of meshes")
    parser.add_argument("--families", nargs="*", choices=list(FAMILIES), default=list(FAMILIES))
    parser.add_argument("--folders", nargs="*", default=None, help="subfolders of MESHES; default: all")
    parser.add_argument("--count", type=int, default=60, help="shapes of each family, and at most of each folder")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--points", type=int, default=1500)
    parser.add_argument("--list", type=int, default=0, help="thinnest shapes to name")
    arguments = parser.parse_args()
    groups = {
        f"{family}, generated": _generated(family, seed=arguments.seed, count=arguments.count)
        for family in arguments.families
    }
    if arguments.meshes is not None:
        for folder in arguments.folders or sorted(path.name for path in arguments.meshes.iterdir() if path.is_dir()):
            groups[f"{folder}, files"] = _load_folder(arguments.meshes / folder, arguments.count)
    rows, thinnest = [], []
    for name, meshes in groups.items():
        measured, sheets = {}, 0
        for shape, mesh in meshes:
            thickness = wall_thickness(mesh, arguments.points, name=shape)
            if thickness is None:
                sheets += 1
            else:
                measured[shape] = thickness
        rows.append([name, str(len(measured)), str(sheets), *_summary(list(measured.values()))])
        low = {shape: float(np.quantile(values, 0.1)) for shape, values in measured.items()}
        thinnest.append([name, *(f"{s} {low[s]:.4f}" for s in sorted(low, key=low.__getitem__)[: arguments.list])])
    header = ["set", "shapes", "sheets", *(f"p10 at {q:.0%}" for q in QUANTILES), "median p50"]
    title = "Local thickness, unit-sphere radii"
    print_table(title, [*header, *(f"below {limit}" for limit in SHARES_BELOW)], rows)
    for row in thinnest if arguments.list else []:
        print("; ".join(row))


def _generated(family: str, *, seed: int, count: int) -> Iterator[tuple[str, TriangleMesh]]:
    for index in range(count):
        yield str(index), synthesize(family, seed=seed, index=index)


def _load_folder(folder: Path, count: int) -> Iterator[tuple[str, TriangleMesh]]:
    files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in MESH_SUFFIXES]
    for path in files[:: max(1, len(files) // count)]:
        yield path.stem, load_mesh(path)


def _summary(shapes: list[Float[np.ndarray, "points"]]) -> list[str]:
    if not shapes:
        return ["-"] * (len(QUANTILES) + 1 + len(SHARES_BELOW))
    low = [np.quantile(values, 0.1) for values in shapes]
    middle = float(np.median([np.median(values) for values in shapes]))
    below = [float(np.mean([np.mean(values < limit) for values in shapes])) for limit in SHARES_BELOW]
    return [*(f"{np.quantile(low, q):.4f}" for q in QUANTILES), f"{middle:.3f}", *(f"{share:.1%}" for share in below)]


def wall_thickness(mesh: TriangleMesh, count: int, *, name: str) -> Float[np.ndarray, "points"] | None:
    """Return the thickness at random points of a mesh's surface, in unit-sphere radii; None if it has no thickness."""
    try:
        prepared = prepare_mesh(mesh, name=name, up="y", sheet_half_thickness=0.0)
    except MeshError:
        return None
    field = prepared.distance
    if field.report.sheet_share > MAX_SHEET_SHARE:
        return None
    points, face = sample_surface(field.surface, count, rng=np.random.default_rng(0))
    normal = field.surface.face_normals[face]
    ahead, behind = field(points + STEP * normal) < 0.0, field(points - STEP * normal) < 0.0
    inward = np.where(ahead[:, None], normal, -normal)
    starts = points + STEP * inward
    distance, _ = RayScene(field.surface).first_hit(starts, inward)
    # Points whose two sides are alike lie on sheets, or in corners narrower than the step.
    return (distance + STEP)[(ahead != behind) & np.isfinite(distance)]


if __name__ == "__main__":
    main()
