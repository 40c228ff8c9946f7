"""Meshes of several codes, and one picture of all of them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from shapeprior.completion.prior import ShapePrior
from shapeprior.errors import CompletionError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.io.meshes import save_mesh
from shapeprior.visualization.pictures import Panel, contact_sheet, save_picture
from shapeprior.visualization.render import View

PANEL = 320
"""Width of each picture, in pixels."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WrittenShapes:
    """What was written."""

    meshes: tuple[TriangleMesh, ...]
    """In the unit frame."""
    mesh_paths: tuple[Path, ...]
    picture_path: Path


def write_shapes(
    prior: ShapePrior,
    codes: Float[Tensor, "shapes code"],
    out: str | os.PathLike[str],
    *,
    name: str,
    titles: Sequence[str],
    columns: int,
    resolution: int,
) -> WrittenShapes:
    """Write `OUT/NAME_00.ply` and so on, in the unit frame, and `OUT/NAME.png` with all of them seen by one camera.

    Raises CompletionError, naming which, if a code has no surface; OutputError if `out` cannot be written; ConfigError if
    `resolution` is below 2.
    """
    out, meshes = Path(out), []
    for number, code in enumerate(codes):
        try:
            meshes.append(prior.extract(code, resolution=resolution))
        except CompletionError as error:
            raise CompletionError(f"{name} {number} of {len(codes)}: {error}") from None
    digits = max(2, len(str(len(codes) - 1)))
    paths = [save_mesh(out / f"{name}_{number:0{digits}d}.ply", mesh) for number, mesh in enumerate(meshes)]
    panels = [Panel(title=title, mesh=mesh) for title, mesh in zip(titles, meshes, strict=True)]
    # All rows have one camera, so that sizes can be compared, and the rows one height.
    view = View(width=PANEL, height=PANEL).fitted(np.concatenate([mesh.vertices for mesh in meshes]))
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    picture = save_picture(out / f"{name}.png", contact_sheet(rows, view=view))
    return WrittenShapes(meshes=tuple(meshes), mesh_paths=tuple(paths), picture_path=picture)
