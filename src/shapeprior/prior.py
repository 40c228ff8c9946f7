"""The trained prior as users hold it: load it, complete a view, get a mesh."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils import parametrize

from shapeprior.bundled import bundled_prior_path, bundled_priors
from shapeprior.checkpoint import RunConfig, read_checkpoint
from shapeprior.decoder import Decoder
from shapeprior.errors import CheckpointError, CompletionError
from shapeprior.extract import ExtractConfig, extract_mesh
from shapeprior.frames import Similarity
from shapeprior.infer import InferConfig, LatentEstimate, infer_latent
from shapeprior.mesh import TriangleMesh
from shapeprior.mesh_io import save_mesh
from shapeprior.observation import Observation

QUERY_POINTS = 4096
"""Points in one call of the decoder: activations of so many points stay in the cache."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Completion:
    """A completed object."""

    mesh: TriangleMesh
    """Closed mesh in the scan's own frame and unit."""
    mesh_unit: TriangleMesh
    """The same in the unit frame."""
    code: Float[np.ndarray, "code"]
    """The latent code that was found."""
    T_unit_world: Similarity
    """Where the object lies in the scan: given, or found."""
    residual: float
    """Median distance of the observed points from the completed surface by the field, in the scan's unit."""
    explained: float
    """Share of observed points within 2 % of the object's radius from the surface."""
    seconds: float
    """Wall time, loading left out."""

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the mesh as PLY, OBJ, STL or GLB, by the suffix. Raises OutputError."""
        return save_mesh(path, self.mesh)


@dataclass(frozen=True, eq=False)
class ShapePrior:
    """A decoder with the codes of the shapes it was trained on."""

    decoder: Decoder
    codes: Float[Tensor, "shapes code"]
    config: RunConfig

    def complete(
        self,
        view: Observation,
        *,
        T_unit_world: Similarity | None = None,
        seed: int = 0,
        resolution: int = 128,
        infer: InferConfig | None = None,
    ) -> Completion:
        """Complete one partial view into a closed mesh in the view's own frame and unit.

        With `T_unit_world` the object's placement is known. Without it the view's axes must be those of the unit frame
        (+y up, see docs/conventions.md), and scale and position are found together with the shape. `resolution` is the number
        of cells along each axis of the unit frame's cube. Raises CompletionError if no surface comes out,
        ScanError if the placement is unknown and all points lie in one place, ConfigError if 32 does not divide `resolution`.
        """
        started = time.perf_counter()
        estimate = self.infer(view, T_unit_world=T_unit_world, seed=seed, config=infer or InferConfig())
        mesh_unit = self.extract(estimate.code, resolution=resolution)
        T_world_unit = estimate.T_unit_world.inverse()
        return Completion(
            mesh=TriangleMesh(vertices=T_world_unit.apply(mesh_unit.vertices), faces=mesh_unit.faces),
            mesh_unit=mesh_unit,
            code=estimate.code.double().numpy(),
            T_unit_world=estimate.T_unit_world,
            residual=estimate.residual * T_world_unit.scale,
            explained=estimate.explained,
            seconds=time.perf_counter() - started,
        )

    def infer(
        self, view: Observation, *, T_unit_world: Similarity | None, seed: int, config: InferConfig
    ) -> LatentEstimate:
        """Only the code and the placement; see `shapeprior.infer.infer_latent`."""
        return infer_latent(self.decoder, self.codes, view, T_unit_world=T_unit_world, seed=seed, config=config)

    def extract(self, code: Float[Tensor, "code"], *, resolution: int = 128) -> TriangleMesh:
        """The closed mesh of a code, in the unit frame.

        Raises CompletionError if the field has no zero, ConfigError if 32 does not divide `resolution`.
        """
        with torch.no_grad(), parametrize.cached():
            prepared = self.decoder.prepare(code[None])

            def field(points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
                tensor = torch.from_numpy(np.ascontiguousarray(points)).float()
                parts = [self.decoder.query(prepared, chunk[None])[0] for chunk in tensor.split(QUERY_POINTS)]
                return torch.cat(parts).double().numpy()

            mesh = extract_mesh(field, ExtractConfig(resolution=resolution, coarse=32)).mesh
        if len(mesh.faces) == 0:
            raise CompletionError("the field of this code has no surface; expected a code near the training codes")
        return mesh


def load(prior: str | os.PathLike[str]) -> ShapePrior:
    """Load a run folder, or a bundled prior by its name (such as ``mug``).

    Raises CheckpointError if there is no such folder or name, or the files are not a whole checkpoint of this version.
    """
    path = bundled_prior_path(prior) or Path(prior)
    if not path.exists():
        raise CheckpointError(
            f"{prior}: no such folder and no bundled prior; expected a run folder, or one of {', '.join(bundled_priors())}"
        )
    config = RunConfig.read(path)
    checkpoint = read_checkpoint(path, config)
    checkpoint.decoder.eval()
    return ShapePrior(decoder=checkpoint.decoder, codes=checkpoint.codes, config=config)
