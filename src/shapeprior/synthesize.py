"""Write generated meshes of a family to a folder."""

import os
from pathlib import Path

from shapeprior.errors import ConfigError
from shapeprior.families import synthesize
from shapeprior.io.meshes import save_mesh


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
