"""Training data of an encoder: partial, noisy views of a prior's training shapes, with their true placements.

Views are rendered once (`ShapeViews.render`). Each batch draws points of some of them and spoils them anew
(`ShapeViews.batch`).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial.transform import Rotation

from shapeprior.config import check_numbers
from shapeprior.errors import ConfigError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.raycasting import RayScene
from shapeprior.geometry.transforms import rotation_about_y
from shapeprior.models.encoder import view_frames
from shapeprior.scans.simulation import camera_around, render_depth, sample_view

POINTS_PER_VIEW = 768
"""Points that are stored of a view; each batch draws from them."""
MAX_TILT_DEG = 15.0
"""Views whose +y is up to this many degrees from up count as upright."""
MIN_FALLEN_DEG = 25.0
"""Views whose +y is this many degrees or more from up count as fallen. There are none between the two."""
MIN_VISIBLE_POINTS = 20
"""Views with fewer points are not used."""


@dataclass(frozen=True, kw_only=True)
class ViewConfig:
    """How views are taken and spoilt."""

    resolution: int = 56
    """Pixels along each side of the depth images."""
    min_distance: float = 1.8
    """Smallest distance of the camera from the shape's centre, in unit-sphere radii."""
    max_distance: float = 6.0
    """Largest distance."""
    any_direction_share: float = 0.35
    """Share of views from anywhere on the sphere. The others are as `shapeprior.scans.simulation.sample_view` takes
    them."""
    max_noise: float = 0.02
    """Largest standard deviation of the noise along the rays, in unit-sphere radii. Each view has one of its own."""
    max_outlier_share: float = 0.05
    """Largest share of outliers, which lie anywhere near the shape. Half of the views have none."""
    cropped_share: float = 0.3
    """Share of views from which a plane cuts off up to 40 % of the points, as occlusion or a mask that is too small
    would."""
    no_sensor_share: float = 0.1
    """Share of views whose sensor is not known."""
    two_views_share: float = 0.15
    """Share of views that are joined with a second one."""
    tilted_share: float = 0.15
    """Share of views that are tilted by up to `MAX_TILT_DEG`; they count as upright."""
    fallen_share: float = 0.25
    """Share of views that lie in any other way, which an encoder must tell from upright ones."""

    def __post_init__(self) -> None:
        shares = (
            *("any_direction_share", "max_outlier_share", "cropped_share", "no_sensor_share"),
            *("two_views_share", "tilted_share", "fallen_share"),
        )
        check_numbers(self, at_least_one=("resolution",), not_negative=("max_noise", *shares))
        for name in shares:
            if getattr(self, name) > 1.0:
                raise ConfigError(f"{name} = {getattr(self, name)}; expected a share, 0 to 1")
        if not 1.0 < self.min_distance <= self.max_distance:
            raise ConfigError(
                f"min_distance = {self.min_distance}, max_distance = {self.max_distance}; expected more than 1, the "
                "smaller first"
            )


@dataclass(frozen=True, eq=False)
class ShapeViews:
    """Views of some shapes in the unit frame, with `POINTS_PER_VIEW` points each; points repeat in views that saw
    fewer."""

    points_unit: Float[np.ndarray, "views stored 3"]
    sensors_unit: Float[np.ndarray, "views 3"]
    shapes: Int[np.ndarray, "views"]
    """Number of the shape of each view."""

    @classmethod
    def render(
        cls, mesh_unit: TriangleMesh, shape: int, *, count: int, config: ViewConfig, rng: np.random.Generator
    ) -> "ShapeViews | None":
        """Render `count` views of a mesh, which is shape number `shape`.

        Views that show next to nothing are left out; the result is None if all do.
        """
        points, sensors = [], []
        scene = RayScene(mesh_unit)
        for _ in range(count):
            azimuth, elevation = sample_view(rng)
            if rng.random() < config.any_direction_share:
                elevation = float(np.rad2deg(np.arcsin(rng.uniform(-1.0, 1.0))))
            # Uniform in the inverse, because views from afar differ little.
            distance = 1.0 / rng.uniform(1.0 / config.max_distance, 1.0 / config.min_distance)
            camera, pose = camera_around(
                azimuth_deg=azimuth, elevation_deg=elevation, distance=distance, resolution=config.resolution
            )
            visible = pose.apply(camera.back_project(render_depth(scene, camera, pose)))
            if len(visible) < MIN_VISIBLE_POINTS:
                continue
            points.append(np.resize(rng.permutation(visible), (POINTS_PER_VIEW, 3)).astype(np.float32))
            sensors.append(pose.offset)
        if not points:
            return None
        return cls(np.stack(points), np.stack(sensors), np.full(len(points), shape))

    @classmethod
    def concatenated(cls, parts: "list[ShapeViews]") -> "ShapeViews":
        """Return the views of all parts, one part after the other."""
        return cls(
            np.concatenate([part.points_unit for part in parts]),
            np.concatenate([part.sensors_unit for part in parts]),
            np.concatenate([part.shapes for part in parts]),
        )

    def batch(self, rows: np.ndarray, *, points: int, config: ViewConfig, rng: np.random.Generator) -> "EncoderBatch":
        """Return `points` points of each of some views, spoilt and in their view frames."""
        count = len(rows)
        chosen = np.argsort(rng.random((count, POINTS_PER_VIEW)), axis=1)[:, :points]
        seen = np.take_along_axis(self.points_unit[rows], chosen[..., None], axis=1).astype(np.float64)
        sensors = self.sensors_unit[rows].copy()
        origins = np.repeat(sensors[:, None], points, axis=1)
        seen, origins = self._with_second_views(seen, origins, rows, config, rng)
        rays = seen - origins
        rays /= np.linalg.norm(rays, axis=2, keepdims=True)
        noise = config.max_noise * np.square(rng.random((count, 1)))  # Small noise is more common.
        seen = seen + rays * (noise * rng.normal(size=(count, points)))[..., None]
        outlier_share = np.maximum(rng.uniform(-config.max_outlier_share, config.max_outlier_share, (count, 1)), 0.0)
        is_outlier = rng.random((count, points)) < outlier_share
        seen = np.where(is_outlier[..., None], rng.uniform(-1.2, 1.2, seen.shape), seen)
        seen = _cropped(seen, config.cropped_share, rng)
        sensors = origins.mean(axis=1)
        unknown = rng.random(count) < config.no_sensor_share
        sensors[unknown] = np.nan
        # Without a sensor, the view frame keeps the turn that the view has, which may be any.
        angle = np.where(unknown, rng.uniform(0.0, 2.0 * np.pi, count), 0.0)
        tilt, upright = _tilts(count, config, rng)
        turn = rotation_about_y(angle)
        tilted = turn @ tilt
        scale, rotation, offset = view_frames(np.einsum("vij,vpj->vpi", tilted, seen), sensors)
        # The turn of a tilted view is that of its view frame before the tilt.
        heading = rotation @ turn
        rotation = rotation @ tilted
        seen_view = scale[:, None, None] * np.einsum("vij,vpj->vpi", rotation, seen) + offset[:, None]
        towards = np.einsum("vij,vj->vi", rotation, sensors) * scale[:, None] + offset
        towards /= np.linalg.norm(towards, axis=1, keepdims=True)
        return EncoderBatch(
            points_view=seen_view.astype(np.float32),
            sensors_view=np.nan_to_num(towards, nan=0.0).astype(np.float32),
            placement=np.column_stack([np.log(scale), offset]).astype(np.float32),
            turns=np.arctan2(heading[:, 0, 2], heading[:, 0, 0]).astype(np.float32),
            shapes=self.shapes[rows],
            upright=upright,
        )

    def _with_second_views(
        self, seen: np.ndarray, origins: np.ndarray, rows: np.ndarray, config: ViewConfig, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Replace half of the points of some views by points of another view of the same shape."""
        seen, origins = seen.copy(), origins.copy()
        half = seen.shape[1] // 2
        for index in np.flatnonzero(rng.random(len(rows)) < config.two_views_share):
            same_shape = np.flatnonzero(self.shapes == self.shapes[rows[index]])
            other = int(rng.choice(same_shape))
            seen[index, :half] = self.points_unit[other][rng.integers(0, POINTS_PER_VIEW, half)]
            origins[index, :half] = self.sensors_unit[other]
        return seen, origins


@dataclass(frozen=True, eq=False)
class EncoderBatch:
    """Views in their view frames, with the truth about them (`shapeprior.models.encoder.EncoderOutput`)."""

    points_view: Float[np.ndarray, "views points 3"]
    sensors_view: Float[np.ndarray, "views 3"]
    """Unit vectors towards the sensors, zero where a sensor is unknown."""
    placement: Float[np.ndarray, "views 4"]
    """Logarithm of the scale, and offset, of `T_view_unit`."""
    turns: Float[np.ndarray, "views"]
    """Angles about +y of `T_view_unit`, in radians."""
    shapes: Int[np.ndarray, "views"]
    """Number of the shape of each view."""
    upright: Bool[np.ndarray, "views"]
    """Whether +y is up. Where it is not, placement and turn mean nothing."""


def _cropped(points: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Crop a share of the views by a random plane: points beyond it are replaced by others on this side of it."""
    views, count, _ = points.shape
    normal = rng.normal(size=(views, 3))
    height = np.einsum("vpj,vj->vp", points, normal / np.linalg.norm(normal, axis=1, keepdims=True))
    order = np.argsort(height, axis=1)
    kept_share = np.where(rng.random(views) < share, rng.uniform(0.6, 1.0, views), 1.0)
    kept = np.maximum((kept_share * count).astype(int), 1)
    chosen = np.where(
        np.arange(count) < kept[:, None], np.arange(count), rng.integers(0, 1 << 30, (views, count)) % kept[:, None]
    )
    return np.take_along_axis(points, np.take_along_axis(order, chosen, axis=1)[..., None], axis=1)


def _tilts(
    count: int, config: ViewConfig, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "views 3 3"], Bool[np.ndarray, "views"]]:
    """Draw a tilt for each view, which is no rotation for most, and tell which views stay upright."""
    draw = rng.random(count)
    fallen = draw < config.fallen_share
    angle = np.where(fallen, np.arccos(rng.uniform(-1.0, np.cos(np.deg2rad(MIN_FALLEN_DEG)), count)), 0.0)
    tilted = ~fallen & (draw < config.fallen_share + config.tilted_share)
    angle = np.where(tilted, np.deg2rad(MAX_TILT_DEG) * np.sqrt(rng.random(count)), angle)
    azimuth = rng.uniform(0.0, 2.0 * np.pi, count)
    axis = np.column_stack([np.cos(azimuth), np.zeros(count), np.sin(azimuth)])
    return Rotation.from_rotvec(axis * angle[:, None]).as_matrix(), ~fallen
