"""A point cloud as a file states it: points, and normals, sensor positions and confidences where the file has them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from shapeprior.io.files import check_count, refusal

MIN_UNIT_SHARE = 0.95
"""Share of rows that must be unit vectors (or unknown) for unnamed columns to be taken for normals."""
UNIT_LENGTH_TOLERANCE = 0.01
"""Largest difference from 1 of a unit vector's length in unnamed columns."""
MIN_NORMAL_LENGTH = 1e-12
"""Shorter normals are unknown."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PointCloud:
    """Points in the frame and unit of their file; made by `checked`."""

    points: Float[np.ndarray, "points 3"]
    """At least one position, all finite."""
    normals: Float[np.ndarray, "points 3"] | None
    """Vectors of unit length, or zero where unknown; None if all are unknown."""
    sensor: Float[np.ndarray, "3"] | Float[np.ndarray, "points 3"] | None
    """Position of the sensor when it saw all points, or when it saw each of them."""
    weights: Float[np.ndarray, "points"] | None
    """Confidence of each point, 0 or more."""

    @classmethod
    def checked(
        cls,
        path: Path,
        points: Float[np.ndarray, "points 3"],
        *,
        normals: Float[np.ndarray, "points 3"] | None = None,
        sensor: Float[np.ndarray, "3"] | Float[np.ndarray, "points 3"] | None = None,
        weights: Float[np.ndarray, "points"] | None = None,
    ) -> "PointCloud":
        """Make a cloud of what a reader found in a file, and check all values; the reader checks the shapes.

        Normals are brought to unit length; those that are zero, NaN or infinite are unknown.

        Raises ScanError, which names the file, for no points or too many, for other numbers that are not finite, and
        for negative weights.
        """
        if len(points) == 0:
            raise refusal(path, "0 points", "at least 1: check how the scan was exported")
        check_count(path, len(points))
        bad = int(np.count_nonzero(~np.isfinite(points).all(axis=1)))
        if bad:
            found = f"{bad} of {len(points)} points with NaN or infinite coordinates"
            raise refusal(path, found, "finite ones: remove those points")
        if sensor is not None and not np.isfinite(sensor).all():
            raise refusal(path, "a sensor position that is NaN or infinite", "finite coordinates: leave it out")
        if weights is not None and not (np.isfinite(weights).all() and weights.min() >= 0.0 and weights.max() > 0.0):
            found = "confidences that are negative, NaN or infinite, or none above 0"
            raise refusal(path, found, "0 or more: export the scan without them")
        return cls(points=points, normals=_unit_vectors(normals), sensor=sensor, weights=weights)


def unnamed_normals(columns: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"] | None:
    """Return the columns after x, y and z of a table without names if they are normals, and None if they are not.

    They are normals if 95 % of the rows have length 1 within 1 %, or length 0, or are NaN, and if some number is
    negative, which no colour is.
    """
    with np.errstate(all="ignore"):
        length = np.linalg.norm(columns, axis=1)
        fits = (np.abs(length - 1.0) < UNIT_LENGTH_TOLERANCE) | (length == 0.0) | np.isnan(length)
        return columns if fits.mean() >= MIN_UNIT_SHARE and np.any(columns < 0.0) else None


def _unit_vectors(normals: Float[np.ndarray, "points 3"] | None) -> Float[np.ndarray, "points 3"] | None:
    if normals is None:
        return None
    with np.errstate(all="ignore"):
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        known = np.isfinite(length) & (length > MIN_NORMAL_LENGTH)
        unit = np.divide(normals, length, out=np.zeros(normals.shape), where=known)
    return unit if known.any() else None
