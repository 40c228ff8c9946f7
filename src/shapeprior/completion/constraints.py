"""Two constraints on a fit: its shape fills the unit sphere, and it stays out of space that the view saw to be free.

Few of the free points that a fit draws lie where its shape reaches too far: the tip of a wing is a ten-thousandth of
the space around it. Points that violate free space are therefore looked for and added to the residuals before the last
steps, as cutting planes are added to a linear program (Kelley 1960, "The cutting-plane method for solving convex
programs").
"""

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import KDTree
from torch import Tensor

from shapeprior.completion.fitting import FitState
from shapeprior.errors import CompletionError
from shapeprior.geometry.mesh import TriangleMesh, components_of, vertex_normals
from shapeprior.geometry.transforms import UNIT_SPHERE_BUFFER, Similarity
from shapeprior.models.decoder import DecodedField, Decoder
from shapeprior.scans.free_space import FreeSpace
from shapeprior.sdf.isosurface.extract import ExtractConfig, extract_mesh

COARSE_RESOLUTION = 64
"""Cells along each axis of the cube in which coarse meshes are extracted."""
SIZE_LEVEL = 0.01
"""The size of a shape is taken from the surface this far outside it, in radii. A decoder that makes the tip of a wing
or a fin too thin to have a surface still has small values there. Over training shapes of airplanes, the size by this
surface varies by 1.3 % of the true one, and the size by the shape's own surface by 11 %."""
MAX_PART_GAP = 0.08
"""Parts that are farther than this from all others, in radii, are crumbs and do not count for the size."""
SCALE_LIMITS = (0.8, 1.25)
"""Corrections beyond these come from a torn shape, not from a wrong placement."""
MAX_FREE_SAMPLES = 16_384
"""Largest number of the view's free points that are evaluated."""
VIOLATION_DEPTHS = (0.0, 0.02, 0.05, 0.1)
"""Depths below the surface at which violating points are looked for, in radii. Points on the surface alone would move
it by no more than one step's worth."""


def unit_sphere_correction(decoder: Decoder, code: Float[Tensor, "code"]) -> Similarity | None:
    """Return the scale and offset that normalise a code's shape as preparation normalises meshes.

    Codes between and beyond those of training have shapes that are a little too small or too large for the unit sphere.
    Where the scale of an object is unknown, this is an error of the scale. Returns None if there is no surface, or if
    the correction is beyond `SCALE_LIMITS`.
    """
    mesh = coarse_mesh(decoder, code, level=SIZE_LEVEL)
    if mesh is None:
        return None
    found = Similarity.to_unit_sphere(_main_vertices(mesh))
    # The level's distance outside the shape is taken off its radius.
    scale = 1.0 / max(1.0 / found.scale - SIZE_LEVEL * UNIT_SPHERE_BUFFER, 1e-9)
    if not SCALE_LIMITS[0] < scale < SCALE_LIMITS[1]:
        return None
    return Similarity(scale=scale, rotation=found.rotation, offset=found.offset * (scale / found.scale))


def coarse_mesh(decoder: Decoder, code: Float[Tensor, "code"], *, level: float = 0.0) -> TriangleMesh | None:
    """Extract a coarse mesh where a code's field equals `level`, in the unit frame. Returns None if it does nowhere."""
    field = DecodedField.of_code(decoder, code)
    config = ExtractConfig(resolution=COARSE_RESOLUTION, project=False, mending=0.0)
    try:
        found = extract_mesh(lambda points: field(points) - level, config)
    except CompletionError:
        return None
    return found.mesh if len(found.mesh.faces) else None


def _main_vertices(mesh: TriangleMesh) -> Float[np.ndarray, "vertices 3"]:
    """Return the vertices of the largest part and of parts near it: a torn-off wing belongs to the shape, a crumb does
    not."""
    labels = components_of(mesh)[2]
    near = labels == np.bincount(labels).argmax()
    for label in np.argsort(-np.bincount(labels))[1:]:
        part = labels == label
        apart, _ = KDTree(mesh.vertices[near]).query(mesh.vertices[part], distance_upper_bound=MAX_PART_GAP)
        if apart.min() < MAX_PART_GAP:
            near |= part
    return mesh.vertices[near]


def violating_free_points(
    decoder: Decoder, state: FitState, free: Float[np.ndarray, "free 3"], *, count: int, seed: int
) -> Float[np.ndarray, "found 3"]:
    """Return at most `count` of the view's free points that lie inside the fitted shape, in the sample frame.

    This only evaluates the field, and it misses violations that are smaller than the spacing of the points.
    """
    rng = np.random.default_rng([seed, 5])
    some = free[rng.permutation(len(free))[:MAX_FREE_SAMPLES]]
    if len(some) == 0 or state.prepared is None:
        return some[:0]
    like = next(decoder.parameters())
    points = torch.from_numpy(some).to(like)
    with torch.no_grad():
        values = decoder.query(state.prepared, state.pose.apply(points)[None])[0]
    return some[(values < 0.0).cpu().numpy()][:count]


def free_space_violations(
    decoder: Decoder,
    state: FitState,
    code: Float[Tensor, "code"],
    free_space: FreeSpace,
    *,
    count: int,
    seed: int,
) -> Float[np.ndarray, "found 3"]:
    """Return at most `count` points on and in the fitted shape that were seen to be free, in the sample frame.

    This takes an extraction at 64³ cells, and it finds every violation that has a surface there.
    """
    mesh = coarse_mesh(decoder, code) if free_space.sensors else None
    if mesh is None or state.prepared is None:
        return np.zeros((0, 3))
    T_sample_unit = state.pose.similarity.inverse()
    like, normals = next(decoder.parameters()), vertex_normals(mesh)
    rows = np.flatnonzero(free_space(T_sample_unit.apply(mesh.vertices)))
    outward = normals[rows] / np.maximum(np.linalg.norm(normals[rows], axis=1, keepdims=True), 1e-12)
    points_unit = np.concatenate([mesh.vertices[rows] - depth * outward for depth in VIOLATION_DEPTHS])
    points_sample = T_sample_unit.apply(points_unit)
    kept = np.flatnonzero(free_space(points_sample))
    with torch.no_grad():
        values = decoder.query(state.prepared, torch.from_numpy(points_unit[kept]).to(like)[None])[0]
    # On the surface, the field is zero but for rounding.
    kept = kept[(values < 1e-3).cpu().numpy()]
    return points_sample[np.random.default_rng([seed, 4]).permutation(kept)[:count]]
