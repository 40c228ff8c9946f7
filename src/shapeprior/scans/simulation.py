"""Simulated scans: viewpoints around the unit sphere, rendered depth images of meshes, and the faults of depth cameras.

`SensorModel` turns a clean depth image into that of a camera with noise, quantisation, flying pixels, holes and
outliers, at graded levels. The standard deviation of the axial noise grows with the square of the distance, sigma(z) =
0.0012 + 0.0019 (z - 0.4)² metres (Nguyen, Izadi and Lovell 2012, "Modeling Kinect sensor noise for improved 3D
reconstruction and tracking"). Measured depth has steps of 0.00285 z² metres (Khoshelham and Elberink 2012, "Accuracy
and resolution of Kinect depth data for indoor mapping applications"). Faults at silhouettes and on slanted surfaces
differ from camera to camera; the shares below are this package's choice.
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

SensorLevel = Literal["clean", "good", "consumer", "poor"]
DEPTH_STEP = 2.85e-3
"""Step of the measured depth at one metre, in metres; it grows with the square of the distance."""
MAX_FLYING_DISTANCE = 0.05
"""Largest distance of a flying pixel behind the object, in metres."""
MAX_OUTLIER_DISTANCE = 0.15
"""Largest distance of an outlier from the median depth, in metres."""
HOLE_RADIUS = 2
"""Radius of a hole, in pixels."""
HOLE_PIXELS = 13.0
"""Pixels that a hole of this radius covers."""


def render_depth(
    mesh_world: TriangleMesh | RayScene, camera: PinholeCamera, T_world_camera: Similarity
) -> Float[np.ndarray, "height width"]:
    """Render the depth image of a mesh: z in the camera frame, in that frame's length unit; 0 where no face is seen.

    Args:
        mesh_world: The mesh, or its `RayScene`, which saves the preparation when many views are taken.
        camera: Intrinsics.
        T_world_camera: Pose of the camera.
    """
    return render_hits(mesh_world, camera, T_world_camera)[0]


def render_hits(
    mesh_world: TriangleMesh | RayScene, camera: PinholeCamera, T_world_camera: Similarity
) -> tuple[Float[np.ndarray, "height width"], Int[np.ndarray, "height width"]]:
    """Render the depth image as `render_depth` does, and the face that each pixel sees (-1 for none)."""
    scene = mesh_world if isinstance(mesh_world, RayScene) else RayScene(mesh_world)
    rays_camera = camera.pixel_rays().reshape(-1, 3)
    has_ray = np.isfinite(rays_camera[:, 0])
    rays_camera[~has_ray] = (0.0, 0.0, 1.0)  # Pixels without a ray see nothing; any direction will do.
    directions_world = T_world_camera.apply_vectors(rays_camera)
    origins_world = np.broadcast_to(T_world_camera.offset, directions_world.shape)
    distance_world, face = scene.first_hit(origins_world, directions_world)
    # The rays have z = 1, so depth is the distance over the ray's length, in camera units.
    depth = distance_world / (T_world_camera.scale * np.linalg.norm(rays_camera, axis=1))
    shape = (camera.height, camera.width)
    return np.where(np.isfinite(depth) & has_ray, depth, 0.0).reshape(shape), np.where(has_ray, face, -1).reshape(shape)


def view_direction(*, azimuth_deg: float, elevation_deg: float) -> Float[np.ndarray, "3"]:
    """Return the unit vector from the origin of the unit frame towards the viewer.

    Args:
        azimuth_deg: Angle about +y, counter-clockwise seen from above: 0 is +z, 90 is +x.
        elevation_deg: Angle above the horizon: 0 is level, 90 is straight above (+y).
    """
    azimuth, elevation = np.deg2rad(azimuth_deg), np.deg2rad(elevation_deg)
    horizontal = np.cos(elevation)
    return np.array([horizontal * np.sin(azimuth), np.sin(elevation), horizontal * np.cos(azimuth)])


def camera_around(
    *,
    azimuth_deg: float,
    elevation_deg: float,
    distance: float = 3.0,
    field_of_view_deg: float | None = None,
    resolution: int,
) -> tuple[PinholeCamera, Similarity]:
    """Return a camera with a square image that looks at the origin of the unit frame.

    Args:
        azimuth_deg: As for `view_direction`.
        elevation_deg: As for `view_direction`.
        distance: Distance from the origin to the pinhole, in unit-sphere radii; more than 1.
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
    center = 0.5 * (resolution - 1)
    camera = PinholeCamera(fx=focal, fy=focal, cx=center, cy=center, width=resolution, height=resolution)
    eye = distance * view_direction(azimuth_deg=azimuth_deg, elevation_deg=elevation_deg)
    return camera, look_at(eye, np.zeros(3))


def sample_view(rng: np.random.Generator) -> tuple[float, float]:
    """Draw a viewpoint: azimuth uniform over the circle, elevation uniform from -20 to 60, both in degrees."""
    return float(rng.uniform(0.0, 360.0)), float(rng.uniform(-20.0, 60.0))


@dataclass(frozen=True, kw_only=True)
class SensorModel:
    """Faults of a depth camera that looks at an object; the defaults are a camera without faults."""

    metres_per_unit: float = 0.1
    """Metres in one unit of the depth image. The unit sphere of a mug has a radius of about 0.07 m; 0.1 makes it a
    large one."""
    stand_off: float = 0.4
    """Metres by which the real camera stands farther off than the rendered one, added to every depth for noise and
    steps."""
    noise: float = 0.0
    """Axial noise, as a multiple of that of Nguyen et al."""
    steps: float = 0.0
    """Size of the depth's steps, as a multiple of `DEPTH_STEP`."""
    flying: float = 0.0
    """Share of the silhouette's pixels that lie between the object and its background."""
    slant_deg: float = 90.0
    """Largest angle between a measured surface's normal and the ray, in degrees."""
    holes: float = 0.0
    """Share of the pixels that are lost in blobs of a few pixels, as on dark or shiny spots."""
    outliers: float = 0.0
    """Share of the pixels whose depth is random, within 0.15 m of the object's."""

    def __post_init__(self) -> None:
        check_numbers(self, positive=("metres_per_unit",), not_negative=("stand_off", "noise", "steps"))
        for name in ("flying", "holes", "outliers"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} = {getattr(self, name)}; expected a share, 0 to 1")
        if not 0.0 < self.slant_deg <= 90.0:
            raise ConfigError(f"slant_deg = {self.slant_deg}; expected more than 0 and at most 90")

    @classmethod
    def level(cls, name: SensorLevel) -> "SensorModel":
        """Return a level: no faults, an industrial camera, the consumer camera of the papers, or one that works
        badly."""
        return {
            "clean": cls(),
            "good": cls(noise=0.3, steps=0.1, flying=0.1, slant_deg=85.0),
            "consumer": cls(noise=1.0, steps=0.3, flying=0.3, slant_deg=80.0, holes=0.02),
            "poor": cls(noise=2.0, steps=1.0, flying=0.6, slant_deg=75.0, holes=0.1, outliers=0.05),
        }[name]

    def measure(
        self, depth: Float[np.ndarray, "height width"], camera: PinholeCamera, *, rng: np.random.Generator
    ) -> Float[np.ndarray, "height width"]:
        """Measure a clean depth image, in its unit; 0 where nothing is seen or the camera measures nothing."""
        seen = depth > 0.0
        if not seen.any():
            return depth.copy()
        unit = self.metres_per_unit
        distance_m = depth * unit + self.stand_off
        edge = seen & np.logical_not(binary_erosion(seen, generate_binary_structure(2, 2)))
        measured = np.where(_slant_deg(depth, camera, seen) <= self.slant_deg, depth, 0.0)
        measured += np.where(
            measured > 0, rng.normal(size=depth.shape) * self.noise * _axial_noise(distance_m) / unit, 0.0
        )
        if self.steps:
            step = self.steps * DEPTH_STEP * distance_m**2 / unit
            measured = np.where(measured > 0, np.round(measured / step) * step, 0.0)
        is_flying = edge & (rng.random(depth.shape) < self.flying)
        measured = np.where(is_flying, depth + MAX_FLYING_DISTANCE / unit * rng.random(depth.shape), measured)
        if self.outliers:
            is_outlier = seen & (rng.random(depth.shape) < self.outliers)
            offset_m = rng.uniform(-MAX_OUTLIER_DISTANCE, MAX_OUTLIER_DISTANCE, depth.shape)
            measured = np.where(is_outlier, np.median(depth[seen]) + offset_m / unit, measured)
        if self.holes:
            centers = rng.random(depth.shape) < self.holes / HOLE_PIXELS
            measured = np.where(maximum_filter(centers, footprint=_disc(HOLE_RADIUS)), 0.0, measured)
        return np.where(seen, np.maximum(measured, 0.0), 0.0)


def _slant_deg(
    depth: Float[np.ndarray, "height width"], camera: PinholeCamera, seen: Bool[np.ndarray, "height width"]
) -> Float[np.ndarray, "height width"]:
    """Return the angle between each pixel's ray and the surface's normal, from differences to seen neighbours."""
    rays = camera.pixel_rays()
    points = np.where(seen[..., None], rays * depth[..., None], np.nan)
    across, down = np.gradient(points, axis=1), np.gradient(points, axis=0)
    normal = np.cross(across, down)
    length = np.linalg.norm(normal, axis=2) * np.linalg.norm(rays, axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = np.abs(np.einsum("hwi,hwi->hw", normal, rays)) / length
    # Pixels beside the background have no normal, and count as seen straight on: they belong to the silhouette.
    return np.rad2deg(np.arccos(np.clip(np.nan_to_num(cosine, nan=1.0), 0.0, 1.0)))


def _axial_noise(metres: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Return the standard deviation of the depth at a distance, both in metres."""
    return 0.0012 + 0.0019 * (metres - 0.4) ** 2


def _disc(radius: int) -> Bool[np.ndarray, "side side"]:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return x * x + y * y <= radius * radius
