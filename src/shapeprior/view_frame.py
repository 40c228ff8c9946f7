"""The frame in which a view is looked at as a whole: centred, of unit size, turned towards its sensor."""

import numpy as np
from jaxtyping import Float

from shapeprior.geometry.transforms import Similarity

LEVEL = 0.05
"""A sensor whose direction is steeper than this has no heading: sine of the angle to the vertical."""


def view_frame(points_world: Float[np.ndarray, "points 3"], sensor_world: Float[np.ndarray, "3"] | None) -> Similarity:
    """`T_view_world` of a view whose +y is up.

    In the view frame the points have their mean at the origin and a root mean square distance of 1 from it; y is up, and the sensor
    stands at azimuth 0, above +z, if it is known and not straight above or below. So views that differ by a turn about +y, a scale
    and an offset are the same view. Points must not all lie in one place.
    """
    sensors = None if sensor_world is None else sensor_world[None]
    scale, rotation, offset = view_frames(points_world[None], sensors)
    return Similarity(scale=float(scale[0]), rotation=rotation[0], offset=offset[0])


def view_frames(
    points_world: Float[np.ndarray, "views points 3"], sensors_world: Float[np.ndarray, "views 3"] | None
) -> tuple[Float[np.ndarray, "views"], Float[np.ndarray, "views 3 3"], Float[np.ndarray, "views 3"]]:
    """Scale, rotation and offset of `view_frame` for views of as many points; a sensor with NaN is unknown."""
    centers = points_world.mean(axis=1)
    spread = np.sqrt(np.square(points_world - centers[:, None]).sum(axis=2).mean(axis=1))
    scale = 1.0 / np.maximum(spread, 1e-12)
    cosine, sine = np.ones(len(centers)), np.zeros(len(centers))
    if sensors_world is not None:
        towards = sensors_world - centers
        level = np.hypot(towards[:, 0], towards[:, 2])
        headed = level > LEVEL * np.linalg.norm(towards, axis=1)  # False for NaN.
        cosine = np.divide(towards[:, 2], level, out=cosine, where=headed)
        sine = np.divide(-towards[:, 0], level, out=sine, where=headed)
    rotation = np.zeros((len(centers), 3, 3))
    rotation[:, 0, 0] = rotation[:, 2, 2] = cosine
    rotation[:, 0, 2], rotation[:, 2, 0] = sine, -sine
    rotation[:, 1, 1] = 1.0
    return scale, rotation, -scale[:, None] * np.einsum("vij,vj->vi", rotation, centers)
