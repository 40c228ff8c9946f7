"""Fields with known zero level sets, for tests of extraction: distances of solids, exact and as learned fields distort
them."""

from collections.abc import Callable

import numpy as np

Field = Callable[[np.ndarray], np.ndarray]


def sphere(points: np.ndarray, center: tuple[float, float, float] = (0, 0, 0), radius: float = 0.6) -> np.ndarray:
    return np.linalg.norm(points - np.array(center), axis=1) - radius


def torus(points: np.ndarray) -> np.ndarray:
    return np.hypot(np.hypot(points[:, 0], points[:, 2]) - 0.5, points[:, 1]) - 0.2


def box(points: np.ndarray, half: tuple[float, float, float] = (0.55, 0.31, 0.43)) -> np.ndarray:
    q = np.abs(points) - np.array(half)
    return np.linalg.norm(np.maximum(q, 0.0), axis=1) + np.minimum(q.max(axis=1), 0.0)


def thin_plate(points: np.ndarray) -> np.ndarray:
    # The plate is about 1.5 cells of the 64³ grid thick, and not aligned with it.
    return box(points - np.array([0.0, 0.007, 0.0]), (0.7, 0.75 / 64, 0.5))


def two_spheres(points: np.ndarray) -> np.ndarray:
    return np.minimum(sphere(points, (-0.5, 0, 0), 0.3), sphere(points, (0.45, 0.1, 0), 0.25))


def touching_spheres(points: np.ndarray) -> np.ndarray:
    return np.minimum(sphere(points, (-0.25, 0, 0), 0.25), sphere(points, (0.25, 0, 0), 0.25))


def leaving_sphere(points: np.ndarray) -> np.ndarray:
    return sphere(points, (0.8, 0.9, 0.0), 0.5)


def surrounding_cavity(points: np.ndarray) -> np.ndarray:
    return 0.4 - np.linalg.norm(points, axis=1)


def clamped_torus(points: np.ndarray) -> np.ndarray:
    return np.clip(torus(points), -0.1, 0.1)


def steep_torus(points: np.ndarray) -> np.ndarray:
    # A squashed decoder output that grows three times as fast as distance, so that the pruning bound does not hold.
    return 0.1 * np.tanh(30.0 * torus(points))


def stepped_torus(points: np.ndarray) -> np.ndarray:
    # Only the sign is right, and no value is near zero.
    return np.where(torus(points) < 0, -0.3, 0.3)


def on_the_grid(points: np.ndarray) -> np.ndarray:
    # The field is zero at whole layers of grid points, which leaves holes in careless implementations.
    return np.abs(points).max(axis=1) - 0.5


def noise(points: np.ndarray) -> np.ndarray:
    waves = np.random.default_rng(3).normal(scale=12.0, size=(3, 12))
    return np.sin(points @ waves + np.arange(12)).sum(axis=1) / 10.0


def squared_sphere(points: np.ndarray) -> np.ndarray:
    # The field is far from linear along an edge, as a learned field is beside its kinks.
    return np.sign(sphere(points)) * np.sqrt(np.abs(sphere(points)))


def thin_ring(points: np.ndarray) -> np.ndarray:
    # The ring is 1.3 cells of the 256³ grid thick.
    return np.hypot(np.hypot(points[:, 0] - 0.013, points[:, 1]) - 0.4, points[:, 2] - 0.003) - 0.65 * 2 / 256


def thin_wing(points: np.ndarray) -> np.ndarray:
    # The plate is 1.2 cells thick, and oblique to all axes.
    normal = np.array([0.3, 1.0, -0.55]) / np.linalg.norm([0.3, 1.0, -0.55])
    across = np.abs(points @ normal - 0.017) - 0.6 * 2 / 256
    return np.maximum(across, np.linalg.norm(points, axis=1) - 0.7)


def with_crumb(points: np.ndarray) -> np.ndarray:
    return np.minimum(sphere(points, radius=0.5), sphere(points, (0.8, 0.8, 0.8), 0.045))
