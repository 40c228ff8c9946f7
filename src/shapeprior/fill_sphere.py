"""How far a code's shape is from filling the unit sphere, as the shapes do that a decoder is trained on."""

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import KDTree
from torch import Tensor

from shapeprior.decoded_field import DecodedField
from shapeprior.decoder import Decoder
from shapeprior.extract import ExtractConfig, extract_mesh
from shapeprior.frames import Similarity
from shapeprior.keep_components import components_of
from shapeprior.mesh import TriangleMesh

RESOLUTION = 64
GAP = 0.08
"""Parts that are farther than this from all others, in radii, are crumbs."""
LIMITS = (0.8, 1.25)
"""Scales beyond these are a torn shape's, not the placement's."""


def fill_sphere(decoder: Decoder, code: Float[Tensor, "code"]) -> Similarity | None:
    """The scale and offset that normalise the shape of a code as preparation normalises meshes; None if it has no surface.

    Codes between and beyond those of training have shapes that are a little too small or too large for the unit sphere: where the
    scale of an object is unknown, that is an error of the scale.
    """
    mesh = outline(decoder, code)
    if len(mesh.faces) == 0:
        return None
    found = Similarity.to_unit_sphere(_together(mesh))
    return found if LIMITS[0] < found.scale < LIMITS[1] else None


def outline(decoder: Decoder, code: Float[Tensor, "code"]) -> TriangleMesh:
    """A coarse mesh of a code's shape, in the unit frame."""
    with torch.no_grad():
        field = DecodedField(decoder, decoder.prepare(code[None]))
    return extract_mesh(field, ExtractConfig(resolution=RESOLUTION, project=False)).mesh


def _together(mesh: TriangleMesh) -> Float[np.ndarray, "vertices 3"]:
    """Vertices of the largest part and of what is near it: a wing may be torn off, a crumb in the air is not part of the shape."""
    labels = components_of(mesh)[2]
    near = labels == np.bincount(labels).argmax()
    for label in np.argsort(-np.bincount(labels))[1:]:
        part = labels == label
        if KDTree(mesh.vertices[near]).query(mesh.vertices[part], distance_upper_bound=GAP)[0].min() < GAP:
            near |= part
    return mesh.vertices[near]
