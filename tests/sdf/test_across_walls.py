"""Samples across walls: half inside on plates of known thickness, and only where the wall is thin."""

import numpy as np
import pytest
from helpers.plain_geometry import box, flip, join, sphere

from shapeprior.errors import ConfigError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.sdf.across_walls import AcrossWalls
from shapeprior.sdf.signed_distance import SHEET_HALF_THICKNESS, SignedDistance

PLATE = SignedDistance(box(extents=(1.0, 1.0, 0.03)))
SHELL = SignedDistance(join(sphere(radius=0.6, subdivisions=4), flip(sphere(radius=0.55, subdivisions=4))))
SHEET = SignedDistance(
    TriangleMesh(
        vertices=np.array([[-0.7, -0.5, 0.0], [0.7, -0.5, 0.0], [0.7, 0.5, 0.0], [-0.7, 0.5, 0.0]]),
        faces=np.array([[0, 1, 2], [0, 2, 3]]),
    )
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("margin", [0.0, 0.5, 1.0])
def test_the_margin_says_how_many_samples_lie_inside_a_plate(margin: float) -> None:
    points = AcrossWalls(margin=margin).draw(PLATE, 6000, rng=rng())
    inside = np.all(np.abs(points) < [0.5, 0.5, 0.015], axis=1)
    # Lines that enter by a narrow side (6 % of the area) are longer than the reach and are left out.
    assert inside.mean() == pytest.approx(1.0 / (1.0 + 2.0 * margin), abs=0.03)
    assert np.abs(points[:, 2]).max() <= 0.015 + margin * 0.03 + 1e-3


def test_lines_know_the_thickness_of_a_shell() -> None:
    points, inward, thickness = AcrossWalls().lines(SHELL, 2000, rng=rng())
    outer = np.linalg.norm(points, axis=1) > 0.575
    np.testing.assert_allclose(thickness[outer], 0.05, atol=0.004)
    radial = np.einsum("ij,ij->i", points, inward) / np.linalg.norm(points, axis=1)
    assert np.all(radial[outer] < -0.99)
    assert np.all(radial[~outer] > 0.99)


def test_lines_do_not_depend_on_the_winding() -> None:
    distance = SignedDistance(sphere(radius=0.05, subdivisions=3))
    distance.surface = flip(distance.surface, np.arange(len(distance.surface.faces)) % 3 == 0)
    points, inward, thickness = AcrossWalls().lines(distance, 500, rng=rng())
    assert np.all(np.einsum("ij,ij->i", points, inward) < 0.0)
    assert np.median(thickness) == pytest.approx(0.1, abs=0.005)


def test_only_thin_walls_are_drawn_if_there_are_some() -> None:
    block, fin = box(extents=(0.8, 0.8, 0.8)), box(extents=(0.02, 0.3, 0.3), center=(0.0, 0.0, 0.7))
    points = AcrossWalls().draw(SignedDistance(join(block, fin)), 2000, rng=rng())
    assert np.all(points[:, 2] > 0.5)


def test_a_solid_shape_gets_samples_on_both_sides_of_its_surface() -> None:
    points = AcrossWalls().draw(SignedDistance(box(extents=(0.8, 0.8, 0.8))), 2000, rng=rng())
    inside = np.all(np.abs(points) < 0.4, axis=1)
    assert 0.6 < inside.mean() < 0.85
    assert np.abs(points).max() <= 0.4 + 0.5 * 0.12 + 1e-9


def test_a_sheet_is_drawn_as_its_plate() -> None:
    points = AcrossWalls().draw(SHEET, 4000, rng=rng())
    assert np.abs(points[:, 2]).max() <= 2.0 * SHEET_HALF_THICKNESS + 1e-9
    inside = np.abs(points[:, 2]) < SHEET_HALF_THICKNESS
    assert inside.mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(("change", "found"), [({"reach": 0.0}, "reach = 0.0"), ({"margin": -1.0}, "margin = -1.0")])
def test_settings_out_of_range_are_refused(change: dict, found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        AcrossWalls(**change)
