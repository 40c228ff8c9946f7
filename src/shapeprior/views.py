"""Depth images of meshes, and viewpoints around the unit sphere."""

import numpy as np
from jaxtyping import Float, Int

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
