"""The camera, a pinhole behind a lens: pixels to rays and back, and where it stands.

What a lens does to a pinhole image: the Brown-Conrady model, forwards and backwards.
"""

from dataclasses import astuple, dataclass

import numpy as np
from jaxtyping import Bool, Float

from shapeprior.errors import ConfigError
from shapeprior.geometry.transforms import Similarity

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


@dataclass(frozen=True, kw_only=True)
class PinholeCamera:
    """A camera. Pixel (u, v) has its centre at (u, v); ``u = fx x' + cx``, ``v = fy y' + cy``, where ``x' = x / z`` and
    ``y' = y / z`` for a lens without distortion, else what `LensDistortion.distort` makes of these.

    Raises ConfigError for a value outside its range.
    """

    fx: float
    """Focal length along the rows, in pixels; positive."""
    fy: float
    """Focal length along the columns, in pixels; positive."""
    cx: float
    """Where the optical axis meets the image, from the centre of the leftmost pixel to the right, in pixels."""
    cy: float
    """Where the optical axis meets the image, from the centre of the topmost pixel down, in pixels."""
    width: int
    """Pixels in a row; at least 1."""
    height: int
    """Pixels in a column; at least 1."""
    lens: LensDistortion = NO_DISTORTION
    """What bends the rays; none unless told."""

    def __post_init__(self) -> None:
        if not (np.isfinite([self.fx, self.fy]).all() and self.fx > 0 and self.fy > 0):
            raise ConfigError(f"focal lengths fx = {self.fx}, fy = {self.fy}; expected positive, finite pixels")
        if not np.isfinite([self.cx, self.cy]).all():
            raise ConfigError(f"principal point cx = {self.cx}, cy = {self.cy}; expected finite pixels")
        if self.width < 1 or self.height < 1:
            raise ConfigError(f"image size {self.width} x {self.height}; expected at least 1 x 1 pixel")

    def pixel_rays(self) -> Float[np.ndarray, "height width 3"]:
        """Directions through the pixel centres in the camera frame, with z = 1: depth times these are points.

        NaN for pixels that no ray meets by a distorting lens's model, such as corners beyond its reach.
        """
        x = (np.arange(self.width, dtype=np.float64) - self.cx) / self.fx
        y = (np.arange(self.height, dtype=np.float64) - self.cy) / self.fy
        rays = np.ones((self.height, self.width, 3))
        rays[:, :, 0], rays[:, :, 1] = x[None, :], y[:, None]
        if self.lens:
            slopes = self.lens.undistort(rays[:, :, :2].reshape(-1, 2)).reshape(self.height, self.width, 2)
            rays[:, :, :2] = slopes
            rays[np.isnan(slopes[:, :, 0])] = np.nan
        return rays

    def project(self, points_camera: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 2"]:
        """Pixels (u, v) of points of the camera frame, outside the image too; NaN where z is not above 0."""
        z = points_camera[:, 2:]
        focal, center = np.array([self.fx, self.fy]), np.array([self.cx, self.cy])
        slopes = np.divide(points_camera[:, :2], z, out=np.full((len(z), 2), np.nan), where=z > 0)
        return focal * self.lens.distort(slopes) + center

    def back_project(self, depth: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "points 3"]:
        """Points of the camera frame, in the depth's length unit, row by row, for each pixel with a measurement and a ray.

        Raises ConfigError if the depth image is not of this camera's size.
        """
        if depth.shape != (self.height, self.width):
            found, expected = f"{depth.shape[1]} x {depth.shape[0]}", f"{self.width} x {self.height}"
            raise ConfigError(f"the depth image has {found} pixels; expected the camera's {expected}")
        rays = self.pixel_rays()
        measured = has_measurement(depth) & np.isfinite(rays[:, :, 0])
        return rays[measured] * depth[measured][:, None].astype(np.float64)


def has_measurement(depth: Float[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Where a depth image holds a distance in front of the camera; zero, negative, NaN and infinity are none."""
    return np.isfinite(depth) & (depth > 0)


def look_at(
    eye_world: Float[np.ndarray, "3"],
    target_world: Float[np.ndarray, "3"],
    up_world: Float[np.ndarray, "3"] | tuple[float, float, float] = (0.0, 1.0, 0.0),
) -> Similarity:
    """``T_world_camera`` of a camera at the eye that looks at the target, with the up direction upwards in its image.

    Looking straight along up, the world axis that is farthest from the line of sight takes the place of up.
    Raises ValueError if the eye is the target.
    """
    forward = target_world - eye_world
    length = float(np.linalg.norm(forward))
    if not (np.isfinite(length) and length > 0):
        raise ValueError(f"a camera at {eye_world.tolist()} cannot look at {target_world.tolist()}")
    forward = forward / length
    up = np.asarray(up_world, dtype=np.float64)
    right = np.cross(forward, up)
    if np.linalg.norm(right) <= 1e-9 * np.linalg.norm(up):
        right = np.cross(forward, np.eye(3)[np.argmin(np.abs(forward))])
    right = right / np.linalg.norm(right)
    down = np.cross(forward, right)
    return Similarity(scale=1.0, rotation=np.stack([right, down, forward], axis=1), offset=eye_world.astype(np.float64))
