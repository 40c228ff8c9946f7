"""The camera, a pinhole behind a lens: pixels to rays and back, and where it stands."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from shapeprior.errors import ConfigError
from shapeprior.frames import Similarity
from shapeprior.lens import NO_DISTORTION, LensDistortion


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
