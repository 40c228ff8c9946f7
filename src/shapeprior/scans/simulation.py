"""Depth images of meshes, and viewpoints around the unit sphere.

What a depth camera makes of a clean depth image: noise, steps, flying pixels, holes and outliers, at graded levels.

Axial noise grows with the square of the distance, sigma(z) = 0.0012 + 0.0019 (z - 0.4)² metres (Nguyen, Izadi and Lovell 2012,
"Modeling Kinect sensor noise for improved 3D reconstruction and tracking"), and the measured depth has steps of 0.00285 z² metres
(Khoshelham and Elberink 2012, "Accuracy and resolution of Kinect depth data for indoor mapping applications"). What happens at
silhouettes and on slanted surfaces differs from camera to camera; the shares below are ours.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import binary_erosion, generate_binary_structure, maximum_filter

from shapeprior.config import check_numbers
from shapeprior.errors import ConfigError
from shapeprior.geometry.camera import PinholeCamera, look_at
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.raycasting import RayScene
from shapeprior.geometry.transforms import Similarity


def render_depth(
    mesh_world: TriangleMesh | RayScene, camera: PinholeCamera, T_world_camera: Similarity
) -> Float[np.ndarray, "height width"]:
    """Depth image of a mesh: z in the camera frame, in that frame's length unit; 0 where no face is seen.

    Args:
        mesh_world: The mesh, or its `RayScene`, which saves the preparation when many views are taken.
        camera: Intrinsics.
        T_world_camera: Where the camera stands.
    """
    return render_hits(mesh_world, camera, T_world_camera)[0]


def render_hits(
    mesh_world: TriangleMesh | RayScene, camera: PinholeCamera, T_world_camera: Similarity
) -> tuple[Float[np.ndarray, "height width"], Int[np.ndarray, "height width"]]:
    """As `render_depth`, and which face each pixel sees (-1 where none)."""
    scene = mesh_world if isinstance(mesh_world, RayScene) else RayScene(mesh_world)
    rays_camera = camera.pixel_rays().reshape(-1, 3)
    met = np.isfinite(rays_camera[:, 0])
    rays_camera[~met] = (0.0, 0.0, 1.0)  # Of pixels that no ray meets; they see nothing.
    directions_world = T_world_camera.apply_vectors(rays_camera)
    origins_world = np.broadcast_to(T_world_camera.offset, directions_world.shape)
    distance_world, face = scene.first_hit(origins_world, directions_world)
    # The rays have z = 1, so depth is the distance over the ray's length, in camera units.
    depth = distance_world / (T_world_camera.scale * np.linalg.norm(rays_camera, axis=1))
    shape = (camera.height, camera.width)
    return np.where(np.isfinite(depth) & met, depth, 0.0).reshape(shape), np.where(met, face, -1).reshape(shape)


def view_direction(*, azimuth_deg: float, elevation_deg: float) -> Float[np.ndarray, "3"]:
    """Unit vector from the origin of the unit frame towards the viewer.

    Args:
        azimuth_deg: 0 is +z, 90 is +x: counter-clockwise seen from above.
        elevation_deg: 0 is level, 90 straight above (+y).
    """
    azimuth, elevation = np.deg2rad(azimuth_deg), np.deg2rad(elevation_deg)
    level = np.cos(elevation)
    return np.array([level * np.sin(azimuth), np.sin(elevation), level * np.cos(azimuth)])


def camera_around(
    *,
    azimuth_deg: float,
    elevation_deg: float,
    distance: float = 3.0,
    field_of_view_deg: float | None = None,
    resolution: int,
) -> tuple[PinholeCamera, Similarity]:
    """A square camera that looks at the origin of the unit frame.

    Args:
        azimuth_deg: As for `view_direction`.
        elevation_deg: As for `view_direction`.
        distance: From the origin to the pinhole, in unit-sphere radii; more than 1.
        field_of_view_deg: Angle between opposite edges of the image, in degrees; None makes the unit sphere touch them.
        resolution: Pixels along each side.

    Returns:
        The camera and ``T_unit_camera``.

    Raises:
        ConfigError: a value is outside its range.
    """
    if not (np.isfinite(distance) and distance > 1):
        raise ConfigError(f"distance {distance}; expected more than 1, the radius of the unit sphere")
    if field_of_view_deg is None:
        half_angle = float(np.arcsin(1.0 / distance))
    elif 0 < field_of_view_deg < 180:
        half_angle = float(np.deg2rad(field_of_view_deg) / 2)
    else:
        raise ConfigError(f"field_of_view_deg {field_of_view_deg}; expected more than 0 and less than 180")
    focal = 0.5 * resolution / float(np.tan(half_angle))
    middle = 0.5 * (resolution - 1)
    camera = PinholeCamera(fx=focal, fy=focal, cx=middle, cy=middle, width=resolution, height=resolution)
    eye = distance * view_direction(azimuth_deg=azimuth_deg, elevation_deg=elevation_deg)
    return camera, look_at(eye, np.zeros(3))


def sample_view(rng: np.random.Generator) -> tuple[float, float]:
    """A random viewpoint: azimuth uniform over the circle, elevation uniform from -20 to 60, both in degrees."""
    return float(rng.uniform(0.0, 360.0)), float(rng.uniform(-20.0, 60.0))


SensorLevel = Literal["clean", "good", "consumer", "poor"]
QUANTUM = 2.85e-3
"""Step of the depth at one metre, in metres; it grows with the square of the distance."""


@dataclass(frozen=True, kw_only=True)
class SensorModel:
    """Faults of one camera looking at one object; everything 0 is a perfect one."""

    metres_per_unit: float = 0.1
    """Length of the depth image's unit. A mug's unit sphere has a radius of about 0.07 m; 0.1 makes it a large one."""
    stand_off: float = 0.4
    """Metres that are added to every depth before noise and steps are worked out: how much farther off the camera really was."""
    noise: float = 0.0
    """Multiple of the axial noise of Nguyen et al."""
    steps: float = 0.0
    """Multiple of the depth's quantum."""
    flying: float = 0.0
    """Share of the pixels at the silhouette that lie between the object and what is behind it."""
    slant_deg: float = 90.0
    """Surfaces that are seen at a larger angle than this from their normal are not measured."""
    holes: float = 0.0
    """Share of the pixels that are not measured, in blobs of a few pixels: dark or shiny spots."""
    outliers: float = 0.0
    """Share of the pixels whose depth is anywhere within 0.15 m of the object."""

    def __post_init__(self) -> None:
        check_numbers(self, positive=("metres_per_unit",), not_negative=("stand_off", "noise", "steps"))
        for name in ("flying", "holes", "outliers"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} = {getattr(self, name)}; expected a share, 0 to 1")
        if not 0.0 < self.slant_deg <= 90.0:
            raise ConfigError(f"slant_deg = {self.slant_deg}; expected more than 0 and at most 90")

    @classmethod
    def level(cls, name: SensorLevel) -> "SensorModel":
        """A graded level: no fault, an industrial camera, the documented consumer depth camera, one that works badly."""
        return {
            "clean": cls(),
            "good": cls(noise=0.3, steps=0.1, flying=0.1, slant_deg=85.0),
            "consumer": cls(noise=1.0, steps=0.3, flying=0.3, slant_deg=80.0, holes=0.02),
            "poor": cls(noise=2.0, steps=1.0, flying=0.6, slant_deg=75.0, holes=0.1, outliers=0.05),
        }[name]

    def measure(
        self, depth: Float[np.ndarray, "height width"], camera: PinholeCamera, *, rng: np.random.Generator
    ) -> Float[np.ndarray, "height width"]:
        """What the camera reports of a clean depth image (0 where nothing is), in the image's unit; 0 where it measures nothing."""
        seen = depth > 0.0
        if not seen.any():
            return depth.copy()
        unit = self.metres_per_unit
        far = depth * unit + self.stand_off
        edge = seen & np.logical_not(binary_erosion(seen, generate_binary_structure(2, 2)))
        measured = np.where(self._slant(depth, camera, seen) <= self.slant_deg, depth, 0.0)
        measured += np.where(measured > 0, rng.normal(size=depth.shape) * self.noise * _axial(far) / unit, 0.0)
        if self.steps:
            step = self.steps * QUANTUM * far**2 / unit
            measured = np.where(measured > 0, np.round(measured / step) * step, 0.0)
        flies = edge & (rng.random(depth.shape) < self.flying)
        measured = np.where(flies, depth + 0.05 / unit * rng.random(depth.shape), measured)
        if self.outliers:
            strays = seen & (rng.random(depth.shape) < self.outliers)
            anywhere = np.median(depth[seen]) + rng.uniform(-0.15, 0.15, depth.shape) / unit
            measured = np.where(strays, anywhere, measured)
        if self.holes:
            # A blob of a radius of two pixels covers about thirteen.
            seeds = rng.random(depth.shape) < self.holes / 13.0
            measured = np.where(maximum_filter(seeds, footprint=_disc(2)), 0.0, measured)
        return np.where(seen, np.maximum(measured, 0.0), 0.0)

    def _slant(
        self, depth: Float[np.ndarray, "height width"], camera: PinholeCamera, seen: Bool[np.ndarray, "height width"]
    ) -> Float[np.ndarray, "height width"]:
        """Angle between each pixel's ray and the surface's normal, in degrees, from differences to the neighbours that are seen."""
        rays = camera.pixel_rays()
        points = np.where(seen[..., None], rays * depth[..., None], np.nan)
        across, down = np.gradient(points, axis=1), np.gradient(points, axis=0)
        normal = np.cross(across, down)
        length = np.linalg.norm(normal, axis=2) * np.linalg.norm(rays, axis=2)
        with np.errstate(invalid="ignore", divide="ignore"):
            cosine = np.abs(np.einsum("hwi,hwi->hw", normal, rays)) / length
        # Pixels beside the background have no difference; they are the silhouette's.
        return np.rad2deg(np.arccos(np.clip(np.nan_to_num(cosine, nan=1.0), 0.0, 1.0)))


def _axial(metres: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Standard deviation of the depth, in metres."""
    return 0.0012 + 0.0019 * (metres - 0.4) ** 2


def _disc(radius: int) -> Bool[np.ndarray, "side side"]:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return x * x + y * y <= radius * radius
