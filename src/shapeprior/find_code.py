"""The code that a user means: of a training shape, of a file that `encode` wrote, of a mesh, or of a partial view."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from shapeprior.completion.config import InferConfig
from shapeprior.completion.prior import ShapePrior
from shapeprior.datasets.prepare_mesh import UpSetting
from shapeprior.errors import ConfigError, MeshError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.meshes import MESH_SUFFIXES
from shapeprior.io.npz import read_float_arrays
from shapeprior.scans.observation import Observation

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
