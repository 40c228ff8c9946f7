"""Outliers are found where they are put, and not on a surface, however it is seen. Views are prepared once."""

import numpy as np
import pytest
from scipy.spatial import KDTree

from shapeprior.completion.residuals import observed_samples
from shapeprior.scans.observation import Observation
from shapeprior.scans.prepared_view import (
    MAX_FIT_BACKGROUND,
    MAX_FIT_POINTS,
    MAX_OUTLIER_ROUNDS,
    MAX_SURFACE_POINTS,
    OUTLIER_DISTANCE_RATIO,
    OUTLIER_NEIGHBOURS,
    PreparedView,
    find_outliers,
    without_outliers,
)


def slanted_sheet(slant_deg: float, seed: int = 0) -> np.ndarray:
    """A grid of pixels on a plane that leans away: its points are far apart in one direction."""
    grid = np.stack(np.meshgrid(np.arange(60.0), np.arange(60.0)), axis=-1).reshape(-1, 2) / 60.0
    grid += np.random.default_rng(seed).normal(scale=1e-3, size=grid.shape)
    return np.column_stack([grid[:, 0], grid[:, 1], grid[:, 1] * np.tan(np.deg2rad(slant_deg))])


@pytest.mark.parametrize("slant_deg", [0.0, 45.0, 75.0])
def test_a_surface_has_no_strays(slant_deg: float) -> None:
    assert not find_outliers(slanted_sheet(slant_deg)).any()


def test_a_surface_of_two_densities_keeps_its_sparse_part() -> None:
    dense, sparse = slanted_sheet(0.0), slanted_sheet(0.0, seed=1) * [3.0, 3.0, 1.0] + [2.0, 0.0, 0.0]
    assert find_outliers(np.concatenate([dense, sparse])).mean() < 0.01


@pytest.mark.parametrize("share", [0.02, 0.1, 0.2])
def test_scattered_points_are_found(share: float) -> None:
    sheet = slanted_sheet(30.0)
    rng = np.random.default_rng(2)
    bad = rng.random(len(sheet)) < share
    points = np.where(bad[:, None], rng.uniform(-1.5, 1.5, sheet.shape), sheet)
    clear = bad & (np.abs(points[:, 2] - points[:, 1] * np.tan(np.deg2rad(30.0))) > 0.15)
    found = find_outliers(points)
    assert found[clear].mean() > 0.95
    assert found[~bad].mean() < 0.005


def test_of_a_few_points_none_is_a_stray() -> None:
    points = np.random.default_rng(0).normal(size=(30, 3)) * 100.0
    assert not find_outliers(points).any()
    assert not find_outliers(points[:1]).any()


def test_the_rays_of_strays_say_nothing() -> None:
    # Seen from the front, a point far behind the sheet would make the sheet's place free.
    sheet = slanted_sheet(0.0) - [0.5, 0.5, 0.0]
    eye = np.array([0.0, 0.0, 3.0])
    behind = np.array([[0.0, 0.0, -0.8], [0.3, 0.2, -0.7]])
    view = Observation.from_points(np.concatenate([sheet, behind]), eye)
    samples = observed_samples(without_outliers(view), seed=0)
    assert len(samples.surface) == len(sheet)
    assert samples.free[:, 2].min() > 0.0


def plain_strays(points: np.ndarray) -> np.ndarray:
    """The same, all points being asked again in every round."""
    kept = np.arange(len(points))
    for _ in range(MAX_OUTLIER_ROUNDS):
        distance = KDTree(points[kept]).query(points[kept], k=OUTLIER_NEIGHBOURS + 1)[0][:, 1:].mean(axis=1)
        kept = kept[distance <= OUTLIER_DISTANCE_RATIO * np.median(distance)]
    return ~np.isin(np.arange(len(points)), kept)


@pytest.mark.parametrize("seed", range(4))
def test_asking_those_that_lost_a_neighbour_is_asking_all(seed: int) -> None:
    # Clumps of strays, each other's neighbours, go in several rounds.
    rng = np.random.default_rng(seed)
    clumps = [rng.normal(rng.uniform(-2.0, 2.0, 3), 0.02 * 2.0**size, (3 + size, 3)) for size in range(8)]
    points = np.concatenate([slanted_sheet(60.0, seed), *clumps, rng.uniform(-1.5, 1.5, (300, 3))])
    found = find_outliers(points)
    assert 200 < np.count_nonzero(found) < 500
    np.testing.assert_array_equal(found, plain_strays(points))


def test_each_part_of_a_view_is_made_once_and_bounded() -> None:
    rng = np.random.default_rng(0)
    sheet = np.column_stack([rng.uniform(-1.0, 1.0, (20_000, 2)), np.zeros(20_000)])
    far = rng.uniform(-30.0, 30.0, (2_000, 3))
    rays = rng.normal(size=(10_000, 3))
    view = Observation(
        points_world=np.concatenate([sheet, far]),
        origins_world=np.broadcast_to([0.0, 0.0, 3.0], (22_000, 3)).copy(),
        background_origins=np.broadcast_to([0.0, 0.0, 3.0], rays.shape).copy(),
        background_directions=rays / np.linalg.norm(rays, axis=1, keepdims=True),
    )
    prepared = PreparedView.of(view, seed=1)
    assert PreparedView.of(prepared, seed=1) is prepared
    assert prepared.fit_view is prepared.fit_view
    assert prepared.surface_view is prepared.surface_view
    for part, most in ((prepared.fit_view, MAX_FIT_POINTS), (prepared.surface_view, MAX_SURFACE_POINTS)):
        assert 0.85 * most < len(part.points_world) < most
        assert np.abs(part.points_world[:, 2]).max() < 3.0
    assert len(prepared.fit_view.background_origins) == MAX_FIT_BACKGROUND
    assert len(prepared.surface_view.background_origins) == 0
    # Whoever asks for free space gets all rays, of outliers, too.
    assert len(prepared.free_space_view.points_world) == 22_000
    assert prepared.outlier_share == pytest.approx(2_000 / 22_000, abs=0.01)
