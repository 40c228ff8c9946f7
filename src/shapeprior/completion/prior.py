"""The trained prior as users hold it: load it, complete a view, get a mesh."""

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
from shapeprior.completion.encoding import EncodeConfig, EncodedMesh, encode_mesh, encoding_preparation
from shapeprior.completion.estimate import LatentEstimate
from shapeprior.completion.refinement import (
    RefineConfig,
    ViewRefinementConfig,
    observed_surface_targets,
    refine_prepared,
)
from shapeprior.completion.result import Completion, Support
from shapeprior.completion.solver import LatentSolver
from shapeprior.datasets.mesh_source import file_up_axis
from shapeprior.datasets.prepare_mesh import UpSetting
from shapeprior.errors import CompletionError, ConfigError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.meshes import load_mesh
from shapeprior.models.checkpoint import RunConfig
from shapeprior.models.decoder import DecodedField, Decoder
from shapeprior.models.device import usable_device
from shapeprior.models.encoder import ViewEncoder
from shapeprior.models.latent_density import CodeMixture
from shapeprior.models.latent_space import CodePath, CodeSpace, NearbyShape, interpolate_codes, nearest_shapes
from shapeprior.scans.observation import Observation, without_outliers
from shapeprior.scans.placement import PlacementMode
from shapeprior.sdf.isosurface.extract import Edges, ExtractConfig, extract_mesh

MAX_DETAIL_POINTS = 8192
"""Points of a view that the detail and the support of its completion are made of, at most."""

Code = Float[Tensor, "code"] | Float[np.ndarray, "code"]
"""A latent code, as `Completion` and `EncodedMesh` hold it or as the codes of training are."""


@dataclass(frozen=True, eq=False)
class ShapePrior:
    """A decoder with the codes of the shapes it was trained on, all on one device; see `to`."""

    decoder: Decoder
    codes: Float[Tensor, "shapes code"]
    config: RunConfig
    encoder: ViewEncoder | None = None
    """Looks at a view first; without one, completion is slower, and turns are seldom found."""

    def complete(
        self,
        view: Observation,
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

        With `T_unit_world` the object's placement is known. Without it, what `placement` says is found together with the shape:
        scale and position ("aligned", the default: the view's axes are those of the unit frame, see docs/conventions.md), the
        turn about +y as well ("upright"), or any turn ("free"). `resolution` is the number of cells along each axis of the unit
        frame's cube; `edges` "sharp" keeps sharp edges. Where the surface was seen, the mesh follows what `detail` takes over from
        the view; `ViewRefinementConfig(steps=0)` leaves it as the code makes it, as a shape that does not explain the view is left.
        Raises CompletionError if no surface comes out, ScanError if the placement is unknown and all points lie in one place,
        ConfigError if `resolution` is below 2.
        """
        started = time.perf_counter()
        estimate = self.infer(
            view, T_unit_world=T_unit_world, placement=placement, seed=seed, config=infer or InferConfig()
        )
        return self.completion(
            estimate, view, resolution=resolution, edges=edges, seed=seed, detail=detail, started=started
        )

    def completion(
        self,
        estimate: LatentEstimate,
        view: Observation,
        *,
        resolution: int = 256,
        edges: Edges = "smooth",
        seed: int = 0,
        detail: ViewRefinementConfig | None = None,
        started: float | None = None,
    ) -> Completion:
        """The mesh of an estimate, such as one of `Completion.alternatives`, for the view it was made of; raises as `complete`.

        `started` is the `time.perf_counter` that its seconds are counted from; now if not given.
        """
        started = time.perf_counter() if started is None else started
        detail = detail or ViewRefinementConfig()
        prepared = self.field(estimate.code).prepared
        some = view.subsampled(MAX_DETAIL_POINTS, seed=seed, background=0)
        seen = without_outliers(some.transformed(estimate.T_unit_world))
        # A shape that does not explain the view is not bent towards it.
        if detail.steps and self.decoder.has_local_features and estimate.verdict.kind != "unexplained":
            with parametrize.cached():
                known = observed_surface_targets(self.decoder, prepared, seen, config=detail, seed=seed)
                prepared = refine_prepared(self.decoder, prepared, known, config=detail.refinement, seed=seed)
        mesh_unit = self.extract_prepared(prepared, resolution=resolution, edges=edges)
        T_world_unit = estimate.T_unit_world.inverse()
        return Completion(
            mesh=TriangleMesh(vertices=T_world_unit.apply(mesh_unit.vertices), faces=mesh_unit.faces),
            mesh_unit=mesh_unit,
            code=estimate.code.cpu().double().numpy(),
            T_unit_world=estimate.T_unit_world,
            residual=estimate.residual * T_world_unit.scale,
            explained=estimate.explained,
            outlier_share=estimate.outlier_share,
            verdict=estimate.verdict,
            deviations=estimate.deviations,
            alternatives=estimate.alternatives,
            support=Support.of(mesh_unit, seen),
            seconds=time.perf_counter() - started,
        )

    def infer(
        self,
        view: Observation,
        *,
        T_unit_world: Similarity | None = None,
        placement: PlacementMode | None = None,
        seed: int = 0,
        config: InferConfig | None = None,
    ) -> LatentEstimate:
        """Only the code and the placement; see `complete` and `shapeprior.completion.solver.LatentSolver`."""
        return self.solver.infer(
            view,
            T_unit_world=T_unit_world,
            mode=placement or ("aligned" if T_unit_world is None else "known"),
            seed=seed,
            config=config or InferConfig(),
        )

    def to(self, device: str | torch.device) -> "ShapePrior":
        """The same prior on another device, such as "cuda"; this one stays where it is. Raises ConfigError if there is none such.

        Views and meshes are arrays as before; results differ by rounding.
        """
        place = usable_device(str(device))
        encoder = None if self.encoder is None else copy.deepcopy(self.encoder).to(place)
        return replace(self, decoder=copy.deepcopy(self.decoder).to(place), codes=self.codes.to(place), encoder=encoder)

    @cached_property
    def solver(self) -> LatentSolver:
        """What `infer` uses; it keeps what does not depend on the view."""
        return LatentSolver(self.decoder, self.codes, self.encoder)

    @cached_property
    def space(self) -> CodeSpace:
        """Whitened coordinates of the training codes."""
        return CodeSpace.fit(self.codes)

    @cached_property
    def mixture(self) -> CodeMixture:
        """The density that the training codes follow; fitted in a few seconds when first asked for."""
        return CodeMixture.fit(self.codes)

    def code(self, shape_id: str) -> Float[Tensor, "code"]:
        """The code of a training shape. Raises ConfigError if there is no such shape."""
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
        """The code of a full mesh, prepared as for training; of a file, auto takes the up axis that its format states, or y.

        With `refine`, the result also has what `extract_prepared` makes a mesh of that is nearer to the mesh than any code's.

        Raises MeshError, with the reason, for what preparation would refuse.
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
        """Codes from one code to another, both included; see `shapeprior.models.latent_space.interpolate_codes`."""
        return interpolate_codes(self.space, self._as_code(first), self._as_code(last), steps=steps, path=path)

    def sample(self, count: int, *, temperature: float = 1.0, seed: int = 0) -> Float[Tensor, "count code"]:
        """New codes; see `shapeprior.models.latent_density.CodeMixture.sample`."""
        return self.mixture.sample(count, temperature=temperature, seed=seed)

    def nearest(self, code: Code, *, count: int = 5) -> list[NearbyShape]:
        """The training shapes with the nearest codes; see `shapeprior.models.latent_space.nearest_shapes`."""
        return nearest_shapes(self.space, self.codes, self.config.shape_ids, self._as_code(code), count=count)

    def extract(self, code: Code, *, resolution: int = 256, edges: Edges = "smooth") -> TriangleMesh:
        """The closed mesh of a code, in the unit frame; see `shapeprior.sdf.isosurface.extract.ExtractConfig` for `edges`.

        Raises CompletionError if the field has no zero, ConfigError if `resolution` is below 2.
        """
        return self._mesh(self.field(code), resolution, edges)

    def extract_prepared(
        self, prepared: tuple[Tensor, ...], *, resolution: int = 256, edges: Edges = "smooth"
    ) -> TriangleMesh:
        """The closed mesh of what `Decoder.prepare` made of one code, or `refine_prepared` of that; as `extract`."""
        return self._mesh(DecodedField(self.decoder, prepared), resolution, edges)

    def field(self, code: Code) -> DecodedField:
        """The signed distances of a code's shape, in unit-sphere radii, as a function of points in the unit frame."""
        return DecodedField.of_code(self.decoder, self._as_code(code))

    def _mesh(self, field: DecodedField, resolution: int, edges: Edges) -> TriangleMesh:
        mesh = extract_mesh(field, ExtractConfig(resolution=resolution, edges=edges)).mesh
        if len(mesh.faces) == 0:
            raise CompletionError("the field of this code has no surface; expected a code near the training codes")
        return mesh

    def _as_code(self, code: Code) -> Float[Tensor, "code"]:
        found = torch.as_tensor(code).to(self.codes)
        if found.shape != self.codes.shape[1:]:
            raise ConfigError(f"a code of shape {tuple(found.shape)}; expected {tuple(self.codes.shape[1:])} numbers")
        return found
