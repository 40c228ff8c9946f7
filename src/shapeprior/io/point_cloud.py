"""A point cloud as a file states it: points, and what it may say of normals, sensor and confidence."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from shapeprior.io.files import check_count, refusal

COLOURED = 0.05
"""Share of rows of unnamed columns that may be no unit vectors before the columns are taken for something else."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PointCloud:
    """Points in the frame and unit of their file. Made by `checked`."""

    points: Float[np.ndarray, "points 3"]
    """Finite; at least one."""
    normals: Float[np.ndarray, "points 3"] | None
    """Unit length, or zero where unknown; None where all are."""
    sensor: Float[np.ndarray, "3"] | Float[np.ndarray, "points 3"] | None
    """Where the sensor stood when it saw all points, or each."""
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
        """What a reader found in the file, of which this checks everything but the shapes.

        Normals are brought to unit length; those that are zero, NaN or infinite are unknown. Raises ScanError, with the file's
        name, for no points or too many, and for other numbers that are not finite, or negative weights.
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
        return cls(points=points, normals=_unit(normals), sensor=sensor, weights=weights)


def unnamed_normals(columns: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"] | None:
    """The columns after x, y and z of a table without names, if they are normals, not colours or something else.

    They are if 95 % of the rows have length 1 within 1 %, or 0, or are NaN, and some number is negative, which no colour is.
    """
    with np.errstate(all="ignore"):
        length = np.linalg.norm(columns, axis=1)
        fits = (np.abs(length - 1.0) < 0.01) | (length == 0.0) | np.isnan(length)
        return columns if fits.mean() >= 1.0 - COLOURED and np.any(columns < 0.0) else None


def _unit(normals: Float[np.ndarray, "points 3"] | None) -> Float[np.ndarray, "points 3"] | None:
    if normals is None:
        return None
    with np.errstate(all="ignore"):
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        known = np.isfinite(length) & (length > 1e-12)
        unit = np.divide(normals, length, out=np.zeros(normals.shape), where=known)
    return unit if known.any() else None
