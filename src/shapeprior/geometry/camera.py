"""The pinhole camera and its lens: pixels to rays and back, depth images to points, and camera poses.

The lens is the Brown-Conrady model (Brown 1966, "Decentering distortion of lenses") with the rational radial term of
OpenCV's `calibrateCamera`. Its inverse is found by Newton's method. The camera frame is OpenCV's: x right, y down, z
forward.
"""

from dataclasses import astuple, dataclass

import numpy as np
from jaxtyping import Bool, Float

from shapeprior.errors import ConfigError
from shapeprior.geometry.transforms import Similarity

MAX_NEWTON_STEPS = 30
SLOPE_TOLERANCE = 1e-9
"""Largest error of an undistorted ray's slope; it is far below a thousandth of a pixel."""
MAX_SLOPE = 8.0
"""Largest slope of a ray that `undistort` looks for: 83 degrees from the optical axis."""


@dataclass(frozen=True, kw_only=True)
class LensDistortion:
    """Radial (k) and tangential (p) distortion of the slopes x/z and y/z, as OpenCV, ROS and the Azure Kinect define
    it.

    With r² = x² + y²,

    - x' = x·q + 2·p1·x·y + p2·(r² + 2x²), y' = y·q + p1·(r² + 2y²) + 2·p2·x·y,
    - q = (1 + k1·r² + k2·r⁴ + k3·r⁶) / (1 + k4·r² + k5·r⁴ + k6·r⁶).

    A lens whose coefficients are all zero does not distort. Raises ConfigError for a coefficient that is not finite.
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
        """Tell whether the lens distorts at all."""
        return any(astuple(self))

    def distort(self, slopes: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        """Return where rays of the given slopes meet the image, as slopes of a pinhole camera without a lens."""
        x, y = slopes[..., 0], slopes[..., 1]
        r_squared = x * x + y * y
        radial = self._radial(r_squared)
        return np.stack(
            [
                x * radial + 2.0 * self.p1 * x * y + self.p2 * (r_squared + 2.0 * x * x),
                y * radial + self.p1 * (r_squared + 2.0 * y * y) + 2.0 * self.p2 * x * y,
            ],
            axis=-1,
        )

    def undistort(self, image_slopes: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, "points 2"]:
        """Return the slopes of the rays that meet the image at the given places; NaN where no ray does.

        This is the inverse of `distort`, by Newton's method. Beyond some radius the radial polynomial turns back, so
        that the image would show some directions twice; no ray is looked for there.
        """
        slopes = image_slopes.astype(np.float64)
        if not self:
            return slopes
        with np.errstate(all="ignore"):
            for _ in range(MAX_NEWTON_STEPS):
                residual = self.distort(slopes) - image_slopes
                if np.nanmax(np.abs(residual), initial=0.0) < 1e-3 * SLOPE_TOLERANCE:
                    break
                xx, xy, yy = self._derivative(slopes)
                determinant = xx * yy - xy * xy
                step = np.stack(
                    [yy * residual[:, 0] - xy * residual[:, 1], xx * residual[:, 1] - xy * residual[:, 0]], axis=1
                )
                slopes = slopes - step / determinant[:, None]
            found = self._is_solution(slopes, image_slopes)
        return np.where(found[:, None], slopes, np.nan)

    def _is_solution(
        self, slopes: Float[np.ndarray, "points 2"], image_slopes: Float[np.ndarray, "points 2"]
    ) -> Bool[np.ndarray, "points"]:
        """Tell where Newton's method has converged to a ray before the radius at which the image turns back."""
        xx, xy, yy = self._derivative(slopes)
        close = (np.abs(self.distort(slopes) - image_slopes) < SLOPE_TOLERANCE).all(axis=1)
        return close & (xx * yy - xy * xy > 0.0) & (np.hypot(slopes[:, 0], slopes[:, 1]) < self._max_radius())

    def _max_radius(self) -> float:
        """Return the slope at which the radial polynomial turns back, at most MAX_SLOPE."""
        radius = np.linspace(0.0, MAX_SLOPE, 8001)
        image = radius * self._radial(radius * radius)
        turns = np.flatnonzero(~(np.diff(image) > 0.0))
        return float(radius[turns[0]]) if len(turns) else MAX_SLOPE

    def _radial(self, r_squared: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        numerator = 1.0 + r_squared * (self.k1 + r_squared * (self.k2 + r_squared * self.k3))
        return numerator / (1.0 + r_squared * (self.k4 + r_squared * (self.k5 + r_squared * self.k6)))

    def _derivative(
        self, slopes: Float[np.ndarray, "points 2"]
    ) -> tuple[Float[np.ndarray, "points"], Float[np.ndarray, "points"], Float[np.ndarray, "points"]]:
        """Return the entries dx'/dx, dx'/dy = dy'/dx and dy'/dy of the symmetric Jacobian of `distort`."""
        x, y = slopes[:, 0], slopes[:, 1]
        r_squared = x * x + y * y
        radial = self._radial(r_squared)
        denominator = 1.0 + r_squared * (self.k4 + r_squared * (self.k5 + r_squared * self.k6))
        numerator_slope = self.k1 + r_squared * (2.0 * self.k2 + r_squared * 3.0 * self.k3)
        denominator_slope = self.k4 + r_squared * (2.0 * self.k5 + r_squared * 3.0 * self.k6)
        slope = (numerator_slope - radial * denominator_slope) / denominator  # The radial factor's derivative by r².
        return (
            radial + 2.0 * x * x * slope + 2.0 * self.p1 * y + 6.0 * self.p2 * x,
            2.0 * x * y * slope + 2.0 * self.p1 * x + 2.0 * self.p2 * y,
            radial + 2.0 * y * y * slope + 6.0 * self.p1 * y + 2.0 * self.p2 * x,
        )


NO_DISTORTION = LensDistortion()


@dataclass(frozen=True, kw_only=True)
class PinholeCamera:
    """A pinhole camera with an optional lens. The centre of the top left pixel is at (0, 0).

    A point (x, y, z) of the camera frame is seen at ``u = fx x' + cx``, ``v = fy y' + cy``, where (x', y') are its
    slopes (x / z, y / z), distorted by the lens. Raises ConfigError for a value outside its range.
    """

    fx: float
    """Focal length along the rows, in pixels; positive."""
    fy: float
    """Focal length along the columns, in pixels; positive."""
    cx: float
    """Column at which the optical axis meets the image, in pixels from the centre of the leftmost pixel."""
    cy: float
    """Row at which the optical axis meets the image, in pixels from the centre of the topmost pixel."""
    width: int
    """Number of columns of the image; at least 1."""
    height: int
    """Number of rows of the image; at least 1."""
    lens: LensDistortion = NO_DISTORTION
    """Distortion of the lens; none by default."""

    def __post_init__(self) -> None:
        if not (np.isfinite([self.fx, self.fy]).all() and self.fx > 0 and self.fy > 0):
            raise ConfigError(f"focal lengths fx = {self.fx}, fy = {self.fy}; expected positive, finite pixels")
        if not np.isfinite([self.cx, self.cy]).all():
            raise ConfigError(f"principal point cx = {self.cx}, cy = {self.cy}; expected finite pixels")
        if self.width < 1 or self.height < 1:
            raise ConfigError(f"image size {self.width} x {self.height}; expected at least 1 x 1 pixel")

    def pixel_rays(self) -> Float[np.ndarray, "height width 3"]:
        """Return the directions through the pixel centres, in the camera frame and with z = 1.

        Multiplied by the depth they are points. Pixels that no ray meets by the lens's model are NaN, such as corners
        beyond the radius at which the model holds.
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
        """Return the pixels (u, v) at which points of the camera frame are seen, inside the image or outside.

        Points that are not in front of the camera (z > 0) give NaN.
        """
        z = points_camera[:, 2:]
        focal, center = np.array([self.fx, self.fy]), np.array([self.cx, self.cy])
        slopes = np.divide(points_camera[:, :2], z, out=np.full((len(z), 2), np.nan), where=z > 0)
        return focal * self.lens.distort(slopes) + center

    def back_project(self, depth: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "points 3"]:
        """Return the points of a depth image, in the camera frame and the depth's length unit, row by row.

        Each pixel with a measurement and a ray gives one point. Raises ConfigError if the image is not of the camera's
        size.
        """
        if depth.shape != (self.height, self.width):
            found, expected = f"{depth.shape[1]} x {depth.shape[0]}", f"{self.width} x {self.height}"
            raise ConfigError(
                f"the depth image has {found} pixels; expected the camera's {expected}; "
                "use the intrinsics of this image"
            )
        rays = self.pixel_rays()
        measured = has_measurement(depth) & np.isfinite(rays[:, :, 0])
        return rays[measured] * depth[measured][:, None].astype(np.float64)


def has_measurement(depth: Float[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Mark the pixels that hold a distance in front of the camera: neither zero, negative, NaN nor infinite."""
    return np.isfinite(depth) & (depth > 0)


def look_at(
    eye_world: Float[np.ndarray, "3"],
    target_world: Float[np.ndarray, "3"],
    up_world: Float[np.ndarray, "3"] | tuple[float, float, float] = (0.0, 1.0, 0.0),
) -> Similarity:
    """Return ``T_world_camera`` of a camera at `eye_world` that looks at `target_world` with `up_world` up in its
    image.

    If the camera looks straight along the up direction, the world axis farthest from the line of sight replaces it.
    Raises ValueError if eye and target are the same point.
    """
    forward = target_world - eye_world
    length = float(np.linalg.norm(forward))
    if not (np.isfinite(length) and length > 0):
        raise ValueError(
            f"a camera at {eye_world.tolist()} cannot look at {target_world.tolist()}; "
            "expected two different finite points"
        )
    forward = forward / length
    up = np.asarray(up_world, dtype=np.float64)
    right = np.cross(forward, up)
    if np.linalg.norm(right) <= 1e-9 * np.linalg.norm(up):
        right = np.cross(forward, np.eye(3)[np.argmin(np.abs(forward))])
    right = right / np.linalg.norm(right)
    down = np.cross(forward, right)
    return Similarity(scale=1.0, rotation=np.stack([right, down, forward], axis=1), offset=eye_world.astype(np.float64))
