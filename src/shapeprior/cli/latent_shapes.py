"""Meshes of several codes, and one picture of all of them.

How far a shape's surface is from those of shapes in a data set.

The code that a user means: of a training shape, of a file that `encode` wrote, of a mesh, or of a partial view.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from shapeprior.completion.config import InferConfig
from shapeprior.completion.prior import ShapePrior
from shapeprior.datasets.dataset import Dataset
from shapeprior.datasets.prepare_mesh import UpSetting
from shapeprior.errors import CompletionError, ConfigError, MeshError
from shapeprior.evaluation.point_metrics import chamfer_l1
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.sampling import sample_surface
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.meshes import MESH_SUFFIXES, save_mesh
from shapeprior.io.npz import read_float_arrays
from shapeprior.scans.observation import Observation
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


def surface_distances(
    mesh_unit: TriangleMesh, data: Dataset, shape_ids: Sequence[str], *, seed: int, points: int = 30_000
) -> Float[np.ndarray, "shapes"]:
    """`chamfer_l1` of a mesh to the stored mesh of each shape, in unit-sphere radii, on `points` points a surface.

    Each shape has its own points, so that equal meshes do not score 0, but about half the spacing of the points. Raises
    DatasetError if there is no such shape or it has no mesh, MeshError if a mesh has no area.
    """
    streams = [np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(len(shape_ids) + 1)]
    here = sample_surface(mesh_unit, points, rng=streams[0])[0]
    distances = [
        chamfer_l1(here, sample_surface(data.mesh_unit(shape_id), points, rng=rng)[0])
        for shape_id, rng in zip(shape_ids, streams[1:], strict=True)
    ]
    return np.array(distances, dtype=np.float64)


HEADER_BYTES = 1 << 16


@dataclass(frozen=True, eq=False)
class FoundCode:
    """A code, and the mesh that it was fitted to."""

    code: Float[Tensor, "code"]
    mesh_unit: TriangleMesh | None
    """The prepared mesh of a mesh file, in the unit frame; None for anything else."""


def find_code(
    prior: ShapePrior,
    source: str,
    *,
    up: UpSetting = "auto",
    seed: int = 0,
    read_view: Callable[[Path], tuple[Observation, Similarity | None]] | None = None,
) -> FoundCode:
    """The code of a training shape's id, of an NPZ file that `encode` wrote, or of a mesh file, which is encoded.

    A file that exists is meant before an id. With `read_view`, which returns a view and its placement (`T_unit_world`) if that is
    known, any other file is a partial view. Raises ConfigError if `source` is none of these, MeshError or ScanError if the
    file cannot be used.
    """
    path = Path(source)
    if not path.is_file():
        if source in prior.config.shape_ids:
            return FoundCode(prior.code(source), None)
        known = prior.config.shape_ids
        raise ConfigError(
            f"{source}: no such file, and none of the {len(known)} training shapes; expected a file, or an id such as "
            f"{', '.join(known[:3])}"
        )
    if path.suffix.lower() == ".npz":
        return FoundCode(_read_code(path, prior), None)
    if read_view is not None and not holds_mesh(path):
        view, T_unit_world = read_view(path)
        found = prior.infer(view, T_unit_world=T_unit_world, seed=seed, config=InferConfig())
        return FoundCode(found.code, None)
    encoded = prior.encode(path, up=up, seed=seed)
    return FoundCode(torch.from_numpy(encoded.code).to(prior.codes), encoded.mesh_unit)


def holds_mesh(path: Path) -> bool:
    """Whether a file is a mesh by its suffix; a PLY file is one if its header states faces."""
    if path.suffix.lower() != ".ply":
        return path.suffix.lower() in MESH_SUFFIXES
    try:
        with open(path, "rb") as file:
            header = file.read(HEADER_BYTES).split(b"end_header")[0]
    except OSError:
        # Reading it as a mesh says why it cannot be read.
        return True
    return re.search(rb"^element\s+face\s+0*[1-9]", header, re.MULTILINE) is not None


def _read_code(path: Path, prior: ShapePrior) -> Float[Tensor, "code"]:
    try:
        code = torch.from_numpy(read_float_arrays(path, ["code"])["code"].copy()).to(prior.codes)
    except MeshError as error:
        raise ConfigError(f"{path}: no code ({error}); expected a file that `shapeprior encode` wrote") from None
    if code.shape != prior.codes.shape[1:] or not torch.isfinite(code).all():
        raise ConfigError(
            f"{path}: a code of shape {tuple(code.shape)}, or not finite; expected {prior.codes.shape[1]} finite numbers, as "
            "this prior's codes have; encode the mesh with this prior"
        )
    return code
