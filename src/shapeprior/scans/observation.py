"""The partial view of an object: the surface points that a sensor saw, and the space that it saw to be free."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from shapeprior.errors import ConfigError, ScanError
from shapeprior.geometry.camera import PinholeCamera, has_measurement
from shapeprior.geometry.sampling import evenly_spaced
from shapeprior.geometry.transforms import Similarity

DEFAULT_BACKGROUND_RAYS = 2**16
"""Number of background rays that `Observation.from_depth` keeps by default."""


def _no_rows() -> Float[np.ndarray, "0 3"]:
    return np.zeros((0, 3))


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """What one or more sensors saw of one object.

    All fields are in one frame: the world frame as the scan was read, or another one after `transformed`.
    Raises ScanError if there is no point, or if a coordinate is NaN or infinite.
    """

    points_world: Float[np.ndarray, "points 3"]
    """Points of the object's surface, at least one."""
    origins_world: Float[np.ndarray, "points 3"] | None
    """Where the sensor stood when it saw each point. The space between the two is free. None if nobody knows."""
    background_origins: Float[np.ndarray, "background 3"] = field(default_factory=_no_rows)
    """Where the rays that met nothing start. These rays are free along their whole length."""
    background_directions: Float[np.ndarray, "background 3"] = field(default_factory=_no_rows)
    """Unit directions of the rays that met nothing."""
    normals_world: Float[np.ndarray, "points 3"] | None = None
    """Outward unit normals of the surface. A zero row is an unknown normal. None, the usual case, if all are
    unknown."""
    weights: Float[np.ndarray, "points"] | None = None
    """How much each point can be trusted beside the others, 0 or more. `subsampled` draws points in proportion to
    their weights and never keeps one of weight 0. Weights have no other effect. None makes all points alike."""

    def __post_init__(self) -> None:
        if len(self.points_world) == 0:
            raise ScanError("found 0 points; expected at least 1 point of the object's surface")
        _require_finite("points", self.points_world)
        for name, rows in (("sensor positions", self.origins_world), ("normals", self.normals_world)):
            if rows is not None:
                _require_finite(name, rows)
                if len(rows) != len(self.points_world):
                    raise ScanError(f"found {len(rows)} {name} for {len(self.points_world)} points; expected as many")
        if self.weights is not None:
            _require_weights(self.weights, len(self.points_world))
        _require_finite("background origins", self.background_origins)
        _require_finite("background directions", self.background_directions)

    @classmethod
    def from_points(
        cls,
        points_world: Float[np.ndarray, "points 3"],
        sensor_world: Float[np.ndarray, "3"] | Float[np.ndarray, "points 3"] | None = None,
        *,
        normals_world: Float[np.ndarray, "points 3"] | None = None,
        weights: Float[np.ndarray, "points"] | None = None,
    ) -> "Observation":
        """Make an observation of a point cloud.

        `sensor_world` is where the sensor stood: one place for all points, one place for each, or None if nobody knows.
        Raises ScanError as the class does.
        """
        origins = None
        if sensor_world is not None:
            sensor = np.asarray(sensor_world, dtype=np.float64)
            origins = np.broadcast_to(sensor, points_world.shape).copy() if sensor.ndim == 1 else sensor
        return cls(
            points_world=points_world.astype(np.float64),
            origins_world=origins,
            normals_world=normals_world,
            weights=weights,
        )

    @classmethod
    def from_depth(
        cls,
        depth: Float[np.ndarray, "height width"],
        camera: PinholeCamera,
        T_world_camera: Similarity | None = None,
        *,
        mask: Bool[np.ndarray, "mask_height mask_width"] | None = None,
        background_is_free: bool = False,
        max_background_rays: int = DEFAULT_BACKGROUND_RAYS,
    ) -> "Observation":
        """Make an observation of a depth image.

        Args:
            depth: Depth along the camera's z axis, in any length unit. Zero, negative, NaN and infinite values are
                missing measurements.
            camera: Intrinsics for images of this size. Pixels without a ray (`PinholeCamera.pixel_rays`) are ignored.
            T_world_camera: The camera's pose. None takes the camera frame as world.
            mask: True where a pixel shows the object, in the size of the depth image. A pixel outside the mask that
                measured something well beyond the object (by more than the object's own visible depth) looked past it,
                so its ray is free. All other pixels outside the mask are unknown, because something may stand in front
                of the object there.
            background_is_free: Whether a pixel without a measurement looked past the object. This is true for rendered
                depth images. A real sensor also misses shiny, dark and distant surfaces, so its empty pixels are
                unknown. With a mask, this holds for the pixels inside the mask.
            max_background_rays: Largest number of background rays to keep. They are spread evenly over the pixels.

        Raises:
            ScanError: the sizes differ, or no pixel inside the mask has a measurement.
            ConfigError: `max_background_rays` is negative.
        """
        _require_size("depth image", depth, camera)
        usable = np.ones(depth.shape, dtype=bool)
        if mask is not None:
            _require_size("mask", mask, camera)
            usable = mask
        rays = camera.pixel_rays()
        met = np.isfinite(rays[:, :, 0])
        measured = has_measurement(depth) & met
        if not np.any(measured & usable):
            raise ScanError(
                f"no pixel shows the object: {measured.sum()} of {depth.size} pixels hold a depth in front of the "
                f"camera, the mask keeps {usable.sum()}, and none does both; expected a mask that covers measured "
                "pixels; check that mask and depth image belong together"
            )
        pose = T_world_camera if T_world_camera is not None else Similarity.identity()
        points = pose.apply(camera.back_project(np.where(measured & usable, depth, 0.0)))
        seen = depth[measured & usable]
        # A mask may cut off a piece of the object. A margin of the object's own depth keeps that piece from being
        # "free".
        beyond = ~usable & measured & (np.where(measured, depth, 0.0) > 2.0 * seen.max() - seen.min())
        free = _evenly(np.flatnonzero(beyond | (~measured & met & usable & background_is_free)), max_background_rays)
        directions = pose.apply_vectors(rays.reshape(-1, 3)[free])
        return cls(
            points_world=points,
            origins_world=np.broadcast_to(pose.offset, points.shape).copy(),
            background_origins=np.broadcast_to(pose.offset, directions.shape).copy(),
            background_directions=directions / np.linalg.norm(directions, axis=1, keepdims=True),
        )

    def transformed(self, T_to_world: Similarity) -> "Observation":
        """Return the view in another frame, such as the unit frame. The fields keep their names."""
        origins, normals = self.origins_world, self.normals_world
        return Observation(
            points_world=T_to_world.apply(self.points_world),
            origins_world=None if origins is None else T_to_world.apply(origins),
            background_origins=T_to_world.apply(self.background_origins),
            background_directions=T_to_world.apply_vectors(self.background_directions),
            normals_world=None if normals is None else T_to_world.apply_vectors(normals),
            weights=self.weights,
        )

    def subsampled(self, count: int, *, seed: int, background: int | None = None) -> "Observation":
        """Return a random subset of at most `count` points in their old order, with `background` evenly spread
        background rays.

        All background rays stay if `background` is None. Points with weights are drawn one after another in proportion
        to their weights, and points of weight 0 are left out (Efraimidis and Spirakis 2006, "Weighted random sampling
        with a reservoir"). Raises ConfigError for a count below 1.
        """
        if count < 1:
            raise ConfigError(f"cannot keep {count} points; expected 1 or more")
        if background is not None:
            kept = _evenly(np.arange(len(self.background_origins)), background)
            fewer = replace(
                self,
                background_origins=self.background_origins[kept],
                background_directions=self.background_directions[kept],
            )
            return fewer.subsampled(count, seed=seed)
        if self.weights is not None:
            keep = np.flatnonzero(self.weights > 0)
            if len(keep) > count:
                waits = np.random.default_rng(seed).exponential(size=len(keep)) / self.weights[keep]
                keep = np.sort(keep[np.argpartition(waits, count)[:count]])
            return self.select(keep)
        total = len(self.points_world)
        if count >= total:
            return self
        return self.select(np.sort(np.random.default_rng(seed).choice(total, size=count, replace=False)))

    def select(self, keep: Int[np.ndarray, "kept"] | Bool[np.ndarray, "points"]) -> "Observation":
        """Return the view with some of its points, given by index or mask. Background rays stay.

        Raises ScanError if no point is left.
        """
        return replace(
            self,
            points_world=self.points_world[keep],
            origins_world=None if self.origins_world is None else self.origins_world[keep],
            normals_world=None if self.normals_world is None else self.normals_world[keep],
            weights=None if self.weights is None else self.weights[keep],
        )

    def without_repeated_points(self) -> "Observation":
        """Return the view with one of each group of equal points, such as joined scans have. Background rays stay."""
        return self.select(np.sort(np.unique(self.points_world, axis=0, return_index=True)[1]))

    def rays(
        self,
    ) -> tuple[Float[np.ndarray, "rays 3"], Float[np.ndarray, "rays 3"], Float[np.ndarray, "rays"]]:
        """Return origins, unit directions and free lengths of all rays. Background rays are infinitely long."""
        origins, directions = self.background_origins, self.background_directions
        lengths = np.full(len(origins), np.inf)
        if self.origins_world is not None:
            steps = self.points_world - self.origins_world
            seen = np.linalg.norm(steps, axis=1)
            # A point at the sensor itself has a ray of length zero.
            units = np.divide(steps, seen[:, None], out=np.zeros_like(steps), where=seen[:, None] > 0)
            origins = np.concatenate([self.origins_world, origins])
            directions = np.concatenate([units, directions])
            lengths = np.concatenate([seen, lengths])
        return origins, directions, lengths


def _evenly(indices: Int[np.ndarray, "all"], count: int) -> Int[np.ndarray, "kept"]:
    """Return at most `count` of the indices, evenly spread. Raises ConfigError for a negative count."""
    if count < 0:
        raise ConfigError(f"max_background_rays {count}; expected 0 or more")
    return indices[evenly_spaced(len(indices), count, round_down=True)]


def _require_finite(name: str, rows: Float[np.ndarray, "rows 3"]) -> None:
    bad = int(np.count_nonzero(~np.isfinite(rows).all(axis=1)))
    if bad:
        raise ScanError(
            f"found {bad} of {len(rows)} {name} with NaN or infinite coordinates; remove them from the scan"
        )


def _require_weights(weights: Float[np.ndarray, "rows"], points: int) -> None:
    if len(weights) != points:
        raise ScanError(f"found {len(weights)} weights for {points} points; expected as many")
    if not (np.isfinite(weights).all() and weights.min() >= 0.0 and weights.max() > 0.0):
        raise ScanError("found negative, NaN or infinite weights, or none above 0; expected 0 or more; leave them out")


def _require_size(name: str, image: np.ndarray, camera: PinholeCamera) -> None:
    if image.shape != (camera.height, camera.width):
        raise ScanError(
            f"the {name} is {image.shape[1]} x {image.shape[0]} pixels, the camera's images {camera.width} x "
            f"{camera.height}; expected the same size"
        )


def join_views(views: Sequence[Observation]) -> Observation:
    """Join several views of one object, which are in one frame, into one view with the points and free space of all.

    If only some views have normals, those of the other points are unknown. If only some have weights, the other points
    weigh 1. Raises ScanError if there is no view, or if only some of them know where their sensor stood.
    """
    if not views:
        raise ScanError("found 0 views; expected at least 1")
    known = [view for view in views if view.origins_world is not None]
    if 0 < len(known) < len(views):
        raise ScanError(
            f"found no sensor position in {len(views) - len(known)} of {len(views)} views; expected one in all of them "
            "or in none; state it, or leave these views out"
        )
    normals = weights = None
    if any(view.normals_world is not None for view in views):
        normals = np.concatenate([
            np.zeros_like(view.points_world) if view.normals_world is None else view.normals_world for view in views
        ])  # fmt: skip
    if any(view.weights is not None for view in views):
        weights = np.concatenate([
            np.ones(len(view.points_world)) if view.weights is None else view.weights for view in views
        ])  # fmt: skip
    return Observation(
        points_world=np.concatenate([view.points_world for view in views]),
        origins_world=np.concatenate([view.origins_world for view in known]) if known else None,  # pyright: ignore
        background_origins=np.concatenate([view.background_origins for view in views]),
        background_directions=np.concatenate([view.background_directions for view in views]),
        normals_world=normals,
        weights=weights,
    )
