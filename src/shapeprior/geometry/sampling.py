"""Points to evaluate at: random points of a surface, the cells of the unit cube, and even directions on the sphere."""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Int

from shapeprior.errors import MeshError
from shapeprior.geometry.mesh import TriangleMesh

Item = TypeVar("Item")


def sample_surface(
    mesh: TriangleMesh, count: int, *, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "count 3"], Int[np.ndarray, "count"]]:
    """Draw points of a surface independently and uniformly by area.

    A face is picked by inverting the cumulative area, and a place inside it by `points_on_faces`.

    Returns:
        The points, in the mesh's frame, and the face that each of them lies on.

    Raises:
        ValueError: the count is negative.
        MeshError: the mesh has no area to draw from.
    """
    if count < 0:
        raise ValueError(f"the number of surface points cannot be negative; got {count}")
    cumulative = np.cumsum(mesh.face_areas)
    total = float(cumulative[-1]) if len(cumulative) else 0.0
    if not (np.isfinite(total) and total > 0.0):
        raise MeshError(
            f"cannot draw points from a mesh of {len(mesh.faces)} faces with a total area of {total}; expected a "
            "positive, finite area: clean the mesh first"
        )
    # side="right" skips faces without area: the first cumulative area above the draw belongs to a face with area.
    face_index = np.searchsorted(cumulative, rng.random(count) * total, side="right")
    last = int(np.flatnonzero(mesh.face_areas)[-1])
    face_index = np.minimum(face_index, last).astype(np.int64)
    return points_on_faces(mesh, face_index, rng.random(count), rng.random(count)), face_index


def points_on_faces(
    mesh: TriangleMesh,
    face_index: Int[np.ndarray, "points"],
    r1: Float[np.ndarray, "points"],
    r2: Float[np.ndarray, "points"],
) -> Float[np.ndarray, "points 3"]:
    """Map numbers of the unit square to points of faces; uniform numbers give points uniform by area.

    Osada et al. 2002, "Shape distributions", section 4.1: the barycentric weights are (1 - √r1, √r1 (1 - r2), √r1 r2).
    """
    root = np.sqrt(r1)
    weights = np.stack([1.0 - root, root * (1.0 - r2), root * r2], axis=1)
    return np.einsum("pc,pcx->px", weights, mesh.vertices[mesh.faces[face_index]])


def cell_centers(cells: int) -> Float[np.ndarray, "centers 3"]:
    """Return the centres of ``cells³`` equal cells of the cube [−1, 1]³; x varies slowest, z fastest."""
    axis = (np.arange(cells) + 0.5) * (2.0 / cells) - 1.0
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)


def fibonacci_directions(count: int) -> Float[np.ndarray, "count 3"]:
    """Return unit vectors that are spread evenly over the sphere; raises ValueError for a negative count.

    They are the spherical Fibonacci lattice (González 2010, "Measurement of areas on a sphere using Fibonacci and
    latitude-longitude lattices", doi 10.1007/s11004-009-9257-x).
    """
    if count < 0:
        raise ValueError(f"the number of directions cannot be negative; got {count}")
    golden_angle = np.pi * (3.0 - np.sqrt(5.0))
    steps = np.arange(count, dtype=np.float64)
    height = 1.0 - (2.0 * steps + 1.0) / max(count, 1)
    ring = np.sqrt(1.0 - height * height)
    return np.stack([ring * np.cos(golden_angle * steps), height, ring * np.sin(golden_angle * steps)], axis=1)


def shape_rng(seed: int, name: str) -> np.random.Generator:
    """Return a generator for a seed and a name, such as a shape's id.

    Its numbers depend on nothing else: not on which other shapes there are, nor on which process asks.
    """
    words = np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype="<u4").tolist()
    return np.random.default_rng([seed, *words])


def evenly_spaced(count: int, limit: int, *, round_down: bool = False) -> Int[np.ndarray, "kept"]:
    """Return at most `limit` of the indices 0 to `count` - 1, in order and evenly spaced, the first and the last
    included.

    Positions between two indices are rounded to the nearest one, or down.
    """
    if count <= limit:
        return np.arange(count)
    places = np.linspace(0, count - 1, limit)
    return (places if round_down else places.round()).astype(np.int64)


def select_evenly(items: Sequence[Item], limit: int | None) -> list[Item]:
    """Return at most `limit` of the items, in order and evenly spaced; None takes all."""
    return list(items) if limit is None else [items[index] for index in evenly_spaced(len(items), limit)]
