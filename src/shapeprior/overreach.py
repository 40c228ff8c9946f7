"""Where a fitted shape fills space that was seen to be free.

Few of the free points that a fit draws lie where a shape reaches too far: the tip of a wing is a ten-thousandth of the space around
it. So such points are looked for, and added to the others before the last steps, as cutting planes are to a linear program (Kelley
1960, "The cutting-plane method for solving convex programs").
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from shapeprior.fill_sphere import outline
from shapeprior.geometry.mesh import vertex_normals
from shapeprior.hypothesis import Hypothesis
from shapeprior.models.decoder import Decoder
from shapeprior.scans.free_space import SeenThrough

SAMPLES = 16_384
"""Free points of the view that are asked for, at most."""
DEPTHS = (0.0, 0.02, 0.05, 0.1)
"""How far below the surface points are looked for, in radii: to move the surface by more than a step's worth, points inside must
speak."""


def filled_samples(
    decoder: Decoder, guess: Hypothesis, free: Float[np.ndarray, "free 3"], *, count: int, seed: int
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


def overreach(
    decoder: Decoder, guess: Hypothesis, code: Float[Tensor, "code"], seen: SeenThrough, *, count: int, seed: int
) -> Float[np.ndarray, "found 3"]:
    """At most `count` points on and in the guess's shape that were `seen` to be free, in the frame that its pose maps from.

    It takes an extraction at 64³, and misses nothing that has a surface there.
    """
    mesh = outline(decoder, code) if seen.sensors else None
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
