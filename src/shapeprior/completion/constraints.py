"""How far a code's shape is from filling the unit sphere, as the shapes do that a decoder is trained on.

Where a fitted shape fills space that was seen to be free.

Few of the free points that a fit draws lie where a shape reaches too far: the tip of a wing is a ten-thousandth of the space around
it. So such points are looked for, and added to the others before the last steps, as cutting planes are to a linear program (Kelley
1960, "The cutting-plane method for solving convex programs").
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

RESOLUTION = 64
LEVEL = 0.01
"""The surface whose size is taken lies so many radii outside the shape's own. A decoder that makes the tip of a wing or a fin too
thin to have a surface says that one is near all the same: of training shapes of airplanes, the size by this surface varies by 1.3 %
of the true one, by the shape's own by 11 %."""
GAP = 0.08
"""Parts that are farther than this from all others, in radii, are crumbs."""
LIMITS = (0.8, 1.25)
"""Scales beyond these are a torn shape's, not the placement's."""


def unit_sphere_correction(decoder: Decoder, code: Float[Tensor, "code"]) -> Similarity | None:
    """The scale and offset that normalise the shape of a code as preparation normalises meshes; None if it has no surface.

    Codes between and beyond those of training have shapes that are a little too small or too large for the unit sphere: where the
    scale of an object is unknown, that is an error of the scale.
    """
    mesh = coarse_mesh(decoder, code, level=LEVEL)
    if mesh is None:
        return None
    # As of a mesh, less what the level adds to the radius.
    found = Similarity.to_unit_sphere(_together(mesh))
    scale = 1.0 / max(1.0 / found.scale - LEVEL * UNIT_SPHERE_BUFFER, 1e-9)
    if not LIMITS[0] < scale < LIMITS[1]:
        return None
    return Similarity(scale=scale, rotation=found.rotation, offset=found.offset * (scale / found.scale))


def coarse_mesh(decoder: Decoder, code: Float[Tensor, "code"], *, level: float = 0.0) -> TriangleMesh | None:
    """A coarse mesh of where a code's field is `level`, in the unit frame; None if it is nowhere."""
    with torch.no_grad():
        field = DecodedField(decoder, decoder.prepare(code[None]))
    try:
        found = extract_mesh(lambda points: field(points) - level, ExtractConfig(resolution=RESOLUTION, project=False))
    except CompletionError:
        return None
    return found.mesh if len(found.mesh.faces) else None


def _together(mesh: TriangleMesh) -> Float[np.ndarray, "vertices 3"]:
    """Vertices of the largest part and of what is near it: a wing may be torn off, a crumb in the air is not part of the shape."""
    labels = components_of(mesh)[2]
    near = labels == np.bincount(labels).argmax()
    for label in np.argsort(-np.bincount(labels))[1:]:
        part = labels == label
        if KDTree(mesh.vertices[near]).query(mesh.vertices[part], distance_upper_bound=GAP)[0].min() < GAP:
            near |= part
    return mesh.vertices[near]


SAMPLES = 16_384
"""Free points of the view that are asked for, at most."""
DEPTHS = (0.0, 0.02, 0.05, 0.1)
"""How far below the surface points are looked for, in radii: to move the surface by more than a step's worth, points inside must
speak."""


def violating_free_points(
    decoder: Decoder, guess: FitState, free: Float[np.ndarray, "free 3"], *, count: int, seed: int
) -> Float[np.ndarray, "found 3"]:
    """At most `count` of the view's own free points that lie in the guess's shape, in the frame that its pose maps from.

    It takes no more than a look at the field, and misses what is smaller than the points' spacing.
    """
    rng = np.random.default_rng([seed, 5])
    some = free[rng.permutation(len(free))[:SAMPLES]]
    if len(some) == 0 or guess.prepared is None:
        return some[:0]
    like = next(decoder.parameters())
    points = torch.from_numpy(some).to(like)
    with torch.no_grad():
        values = decoder.query(guess.prepared, guess.pose.apply(points)[None])[0]
    return some[(values < 0.0).cpu().numpy()][:count]


def free_space_violations(
    decoder: Decoder, guess: FitState, code: Float[Tensor, "code"], seen: FreeSpace, *, count: int, seed: int
) -> Float[np.ndarray, "found 3"]:
    """At most `count` points on and in the guess's shape that were `seen` to be free, in the frame that its pose maps from.

    It takes an extraction at 64³, and misses nothing that has a surface there.
    """
    mesh = coarse_mesh(decoder, code) if seen.sensors else None
    if mesh is None or guess.prepared is None:
        return np.zeros((0, 3))
    T_view_unit = guess.pose.similarity.inverse()
    like, normals = next(decoder.parameters()), vertex_normals(mesh)
    rows = np.flatnonzero(seen(T_view_unit.apply(mesh.vertices)))
    inward = normals[rows] / np.maximum(np.linalg.norm(normals[rows], axis=1, keepdims=True), 1e-12)
    points = np.concatenate([mesh.vertices[rows] - depth * inward for depth in DEPTHS])
    at_view = T_view_unit.apply(points)
    kept = np.flatnonzero(seen(at_view))
    with torch.no_grad():
        values = decoder.query(guess.prepared, torch.from_numpy(points[kept]).to(like)[None])[0]
    # Those on the surface are where the field is zero, but for rounding.
    kept = kept[(values < 1e-3).cpu().numpy()]
    return at_view[np.random.default_rng([seed, 4]).permutation(kept)[:count]]
