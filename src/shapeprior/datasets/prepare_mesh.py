"""From a mesh to samples of its signed distance, without reading or writing files.

`prepare_mesh` cleans a mesh, turns it upright, scales it into the unit sphere and finds its inside. `sample_mesh` draws
samples of its signed distance, and refuses meshes whose inside is unclear or missing. `PrepareConfig` holds the
settings of both and those of `shapeprior.datasets.prepare`.
"""

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from shapeprior.config import check_numbers
from shapeprior.datasets.mesh_source import MeshSource, UpAxis, file_unit, file_up_axis
from shapeprior.errors import ConfigError, MeshError
from shapeprior.geometry.cleaning import CleanReport, clean_mesh
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.transforms import Similarity
from shapeprior.sdf.sampling import STRATEGIES, SamplingConfig, SdfSamples, sample_sdf
from shapeprior.sdf.signed_distance import SHEET_HALF_THICKNESS, SignedDistance

UpSetting = Literal["auto", "x", "y", "z"]

NEAR_SURFACE_DISTANCE = 0.05
"""Samples closer to the surface than this, in unit-sphere radii, decide whether a mesh has an inside."""
_UPRIGHT_ROTATIONS: dict[UpAxis, tuple[tuple[float, float, float], ...]] = {
    "x": ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
    "y": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "z": ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0)),
}
"""Rotation that brings each axis to +y: (x, y, z) → (−y, x, z) for x up and (x, z, −y) for z up."""


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Settings for turning meshes into samples."""

    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """How many samples are drawn, and where."""
    up: UpSetting = "auto"
    """Axis that points up in the meshes and becomes +y; auto: as the collection or the file format states, else y."""
    unit: float | None = None
    """Metres in one unit of the meshes, which is only recorded; None: as the collection or the file format states,
    if they do."""
    test_share: float = 0.2
    """Share of the test split among the shapes whose split the collection does not state."""
    variants: int = 0
    """Number of stretched copies of each training shape, for small collections (`shapeprior.datasets.splits`)."""
    stretch: float = 0.15
    """Standard deviation of the logarithm of the factors by which variants are stretched along each axis."""
    sheet_half_thickness: float = SHEET_HALF_THICKNESS
    """Half the thickness that surfaces without an inside get, in unit-sphere radii."""
    min_confidence: float = 0.3
    """Smallest share of the surface on which the sign tests must agree; other shapes are refused."""
    min_inside_share: float = 0.01
    """Smallest share of the samples near the surface that must be inside; other shapes are refused, since they have
    no solid."""

    def __post_init__(self) -> None:
        if self.up not in get_args(UpSetting):
            raise ConfigError(f"up = {self.up!r}; expected one of {', '.join(map(repr, get_args(UpSetting)))}")
        if self.unit is not None and not 0.0 < self.unit < math.inf:
            raise ConfigError(f"unit = {self.unit}; expected metres, more than 0")
        for name in ("test_share", "min_confidence", "min_inside_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} = {getattr(self, name)}; expected 0 to 1")
        check_numbers(self, not_negative=("variants", "stretch"))
        if not 0.0 <= self.sheet_half_thickness < 0.5:
            raise ConfigError(f"sheet_half_thickness = {self.sheet_half_thickness}; expected 0 to 0.5 radii")


@dataclass(frozen=True, eq=False)
class PreparedMesh:
    """A cleaned mesh in the unit frame with its signed distance."""

    mesh_unit: TriangleMesh
    """The cleaned mesh in the unit frame, +y up."""
    T_unit_world: Similarity
    """Similarity from the file's frame to the unit frame."""
    distance: SignedDistance
    """Signed distance to the mesh, in the unit frame, negative inside."""
    clean_report: CleanReport
    """What cleaning removed and repaired."""


def prepare_mesh(mesh_world: TriangleMesh, *, name: str, up: UpAxis, sheet_half_thickness: float) -> PreparedMesh:
    """Clean a mesh, turn it upright, scale it into the unit sphere and find its inside.

    Raises MeshError, which names `name`, for a mesh that has fewer than 4 faces or no outer surface.
    """
    mesh_world, report = clean_mesh(mesh_world, name=name)
    if len(mesh_world.faces) < 4:
        raise MeshError(
            f"{name}: {len(mesh_world.faces)} distinct faces; expected at least 4, the fewest that enclose a solid; "
            "drop the file or model the object"
        )
    T_upright_world = rotation_to_y_up(up)
    T_unit_world = Similarity.to_unit_sphere(T_upright_world.apply(mesh_world.vertices)) @ T_upright_world
    mesh_unit = TriangleMesh(vertices=T_unit_world.apply(mesh_world.vertices), faces=mesh_world.faces)
    distance = SignedDistance(mesh_unit, sheet_half_thickness=sheet_half_thickness)
    if len(distance.surface.faces) == 0:
        raise MeshError(f"{name}: no face borders the outside; expected an outer surface; check the mesh in a viewer")
    return PreparedMesh(mesh_unit, T_unit_world, distance, report)


def sample_mesh(
    prepared: PreparedMesh, config: PrepareConfig, *, name: str, rng: np.random.Generator, flag: str | None = None
) -> tuple[SdfSamples, float]:
    """Draw samples of a prepared mesh; return them and the share of those near the surface that are inside.

    Raises MeshError, which names `name`, if the sign tests agree on too little of the surface, or if too few samples
    are inside. `flag` is the command-line option with which a user may accept the mesh, if there is one.
    """
    confidence = prepared.distance.confidence
    if confidence < config.min_confidence:
        accept = f", or accept it with {flag} {math.floor(confidence * 100) / 100}" if flag else ""
        raise MeshError(
            f"{name}: the sign tests agree on {confidence:.1%} of the surface; expected {config.min_confidence:.1%}; "
            f"close the mesh{accept}"
        )
    samples = sample_sdf(prepared.distance, config.sampling, rng=rng)
    return samples, inside_share_near_surface(samples, config.min_inside_share, name=name)


def inside_share_near_surface(samples: SdfSamples, min_share: float, *, name: str) -> float:
    """Return the share of the samples near the surface that are inside; raises MeshError if it is below `min_share`.

    Only samples of the strategy "near" count, since the others prefer one side, and their number must not decide
    whether there is a solid. If there are none of these, all samples count. Samples that DeepSDF made are all of that
    strategy.
    """
    sdf = samples.sdf.astype(np.float64)
    near = np.abs(sdf) < NEAR_SURFACE_DISTANCE
    near_by_strategy = near & (samples.strategy == STRATEGIES.index("near"))
    near = near_by_strategy if near_by_strategy.any() else near
    share = float(np.mean(sdf[near] < 0.0)) if near.any() else 0.0
    if share < min_share:
        raise MeshError(
            f"{name}: {share:.2%} of the samples near the surface are inside; expected at least {min_share:.2%}; "
            "close the mesh, or thicken its sheets"
        )
    return share


def rotation_to_y_up(up: UpAxis) -> Similarity:
    """Return the rotation that turns an up axis to +y."""
    return Similarity(scale=1.0, rotation=np.array(_UPRIGHT_ROTATIONS[up]), offset=np.zeros(3))


def source_up(source: MeshSource, config: PrepareConfig) -> UpAxis:
    """Return the axis that points up in a file: by the settings, else its collection, else its format, else y."""
    return (source.up or file_up_axis(source.path) or "y") if config.up == "auto" else config.up


def source_unit(source: MeshSource, config: PrepareConfig) -> float | None:
    """Return the metres in one unit of a file: by the settings, else its collection, else its format, else None."""
    return config.unit or source.unit or file_unit(source.path)
