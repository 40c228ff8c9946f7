"""Procedural families: random closed meshes of everyday objects, as many as needed to train a prior on.

A family is one function, from a random generator to a `TriangleMesh`, and `FAMILIES` is the list of them. To add one:

1. Write ``<family>.py`` beside the others, with ``def <family>(rng: np.random.Generator) -> TriangleMesh``. It returns
   one random object in metres, with +y up: a closed mesh in one piece, with faces outwards, no sealed voids, and at
   most 20,000 faces. docs/conventions.md says which way the objects of each family face.
2. Build it with the help of `solids` (vessels and other round bodies; see `mug`), `lofts` (bodies with varying
   cross-sections; see `camera`) and `draws` (random choices).
3. Take every random number from `rng`. The same seed must give the same bytes, so the order of the draws must not
   change once data sets have been made.
4. Add the function to `FAMILIES`, and the name to the choices of ``shapeprior synthesize`` in `shapeprior.cli.prepare`.

A function may now and then return a mesh that is not one closed solid, which parameters at the ends of their ranges can
cause. `synthesize` then draws again.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from shapeprior.datasets.procedural.airplane import airplane
from shapeprior.datasets.procedural.bowl import bowl
from shapeprior.datasets.procedural.camera import camera
from shapeprior.datasets.procedural.can import can
from shapeprior.datasets.procedural.mug import mug
from shapeprior.errors import ConfigError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.io.meshes import save_mesh

FAMILIES: dict[str, Callable[[np.random.Generator], TriangleMesh]] = {
    "airplane": airplane,
    "bowl": bowl,
    "camera": camera,
    "can": can,
    "mug": mug,
}
"""Function of each family, by the family's name."""

MAX_DRAWS = 20
"""Draws for one shape until the family counts as defective. Few shapes need a second one."""
MIN_EDGE_RATIO = 1e-6
"""Smallest edge length, as a share of the largest extent. float32 tells points apart down to 6e-8 of the extent."""


def synthesize_family(family: str, *, count: int, out: str | os.PathLike[str], seed: int) -> list[Path]:
    """Write `count` meshes of a family to a folder, as PLY; mesh number i depends on family, seed and i alone.

    Raises ConfigError for an unknown family or a count below 1, OutputError if `out` cannot be written.
    """
    if count < 1:
        raise ConfigError(f"count = {count}; expected at least 1 mesh")
    out = Path(out)
    paths = []
    for index in range(count):
        mesh = synthesize(family, seed=seed, index=index)
        paths.append(save_mesh(out / f"{family}_{index:05d}.ply", mesh))
    return paths


def synthesize(family: str, *, seed: int, index: int) -> TriangleMesh:
    """Return shape number `index` of a family: watertight, with faces outwards, in one piece, in metres, +y up.

    The same (family, seed, index) gives the same bytes, whatever other shapes are made. Raises ConfigError for an
    unknown family or a negative number.
    """
    if family not in FAMILIES:
        raise ConfigError(f"unknown family '{family}'; expected one of {', '.join(FAMILIES)}")
    if seed < 0 or index < 0:
        raise ConfigError(f"seed {seed} and index {index}; expected 0 or more for both")
    rng = np.random.default_rng(np.random.SeedSequence([seed, index]))
    for _ in range(MAX_DRAWS):
        mesh = FAMILIES[family](rng)
        if _is_one_solid(mesh):
            return mesh
    raise AssertionError(f"family '{family}' gave no valid solid in {MAX_DRAWS} draws (seed {seed}, index {index})")


def _is_one_solid(mesh: TriangleMesh) -> bool:
    """Return whether a mesh is closed, outward, in one piece and without voids, also after rounding to float32."""
    if len(mesh.faces) == 0 or not mesh.is_watertight or mesh.volume <= 0:
        return False
    edges = mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    lengths = np.linalg.norm(mesh.vertices[edges[:, 0]] - mesh.vertices[edges[:, 1]], axis=1)
    if lengths.min() < MIN_EDGE_RATIO * float(np.max(np.ptp(mesh.bounds, axis=0))):
        return False
    count = len(mesh.vertices)
    links = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    return connected_components(links, directed=False)[0] == 1
