"""Screened Poisson reconstruction of the visible points (Kazhdan and Hoppe 2013): what can be had without knowing the category."""

import importlib

import numpy as np

from shapeprior.completion.residuals import observed_samples
from shapeprior.errors import CompletionError, ConfigError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.scans.observation import Observation, without_strays

INSTALL = "pip install 'shapeprior[poisson]'"
"""What makes it available."""
POINTS = 20_000
"""Visible points that it is given, at most."""
DEPTH = 7
"""Of the octree, whose finest cells are then 1/128 of its side."""


def has_poisson() -> bool:
    """Whether the library is there."""
    try:
        importlib.import_module("open3d")
    except (ImportError, OSError):  # A wheel whose system libraries are missing is as good as none.
        return False
    return True


def screened_poisson(view_unit: Observation, *, seed: int) -> TriangleMesh:
    """The surface through the points of a view and their normals, which look to the sensor; in the view's frame.

    It leaves the octree's cube where no point holds it; each such border is closed by triangles to its middle. Of its parts all are
    kept. Raises CompletionError if nothing comes out, ConfigError, naming the install line, if Open3D is missing.
    """
    try:
        open3d = importlib.import_module("open3d")
    except (ImportError, OSError) as error:
        raise ConfigError(f"screened Poisson needs Open3D, which cannot be loaded ({error}); {INSTALL}") from None
    samples = observed_samples(without_strays(view_unit.thinned(POINTS, seed=seed)), seed=seed)
    oriented = np.any(samples.normals != 0.0, axis=1)
    cloud = open3d.geometry.PointCloud()
    cloud.points = open3d.utility.Vector3dVector(samples.surface[oriented])
    cloud.normals = open3d.utility.Vector3dVector(samples.normals[oriented])
    if not oriented.any():
        raise CompletionError("no point of the view has a normal; expected at least four points and the sensor's place")
    # One thread: with more, the same points give other surfaces.
    solid, _ = open3d.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=DEPTH, n_threads=1)
    mesh = TriangleMesh(
        vertices=np.asarray(solid.vertices, dtype=np.float64), faces=np.asarray(solid.triangles, dtype=np.int64)
    )
    if len(mesh.faces) == 0:
        raise CompletionError("screened Poisson gave no surface; expected one through the points")
    return _closed(mesh)


def _closed(mesh: TriangleMesh) -> TriangleMesh:
    """The mesh with a fan of triangles over every border that goes round once; others stay open."""
    directed = mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    _, edge, count = np.unique(np.sort(directed, axis=1), axis=0, return_inverse=True, return_counts=True)
    border = directed[count[edge.reshape(-1)] == 1]
    following = dict(border.tolist())
    vertices, faces = [mesh.vertices], [mesh.faces]
    size = len(mesh.vertices)
    while following:
        first, second = following.popitem()
        loop = [first]
        while second != first and second in following:
            loop.append(second)
            second = following.pop(second)
        if second == first and len(loop) > 2:
            ring = np.array(loop)
            vertices.append(mesh.vertices[ring].mean(axis=0, keepdims=True))
            # Against the direction in which the border's faces run along it.
            faces.append(np.stack([np.roll(ring, -1), ring, np.full(len(ring), size)], axis=1))
            size += 1
    return TriangleMesh(vertices=np.concatenate(vertices), faces=np.concatenate(faces).astype(np.int64))
