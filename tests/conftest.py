"""Fixtures that several test files share: a tiny data set of analytic solids, and one thread for torch."""

from pathlib import Path

import pytest
import torch
import trimesh
from hypothesis import HealthCheck, settings

from shapeprior.datasets.dataset import Dataset
from shapeprior.datasets.prepare import prepare_dataset
from shapeprior.datasets.prepare_mesh import PrepareConfig
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.io.meshes import save_mesh
from shapeprior.sdf.sampling import SamplingConfig

# Sums in another order are other sums: the comparisons bit for bit want one thread, and tests run side by side.
torch.set_num_threads(1)

# The same examples every time, so that a failure means a change; `--hypothesis-profile=default` looks for new ones.
# How long one takes says nothing: other processes may have the cores.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")

TINY_SAMPLES = 1200
"""Samples of each shape of `tiny_data`."""


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two spheres, two boxes and two ellipsoids: four to train on, two to test on. Read only."""
    folder = tmp_path_factory.mktemp("tiny")
    ball = trimesh.creation.icosphere(subdivisions=3)
    box = trimesh.creation.box().subdivide().subdivide()
    solids = {
        "ball_small": (ball, (0.4, 0.4, 0.4)),
        "ball_large": (ball, (3.0, 3.0, 3.0)),
        "box_flat": (box, (1.0, 0.5, 1.0)),
        "box_tall": (box, (0.6, 1.5, 0.8)),
        "egg_tall": (ball, (0.5, 1.0, 0.6)),
        "egg_flat": (ball, (1.0, 0.6, 0.9)),
    }
    for name, (solid, size) in solids.items():
        mesh = TriangleMesh(vertices=solid.vertices * size, faces=solid.faces.astype("int64"))
        save_mesh(Path(folder / "meshes" / f"{name}.ply"), mesh)
    config = PrepareConfig(sampling=SamplingConfig.deepsdf(TINY_SAMPLES), test_share=1 / 3)
    data = prepare_dataset(folder / "meshes", folder / "data", config=config, seed=3, workers=1)
    assert (len(data.split("train")), len(data.split("test"))) == (4, 2)
    return data
