"""Views of a simple jug that no turn maps to itself, for tests of encoders."""

import igl
import numpy as np
import trimesh

from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.models.encoder import EncoderConfig
from shapeprior.training.encoder_views import ShapeViews, ViewConfig

SMALL = EncoderConfig(code_size=3, points=64, width=32, whole=48, turns=36)
CLEAN = ViewConfig(
    max_noise=0.0,
    max_outlier_share=0.0,
    cropped_share=0.0,
    no_sensor_share=0.0,
    two_views_share=0.0,
    tilted_share=0.0,
    fallen_share=0.0,
)


def jug(height: float) -> TriangleMesh:
    """Return a flat box with a handle on +x, which no turn about +y maps to itself."""
    body = trimesh.creation.box(extents=(0.8, height, 0.4))
    handle = trimesh.creation.box(extents=(0.4, 0.3 * height, 0.15))
    handle.apply_translation((0.55, 0.0, 0.0))
    both = trimesh.util.concatenate([body, handle])
    return TriangleMesh(vertices=np.array(both.vertices), faces=np.array(both.faces, dtype=np.int64))


def distances(mesh: TriangleMesh, points: np.ndarray) -> np.ndarray:
    """Return the distances of points from the nearest face, by libigl."""
    return np.sqrt(igl.point_mesh_squared_distance(points.astype(np.float64), mesh.vertices, mesh.faces)[0])


def views_of(heights: list[float], *, count: int, config: ViewConfig = CLEAN) -> ShapeViews:
    """Render `count` views of a jug of each height."""
    rng = np.random.default_rng(0)
    parts = [ShapeViews.render(jug(h), row, count=count, config=config, rng=rng) for row, h in enumerate(heights)]
    return ShapeViews.concatenated([part for part in parts if part is not None])
