"""TODO prepare_mesh."""

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


UPRIGHT: dict[UpAxis, tuple[tuple[float, float, float], ...]] = {
    "x": ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
    "y": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "z": ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0)),
}
"""The rotation that brings each axis to +y: (x, y, z) → (−y, x, z) for x up and (x, z, −y) for z up."""


NEAR_SURFACE = 0.05
"""Samples nearer to the surface than this, in unit-sphere radii, tell whether there is an inside."""


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """How meshes become samples."""

    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """Where the samples lie."""
    up: UpSetting = "auto"
    """The axis that points up in the meshes, turned to +y; auto: what the collection or the file format says, or else y."""
    unit: float | None = None
    """Metres in one unit of the meshes, which is only recorded; None: what the collection or the file format says, if it
    does."""
    test_share: float = 0.2
    """Share of shapes in the test split, of those whose collection states no split."""
    variants: int = 0
    """Stretched copies of each training shape, for small collections (`shapeprior.datasets.splits`)."""
    stretch: float = 0.15
    """Standard deviation of the logarithm of the factors by which those are stretched along each axis."""
    sheet_half_thickness: float = SHEET_HALF_THICKNESS
    """Half the thickness given to surfaces without an inside, in unit-sphere radii."""
    min_confidence: float = 0.3
    """Refuse shapes where the sign tests agree on a smaller share of the surface."""
    min_inside_share: float = 0.01
    """Refuse shapes with a smaller share of their near-surface samples inside: there is no solid to learn."""

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
    T_unit_world: Similarity
    distance: SignedDistance
    clean_report: CleanReport


def prepare_mesh(mesh_world: TriangleMesh, *, name: str, up: UpAxis, sheet_half_thickness: float) -> PreparedMesh:
    """Clean, turn upright and normalise a mesh, and find its inside. Raises MeshError, naming `name`."""
    mesh_world, report = clean_mesh(mesh_world, name=name)
    if len(mesh_world.faces) < 4:
        raise MeshError(
            f"{name}: {len(mesh_world.faces)} distinct faces; expected at least 4, the fewest that bound a solid; "
            "drop the file or model the object"
        )
    T_upright_world = _upright(up)
    T_unit_world = Similarity.to_unit_sphere(T_upright_world.apply(mesh_world.vertices)) @ T_upright_world
    mesh_unit = TriangleMesh(vertices=T_unit_world.apply(mesh_world.vertices), faces=mesh_world.faces)
    distance = SignedDistance(mesh_unit, sheet_half_thickness=sheet_half_thickness)
    if len(distance.surface.faces) == 0:
        raise MeshError(f"{name}: no face borders the outside; expected an outer surface; check the mesh")
    return PreparedMesh(mesh_unit, T_unit_world, distance, report)


def sample_mesh(
    prepared: PreparedMesh, config: PrepareConfig, *, name: str, rng: np.random.Generator, flag: str | None = None
) -> tuple[SdfSamples, float]:
    """Samples of a prepared mesh, and the share of those near the surface that are inside.

    Raises MeshError, naming `name`, if the sign tests agree on too little of it, or too little is inside. `flag` is the option
    that a user may set to accept the mesh, if there is one.
    """
    confidence = prepared.distance.confidence
    if confidence < config.min_confidence:
        accept = f", or accept it with {flag} {math.floor(confidence * 100) / 100}" if flag else ""
        raise MeshError(
            f"{name}: the sign tests agree on {confidence:.1%} of the surface; expected {config.min_confidence:.1%}; close "
            f"the mesh{accept}"
        )
    samples = sample_sdf(prepared.distance, config.sampling, rng=rng)
    return samples, _inside_share(samples, config.min_inside_share, name=name)


def source_up(source: MeshSource, config: PrepareConfig) -> UpAxis:
    """The axis that points up in a file: by the settings, else its collection, else its format, else y."""
    return (source.up or file_up_axis(source.path) or "y") if config.up == "auto" else config.up


def source_unit(source: MeshSource, config: PrepareConfig) -> float | None:
    """Metres in one unit of a file: by the settings, else its collection, else its format; None if nobody says."""
    return config.unit or source.unit or file_unit(source.path)


def _inside_share(samples: SdfSamples, least: float, *, name: str) -> float:
    """Share of the samples near the surface that are inside; raises MeshError if it is too small.

    Those of the strategy "near" tell, since others prefer one side: how many of them are asked for must not decide whether
    there is a solid. All tell if there is none of it. Samples that DeepSDF made are all of it.
    """
    sdf = samples.sdf.astype(np.float64)
    near = np.abs(sdf) < NEAR_SURFACE
    by_area = near & (samples.strategy == STRATEGIES.index("near"))
    near = by_area if by_area.any() else near
    share = float(np.mean(sdf[near] < 0.0)) if near.any() else 0.0
    if share < least:
        raise MeshError(
            f"{name}: {share:.2%} of the samples near the surface are inside; expected at least {least:.2%}; "
            "close the mesh, or thicken its sheets"
        )
    return share


def _upright(up: UpAxis) -> Similarity:
    return Similarity(scale=1.0, rotation=np.array(UPRIGHT[up]), offset=np.zeros(3))
