"""A partial view: surface points, and what the sensor saw to be free.

Several views of one object as one.

Points of a scan that lie where no surface is: far from all others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

from shapeprior.errors import ConfigError, ScanError
from shapeprior.geometry.camera import PinholeCamera, has_measurement
from shapeprior.geometry.transforms import Similarity

DEFAULT_BACKGROUND_RAYS = 2**16
"""How many background rays `Observation.from_depth` keeps unless told."""


def _no_rows() -> Float[np.ndarray, "0 3"]:
    return np.zeros((0, 3))


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """What a sensor saw of one object; it may have stood in several places.

    All fields are in one frame: the world frame as the scan was read, another one after `transformed`.
    Raises ScanError if there is no point, or if a coordinate is NaN or infinite.
    """

    points_world: Float[np.ndarray, "points 3"]
    """Points of the object's surface; at least one."""
    origins_world: Float[np.ndarray, "points 3"] | None
    """Where the sensor stood when it saw each point: the way from there to the point is free. None where unknown."""
    background_origins: Float[np.ndarray, "background 3"] = field(default_factory=_no_rows)
    """Where the rays start that met nothing: they are free along their whole length."""
    background_directions: Float[np.ndarray, "background 3"] = field(default_factory=_no_rows)
    """Their unit directions."""
    normals_world: Float[np.ndarray, "points 3"] | None = None
    """Unit normals of the surface, pointing outwards; zero for a point whose normal is unknown. None where all are, which is the
    rule."""
    weights: Float[np.ndarray, "points"] | None = None
    """How far each point can be trusted against the others, 0 or more. `thinned` never keeps a point of weight 0, and draws the
    others in proportion to their weights; they have no other effect. None: all alike."""

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
        """A point cloud seen from one place, from one place a point, or from an unknown place.

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
        """The points of a depth image.

        Args:
            depth: z of the camera frame, in its length unit; 0, negative, NaN and infinity are no measurement.
            camera: Intrinsics, for images of this size. Pixels without a ray (`PinholeCamera.pixel_rays`) say nothing.
            T_world_camera: Where the camera stood; None takes the camera frame as world.
            mask: True where a pixel belongs to the object; of the depth image's size. Of the others, those that
                measured something well beyond the object (by its own visible depth) looked past it, so their rays are
                free; the rest is unknown: something may stand before the object there.
            background_is_free: Whether a pixel without measurement saw past the object. True for a rendered depth
                image; a real sensor also loses shiny, dark and distant surfaces, so its empty pixels are unknown.
                With a mask it holds for the pixels that the mask leaves in.
            max_background_rays: Keep at most so many background rays, evenly spread over the pixels.

        Raises:
            ScanError: the sizes differ, or no pixel has both a measurement and the mask's consent.
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
                f"no pixel shows the object: {measured.sum()} of {depth.size} hold a depth in front of the camera, "
                f"the mask leaves in {usable.sum()}, none is both"
            )
        pose = T_world_camera if T_world_camera is not None else Similarity.identity()
        points = pose.apply(camera.back_project(np.where(measured & usable, depth, 0.0)))
        seen = depth[measured & usable]
        # Farther by the object's own depth: a mask that cuts a piece off must not turn that piece into free space.
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
        """The same view in another frame, such as the unit frame; the fields keep their names."""
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
        """A random subset of at most `count` points, in their old order, and `background` of the background rays, evenly
        spread; all of these if not given.

        With weights, points of weight 0 are left out, and one point after the other is drawn from those that are left, in
        proportion to their weights (Efraimidis and Spirakis 2006, "Weighted random sampling with a reservoir").
        Raises ConfigError for a count below 1.
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
        """Some of the points, by index or mask; background rays stay. Raises ScanError if none is left."""
        return replace(
            self,
            points_world=self.points_world[keep],
            origins_world=None if self.origins_world is None else self.origins_world[keep],
            normals_world=None if self.normals_world is None else self.normals_world[keep],
            weights=None if self.weights is None else self.weights[keep],
        )

    def free_space_samples(
        self,
        *,
        per_ray: int,
        rng: np.random.Generator,
        center_world: Float[np.ndarray, "3"] | None = None,
        radius: float,
        stop_short: float = 0.0,
    ) -> Float[np.ndarray, "samples 3"]:
        """Points that the sensor looked through, so outside the object: on each ray, inside a sphere around the object.

        The part of a ray that counts starts at the sensor or where the ray enters the sphere, whichever comes later,
        and ends where it leaves the sphere or just before the surface point that it saw. It is cut into `per_ray` equal
        pieces, and one point is drawn in each. Rays without such a part give none.

        Args:
            per_ray: Points on each ray.
            rng: Source of chance.
            center_world: The sphere's centre; None is the origin.
            radius: The sphere's radius, in world units; 1.0 for an observation in the unit frame.
            stop_short: How far before the surface point to end, in world units: the sensor's noise.

        Returns:
            Ray by ray, from the sensor onwards: first the rays of the points, then the background's. None at all if
            the sensor is unknown and there is no background.

        Raises:
            ConfigError: a value is outside its range.
        """
        if per_ray < 1 or not (np.isfinite(radius) and radius > 0) or not (np.isfinite(stop_short) and stop_short >= 0):
            raise ConfigError(
                f"per_ray {per_ray}, radius {radius}, stop_short {stop_short}; expected 1 or more, positive, 0 or more"
            )
        origins, directions, lengths = self.rays()
        start, end = _sphere_span(origins - (0.0 if center_world is None else center_world), directions, radius)
        end = np.minimum(end, lengths - stop_short)
        kept = end > start  # False where the ray misses the sphere, too.
        start, end = start[kept, None], end[kept, None]
        share = (np.arange(per_ray) + rng.random((len(start), per_ray))) / per_ray
        along = start + share * (end - start)
        return (origins[kept, None, :] + along[:, :, None] * directions[kept, None, :]).reshape(-1, 3)

    def rays(
        self,
    ) -> tuple[Float[np.ndarray, "rays 3"], Float[np.ndarray, "rays 3"], Float[np.ndarray, "rays"]]:
        """Origins, unit directions and free lengths of all rays; infinite lengths for the background's."""
        origins, directions = self.background_origins, self.background_directions
        lengths = np.full(len(origins), np.inf)
        if self.origins_world is not None:
            steps = self.points_world - self.origins_world
            seen = np.linalg.norm(steps, axis=1)
            # A point at the sensor itself has no ray: zero length.
            units = np.divide(steps, seen[:, None], out=np.zeros_like(steps), where=seen[:, None] > 0)
            origins = np.concatenate([self.origins_world, origins])
            directions = np.concatenate([units, directions])
            lengths = np.concatenate([seen, lengths])
        return origins, directions, lengths


def _sphere_span(
    origins: Float[np.ndarray, "rays 3"], directions: Float[np.ndarray, "rays 3"], radius: float
) -> tuple[Float[np.ndarray, "rays"], Float[np.ndarray, "rays"]]:
    """Where rays enter a sphere around 0 (not before their origin) and leave it; -infinity if they miss it."""
    along = -np.einsum("ij,ij->i", origins, directions)
    foot = origins + along[:, None] * directions
    half_chord_squared = radius * radius - np.einsum("ij,ij->i", foot, foot)
    half_chord = np.sqrt(np.maximum(half_chord_squared, 0.0))
    start = np.maximum(along - half_chord, 0.0)
    return start, np.where(half_chord_squared > 0, along + half_chord, -np.inf)


def _evenly(indices: Int[np.ndarray, "all"], count: int) -> Int[np.ndarray, "kept"]:
    """At most `count` of the indices, evenly spread."""
    if count < 0:
        raise ConfigError(f"max_background_rays {count}; expected 0 or more")
    if len(indices) <= count:
        return indices
    return indices[np.linspace(0, len(indices) - 1, count).astype(np.int64)]


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
    """All points of several views in one frame, and all that any of them saw to be free.

    Where some have normals, those of the others are unknown; where some have weights, points of the others weigh 1.
    Raises ScanError if there is no view, or if only some of them know where their sensor stood.
    """
    if not views:
        raise ScanError("found 0 views; expected at least 1")
    known = [view for view in views if view.origins_world is not None]
    if 0 < len(known) < len(views):
        raise ScanError(
            f"found no sensor position in {len(views) - len(known)} of {len(views)} views; expected one in all of them or in none; "
            "state it, or leave these views out"
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


NEIGHBOURS = 8
FAR = 3.5
"""Points are strays if their neighbours are, on average, so many times as far as is usual in the scan: on a surface that is seen
at a slant, neighbours are far in one direction only."""
ROUNDS = 6
"""How often strays are looked for again among what is left."""
MIN_POINTS = 40
"""Of fewer points nothing can be said."""


def without_outliers(view: Observation) -> Observation:
    """The view without its strays and their rays: the rays of those behind the surface would say that the object is free."""
    return view.select(~find_outliers(view.points_world))


def find_outliers(points: Float[np.ndarray, "points 3"]) -> Bool[np.ndarray, "points"]:
    """Which points are not part of any surface that the scan shows; none if the scan is too small to tell.

    As the statistical outlier removal of Rusu et al. 2008, "Towards 3D point cloud based object maps for household environments",
    with the median instead of mean and deviation, which strays would move.
    """
    kept = np.arange(len(points))
    distance, near_rows = np.zeros(len(points)), np.zeros((len(points), NEIGHBOURS + 1), dtype=np.int64)
    asked = kept
    # Strays are each other's neighbours, until some are gone.
    for _ in range(ROUNDS):
        if len(kept) < MIN_POINTS:
            break
        away, rows = KDTree(points[kept]).query(points[asked], k=NEIGHBOURS + 1)
        distance[asked], near_rows[asked] = away[:, 1:].mean(axis=1), kept[rows]
        near = distance[kept] <= FAR * np.median(distance[kept])
        if near.all():
            break
        gone = np.zeros(len(points), dtype=np.bool_)
        gone[kept[~near]] = True
        kept = kept[near]
        # The others have the neighbours that they had.
        asked = kept[gone[near_rows[kept]].any(axis=1)]
    found = np.ones(len(points), dtype=np.bool_)
    found[kept] = False
    return found
