"""Cameras lie in the frame that docs/conventions.md states."""

import importlib

import numpy as np

from shapeprior.datasets.procedural.lofts import unite
from shapeprior.datasets.procedural.solids import to_mesh

# The package has functions of the same names, so the module is imported by its name.
cameras = importlib.import_module("shapeprior.datasets.procedural.camera")


def test_camera_lenses_point_forward() -> None:
    for _, build in cameras.TYPES:
        for seed in range(2):
            solid = unite(build(np.random.default_rng(seed)))
            mesh = to_mesh(solid)
            (x_low, _, _), (x_high, _, z_high) = mesh.bounds
            front = mesh.vertices[mesh.vertices[:, 2] > z_high - 1e-3]
            # What reaches farthest forward is a lens, hood, visor or bed: narrower than the camera.
            assert np.ptp(front[:, 0]) < 0.97 * (x_high - x_low)
            assert solid.volume() > 0.02
