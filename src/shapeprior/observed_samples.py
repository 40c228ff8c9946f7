"""What a partial view says about the field: where it is zero, where it is positive, and by how much near the surface."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree

from shapeprior.scans.observation import Observation

NEIGHBOURS = 12


@dataclass(frozen=True, eq=False)
class ObservedSamples:
    """Samples of a view in its guessed unit frame; the solver draws from them at each step."""

    surface: Float[np.ndarray, "points 3"]
    """Points where the field is zero."""
    normals: Float[np.ndarray, "points 3"]
    """Outward unit normals there; zero where neither they nor the sensor are known, or with fewer than four points."""
    free: Float[np.ndarray, "free 3"]
    """Points that were seen to be outside; may be empty."""


def observed_samples(view_unit: Observation, *, seed: int) -> ObservedSamples:
    """Turn a view without strays, in the unit frame as far as it is known, into samples of the field.

    Normals are the view's own where it has some; else those of the best plane through each point's neighbours, turned to the
    sensor.
    """
    points = view_unit.points_world
    normals = view_unit.normals_world
    if normals is None or not normals.any(axis=1).all():
        estimated = _normals(points, view_unit.origins_world)
        normals = estimated if normals is None else np.where(normals.any(axis=1, keepdims=True), normals, estimated)
    free = view_unit.free_space_samples(per_ray=4, rng=np.random.default_rng([seed, 1]), radius=1.0, stop_short=0.02)
    near = _just_before(view_unit, rng=np.random.default_rng([seed, 2]))
    return ObservedSamples(surface=points, normals=normals, free=np.concatenate([free, near]))


def _just_before(view: Observation, *, rng: np.random.Generator) -> Float[np.ndarray, "samples 3"]:
    """Free points close to the surface, where they shape it most: 0.02 to 0.15 before each point, towards the sensor."""
    if view.origins_world is None:
        return np.zeros((0, 3))
    towards = view.origins_world - view.points_world
    length = np.linalg.norm(towards, axis=1, keepdims=True)
    step = np.minimum(rng.uniform(0.02, 0.15, size=length.shape), 0.9 * length)
    return view.points_world + towards / np.maximum(length, 1e-9) * step


def _normals(
    points: Float[np.ndarray, "points 3"], origins: Float[np.ndarray, "points 3"] | None
) -> Float[np.ndarray, "points 3"]:
    if origins is None or len(points) < 4:
        return np.zeros_like(points)
    _, neighbours = KDTree(points).query(points, k=min(NEIGHBOURS, len(points)), workers=-1)
    around = points[neighbours] - points[neighbours].mean(axis=1, keepdims=True)
    # The eigenvalues of a symmetric matrix come in rising order.
    normals = np.linalg.eigh(np.einsum("pni,pnj->pij", around, around))[1][:, :, 0]
    towards = np.sign(np.einsum("ij,ij->i", normals, origins - points))
    return normals * np.where(towards == 0.0, 1.0, towards)[:, None]
