"""Distances as colours: pale blue where surfaces agree, through amber to dark red where they are far apart.

Lightness falls all the way, so that the order can be seen in grey and with any kind of colour vision.
"""

import numpy as np
from jaxtyping import Float

ERROR_LIMIT = 0.08
"""Distances from this on, in unit-sphere radii, all have the last colour."""
STOPS = ((0.0, (0.83, 0.89, 0.95)), (0.25, (0.98, 0.86, 0.50)), (0.5, (0.95, 0.60, 0.22)), (1.0, (0.45, 0.03, 0.20)))
"""Share of the limit, and the colour there, sRGB in 0 to 1."""


def error_colors(distances: Float[np.ndarray, "points"]) -> Float[np.ndarray, "points 3"]:
    """The sRGB colour of each distance, in unit-sphere radii."""
    share = np.clip(distances / ERROR_LIMIT, 0.0, 1.0)
    places, colors = [place for place, _ in STOPS], np.array([color for _, color in STOPS])
    return np.stack([np.interp(share, places, colors[:, channel]) for channel in range(3)], axis=1)
