"""Similarity transforms between frames.

Three frames are named throughout the package: *unit* is the networks' frame, in which a shape lies inside the unit
sphere; *world* is the frame and length unit of the input file; *camera* is OpenCV's (x right, y down, z forward).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

UNIT_SPHERE_BUFFER = 1.03
"""DeepSDF (Park et al. 2019, section 5) normalises shapes to radius 1/1.03, so that some space remains around them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Similarity:
    """A map of points between two frames: ``p_to = scale * rotation @ p_from + offset``.

    Variables that hold one are named ``T_to_from``.

    >>> points_world = np.array([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0]])
    >>> T_unit_world = Similarity.to_unit_sphere(points_world, buffer=1.0)
    >>> T_unit_world.apply(points_world).tolist()
    [[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    >>> T_unit_world.inverse().scale * 0.5  # A distance of 0.5 in the unit frame, in world units.
    1.0
    """

    scale: float
    """Length in `to` units of one `from` unit; positive."""
    rotation: Float[np.ndarray, "3 3"]
    """Right-handed rotation matrix, applied before the scale and the offset."""
    offset: Float[np.ndarray, "3"]
    """The origin of `from` in `to` coordinates."""

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"a similarity needs a positive, finite scale; got {self.scale}")
        if not np.allclose(self.rotation @ self.rotation.T, np.eye(3), atol=1e-6) or np.linalg.det(self.rotation) < 0:
            raise ValueError(f"a similarity needs a right-handed rotation; got {self.rotation.tolist()}")
        if not np.all(np.isfinite(self.offset)):
            raise ValueError(f"a similarity needs a finite offset; got {self.offset.tolist()}")

    @classmethod
    def identity(cls) -> "Similarity":
        """Return the map that leaves points where they are."""
        return cls(scale=1.0, rotation=np.eye(3), offset=np.zeros(3))

    @classmethod
    def to_unit_sphere(
        cls, points_from: Float[np.ndarray, "points 3"], *, buffer: float = UNIT_SPHERE_BUFFER
    ) -> "Similarity":
        """Return ``T_unit_from``: the bounding box's centre goes to the origin, the farthest point to radius 1/buffer.

        Raises ValueError unless there are two different points.
        """
        if len(points_from) == 0:
            raise ValueError("a unit sphere needs points; got none")
        center = 0.5 * (points_from.min(axis=0) + points_from.max(axis=0))
        radius = float(np.linalg.norm(points_from - center, axis=1).max())
        if radius == 0.0:
            raise ValueError(f"a unit sphere needs two different points; got {len(points_from)} at one place")
        scale = 1.0 / (radius * buffer)
        return cls(scale=scale, rotation=np.eye(3), offset=-scale * center)

    @classmethod
    def from_matrix(cls, matrix: Float[np.ndarray, "4 4"]) -> "Similarity":
        """Convert a 4 × 4 homogeneous matrix; raises ValueError if it is not a right-handed similarity."""
        linear = matrix[:3, :3]
        determinant = float(np.linalg.det(linear)) if np.all(np.isfinite(matrix)) else 0.0
        if determinant <= 0 or not np.allclose(matrix[3], [0, 0, 0, 1]):
            raise ValueError(f"expected a 4 x 4 right-handed similarity with last row 0 0 0 1; got {matrix.tolist()}")
        scale = determinant ** (1.0 / 3.0)
        return cls(scale=scale, rotation=linear / scale, offset=matrix[:3, 3].copy())

    def matrix(self) -> Float[np.ndarray, "4 4"]:
        """Return the 4 × 4 homogeneous matrix."""
        result = np.eye(4)
        result[:3, :3] = self.scale * self.rotation
        result[:3, 3] = self.offset
        return result

    def apply(self, points_from: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
        """Map points from the `from` frame to the `to` frame."""
        return self.scale * (points_from @ self.rotation.T) + self.offset

    def apply_vectors(self, vectors_from: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
        """Rotate directions into the `to` frame; their lengths stay as they are."""
        return vectors_from @ self.rotation.T

    def inverse(self) -> "Similarity":
        """Return the inverse map, ``T_from_to``."""
        rotation = self.rotation.T
        return Similarity(scale=1.0 / self.scale, rotation=rotation, offset=-(rotation @ self.offset) / self.scale)

    def __matmul__(self, other: "Similarity") -> "Similarity":
        """Compose two maps: ``T_c_a = T_c_b @ T_b_a``."""
        return Similarity(
            scale=self.scale * other.scale,
            rotation=self.rotation @ other.rotation,
            offset=self.apply(other.offset),
        )

    def to_json(self) -> dict[str, object]:
        """Return the map as plain numbers, the way every file of this package stores it."""
        return {"scale": self.scale, "rotation": self.rotation.tolist(), "offset": self.offset.tolist()}

    @classmethod
    def from_json(cls, value: dict[str, object]) -> "Similarity":
        """Read what `to_json` returned; raises ValueError or KeyError for anything else."""
        try:
            scale = float(value["scale"])  # pyright: ignore[reportArgumentType]  (anything but a number raises TypeError)
            rotation = np.asarray(value["rotation"], dtype=np.float64)
            offset = np.asarray(value["offset"], dtype=np.float64)
        except TypeError as error:
            raise ValueError(f"a similarity needs numbers; {error}") from None
        if rotation.shape != (3, 3) or offset.shape != (3,):
            raise ValueError(f"a similarity needs a 3 x 3 rotation and 3 offsets; got {rotation.shape}, {offset.shape}")
        return cls(scale=scale, rotation=rotation, offset=offset)


def rotation_about_y(angle_rad: float | Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch 3 3"]:
    """Return the right-handed rotation about +y for each angle; a positive angle turns +z towards +x."""
    angle = np.asarray(angle_rad, dtype=np.float64)
    rotation = np.zeros((*angle.shape, 3, 3))
    rotation[..., 0, 0] = rotation[..., 2, 2] = np.cos(angle)
    rotation[..., 0, 2] = np.sin(angle)
    rotation[..., 2, 0] = -np.sin(angle)
    rotation[..., 1, 1] = 1.0
    return rotation
