"""The noise of a scan, estimated from the scan alone."""

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree

from shapeprior.geometry.sampling import evenly_spaced
from shapeprior.scans.observation import Observation

NEIGHBOURS = 24
"""Number of points to which a quadric with six coefficients is fitted, the point itself included."""
MAX_CENTERS = 1000
"""Largest number of points whose residuals are looked at. Their median is then off by a few per cent."""
MAD_TO_DEVIATION = 1.4826
"""Ratio of the standard deviation of a normal distribution to its median absolute value."""
SENSOR_SEPARATION = 10.0
"""Weight of the distance between two sensors beside the angle between two rays, so that points of different sensors are
no neighbours."""


def noise_deviation(view: Observation) -> float:
    """Estimate the standard deviation of the points along their rays, in the view's unit.

    A quadric is fitted to the neighbours of a point, and the deviation follows from the median absolute residual at
    the points, which edges and outliers hardly move. Neighbours are sought by the direction from the sensor: by
    distance, a point that is off would find others that are off to the same side. Without a sensor, neighbours are
    those in space, and residuals are along the normal of their best plane. Noise larger than the spacing of the points
    then comes out too small, and so does noise that is alike in neighbouring points, with or without a sensor. The
    result is 0 for a view with fewer than `NEIGHBOURS` points that have a ray. Points that are there twice should be
    left out before.
    """
    where, origins = view.points_world, view.origins_world
    if origins is not None:
        # A sensor that stands on its point, or beyond all numbers, sees along no ray.
        with np.errstate(over="ignore"):
            length = np.linalg.norm(where - origins, axis=1)
        seen = np.isfinite(length) & (length > 0.0)
        where, origins = where[seen], origins[seen]
    if len(where) < NEIGHBOURS:
        return 0.0
    centers = evenly_spaced(len(where), MAX_CENTERS)
    if origins is None:
        rows = KDTree(where).query(where[centers], k=NEIGHBOURS, workers=-1)[1]
        axis = None
    else:
        away = where - origins
        distance = np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-12)
        directions = away / distance
        keys = np.concatenate([directions, SENSOR_SEPARATION / np.median(distance) * origins], axis=1)
        rows = KDTree(keys).query(keys[centers], k=NEIGHBOURS, workers=-1)[1]
        axis = directions[centers]
    around = where[rows] - where[centers][:, None]
    residuals = _quadric_residuals(around, axis)
    return float(MAD_TO_DEVIATION * np.median(np.abs(residuals)))


def _quadric_residuals(
    around: Float[np.ndarray, "centers neighbours 3"], axis: Float[np.ndarray, "centers 3"] | None
) -> Float[np.ndarray, "centers"]:
    """Return the residual of each first neighbour along the axis, scaled to the standard deviation of the noise."""
    middle = around - around.mean(axis=1, keepdims=True)
    if axis is None:
        # eigh returns eigenvalues in rising order, so that the first vector is the plane's normal.
        frame = np.linalg.eigh(np.einsum("cni,cnj->cij", middle, middle))[1][:, :, [1, 2, 0]]
    else:
        least = np.eye(3)[np.abs(axis).argmin(axis=1)]
        first = np.cross(axis, least)
        first /= np.linalg.norm(first, axis=1, keepdims=True)
        frame = np.stack([first, np.cross(axis, first), axis], axis=-1)
    a, b, height = np.moveaxis(middle @ frame, -1, 0)
    size = np.sqrt(np.maximum((a**2 + b**2).mean(axis=1, keepdims=True), 1e-24))
    a, b = a / size, b / size
    basis = np.linalg.qr(np.stack([np.ones_like(a), a, b, a * a, a * b, b * b], axis=-1))[0]
    fitted = np.einsum("cnk,ck->cn", basis, np.einsum("cnk,cn->ck", basis, height))
    # A fit follows each point by its leverage.
    kept = 1.0 - np.square(basis[:, 0]).sum(axis=1)
    return (height - fitted)[:, 0] / np.sqrt(np.maximum(kept, 0.05))
