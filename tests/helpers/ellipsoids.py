"""An analytic stand-in for a trained prior: a decoder whose codes are the half axes of ellipsoids, and views of them.

Not a test file: `test_solver`, `test_prior`, `test_evaluate` and others import it.
"""

import numpy as np
import torch
from torch import Tensor, nn

from shapeprior.completion.prior import ShapePrior
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.transforms import UNIT_SPHERE_BUFFER
from shapeprior.models.checkpoint import RunConfig
from shapeprior.models.decoder import Decoder
from shapeprior.models.deepsdf import DeepSdfConfig
from shapeprior.models.presets import TrainConfig
from shapeprior.scans.observation import Observation
from shapeprior.scans.simulation import camera_around

MIDDLE, SPREAD = 0.55, 0.15
LONG = 1.0 / UNIT_SPHERE_BUFFER
"""The half axis along y, which the unit frame's normalisation fixes."""


class EllipsoidDecoder(Decoder):
    """f is negative inside and, to first order, the distance from the ellipsoid with half axes `axes_of(code)`."""

    def __init__(self) -> None:
        super().__init__()
        self.code_size = 2
        self.middle = nn.Parameter(torch.tensor(MIDDLE))
        self.spread = nn.Parameter(torch.tensor(SPREAD), requires_grad=False)

    def prepare(self, codes: Tensor) -> tuple[Tensor, ...]:
        sides = (self.middle + self.spread * codes).clamp_min(0.05)
        return (torch.stack([sides[:, 0], torch.full_like(sides[:, 0], LONG), sides[:, 1]], dim=1),)

    def query(self, prepared: tuple[Tensor, ...], points_unit: Tensor) -> Tensor:
        (axes,) = prepared
        once = (points_unit / axes[:, None]).square().sum(-1).add(1e-12).sqrt()
        twice = (points_unit / axes[:, None].square()).square().sum(-1).add(1e-12).sqrt()
        return once * (once - 1.0) / twice


class PositiveDecoder(EllipsoidDecoder):
    """A field without a surface."""

    def query(self, prepared: tuple[Tensor, ...], points_unit: Tensor) -> Tensor:
        return super().query(prepared, points_unit).abs() + 0.1


def axes_of(code: np.ndarray) -> np.ndarray:
    """Half axes in the unit frame of a code."""
    return np.array([MIDDLE + SPREAD * code[0], LONG, MIDDLE + SPREAD * code[1]])


def training_codes() -> Tensor:
    """Codes of a grid of ellipsoids."""
    steps = torch.linspace(-1.5, 1.5, 5)
    return torch.cartesian_prod(steps, steps)


def ellipsoid_prior(decoder: Decoder | None = None) -> ShapePrior:
    """The stand-in as users hold a prior."""
    codes = training_codes()
    config = RunConfig(
        decoder=DeepSdfConfig(code_size=2),
        train=TrainConfig(),
        seed=0,
        shape_ids=tuple(f"ellipsoid_{number}" for number in range(len(codes))),
        dataset={},
    )
    return ShapePrior(decoder=decoder or EllipsoidDecoder(), codes=codes, config=config)


def ellipsoid_view(code: np.ndarray, *, azimuth_deg: float = 30.0, resolution: int = 64) -> Observation:
    """A depth view of an ellipsoid in the unit frame, from the quadratic of |(eye + z ray) / axes| = 1."""
    camera, pose = camera_around(azimuth_deg=azimuth_deg, elevation_deg=25.0, resolution=resolution)
    rays = pose.apply_vectors(camera.pixel_rays()) / axes_of(code)
    eye = pose.offset / axes_of(code)
    a, b, c = np.sum(rays * rays, axis=2), rays @ eye, eye @ eye - 1.0
    inside = b * b - a * c
    depth = np.where(inside > 0, (-b - np.sqrt(np.maximum(inside, 0.0))) / a, 0.0)
    return Observation.from_depth(depth, camera, pose, background_is_free=True)


def off_ellipsoid(mesh_unit: TriangleMesh, code: np.ndarray) -> np.ndarray:
    """How far the vertices are from the ellipsoid of a code, to first order, in unit-sphere radii."""
    scaled = mesh_unit.vertices / axes_of(code)
    once = np.linalg.norm(scaled, axis=1)
    return np.abs(once * (once - 1.0) / np.linalg.norm(scaled / axes_of(code), axis=1))
