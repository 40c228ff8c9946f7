"""How far a shape's surface is from those of shapes in a data set."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from shapeprior.datasets.dataset import Dataset
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.sampling import sample_surface
from shapeprior.point_metrics import chamfer_l1


def surface_distances(
    mesh_unit: TriangleMesh, data: Dataset, shape_ids: Sequence[str], *, seed: int, points: int = 30_000
) -> Float[np.ndarray, "shapes"]:
    """`chamfer_l1` of a mesh to the stored mesh of each shape, in unit-sphere radii, on `points` points a surface.

    Each shape has its own points, so that equal meshes do not score 0, but about half the spacing of the points. Raises
    DatasetError if there is no such shape or it has no mesh, MeshError if a mesh has no area.
    """
    streams = [np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(len(shape_ids) + 1)]
    here = sample_surface(mesh_unit, points, rng=streams[0])[0]
    distances = [
        chamfer_l1(here, sample_surface(data.mesh_unit(shape_id), points, rng=rng)[0])
        for shape_id, rng in zip(shape_ids, streams[1:], strict=True)
    ]
    return np.array(distances, dtype=np.float64)
