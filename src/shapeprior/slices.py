"""Pictures of a signed distance on planes through a shape."""

from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

from shapeprior.sdf.signed_distance import SignedDistance

Plane = Literal["front", "side", "top"]

_AXES: dict[Plane, tuple[int, int, int]] = {"front": (0, 1, 2), "side": (2, 1, 0), "top": (0, 2, 1)}
"""For each plane, the axes that run right, up and through it."""
_INSIDE, _OUTSIDE = np.array([0.16, 0.38, 0.68]), np.array([0.93, 0.66, 0.33])
_PALE = np.array([0.97, 0.96, 0.94])
_INK = np.array([0.10, 0.11, 0.14])
_BAND = 0.05
"""Distance between two contour lines, in unit-sphere radii."""


def slice_field(
    distance: SignedDistance, plane: Plane, *, at: float, size: int
) -> tuple[Float[np.ndarray, "size size"], Float[np.ndarray, "size size 3"]]:
    """Signed distances on a square grid over [-1, 1]² of a plane, top row first, and the points they belong to.

    `at` is the plane's place along its normal, in the unit frame.
    """
    right, up, through = _AXES[plane]
    axis = (np.arange(size) + 0.5) * (2.0 / size) - 1.0
    points = np.full((size, size, 3), at)
    points[..., right] = axis[None, :]
    points[..., up] = -axis[:, None]
    points[..., through] = at
    return distance(points.reshape(-1, 3)).reshape(size, size), points


def draw_slice(sdf: Float[np.ndarray, "size size"]) -> UInt8[np.ndarray, "size size 3"]:
    """Colours for a slice: blue inside, orange outside, paler away from the surface, with contour lines; the surface is dark."""
    depth = np.clip(np.abs(sdf) / 0.6, 0.0, 1.0)[..., None] ** 0.7
    full = np.where((sdf < 0.0)[..., None], _INSIDE, _OUTSIDE)
    color = full + (0.15 + 0.75 * depth) * np.where((sdf < 0.0)[..., None], 0.6, 1.0) * (_PALE - full)
    pixel = 2.0 / len(sdf)
    line = np.abs((sdf + 0.5 * _BAND) % _BAND - 0.5 * _BAND) < 0.5 * pixel
    color = np.where(line[..., None], 0.88 * color, color)
    near = np.clip(1.6 - np.abs(sdf)[..., None] / pixel, 0.0, 1.0)
    return np.round(255.0 * (near * _INK + (1.0 - near) * color)).astype(np.uint8)
