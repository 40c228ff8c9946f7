"""Baselines on shapes with known answers, against SciPy's interpolation and NumPy's singular values."""

import numpy as np
import pytest
from helpers.plain_geometry import sphere
from scipy.interpolate import RegularGridInterpolator

from shapeprior.errors import CompletionError
from shapeprior.evaluation.baselines import (
    GRID_CELLS,
    GRID_CLAMP,
    MAX_FREE_POINTS,
    MAX_SURFACE_POINTS,
    GridField,
    LinearModel,
    ViewEvidence,
    _with_closed_borders,
    interpolation_matrix,
    mean_shape,
    nearest_training_shape,
    screened_poisson,
    stack_grids,
    upper_bound,
)
from shapeprior.evaluation.ground_truth import shape_view
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.sampling import cell_centers
from shapeprior.sdf.signed_distance import SignedDistance

NODES = cell_centers(GRID_CELLS)
RADII = np.linspace(0.4, 0.85, 10)


def ball(radius: float) -> np.ndarray:
    """Return the signed distance of a ball at the nodes."""
    return np.linalg.norm(NODES, axis=1) - radius


def evidence(radius: float) -> ViewEvidence:
    """Return what one depth view of a ball tells."""
    view = shape_view(sphere(radius=radius, subdivisions=4), "ball", resolution=96, seed=0)
    return ViewEvidence.of(view.observation, seed=0)


@pytest.fixture(scope="module")
def grids() -> np.ndarray:
    return stack_grids(ball(radius) for radius in RADII)


def test_the_grid_is_read_as_scipy_reads_it() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(9, 9, 9))
    points = rng.uniform(-0.88, 0.88, (500, 3))
    axis = (np.arange(9) + 0.5) * (2 / 9) - 1
    expected = RegularGridInterpolator((axis, axis, axis), values)(points)
    np.testing.assert_allclose(GridField(values)(points), expected, atol=1e-12)
    np.testing.assert_allclose(interpolation_matrix(points, 9) @ values.ravel(), expected, atol=1e-12)
    # Beyond the outer nodes, both repeat the last value.
    beyond = rng.uniform(-1.2, 1.2, (500, 3))
    np.testing.assert_allclose(interpolation_matrix(beyond, 9) @ values.ravel(), GridField(values)(beyond), atol=1e-12)


def test_components_are_those_of_the_singular_values(grids: np.ndarray) -> None:
    model = LinearModel.fit(grids)
    near = np.clip(grids.astype(np.float64), -GRID_CLAMP, GRID_CLAMP)
    _, values, axes = np.linalg.svd(near - near.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(model.mean, near.mean(axis=0), atol=1e-6)
    assert len(model.basis) == len(RADII) - 1
    for row, value, axis in zip(model.basis[:5], values, axes, strict=False):
        # Components are one standard deviation long and have either sign.
        aligned = axis * np.sign(axis @ row) * value / np.sqrt(len(RADII))
        np.testing.assert_allclose(row, aligned, atol=1e-4)


@pytest.mark.slow
def test_a_training_shape_is_projected_onto_itself(grids: np.ndarray) -> None:
    model = LinearModel.fit(grids)
    field = model.field(model.project(ball(RADII[3])))
    np.testing.assert_allclose(field.values.ravel(), np.clip(ball(RADII[3]), -GRID_CLAMP, GRID_CLAMP), atol=2e-3)
    radius = np.linalg.norm(field.mesh(64).vertices, axis=1)
    assert np.abs(radius - RADII[3]).max() < 0.01


def test_a_view_of_an_unseen_ball_is_fitted_all_around(grids: np.ndarray) -> None:
    model = LinearModel.fit(grids)
    radius = np.linalg.norm(model.field(model.fit_view(evidence(0.63))).mesh(64).vertices, axis=1)
    assert radius.mean() == pytest.approx(0.63, abs=0.01)
    assert np.ptp(radius) < 0.03


def test_free_space_is_heeded_where_nothing_was_measured(grids: np.ndarray) -> None:
    """Points on a small cap alone allow balls of any size through them. Free points rule out the large ones."""
    model = LinearModel.fit(grids)
    surface = np.array([[0.0, 0.0, 0.7], [0.02, 0.0, 0.7], [0.0, 0.02, 0.7]])
    free = np.random.default_rng(0).normal(size=(2000, 3))
    free *= 0.52 / np.linalg.norm(free, axis=1, keepdims=True)
    with_free = model.field(model.fit_view(ViewEvidence(surface, free)))(free)
    without = model.field(model.fit_view(ViewEvidence(surface, np.zeros((0, 3)))))(free)
    assert without.mean() < -0.1
    assert with_free.mean() > without.mean() + 0.05


def test_the_mean_of_balls_is_a_ball_of_their_mean_volume(grids: np.ndarray) -> None:
    radius = np.linalg.norm(mean_shape(grids).mesh(64).vertices, axis=1)
    assert radius.mean() == pytest.approx(np.mean(RADII**3) ** (1 / 3), abs=0.01)
    assert np.ptp(radius) < 0.02


def test_the_mean_of_thin_walls_in_different_places_has_a_surface() -> None:
    walls = stack_grids(np.abs(ball(radius)) - 0.04 for radius in np.linspace(0.5, 0.7, 5))
    assert walls.mean(axis=0, dtype=np.float64).min() > 0.0
    mesh = mean_shape(walls).mesh(64)
    # The walls are two cells thick, so linear interpolation cuts their corners.
    assert mesh.volume == pytest.approx(np.mean(walls < 0.0) * 8.0, rel=0.2)
    with pytest.raises(CompletionError, match="no training shape"):
        mean_shape(walls[:0])


def test_borders_are_closed_and_other_faces_stay() -> None:
    whole = sphere(radius=0.6, subdivisions=3)
    height = whole.vertices[whole.faces, 1].mean(axis=1)
    open_twice = TriangleMesh(vertices=whole.vertices, faces=whole.faces[np.abs(height) < 0.4])
    closed = _with_closed_borders(open_twice)
    assert closed.is_watertight
    np.testing.assert_array_equal(closed.faces[: len(open_twice.faces)], open_twice.faces)
    # A ball between two planes at ±h has the volume 2 π h (r² − h² / 3).
    assert closed.volume == pytest.approx(2 * np.pi * 0.4 * (0.36 - 0.16 / 3), rel=0.05)
    np.testing.assert_array_equal(_with_closed_borders(whole).faces, whole.faces)


def test_the_nearest_ball_is_the_one_of_the_nearest_radius(grids: np.ndarray) -> None:
    for radius in (0.41, 0.58, 0.77):
        assert nearest_training_shape(grids, evidence(radius)) == int(np.abs(RADII - radius).argmin())
    with pytest.raises(CompletionError, match="no training shape"):
        nearest_training_shape(grids[:0], evidence(0.5))
    with pytest.raises(CompletionError, match="no training shape"):
        LinearModel.fit(grids[:0])


def test_of_shapes_with_the_same_front_the_one_that_leaves_free_space_free_is_nearest() -> None:
    seen = evidence(0.6)
    beside = np.linalg.norm(NODES - [0.0, -0.75, 0.0], axis=1) - 0.2
    both = stack_grids([np.minimum(ball(0.6), beside), ball(0.6)])
    assert nearest_training_shape(both, seen) == 1


def test_the_upper_bound_is_the_truth() -> None:
    mesh = upper_bound(SignedDistance(sphere(radius=0.7, subdivisions=4)), resolution=64)
    assert mesh.is_watertight
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - 0.7).max() < 5e-3


def test_evidence_is_bounded_and_true() -> None:
    found = evidence(0.6)
    assert len(found.surface) <= MAX_SURFACE_POINTS
    assert len(found.free) <= MAX_FREE_POINTS
    assert np.abs(np.linalg.norm(found.surface, axis=1) - 0.6).max() < 5e-3
    assert np.linalg.norm(found.free, axis=1).min() > 0.59


def test_screened_poisson_goes_through_the_visible_points() -> None:
    pytest.importorskip("open3d", reason="the extra `poisson` is not installed", exc_type=ImportError)
    view = shape_view(sphere(radius=0.6, subdivisions=4), "ball", views=8, resolution=96, seed=0)
    mesh = screened_poisson(view.observation, seed=0)
    assert mesh.is_watertight
    radius = np.linalg.norm(mesh.vertices, axis=1)
    assert np.median(np.abs(radius - 0.6)) < 0.01
    again = screened_poisson(view.observation, seed=0)
    np.testing.assert_array_equal(mesh.vertices, again.vertices)
