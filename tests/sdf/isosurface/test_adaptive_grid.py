"""The adaptive grid, against the field at all corners: it finds the whole surface with few evaluations."""

import numpy as np
import pytest
from helpers.analytic_fields import Field, noise, sphere, thin_ring, thin_wing, torus
from helpers.plain_marching import assert_all_crossings, dense_crossings, dense_values
from scipy.spatial import KDTree

from shapeprior.sdf.isosurface.extract import ExtractConfig, extract_mesh


@pytest.mark.slow
def test_noise_is_closed_and_lacks_only_specks_of_the_full_grid() -> None:
    config = ExtractConfig(resolution=64, coarse=32, min_area_share=0.0, project=False, mending=0.0)
    mesh = extract_mesh(noise, config).mesh
    assert mesh.is_watertight
    assert mesh.face_areas.min() > 0
    dense = dense_crossings(dense_values(noise, 64))
    assert KDTree(dense).query(mesh.vertices)[0].max() < 1e-7
    assert 0.995 * len(dense) < len(mesh.vertices) <= len(dense)


@pytest.mark.parametrize(("resolution", "share"), [(128, 0.07), (256, 0.03)])
def test_evaluations_stay_far_below_the_full_grid(resolution: int, share: float) -> None:
    seen = 0
    largest = 0

    def counted(points: np.ndarray) -> np.ndarray:
        nonlocal seen, largest
        seen += len(points)
        largest = max(largest, len(points))
        return torus(points)

    extraction = extract_mesh(counted, ExtractConfig(resolution=resolution, batch_points=5000))
    assert extraction.evaluations == seen
    assert seen < share * (resolution + 1) ** 3
    assert largest <= 5000


def test_cells_that_the_bound_misses_are_reached_across_faces() -> None:
    # With a margin this small almost every cell is pruned; one that is left is enough to find the rest.
    extraction = extract_mesh(sphere, ExtractConfig(resolution=64, coarse=32, margin=0.02, project=False))
    assert_all_crossings(extraction.mesh, sphere, 64)


@pytest.mark.slow
@pytest.mark.parametrize("field", [thin_ring, thin_wing], ids=lambda field: field.__name__)
def test_no_thin_part_is_missed(field: Field) -> None:
    config = ExtractConfig(resolution=256, min_area_share=0.0, project=False, mending=0.0)
    assert_all_crossings(extract_mesh(field, config).mesh, field, 256)
