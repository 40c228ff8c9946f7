"""What a lens does to a pinhole image: the Brown-Conrady model, forwards and backwards."""

from dataclasses import astuple, dataclass

import numpy as np
from jaxtyping import Bool, Float

from shapeprior.errors import ConfigError

NEWTON_STEPS = 30
TOLERANCE = 1e-9
"""Of slopes: far below a thousandth of a pixel."""
WIDEST_SLOPE = 8.0
"""Rays farther than 83 degrees from the axis are not looked for."""


@dataclass(frozen=True, kw_only=True)
class LensDistortion:
    """Radial (k) and tangential (p) coefficients on slopes x/z, y/z, as OpenCV, ROS and the Azure Kinect define them.

    Brown 1966, "Decentering distortion of lenses", with the rational radial term of OpenCV's `calibrateCamera`: with r² = x² + y²,

    - x' = x·q + 2·p1·x·y + p2·(r² + 2x²), y' = y·q + p1·(r² + 2y²) + 2·p2·x·y,
    - q = (1 + k1·r² + k2·r⁴ + k3·r⁶) / (1 + k4·r² + k5·r⁴ + k6·r⁶).

    All zero is a lens without distortion. Raises ConfigError for a coefficient that is not finite.
    """

    k1: float = 0.0
    k2: float = 0.0
    p1: float = 0.0
    p2: float = 0.0
    k3: float = 0.0
    k4: float = 0.0
    k5: float = 0.0
    k6: float = 0.0

    def __post_init__(self) -> None:
        if not np.isfinite(astuple(self)).all():
            raise ConfigError(f"distortion coefficients {astuple(self)}; expected finite numbers")

    def __bool__(self) -> bool:
        """Whether it moves anything."""
        return any(astuple(self))

    def distort(self, slopes: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        """Where the rays of these slopes meet the image, as slopes of a pinhole."""
        x, y = slopes[..., 0], slopes[..., 1]
        square = x * x + y * y
        radial = self._radial(square)
        return np.stack(
            [
                x * radial + 2.0 * self.p1 * x * y + self.p2 * (square + 2.0 * x * x),
                y * radial + self.p1 * (square + 2.0 * y * y) + 2.0 * self.p2 * x * y,
            ],
            axis=-1,
        )

    def undistort(self, seen: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, "points 2"]:
        """Inverse of `distort`, by Newton's method; NaN where no ray meets the image there.

        Beyond some radius the polynomial turns back, and the image would show directions twice: no ray is looked for there.
        """
        slopes = seen.astype(np.float64)
        if not self:
            return slopes
        with np.errstate(all="ignore"):
            for _ in range(NEWTON_STEPS):
                off = self.distort(slopes) - seen
                if np.nanmax(np.abs(off), initial=0.0) < 1e-3 * TOLERANCE:
                    break
                xx, xy, yy = self._derivative(slopes)
                determinant = xx * yy - xy * xy
                step = np.stack([yy * off[:, 0] - xy * off[:, 1], xx * off[:, 1] - xy * off[:, 0]], axis=1)
                slopes = slopes - step / determinant[:, None]
            good = self._met(slopes, seen)
        return np.where(good[:, None], slopes, np.nan)

    def _met(self, slopes: Float[np.ndarray, "points 2"], seen: Float[np.ndarray, "points 2"]) -> Bool[np.ndarray, "p"]:
        xx, xy, yy = self._derivative(slopes)
        close = (np.abs(self.distort(slopes) - seen) < TOLERANCE).all(axis=1)
        return close & (xx * yy - xy * xy > 0.0) & (np.hypot(slopes[:, 0], slopes[:, 1]) < self._reach())

    def _reach(self) -> float:
        """Slope at which the radial part turns back, at most WIDEST_SLOPE."""
        radius = np.linspace(0.0, WIDEST_SLOPE, 8001)
        image = radius * self._radial(radius * radius)
        turns = np.flatnonzero(~(np.diff(image) > 0.0))
        return float(radius[turns[0]]) if len(turns) else WIDEST_SLOPE

    def _radial(self, square: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        above = 1.0 + square * (self.k1 + square * (self.k2 + square * self.k3))
        return above / (1.0 + square * (self.k4 + square * (self.k5 + square * self.k6)))

    def _derivative(
        self, slopes: Float[np.ndarray, "points 2"]
    ) -> tuple[Float[np.ndarray, "points"], Float[np.ndarray, "points"], Float[np.ndarray, "points"]]:
        """dx'/dx, dx'/dy = dy'/dx, dy'/dy."""
        x, y = slopes[:, 0], slopes[:, 1]
        square = x * x + y * y
        radial = self._radial(square)
        below = 1.0 + square * (self.k4 + square * (self.k5 + square * self.k6))
        by_above = self.k1 + square * (2.0 * self.k2 + square * 3.0 * self.k3)
        by_below = self.k4 + square * (2.0 * self.k5 + square * 3.0 * self.k6)
        slope = (by_above - radial * by_below) / below  # Of the radial factor by r².
        return (
            radial + 2.0 * x * x * slope + 2.0 * self.p1 * y + 6.0 * self.p2 * x,
            2.0 * x * y * slope + 2.0 * self.p1 * x + 2.0 * self.p2 * y,
            radial + 2.0 * y * y * slope + 6.0 * self.p1 * y + 2.0 * self.p2 * x,
        )


NO_DISTORTION = LensDistortion()
