"""Placements of an object in a scan: what may be known of them, first guesses from a view, and pose files."""

import os
import reprlib
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from shapeprior.errors import ScanError, error_text
from shapeprior.geometry.transforms import UNIT_SPHERE_BUFFER, Similarity
from shapeprior.io.files import FileSpec
from shapeprior.scans.observation import Observation

PlacementMode = Literal["known", "aligned", "upright", "free"]
"""What is unknown of an object's placement. "known": nothing. "aligned": scale and offset. "upright": these and the
turn about +y. "free": these and every turn."""
NUM_TURNS = 12
"""Number of turns about +y to start from. The true turn is at most 15 degrees from one of them."""
SIZE_FACTORS = (1.0, 1.2)
"""Sizes of the object to start from, as multiples of its visible part."""
CENTER_DEPTHS = (0.15, 0.45)
"""Distances of the object's centre behind the centre of the visible part to start from, in radii of the visible
part."""
NUM_UP_DIRECTIONS = 64
"""Number of candidate up directions for a view whose up direction is unknown."""
_POSE_FILE = FileSpec(
    error=ScanError, expected="a pose as a JSON object", advice="write scale, rotation and offset, or matrix"
)


def initial_placements(view_world: Observation) -> list[Similarity]:
    """Return candidates for `T_unit_world` of a view whose axes are those of the unit frame.

    A view shows the near side, so the object reaches farther from the sensor than its points do. Each candidate makes
    it larger than the visible part by one of `SIZE_FACTORS` and moves its centre away from the sensor by one of
    `CENTER_DEPTHS`. Raises ScanError if all points lie in one place.
    """
    points = view_world.points_world
    # Percentiles keep outliers from deciding the size.
    low, high = np.percentile(points, [1.0, 99.0], axis=0)
    center = 0.5 * (low + high)
    # The unit frame is defined by the farthest point, not by the box's corner, where round objects have nothing.
    radius = float(np.percentile(np.linalg.norm(points - center, axis=1), 99.0))
    if not radius > 0.0:
        raise _in_one_place(len(points))
    away = np.zeros(3)
    if view_world.origins_world is not None:
        away = center - view_world.origins_world.mean(axis=0)
        away = away / max(float(np.linalg.norm(away)), 1e-12)
    depths = CENTER_DEPTHS if away.any() else (0.0,)
    candidates = []
    for factor in SIZE_FACTORS:
        for depth in depths:
            middle = center + depth * radius * away
            scale = 1.0 / (radius * factor * UNIT_SPHERE_BUFFER)
            candidates.append(Similarity(scale=scale, rotation=np.eye(3), offset=-scale * middle))
    return candidates


def require_extent(points: Float[np.ndarray, "points 3"]) -> None:
    """Raise ScanError if all points lie in one place, which shows no size."""
    if not np.ptp(points, axis=0).max() > 1e-12 * np.abs(points).max():
        raise _in_one_place(len(points))


def _in_one_place(count: int) -> ScanError:
    return ScanError(
        f"all {count} points lie in one place; expected the visible part of an object; pass its placement, or scan "
        "again"
    )


def initial_rotations(mode: PlacementMode) -> list[np.ndarray]:
    """Return rotations of the unit frame to start from: one, equal steps about +y, or the sixty of an icosahedron.

    No rotation is farther than 45 degrees from one of these sixty.
    """
    if mode == "free":
        return list(Rotation.create_group("I").as_matrix())
    turns = NUM_TURNS if mode == "upright" else 1
    return list(Rotation.from_rotvec(np.outer(np.arange(turns) * (2.0 * np.pi / turns), [0.0, 1.0, 0.0])).as_matrix())


def up_directions(count: int = NUM_UP_DIRECTIONS) -> list[np.ndarray]:
    """Return rotations that turn evenly spread directions to +y, for a view whose up direction is unknown.

    The directions are those of `shapeprior.geometry.sampling.fibonacci_directions` but for rounding, which decides the
    last digits of completions with `placement` "free".
    """
    height = 1.0 - (2.0 * np.arange(count) + 1.0) / count
    angle = np.arange(count) * np.pi * (3.0 - np.sqrt(5.0))
    level = np.sqrt(1.0 - height**2)
    directions = np.column_stack([level * np.cos(angle), height, level * np.sin(angle)])
    return [Rotation.align_vectors([[0.0, 1.0, 0.0]], [direction])[0].as_matrix() for direction in directions]


def read_pose(path: str | os.PathLike[str]) -> Similarity:
    """Read a similarity from JSON: either scale, rotation (three rows) and offset, or a 4 x 4 matrix in rows.

    Raises ScanError if the file holds neither, or if it is not a right-handed similarity.
    """
    path = Path(path)
    value = _POSE_FILE.read_json(path, dict)
    try:
        if "matrix" in value:
            matrix = np.asarray(value["matrix"], dtype=np.float64)
            if matrix.shape != (4, 4):
                raise ValueError(f"a matrix of shape {matrix.shape}, not 4 x 4")
            return Similarity.from_matrix(matrix)
        rotation, offset = np.shape(np.asarray(value["rotation"])), np.shape(np.asarray(value["offset"]))
        if (rotation, offset) != ((3, 3), (3,)):
            raise ValueError(f"rotation and offset of shapes {rotation} and {offset}, not (3, 3) and (3,)")
        return Similarity.from_json(value)
    except KeyError as error:
        found = "the keys " + (", ".join(reprlib.repr(key) for key in list(value)[:12]) or "none")
        expected = "the keys scale, rotation and offset, or matrix (4 x 4): write one of them"
        raise ScanError(f"{path}: found {found}; expected {expected}") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise ScanError(
            f"{path}: found no pose ({error_text(error)}); expected a right-handed similarity: check it"
        ) from error
