"""Partial, noisy views of a prior's training shapes, with codes and placements: what an encoder is trained on."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial.transform import Rotation

from shapeprior.config import check_numbers
from shapeprior.errors import ConfigError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.raycasting import RayScene
from shapeprior.models.encoder import view_frames
from shapeprior.scans.simulation import camera_around, render_depth, sample_view

STORED_POINTS = 768
"""Points of a view that are kept, from which each batch draws."""
NEARLY_UPRIGHT = 15.0
"""Degrees between a view's +y and up, up to which a view is upright."""
FALLEN = 25.0
"""Degrees from which on it is not; none is shown between the two."""
MIN_POINTS = 20
"""Views of fewer are not used."""


@dataclass(frozen=True, kw_only=True)
class ViewConfig:
    """How views are taken and spoilt."""

    resolution: int = 56
    """Pixels along each side of the depth images."""
    nearest: float = 1.8
    """Least distance of the camera from the shape's centre, in unit-sphere radii."""
    farthest: float = 6.0
    """Largest distance."""
    any_direction: float = 0.35
    """Share of views from anywhere on the sphere; the others are as `shapeprior.scans.simulation.sample_view` takes them."""
    noise: float = 0.02
    """Largest standard deviation of the noise along the rays, in unit-sphere radii; each view has one of its own."""
    strays: float = 0.05
    """Largest share of points that lie anywhere near the shape; half of the views have none."""
    cropped: float = 0.3
    """Share of the views of which a plane cuts a part off, 40 % of the points at most: occlusion, or a mask that is too small."""
    no_sensor: float = 0.1
    """Share of the views whose sensor is not known."""
    two_views: float = 0.15
    """Share of the observations that are made of two views."""
    tilted: float = 0.15
    """Share of the views that are tilted by up to `NEARLY_UPRIGHT` degrees, which are upright all the same."""
    fallen: float = 0.25
    """Share of the views that lie in any other way, which an encoder must tell from upright ones."""

    def __post_init__(self) -> None:
        shares = ("any_direction", "strays", "cropped", "no_sensor", "two_views", "tilted", "fallen")
        check_numbers(self, at_least_one=("resolution",), not_negative=("noise", *shares))
        for name in shares:
            if getattr(self, name) > 1.0:
                raise ConfigError(f"{name} = {getattr(self, name)}; expected a share, 0 to 1")
        if not 1.0 < self.nearest <= self.farthest:
            raise ConfigError(f"distances {self.nearest} to {self.farthest}; expected more than 1, the least first")


@dataclass(frozen=True, eq=False)
class ShapeViews:
    """Views of some shapes in the unit frame, each of `STORED_POINTS` points, some of them more than once if it saw fewer."""

    points_unit: Float[np.ndarray, "views stored 3"]
    sensors_unit: Float[np.ndarray, "views 3"]
    shapes: Int[np.ndarray, "views"]
    """Which shape each view is of."""

    @classmethod
    def render(
        cls, mesh_unit: TriangleMesh, shape: int, *, count: int, config: ViewConfig, rng: np.random.Generator
    ) -> "ShapeViews | None":
        """`count` views of the mesh of shape number `shape`, less those that show next to nothing; None if all do."""
        points, sensors = [], []
        scene = RayScene(mesh_unit)
        for _ in range(count):
            azimuth, elevation = sample_view(rng)
            if rng.random() < config.any_direction:
                elevation = float(np.rad2deg(np.arcsin(rng.uniform(-1.0, 1.0))))
            # Even in the inverse: views from afar differ little.
            distance = 1.0 / rng.uniform(1.0 / config.farthest, 1.0 / config.nearest)
            camera, pose = camera_around(
                azimuth_deg=azimuth, elevation_deg=elevation, distance=distance, resolution=config.resolution
            )
            seen = pose.apply(camera.back_project(render_depth(scene, camera, pose)))
            if len(seen) < MIN_POINTS:
                continue
            points.append(np.resize(rng.permutation(seen), (STORED_POINTS, 3)).astype(np.float32))
            sensors.append(pose.offset)
        if not points:
            return None
        return cls(np.stack(points), np.stack(sensors), np.full(len(points), shape))

    @classmethod
    def joined(cls, parts: "list[ShapeViews]") -> "ShapeViews":
        """Those of all parts."""
        return cls(
            np.concatenate([part.points_unit for part in parts]),
            np.concatenate([part.sensors_unit for part in parts]),
            np.concatenate([part.shapes for part in parts]),
        )

    def batch(self, rows: np.ndarray, *, points: int, config: ViewConfig, rng: np.random.Generator) -> "Batch":
        """Some views, spoilt and in their view frames."""
        count = len(rows)
        pick = np.argsort(rng.random((count, STORED_POINTS)), axis=1)[:, :points]
        seen = np.take_along_axis(self.points_unit[rows], pick[..., None], axis=1).astype(np.float64)
        sensors = self.sensors_unit[rows].copy()
        origins = np.repeat(sensors[:, None], points, axis=1)
        seen, origins = self._doubled(seen, origins, rows, config, rng)
        rays = seen - origins
        rays /= np.linalg.norm(rays, axis=2, keepdims=True)
        noise = config.noise * np.square(rng.random((count, 1)))  # Small noise is usual.
        seen = seen + rays * (noise * rng.normal(size=(count, points)))[..., None]
        share = np.maximum(rng.uniform(-config.strays, config.strays, (count, 1)), 0.0)
        stray = rng.random((count, points)) < share
        seen = np.where(stray[..., None], rng.uniform(-1.2, 1.2, seen.shape), seen)
        seen = _cropped(seen, config.cropped, rng)
        sensors = origins.mean(axis=1)
        unknown = rng.random(count) < config.no_sensor
        sensors[unknown] = np.nan
        # Without a sensor the view frame keeps the view's own turn: any.
        angle = np.where(unknown, rng.uniform(0.0, 2.0 * np.pi, count), 0.0)
        tilt, upright = _tilts(count, config, rng)
        turned = _turn(angle) @ tilt
        scale, rotation, offset = view_frames(np.einsum("vij,vpj->vpi", turned, seen), sensors)
        # Of a tilted view, the turn is that of the view frame before the tilt.
        heading = rotation @ _turn(angle)
        rotation = rotation @ turned
        seen_view = scale[:, None, None] * np.einsum("vij,vpj->vpi", rotation, seen) + offset[:, None]
        towards = np.einsum("vij,vj->vi", rotation, sensors) * scale[:, None] + offset
        towards /= np.linalg.norm(towards, axis=1, keepdims=True)
        return Batch(
            points_view=seen_view.astype(np.float32),
            sensors_view=np.nan_to_num(towards, nan=0.0).astype(np.float32),
            placement=np.column_stack([np.log(scale), offset]).astype(np.float32),
            turns=np.arctan2(heading[:, 0, 2], heading[:, 0, 0]).astype(np.float32),
            shapes=self.shapes[rows],
            upright=upright,
        )

    def _doubled(
        self, seen: np.ndarray, origins: np.ndarray, rows: np.ndarray, config: ViewConfig, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Some views are half replaced by another view of the same shape."""
        seen, origins = seen.copy(), origins.copy()
        half = seen.shape[1] // 2
        for at in np.flatnonzero(rng.random(len(rows)) < config.two_views):
            others = np.flatnonzero(self.shapes == self.shapes[rows[at]])
            other = int(rng.choice(others))
            seen[at, :half] = self.points_unit[other][rng.integers(0, STORED_POINTS, half)]
            origins[at, :half] = self.sensors_unit[other]
        return seen, origins


@dataclass(frozen=True, eq=False)
class Batch:
    """Views in their view frames, and what an encoder should say of them (`shapeprior.models.encoder.EncoderOutput`)."""

    points_view: Float[np.ndarray, "views points 3"]
    sensors_view: Float[np.ndarray, "views 3"]
    placement: Float[np.ndarray, "views 4"]
    turns: Float[np.ndarray, "views"]
    """Angles about +y of `T_view_unit`, in radians."""
    shapes: Int[np.ndarray, "views"]
    upright: Bool[np.ndarray, "views"]
    """Where it is False, only this is to be said."""


def _cropped(seen: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Points beyond a random plane are replaced by others on this side of it."""
    count, points, _ = seen.shape
    normal = rng.normal(size=(count, 3))
    height = np.einsum("vpj,vj->vp", seen, normal / np.linalg.norm(normal, axis=1, keepdims=True))
    order = np.argsort(height, axis=1)
    kept = np.where(rng.random(count) < share, rng.uniform(0.6, 1.0, count), 1.0)
    left = np.maximum((kept * points).astype(int), 1)
    pick = np.where(
        np.arange(points) < left[:, None], np.arange(points), rng.integers(0, 1 << 30, (count, points)) % left[:, None]
    )
    return np.take_along_axis(seen, np.take_along_axis(order, pick, axis=1)[..., None], axis=1)


def _tilts(
    count: int, config: ViewConfig, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "views 3 3"], Bool[np.ndarray, "views"]]:
    """Rotations of views, most of them none, and which leave a view upright."""
    kind = rng.random(count)
    fallen = kind < config.fallen
    angle = np.where(fallen, np.arccos(rng.uniform(-1.0, np.cos(np.deg2rad(FALLEN)), count)), 0.0)
    tilted = ~fallen & (kind < config.fallen + config.tilted)
    angle = np.where(tilted, np.deg2rad(NEARLY_UPRIGHT) * np.sqrt(rng.random(count)), angle)
    around = rng.uniform(0.0, 2.0 * np.pi, count)
    axis = np.column_stack([np.cos(around), np.zeros(count), np.sin(around)])
    return Rotation.from_rotvec(axis * angle[:, None]).as_matrix(), ~fallen


def _turn(angles: np.ndarray) -> np.ndarray:
    """Rotations about +y."""
    turned = np.zeros((len(angles), 3, 3))
    turned[:, 0, 0] = turned[:, 2, 2] = np.cos(angles)
    turned[:, 0, 2], turned[:, 2, 0] = np.sin(angles), -np.sin(angles)
    turned[:, 1, 1] = 1.0
    return turned
