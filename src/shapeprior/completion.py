"""What becomes of a view: the completed object, where it lies, and how far to believe it."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.meshes import save_mesh
from shapeprior.latent_estimate import LatentEstimate, PlacementDeviations
from shapeprior.support import Support
from shapeprior.verdict import Verdict


@dataclass(frozen=True, kw_only=True, eq=False)
class Completion:
    """A completed object."""

    mesh: TriangleMesh
    """Closed mesh in the scan's own frame and unit."""
    mesh_unit: TriangleMesh
    """The same in the unit frame."""
    code: Float[np.ndarray, "code"]
    """The latent code that was found. The mesh follows the view beyond it, where it was seen (`shapeprior.seen_detail`)."""
    T_unit_world: Similarity
    """Where the object lies in the scan: given, or found."""
    residual: float
    """Median distance of the observed points from the code's surface, by its field, in the scan's unit."""
    explained: float
    """Share of observed points within 2 % of the object's radius from the code's surface."""
    left_out: float
    """Share of the view's points that lie apart from the others, and of which these two numbers and `support` are not."""
    verdict: Verdict
    """Whether the shape explains the view."""
    deviations: PlacementDeviations | None
    """How well the placement is known, near the one that was found; None where it was given."""
    alternatives: tuple[LatentEstimate, ...]
    """Other shapes or placements that explain the view nearly as well: `ShapePrior.completion` makes a mesh of one."""
    support: Support
    """How much of the surface was seen, vertex by vertex."""
    seconds: float
    """Wall time, loading left out."""

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the mesh as PLY, OBJ, STL or GLB, by the suffix. Raises OutputError.

        Vertices are blue where the surface was seen and orange where it is imagined; PLY has their property `support`, too.
        """
        return save_mesh(path, self.mesh, colors=self.support.colors, values={"support": self.support.value})
