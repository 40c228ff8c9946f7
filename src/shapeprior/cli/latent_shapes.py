"""Shapes in the latent space of a prior: find the code that a user means, write the meshes of codes, compare
surfaces."""

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
"""Width and height of each picture, in pixels."""
HEADER_BYTES = 1 << 16
"""How much of a PLY file is searched for the end of its header."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WrittenShapes:
    """Meshes of codes, and where they were written."""

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
    """Write the mesh of each code as `OUT/NAME_00.ply` and so on, in the unit frame, and one picture of all,
    `OUT/NAME.png`.

    Raises CompletionError, which names the code, if one has no surface; OutputError if `out` cannot be written;
    ConfigError if `resolution` is below 2.
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
    # One camera for all, so that sizes can be compared and all rows have the same height.
    view = View(width=PANEL, height=PANEL).fitted(np.concatenate([mesh.vertices for mesh in meshes]))
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    picture = save_picture(out / f"{name}.png", contact_sheet(rows, view=view))
    return WrittenShapes(meshes=tuple(meshes), mesh_paths=tuple(paths), picture_path=picture)


def surface_distances(
    mesh_unit: TriangleMesh, data: Dataset, shape_ids: Sequence[str], *, seed: int, points: int = 30_000
) -> Float[np.ndarray, "shapes"]:
    """Return `chamfer_l1` between a mesh and the stored mesh of each shape, in unit-sphere radii, on `points` points a
    surface.

    Each surface has points of its own, so that equal meshes do not score 0, but about half the spacing of the points.
    Raises DatasetError if a shape is missing or has no mesh, MeshError if a mesh has no area.
    """
    streams = [np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(len(shape_ids) + 1)]
    here = sample_surface(mesh_unit, points, rng=streams[0])[0]
    distances = [
        chamfer_l1(here, sample_surface(data.mesh_unit(shape_id), points, rng=rng)[0])
        for shape_id, rng in zip(shape_ids, streams[1:], strict=True)
    ]
    return np.array(distances, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class FoundCode:
    """A latent code, and the mesh that it was fitted to."""

    code: Float[Tensor, "code"]
    mesh_unit: TriangleMesh | None
    """The prepared mesh, in the unit frame, if the code was found for a mesh file; otherwise None."""


def find_code(
    prior: ShapePrior,
    source: str,
    *,
    up: UpSetting = "auto",
    seed: int = 0,
    read_view: Callable[[Path], tuple[Observation, Similarity | None]] | None = None,
) -> FoundCode:
    """Return the code of a training shape (by its id), of an NPZ file that `encode` wrote, or of a mesh file, which is
    encoded.

    If there are both a file and an id of this name, the file is taken. With `read_view`, any other file is read as a
    partial view, and the prior is fitted to it; `read_view` returns the view and its placement, `T_unit_world`, if that
    is known.
    Raises ConfigError if `source` is none of these, MeshError or ScanError if the file cannot be used.
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
    """Whether a file is a mesh, by its suffix; a PLY file holds one if its header states faces."""
    if path.suffix.lower() != ".ply":
        return path.suffix.lower() in MESH_SUFFIXES
    try:
        with open(path, "rb") as file:
            header = file.read(HEADER_BYTES).split(b"end_header")[0]
    except OSError:
        # The reader of meshes says why the file cannot be read.
        return True
    return re.search(rb"^element\s+face\s+0*[1-9]", header, re.MULTILINE) is not None


def _read_code(path: Path, prior: ShapePrior) -> Float[Tensor, "code"]:
    try:
        code = torch.from_numpy(read_float_arrays(path, ["code"])["code"].copy()).to(prior.codes)
    except MeshError as error:
        raise ConfigError(f"{path}: no code ({error}); expected a file that `shapeprior encode` wrote") from None
    if code.shape != prior.codes.shape[1:] or not torch.isfinite(code).all():
        raise ConfigError(
            f"{path}: a code of shape {tuple(code.shape)}, or not finite; expected {prior.codes.shape[1]} finite "
            "numbers, as this prior's codes have; encode the mesh with this prior"
        )
    return code
