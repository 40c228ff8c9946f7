"""Partial views of true shapes, as an evaluation takes them: how many together, through which sensor, from where."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from shapeprior.datasets.prepare_mesh import shape_rng
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.transforms import Similarity
from shapeprior.scans.observation import Observation
from shapeprior.scans.simulation import SensorModel, camera_around, render_depth, sample_view


@dataclass(frozen=True, kw_only=True, eq=False)
class ShapeView:
    """What cameras saw of a shape, in its unit frame, and where they stood (see `shapeprior.scans.simulation.view_direction`)."""

    observation: Observation
    azimuths_deg: tuple[float, ...]
    elevations_deg: tuple[float, ...]
    origins_unit: Float[np.ndarray, "sensors 3"]

    def moved(self, freedom: str, *, rng: np.random.Generator) -> tuple[Observation, Similarity]:
        """The view in a frame of its own, and that frame's `T_world_unit`: drawn as far as `freedom` lets the solver find it.

        The scale changes by up to 30 %, the position by up to a radius along each axis; upright turns about +y, free anyhow.
        """
        turn = np.eye(3)
        if freedom == "upright":
            angle = rng.uniform(0.0, 2.0 * np.pi)
            turn[0, 0] = turn[2, 2] = np.cos(angle)
            turn[0, 2], turn[2, 0] = np.sin(angle), -np.sin(angle)
        elif freedom == "free":
            turn = _turn(rng.normal(size=4))
        scale, offset = float(rng.uniform(0.7, 1.3)), rng.uniform(-1.0, 1.0, 3)
        T_world_unit = Similarity(scale=scale, rotation=turn, offset=offset)
        return self.observation.transformed(T_world_unit), T_world_unit


def shape_view(
    surface_unit: TriangleMesh,
    shape_id: str,
    *,
    views: int = 1,
    sensor: SensorModel | None = None,
    resolution: int,
    seed: int,
) -> ShapeView:
    """Depth views of a shape from directions of its own: the first so many of a sequence that seed and id decide.

    Each has `resolution` pixels along each side. Without a sensor model the depth is exact; with one, noise depends on seed, id
    and the number of the view. Raises ScanError if a view shows nothing of the shape.
    """
    rng = shape_rng(seed, shape_id)
    angles = [sample_view(rng) for _ in range(views)]
    seen, origins = [], []
    for number, (azimuth, elevation) in enumerate(angles):
        camera, T_unit_camera = camera_around(azimuth_deg=azimuth, elevation_deg=elevation, resolution=resolution)
        origins.append(T_unit_camera.offset)
        depth = render_depth(surface_unit, camera, T_unit_camera)
        mask = None
        if sensor is not None:
            measured = sensor.measure(depth, camera, rng=shape_rng(seed, f"{shape_id} view {number}"))
            # A hole is no background: only what a perfect camera sees nothing at is free.
            mask = ~((depth > 0) & (measured <= 0))
            depth = np.where(mask, measured, np.nan)
        seen.append(Observation.from_depth(depth, camera, T_unit_camera, mask=mask, background_is_free=True))
    return ShapeView(
        observation=joined(seen),
        azimuths_deg=tuple(azimuth for azimuth, _ in angles),
        elevations_deg=tuple(elevation for _, elevation in angles),
        origins_unit=np.stack(origins),
    )


def joined(views: Sequence[Observation]) -> Observation:
    """Several views of one frame as one. Raises ValueError if there is none, or one does not say where its sensor stood."""
    if not views or any(view.origins_world is None for view in views):
        raise ValueError("expected at least one view, each with the places of its sensor")
    return Observation(
        points_world=np.concatenate([view.points_world for view in views]),
        origins_world=np.concatenate([view.origins_world for view in views if view.origins_world is not None]),
        background_origins=np.concatenate([view.background_origins for view in views]),
        background_directions=np.concatenate([view.background_directions for view in views]),
    )


def _turn(quaternion: Float[np.ndarray, "4"]) -> Float[np.ndarray, "3 3"]:
    """The rotation of a quaternion of any length, real part first."""
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
