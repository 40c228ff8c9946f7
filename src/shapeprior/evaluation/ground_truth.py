"""The true surface of a shape of a data set: scores against it, and partial views of it as simulated depth cameras
take them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from shapeprior.datasets.dataset import Dataset
from shapeprior.evaluation.mesh_metrics import TruePoints, compare
from shapeprior.evaluation.metrics import Metrics, MetricsConfig, Scores
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.sampling import shape_rng
from shapeprior.geometry.transforms import Similarity, rotation_about_y
from shapeprior.scans.observation import Observation, join_views
from shapeprior.scans.simulation import SensorModel, camera_around, render_depth, sample_view
from shapeprior.sdf.signed_distance import SHEET_HALF_THICKNESS, SignedDistance


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The true surface of a shape and its signed distance."""

    surface_unit: TriangleMesh
    """The faces that border the outside."""
    distance: SignedDistance


def load_ground_truth(data: Dataset, shape_id: str) -> GroundTruth:
    """Load the cleaned mesh of a shape, and give it the sign that it was prepared with."""
    distance = SignedDistance(data.mesh_unit(shape_id), sheet_half_thickness=sheet_half_thickness(data))
    return GroundTruth(surface_unit=distance.surface, distance=distance)


def sheet_half_thickness(data: Dataset) -> float:
    """Return the half thickness of sheets, in unit-sphere radii, that a data set was prepared with."""
    return float(data.settings.get("prepare", {}).get("sheet_half_thickness", SHEET_HALF_THICKNESS))


def score(predicted_unit: TriangleMesh, truth: GroundTruth, *, seed: int, config: MetricsConfig) -> Metrics:
    """Return the metrics of a predicted mesh. Raises MeshError for a mesh that is no surface."""
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
    """Return the metrics of a predicted mesh, also on the parts that sensors at `origins_unit` see and do not see.

    Args:
        predicted_unit: The mesh to score, in the unit frame of the true shape.
        truth: The true shape.
        origins_unit: Positions of the sensors; None scores the whole surface only.
        seed: Seed of the points that are compared.
        config: How many points are compared.
        points: What `TruePoints.draw` makes of these arguments, if it is there already.

    Raises:
        MeshError: If the predicted mesh is no surface.
    """
    points = points or TruePoints.draw(truth.distance, seed=seed, config=config, origins_unit=origins_unit)
    return compare(predicted_unit, points, seed=seed, config=config)


@dataclass(frozen=True, kw_only=True, eq=False)
class ShapeView:
    """A partial view of a shape, in its unit frame, and the positions of the cameras that took it.

    The angles are those of `shapeprior.scans.simulation.view_direction`, one for each camera.
    """

    observation: Observation
    azimuths_deg: tuple[float, ...]
    elevations_deg: tuple[float, ...]
    origins_unit: Float[np.ndarray, "sensors 3"]

    def transformed(self, mode: str, *, rng: np.random.Generator) -> tuple[Observation, Similarity]:
        """Move the view into a frame that is drawn at random; returns the view and that frame's `T_world_unit`.

        The frame differs in what a solver with the placement mode `mode` has to find. The scale changes by up to 30 %,
        the position by up to one radius along each axis; in the mode upright the frame turns about +y, in the mode free
        about any axis.
        """
        rotation = np.eye(3)
        if mode == "upright":
            rotation = rotation_about_y(rng.uniform(0.0, 2.0 * np.pi))
        elif mode == "free":
            rotation = _rotation_from_quaternion(rng.normal(size=4))
        scale, offset = float(rng.uniform(0.7, 1.3)), rng.uniform(-1.0, 1.0, 3)
        T_world_unit = Similarity(scale=scale, rotation=rotation, offset=offset)
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
    """Take depth views of a shape and join them into one.

    The directions are a sequence of the shape's own, drawn from seed and id: more views begin with the fewer. Without a
    sensor model the depth is exact. With one, the noise depends on seed, id and the number of the view.

    Args:
        surface_unit: The true surface, in the unit frame.
        shape_id: The shape's id.
        views: Number of views.
        sensor: The sensor model.
        resolution: Pixels along each side of a depth image.
        seed: Seed of directions and noise.

    Raises:
        ScanError: If a view shows nothing of the shape.
    """
    rng = shape_rng(seed, shape_id)
    angles = [sample_view(rng) for _ in range(views)]
    depth_views, origins = [], []
    for number, (azimuth, elevation) in enumerate(angles):
        camera, T_unit_camera = camera_around(azimuth_deg=azimuth, elevation_deg=elevation, resolution=resolution)
        origins.append(T_unit_camera.offset)
        depth = render_depth(surface_unit, camera, T_unit_camera)
        mask = None
        if sensor is not None:
            measured = sensor.measure(depth, camera, rng=shape_rng(seed, f"{shape_id} view {number}"))
            # Holes in the measured depth are not background: only pixels where a perfect camera sees nothing are free.
            mask = ~((depth > 0) & (measured <= 0))
            depth = np.where(mask, measured, np.nan)
        depth_views.append(Observation.from_depth(depth, camera, T_unit_camera, mask=mask, background_is_free=True))
    return ShapeView(
        observation=join_views(depth_views),
        azimuths_deg=tuple(azimuth for azimuth, _ in angles),
        elevations_deg=tuple(elevation for _, elevation in angles),
        origins_unit=np.stack(origins),
    )


def _rotation_from_quaternion(quaternion: Float[np.ndarray, "4"]) -> Float[np.ndarray, "3 3"]:
    """Return the rotation matrix of a quaternion of any length, real part first."""
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
