"""The space that a view looked through, asked point by point."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import KDTree

from shapeprior.scans.observation import Observation

MAX_SENSORS = 16
"""Places that rays start from, at most; of a sensor that moved all the time, nothing is said."""
AGREEING = 4
"""Nearest rays that must all have passed a point: one alone may be a stray's."""
SPACINGS = 3.0
"""Rays that are farther from a point's direction than so many usual spacings say nothing of it."""
MARGIN = 0.03
"""How far before the end of a ray it counts as free, in the view's unit, which is about the object's radius."""
REACH = 0.02
"""How far around a point rays must have passed, too, in it: what a decoder blurs by less is no mistake (docs/ablation.md)."""
AROUND = 6
"""Places around a point that are asked."""


@dataclass(frozen=True, eq=False)
class Sensor:
    """A place that rays start from."""

    origin: Float[np.ndarray, "3"]
    tree: KDTree
    """Of the rays' unit directions."""
    lengths: Float[np.ndarray, "rays"]
    tolerance: float
    """How far a direction may be from a ray's."""

    def passed(self, points: Float[np.ndarray, "points 3"], *, rays: int) -> Bool[np.ndarray, "points"]:
        """Where so many nearest rays all went on behind a point."""
        steps = points - self.origin
        away = np.linalg.norm(steps, axis=1, keepdims=True)
        apart, rows = self.tree.query(steps / np.maximum(away, 1e-12), k=rays)
        return ((apart <= self.tolerance) & (self.lengths[rows] > away + MARGIN)).all(axis=1)


@dataclass(frozen=True, eq=False)
class FreeSpace:
    """Whether points of a view's frame were seen to be free, with everything `REACH` around them."""

    sensors: Sequence[Sensor]

    @classmethod
    def of(cls, view: Observation) -> "FreeSpace":
        """Of a view in a frame whose unit is about the object's radius; it may have no rays at all."""
        origins, directions, lengths = view.rays()
        kept = lengths > 0.0
        origins, directions, lengths = origins[kept], directions[kept], lengths[kept]
        if len(origins) and np.array_equal(origins, np.broadcast_to(origins[0], origins.shape)):
            places, of_ray = origins[:1], np.zeros(len(origins), dtype=np.int64)  # Sorting takes longer.
        else:
            places, of_ray = np.unique(origins, axis=0, return_inverse=True)
        if len(places) > MAX_SENSORS:
            return cls(())
        sensors = []
        for number, place in enumerate(places):
            own = np.flatnonzero(of_ray.reshape(-1) == number)
            if len(own) < AGREEING:
                continue
            tree = KDTree(directions[own], balanced_tree=False)
            spacing = tree.query(directions[own[:: max(len(own) // 500, 1)]], k=2)[0][:, 1]
            sensors.append(Sensor(place, tree, lengths[own], SPACINGS * float(np.median(spacing))))
        return cls(tuple(sensors))

    def __call__(self, points: Float[np.ndarray, "points 3"]) -> Bool[np.ndarray, "points"]:
        """Where one sensor's rays passed on all sides."""
        free = np.zeros(len(points), dtype=np.bool_)
        for sensor in self.sensors:
            rows = np.flatnonzero(~free)
            rows = rows[sensor.passed(points[rows], rays=AGREEING)]
            beside = sensor.passed(_around(points[rows], sensor.origin).reshape(-1, 3), rays=2)
            free[rows[beside.reshape(AROUND, -1).all(axis=0)]] = True
        return free


def _around(
    points: Float[np.ndarray, "points 3"], origin: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "places points 3"]:
    """Places on a circle around each point, across the way to it."""
    steps = points - origin
    toward = steps / np.maximum(np.linalg.norm(steps, axis=1, keepdims=True), 1e-12)
    first = np.cross(toward, np.eye(3)[np.abs(toward).argmin(axis=1)])
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-12)
    second = np.cross(toward, first)
    angles = np.arange(AROUND)[:, None, None] * (2.0 * np.pi / AROUND)
    return points + REACH * (np.cos(angles) * first + np.sin(angles) * second)
