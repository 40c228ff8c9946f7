"""The true surface of a shape of a data set, and how well a mesh matches it.

Partial views of true shapes, as an evaluation takes them: how many together, through which sensor, from where.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from shapeprior.datasets.dataset import Dataset
from shapeprior.datasets.prepare_mesh import shape_rng
from shapeprior.evaluation.mesh_metrics import TruePoints, compare_with, require_surface
from shapeprior.evaluation.metrics import Metrics, MetricsConfig, Scores
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.transforms import Similarity, rotation_about_y
from shapeprior.scans.observation import Observation
from shapeprior.scans.simulation import SensorModel, camera_around, render_depth, sample_view
from shapeprior.sdf.signed_distance import SHEET_HALF_THICKNESS, SignedDistance


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The true surface of a shape and its inside."""

    surface_unit: TriangleMesh
    distance: SignedDistance


def load_ground_truth(data: Dataset, shape_id: str) -> GroundTruth:
    """The cleaned mesh of a shape, with the faces that border the outside and the sign as it was prepared."""
    distance = SignedDistance(data.mesh_unit(shape_id), sheet_half_thickness=sheet_half_thickness(data))
    return GroundTruth(surface_unit=distance.surface, distance=distance)


def sheet_half_thickness(data: Dataset) -> float:
    """What the data set was prepared with."""
    return float(data.settings.get("prepare", {}).get("sheet_half_thickness", SHEET_HALF_THICKNESS))


def score(predicted_unit: TriangleMesh, truth: GroundTruth, *, seed: int, config: MetricsConfig) -> Metrics:
    """Metrics of a mesh against the truth. Raises MeshError for a mesh that is no surface."""
    return score_view(predicted_unit, truth, None, seed=seed, config=config).whole


def score_view(
    predicted_unit: TriangleMesh,
    truth: GroundTruth,
    origins_unit: Float[np.ndarray, "sensors 3"] | None,
    *,
    seed: int,
    config: MetricsConfig,
    points: TruePoints | None = None,
) -> Scores:
    """The same, with the parts that sensors at `origins_unit` see and do not see; `points` are `TruePoints.draw`'s for these."""
    require_surface(predicted_unit)
    points = points or TruePoints.draw(truth.surface_unit, seed=seed, config=config, origins_unit=origins_unit)
    return compare_with(
        predicted_unit,
        points,
        SignedDistance(predicted_unit).inside,
        lambda asked: truth.distance(asked) < 0.0,
        seed=seed,
        config=config,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class ShapeView:
    """What cameras saw of a shape, in its unit frame, and where they stood (see `shapeprior.scans.simulation.view_direction`)."""

    observation: Observation
    azimuths_deg: tuple[float, ...]
    elevations_deg: tuple[float, ...]
    origins_unit: Float[np.ndarray, "sensors 3"]

    def transformed(self, mode: str, *, rng: np.random.Generator) -> tuple[Observation, Similarity]:
        """The view in a frame of its own, and that frame's `T_world_unit`: drawn as far as `mode` lets the solver find it.

        The scale changes by up to 30 %, the position by up to a radius along each axis; upright turns about +y, free anyhow.
        """
        turn = np.eye(3)
        if mode == "upright":
            turn = rotation_about_y(rng.uniform(0.0, 2.0 * np.pi))
        elif mode == "free":
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
