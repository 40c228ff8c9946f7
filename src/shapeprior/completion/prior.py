"""The trained prior: completes views, finds codes of meshes, and makes meshes of codes."""

import copy
import os
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils import parametrize

from shapeprior.completion.config import InferConfig
from shapeprior.completion.encoding import EncodeConfig, EncodedMesh, RefineConfig, encode_mesh, encoding_preparation
from shapeprior.completion.estimate import LatentEstimate
from shapeprior.completion.result import Completion, Support
from shapeprior.completion.solver import LatentSolver
from shapeprior.completion.view_refinement import ViewRefinementConfig, follow_view
from shapeprior.datasets.mesh_source import file_up_axis
from shapeprior.datasets.prepare_mesh import UpSetting
from shapeprior.errors import CompletionError, ConfigError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.meshes import load_mesh
from shapeprior.models.checkpoint import RunConfig
from shapeprior.models.decoder import DecodedField, Decoder
from shapeprior.models.device import usable_device
from shapeprior.models.displaced_field import DifferentiableField
from shapeprior.models.encoder import ViewEncoder
from shapeprior.models.latent_space import (
    CodePath,
    CodeSpace,
    NearbyShape,
    interpolate_codes,
    nearest_shapes,
    sample_codes,
)
from shapeprior.scans.observation import Observation
from shapeprior.scans.placement import PlacementMode
from shapeprior.scans.prepared_view import PreparedView
from shapeprior.sdf.isosurface.extract import Edges, ExtractConfig, Extraction, extract_mesh

Code = Float[Tensor, "code"] | Float[np.ndarray, "code"]
"""A latent code, as a tensor or as the array that `Completion` and `EncodedMesh` hold."""


@dataclass(frozen=True, eq=False)
class ShapePrior:
    """A trained decoder with the codes of its training shapes, all on one device. `shapeprior.load` makes one."""

    decoder: Decoder
    codes: Float[Tensor, "shapes code"]
    """Codes of the training shapes."""
    config: RunConfig
    """Settings of the training run, with the ids of the shapes."""
    encoder: ViewEncoder | None = None
    """Network that proposes codes and placements for a view. Without it, completion is slower and seldom finds
    turns."""

    def complete(
        self,
        view: Observation | PreparedView,
        *,
        T_unit_world: Similarity | None = None,
        placement: PlacementMode | None = None,
        seed: int = 0,
        resolution: int = 256,
        edges: Edges = "smooth",
        infer: InferConfig | None = None,
        detail: ViewRefinementConfig | None = None,
    ) -> Completion:
        """Complete one partial view into a closed mesh in the view's own frame and unit.

        Args:
            view: The view. Several views of one object are joined first (`shapeprior.join_views`).
            T_unit_world: The object's placement, if it is known.
            placement: What to find of an unknown placement. "aligned", the default, finds scale and position: the
                view's axes are those of the unit frame (docs/conventions.md). "upright" also finds the turn about +y.
                "free" finds any turn.
            seed: Seed of every random choice.
            resolution: Number of cells along each axis of the unit frame's cube.
            edges: "sharp" keeps sharp edges, which "smooth" cuts off by a cell.
            infer: Settings of the solver.
            detail: Settings of the refinement, by which the mesh follows the view where the surface was seen.
                `ViewRefinementConfig(steps=0)` leaves the shape as its code makes it. A shape that does not explain the
                view is never refined.

        Raises:
            CompletionError: no surface comes out.
            ScanError: the placement is unknown and all points lie in one place.
            ConfigError: `resolution` is below 2.
        """
        started = time.perf_counter()
        prepared = PreparedView.of(view, seed=seed)
        estimate = self.infer(
            prepared, T_unit_world=T_unit_world, placement=placement, seed=seed, config=infer or InferConfig()
        )
        return self.completion(
            estimate, prepared, resolution=resolution, edges=edges, seed=seed, detail=detail, started=started
        )

    def infer(
        self,
        view: Observation | PreparedView,
        *,
        T_unit_world: Similarity | None = None,
        placement: PlacementMode | None = None,
        seed: int = 0,
        config: InferConfig | None = None,
    ) -> LatentEstimate:
        """Find only the code and the placement of a view. Arguments and errors are those of `complete`."""
        return self.solver.infer(
            view,
            T_unit_world=T_unit_world,
            mode=placement or ("aligned" if T_unit_world is None else "known"),
            seed=seed,
            config=config or InferConfig(),
        )

    def completion(
        self,
        estimate: LatentEstimate,
        view: Observation | PreparedView,
        *,
        resolution: int = 256,
        edges: Edges = "smooth",
        seed: int = 0,
        detail: ViewRefinementConfig | None = None,
        started: float | None = None,
    ) -> Completion:
        """Make the mesh of an estimate, such as one of `Completion.alternatives`, for the view that it was made of.

        `started` is the `time.perf_counter` from which its seconds are counted, by default now. Other arguments and
        errors are those of `complete`.
        """
        started = time.perf_counter() if started is None else started
        detail = detail or ViewRefinementConfig()
        field: DifferentiableField = self.field(estimate.code)
        view_unit = PreparedView.of(view, seed=seed).surface_view.transformed(estimate.T_unit_world)
        # A shape that does not explain the view is not bent towards it.
        if estimate.verdict.kind != "unexplained":
            with parametrize.cached():
                field = follow_view(field, view_unit, config=detail)
        extraction = _extraction(field, resolution, edges)
        mesh_unit = extraction.mesh
        T_world_unit = estimate.T_unit_world.inverse()
        return Completion(
            mesh=TriangleMesh(vertices=T_world_unit.apply(mesh_unit.vertices), faces=mesh_unit.faces),
            mesh_unit=mesh_unit,
            estimate=estimate,
            support=Support.of(mesh_unit, view_unit),
            mended_places=extraction.mended.places,
            seconds=time.perf_counter() - started,
        )

    def to(self, device: str | torch.device) -> "ShapePrior":
        """Return the prior on another device, such as "cuda". This one stays where it is.

        Views and meshes are arrays as before, and results differ by rounding. Raises ConfigError if the device cannot
        be used.
        """
        place = usable_device(str(device))
        encoder = None if self.encoder is None else copy.deepcopy(self.encoder).to(place)
        return replace(self, decoder=copy.deepcopy(self.decoder).to(place), codes=self.codes.to(place), encoder=encoder)

    @cached_property
    def solver(self) -> LatentSolver:
        """The solver behind `infer`. It keeps what does not depend on the view."""
        return LatentSolver(self.decoder, self.codes, self.encoder)

    @cached_property
    def space(self) -> CodeSpace:
        """Whitened coordinates of the training codes."""
        return CodeSpace.fit(self.codes)

    def code(self, shape_id: str) -> Float[Tensor, "code"]:
        """Return the code of a training shape. Raises ConfigError if there is no such shape."""
        ids = self.config.shape_ids
        if shape_id not in ids:
            raise ConfigError(
                f"no training shape {shape_id!r}; expected one of {len(ids)} such as {', '.join(ids[:3])}"
            )
        return self.codes[ids.index(shape_id)]

    def encode(
        self,
        mesh: TriangleMesh | str | os.PathLike[str],
        *,
        up: UpSetting = "auto",
        seed: int = 0,
        config: EncodeConfig | None = None,
        refine: RefineConfig | None = None,
    ) -> EncodedMesh:
        """Find the code of a whole mesh, which is prepared as for training.

        `up` "auto" takes the up axis that the file's format states, or y. With `refine`, the result also holds what
        `extract_prepared` needs to make a mesh that is nearer to the given one than any code's. Raises MeshError, with
        the reason, for a mesh that preparation would refuse.
        """
        path = None if isinstance(mesh, TriangleMesh) else Path(mesh)
        return encode_mesh(
            self.decoder,
            self.space,
            mesh if isinstance(mesh, TriangleMesh) else load_mesh(mesh),
            name=str(path or "mesh"),
            up=((path and file_up_axis(path)) or "y") if up == "auto" else up,
            clamp=self.config.train.clamp,
            config=config or EncodeConfig(),
            prepare=encoding_preparation(self.config.dataset),
            seed=seed,
            refine=refine,
        )

    def interpolate(
        self, first: Code, last: Code, *, steps: int = 7, path: CodePath = "straight"
    ) -> Float[Tensor, "steps code"]:
        """Return codes from one code to another, both included (`shapeprior.models.latent_space.interpolate_codes`)."""
        return interpolate_codes(self.space, self._as_code(first), self._as_code(last), steps=steps, path=path)

    def sample(self, count: int, *, seed: int = 0) -> Float[Tensor, "count code"]:
        """Draw new codes, each between two neighbouring training codes
        (`shapeprior.models.latent_space.sample_codes`)."""
        return sample_codes(self.space, self.codes, count, seed=seed)

    def nearest(self, code: Code, *, count: int = 5) -> list[NearbyShape]:
        """Return the training shapes with the nearest codes (`shapeprior.models.latent_space.nearest_shapes`)."""
        return nearest_shapes(self.space, self.codes, self.config.shape_ids, self._as_code(code), count=count)

    def extract(self, code: Code, *, resolution: int = 256, edges: Edges = "smooth") -> TriangleMesh:
        """Make the closed mesh of a code, in the unit frame.

        `shapeprior.sdf.isosurface.extract.ExtractConfig` explains `resolution` and `edges`. Raises CompletionError if
        the field is zero nowhere, ConfigError if `resolution` is below 2.
        """
        return _extraction(self.field(code), resolution, edges).mesh

    def extract_prepared(
        self, prepared: tuple[Tensor, ...], *, resolution: int = 256, edges: Edges = "smooth"
    ) -> TriangleMesh:
        """Make the closed mesh of a result of `Decoder.prepare` or `refine_prepared` for one code, as `extract`
        does."""
        return _extraction(DecodedField(self.decoder, prepared), resolution, edges).mesh

    def field(self, code: Code) -> DecodedField:
        """Return the signed distance of a code's shape, in unit-sphere radii, as a function of points in the unit
        frame."""
        return DecodedField.of_code(self.decoder, self._as_code(code))

    def _as_code(self, code: Code) -> Float[Tensor, "code"]:
        found = torch.as_tensor(code).to(self.codes)
        if found.shape != self.codes.shape[1:]:
            raise ConfigError(f"a code of shape {tuple(found.shape)}; expected {tuple(self.codes.shape[1:])} numbers")
        return found


def _extraction(field: DifferentiableField, resolution: int, edges: Edges) -> Extraction:
    found = extract_mesh(field, ExtractConfig(resolution=resolution, edges=edges))
    if len(found.mesh.faces) == 0:
        raise CompletionError("the field of this code has no surface; expected a code near the training codes")
    return found
