"""Free space of a view: whether the sensor looked through a point, and random points that it looked through."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import KDTree

from shapeprior.errors import ConfigError
from shapeprior.scans.observation import Observation

MAX_SENSORS = 16
"""Largest number of places that rays may start from. For a sensor that moved all the time, nothing is called free."""
AGREEING_RAYS = 4
"""Number of nearest rays that must all have passed a point. A single one may belong to an outlier."""
MAX_RAY_DISTANCE = 3.0
"""Largest angle between a point's direction and a ray that says something of it, as a multiple of the rays' spacing."""
END_MARGIN = 0.03
"""A ray counts as free up to this distance before its end, in the view's unit, which is about the object's radius."""
CLEARANCE = 0.02
"""Rays must have passed at this distance around a point, too, in the same unit. A decoder that blurs by less makes no
mistake (docs/ablation.md)."""
NUM_AROUND = 6
"""Number of places around a point that must be free, too."""


@dataclass(frozen=True, eq=False)
class Sensor:
    """A place that rays start from, with its rays."""

    origin: Float[np.ndarray, "3"]
    tree: KDTree
    """Search tree of the rays' unit directions."""
    lengths: Float[np.ndarray, "rays"]
    """Free lengths of the rays."""
    tolerance: float
    """Largest distance between the unit directions of a point and of a ray that says something of it."""

    def passed(self, points: Float[np.ndarray, "points 3"], *, rays: int) -> Bool[np.ndarray, "points"]:
        """Return which points the given number of nearest rays all passed."""
        steps = points - self.origin
        away = np.linalg.norm(steps, axis=1, keepdims=True)
        apart, rows = self.tree.query(steps / np.maximum(away, 1e-12), k=rays)
        return ((apart <= self.tolerance) & (self.lengths[rows] > away + END_MARGIN)).all(axis=1)


@dataclass(frozen=True, eq=False)
class FreeSpace:
    """The space that a view saw to be free. Call it with points of the view's frame."""

    sensors: Sequence[Sensor]
    """Empty if nothing is known to be free."""

    @classmethod
    def of(cls, view: Observation) -> "FreeSpace":
        """Build the free space of a view in a frame whose unit is about the object's radius."""
        origins, directions, lengths = view.rays()
        kept = lengths > 0.0
        origins, directions, lengths = origins[kept], directions[kept], lengths[kept]
        if len(origins) and np.array_equal(origins, np.broadcast_to(origins[0], origins.shape)):
            places, of_ray = origins[:1], np.zeros(len(origins), dtype=np.int64)  # This is faster than sorting.
        else:
            places, of_ray = np.unique(origins, axis=0, return_inverse=True)
        if len(places) > MAX_SENSORS:
            return cls(())
        sensors = []
        for number, place in enumerate(places):
            own = np.flatnonzero(of_ray.reshape(-1) == number)
            if len(own) < AGREEING_RAYS:
                continue
            tree = KDTree(directions[own], balanced_tree=False)
            spacing = tree.query(directions[own[:: max(len(own) // 500, 1)]], k=2)[0][:, 1]
            sensors.append(Sensor(place, tree, lengths[own], MAX_RAY_DISTANCE * float(np.median(spacing))))
        return cls(tuple(sensors))

    def __call__(self, points: Float[np.ndarray, "points 3"]) -> Bool[np.ndarray, "points"]:
        """Return which points a sensor looked through, with a clearance of `CLEARANCE` on all sides."""
        free = np.zeros(len(points), dtype=np.bool_)
        for sensor in self.sensors:
            rows = np.flatnonzero(~free)
            rows = rows[sensor.passed(points[rows], rays=AGREEING_RAYS)]
            beside = sensor.passed(_around(points[rows], sensor.origin).reshape(-1, 3), rays=2)
            free[rows[beside.reshape(NUM_AROUND, -1).all(axis=0)]] = True
        return free


def _around(
    points: Float[np.ndarray, "points 3"], origin: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "places points 3"]:
    """Return places on a circle around each point, across the line of sight."""
    steps = points - origin
    toward = steps / np.maximum(np.linalg.norm(steps, axis=1, keepdims=True), 1e-12)
    first = np.cross(toward, np.eye(3)[np.abs(toward).argmin(axis=1)])
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-12)
    second = np.cross(toward, first)
    angles = np.arange(NUM_AROUND)[:, None, None] * (2.0 * np.pi / NUM_AROUND)
    return points + CLEARANCE * (np.cos(angles) * first + np.sin(angles) * second)


def free_space_samples(
    view: Observation,
    *,
    per_ray: int,
    rng: np.random.Generator,
    center_world: Float[np.ndarray, "3"] | None = None,
    radius: float,
    stop_short: float = 0.0,
) -> Float[np.ndarray, "samples 3"]:
    """Draw points that the sensor looked through, so that they lie outside the object.

    On each ray, the part inside a sphere around the object counts. It starts at the sensor or where the ray enters the
    sphere, whichever comes later, and it ends where the ray leaves the sphere or just before the surface point that it
    met. This part is cut into `per_ray` equal pieces, and one point is drawn in each. Other rays give no points.

    Args:
        view: The view, in any frame.
        per_ray: Number of points on each ray.
        rng: Source of randomness.
        center_world: The sphere's centre. None is the origin.
        radius: The sphere's radius in world units, which is 1.0 for a view in the unit frame.
        stop_short: Distance before the surface point at which the free part ends, in world units: the sensor's noise.

    Returns:
        The points, ray by ray from the sensor onwards: first the rays of the points, then those of the background. The
        result is empty if the sensor's place is unknown and there is no background.

    Raises:
        ConfigError: a value is outside its range.
    """
    if per_ray < 1 or not (np.isfinite(radius) and radius > 0) or not (np.isfinite(stop_short) and stop_short >= 0):
        raise ConfigError(
            f"per_ray {per_ray}, radius {radius}, stop_short {stop_short}; expected 1 or more, positive, 0 or more"
        )
    origins, directions, lengths = view.rays()
    start, end = _sphere_span(origins - (0.0 if center_world is None else center_world), directions, radius)
    end = np.minimum(end, lengths - stop_short)
    kept = end > start  # This is False where the ray misses the sphere, too.
    start, end = start[kept, None], end[kept, None]
    share = (np.arange(per_ray) + rng.random((len(start), per_ray))) / per_ray
    along = start + share * (end - start)
    return (origins[kept, None, :] + along[:, :, None] * directions[kept, None, :]).reshape(-1, 3)


def _sphere_span(
    origins: Float[np.ndarray, "rays 3"], directions: Float[np.ndarray, "rays 3"], radius: float
) -> tuple[Float[np.ndarray, "rays"], Float[np.ndarray, "rays"]]:
    """Return where rays enter a sphere around the origin (not before they start) and leave it, -infinity if they
    miss."""
    along = -np.einsum("ij,ij->i", origins, directions)
    foot = origins + along[:, None] * directions
    half_chord_squared = radius * radius - np.einsum("ij,ij->i", foot, foot)
    half_chord = np.sqrt(np.maximum(half_chord_squared, 0.0))
    start = np.maximum(along - half_chord, 0.0)
    return start, np.where(half_chord_squared > 0, along + half_chord, -np.inf)
