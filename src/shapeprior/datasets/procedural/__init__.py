"""Parametric shape families: closed meshes of everyday objects, as many as one likes, to train a prior on.

All are solids in metres with +y up; `docs/conventions.md` says which way each one faces.

Write generated meshes of a family to a folder.
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
"""Each family's name and the function that draws one of its shapes."""

_ATTEMPTS = 20
_SHORTEST_EDGE = 1e-6
"""Share of the largest extent: float32 coordinates tell points apart down to 6e-8 of it."""


def synthesize(family: str, *, seed: int, index: int) -> TriangleMesh:
    """Shape number `index` of a family: watertight, outward oriented, in one piece, in metres, +y up.

    The same (family, seed, index) gives the same bytes, whatever other shapes are made. Raises ConfigError for an
    unknown family or a negative number.
    """
    if family not in FAMILIES:
        raise ConfigError(f"unknown family '{family}'; there are {', '.join(FAMILIES)}")
    if seed < 0 or index < 0:
        raise ConfigError(f"seed and index count from 0; got seed {seed} and index {index}")
    rng = np.random.default_rng(np.random.SeedSequence([seed, index]))
    for _ in range(_ATTEMPTS):
        mesh = FAMILIES[family](rng)
        if _is_one_solid(mesh):
            return mesh
    raise AssertionError(f"family '{family}' gave no valid solid in {_ATTEMPTS} draws (seed {seed}, index {index})")


def _is_one_solid(mesh: TriangleMesh) -> bool:
    """Closed, oriented outwards, without loose parts or sealed voids, and still so in a float32 file."""
    if len(mesh.faces) == 0 or not mesh.is_watertight or mesh.volume <= 0:
        return False
    edges = mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    lengths = np.linalg.norm(mesh.vertices[edges[:, 0]] - mesh.vertices[edges[:, 1]], axis=1)
    if lengths.min() < _SHORTEST_EDGE * float(np.max(np.ptp(mesh.bounds, axis=0))):
        return False
    count = len(mesh.vertices)
    links = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    return connected_components(links, directed=False)[0] == 1


def synthesize_family(family: str, *, count: int, out: str | os.PathLike[str], seed: int) -> list[Path]:
    """Generate `count` meshes and write them as PLY; mesh number i depends on family, seed and i alone.

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
