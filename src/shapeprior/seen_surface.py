"""Which part of a surface sensors can see."""

import numpy as np
from jaxtyping import Bool, Float

from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.raycasting import RayScene

SEEN_TOLERANCE = 1e-3
"""How far before a point its ray may be stopped, in the mesh's unit: what lies closer hides nothing."""


def seen_from(
    mesh: TriangleMesh, points: Float[np.ndarray, "points 3"], origins: Float[np.ndarray, "sensors 3"]
) -> Bool[np.ndarray, "points"]:
    """Which points of a mesh's surface at least one sensor sees: no face stops the ray from it to the point.

    This is decided on the true surface alone. What a sensor's noise, holes or pixels make of the view changes nothing, so that
    the parts are the same at every sensor level.
    """
    scene = RayScene(mesh)
    seen = np.zeros(len(points), dtype=bool)
    for origin in origins:
        ways = points - origin
        length = np.linalg.norm(ways, axis=1)
        asked = ~seen & (length > 0.0)
        distance, _ = scene.first_hit(np.broadcast_to(origin, ways.shape)[asked], ways[asked])
        # A ray that slips past the face it was aimed at met nothing before it.
        seen[asked] = distance >= length[asked] - SEEN_TOLERANCE
    return seen
