"""Screened Poisson reconstruction of the visible points (Kazhdan and Hoppe 2013): what can be had without knowing the category."""

import importlib

import numpy as np

from shapeprior.errors import CompletionError, ConfigError
from shapeprior.mesh import TriangleMesh
from shapeprior.observation import Observation
from shapeprior.observed_samples import observed_samples

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

    It is closed, but where it leaves the octree's cube, whose holes are filled as far as they are plain. Of its parts all are
    kept. Raises CompletionError if nothing comes out, ConfigError, naming the install line, if Open3D is missing.
    """
    try:
        open3d = importlib.import_module("open3d")
    except (ImportError, OSError) as error:
        raise ConfigError(f"screened Poisson needs Open3D, which cannot be loaded ({error}); {INSTALL}") from None
    samples = observed_samples(view_unit, max_points=POINTS, seed=seed)
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
    import trimesh

    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=True)
    if not solid.is_watertight:
        trimesh.repair.fill_holes(solid)
    return TriangleMesh(
        vertices=np.asarray(solid.vertices, dtype=np.float64), faces=np.asarray(solid.faces, dtype=np.int64)
    )
