"""The upper bound: the truth itself, through the same grid that every completion comes from."""

from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.sdf.isosurface.extract import ExtractConfig, extract_mesh
from shapeprior.sdf.signed_distance import SignedDistance


def upper_bound(distance: SignedDistance, *, resolution: int) -> TriangleMesh:
    """The mesh of the true signed distance at a resolution, in the unit frame: what is lost is the grid's and the sampling's."""
    return extract_mesh(distance, ExtractConfig(resolution=resolution)).mesh
