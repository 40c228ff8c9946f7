"""Lofts, sweeps and solids of revolution against analytic volumes."""

import manifold3d
import numpy as np
import pytest

from shapeprior.datasets.procedural import lofts
from shapeprior.datasets.procedural.solids import to_mesh


@pytest.mark.parametrize("mirror_symmetric", [True, False])
def test_loft_through_squares_is_a_frustum_of_a_pyramid(mirror_symmetric: bool) -> None:
    square = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
    rings = np.stack([np.column_stack([size * square, np.full(4, z)]) for size, z in ((1.0, 0.0), (0.5, 3.0))])
    exact = 3.0 / 3 * (4.0 + 1.0 + np.sqrt(4.0 * 1.0))
    for order in (rings, rings[::-1]):
        assert lofts.loft(order, mirror_symmetric=mirror_symmetric).volume() == pytest.approx(exact, rel=1e-12)


def test_turned_ring_has_the_volume_of_pappus() -> None:
    profile = [(0.0, 0.5), (0.0, 1.0), (0.4, 1.0), (0.4, 0.5), (0.1, 0.0)]
    segments = 256
    solid = lofts.revolve(profile, axis="x", segments=segments)
    # Cylinder of radius 1 and height 0.4 less a cone frustum (a full cone of radius 0.5 from x = 0.1 to 0.4).
    exact = np.pi * 0.4 - np.pi * 0.25 * 0.3 / 3
    assert solid.volume() == pytest.approx(exact, rel=1e-3)
    assert np.allclose(solid.bounding_box(), (0.0, -1.0, -1.0, 0.4, 1.0, 1.0), atol=1e-3)


def test_straight_sweep_is_a_cylinder_of_known_volume() -> None:
    path = np.column_stack([np.linspace(0, 3, 10), np.zeros(10)])
    bar = lofts.sweep(path, thickness=np.full(10, 0.2), width=np.full(10, 0.4), exponent=2.0, sides=64)
    assert bar.volume() == pytest.approx(3 * 0.2 * 0.4 * 0.5 * 64 * np.sin(2 * np.pi / 64), rel=1e-6)


def test_sharp_bend_is_smoothed_until_it_no_longer_folds() -> None:
    path = np.concatenate([np.column_stack([t, 0 * t]) for t in [np.linspace(0, 1, 20)]])
    path = np.concatenate([path, np.column_stack([np.linspace(0.95, 0, 20), np.linspace(0.01, 0.2, 20)])])
    bar = lofts.sweep(path, thickness=np.full(40, 0.1), width=np.full(40, 0.1), exponent=2.0)
    apart = bar.decompose()
    assert len(apart) == 1
    assert to_mesh(bar).is_watertight
    assert bar.volume() > 0


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_rounded_block_fills_its_size(axis: str) -> None:
    size = (2.0, 1.0, 0.6)
    solid = lofts.rounded_block(size, corner=0.05, edge=0.02, axis=axis)
    assert np.allclose(solid.bounding_box(), (-1.0, -0.5, -0.3, 1.0, 0.5, 0.3), atol=1e-9)
    assert 0.97 * np.prod(size) < solid.volume() < np.prod(size)


def test_rod_is_a_prism_between_its_ends() -> None:
    start, end = (0.1, 0.2, -0.3), (1.0, -0.5, 0.4)
    length = float(np.linalg.norm(np.subtract(end, start)))
    area = 0.5 * 12 * 0.05**2 * np.sin(2 * np.pi / 12)
    assert lofts.rod(start, end, 0.05).volume() == pytest.approx(area * length, rel=1e-6)


def test_hull_with_constant_sections_is_an_elliptic_cylinder() -> None:
    hull = lofts.Hull(
        x=np.array([0.0, 1.0]), half_width=np.full(2, 0.2), top=np.full(2, 0.1), bottom=np.full(2, -0.1),
        round_front=1e-4, round_back=1e-4,
    )  # fmt: skip
    assert hull.solid(points=200).volume() == pytest.approx(np.pi * 0.2 * 0.1, rel=2e-3)
    assert hull.section_at(0.3) == pytest.approx((0.2, 0.1, -0.1))


def test_wing_pair_has_twice_the_volume_of_one_wing() -> None:
    wing = lofts.Wing(
        z=np.array([0.0, 1.0]), lead=np.array([0.0, 0.3]), height=np.array([0.0, 0.1]), chord=np.array([0.3, 0.1]),
        thickness=np.array([0.03, 0.02]),
    )  # fmt: skip
    assert wing.pair().volume() == pytest.approx(2 * wing.single().volume(), rel=1e-9)
    assert wing.section_at(0.5) == pytest.approx((0.15, 0.05, 0.2, 0.025))
    upright = wing.single(roll=90.0).bounding_box()
    assert upright[1] == pytest.approx(0.0, abs=1e-9)
    assert upright[4] > 1.0


def test_airfoil_is_a_closed_outline_of_unit_size() -> None:
    outline = lofts.airfoil_section()
    assert np.ptp(outline[:, 0]) == pytest.approx(1.0)
    assert np.ptp(outline[:, 1]) == pytest.approx(1.0, abs=0.03)


def test_unite_drops_loose_pieces_and_hollows() -> None:
    shell = manifold3d.Manifold.sphere(1.0, 32) - manifold3d.Manifold.sphere(0.5, 32)
    far = manifold3d.Manifold.cube((0.1, 0.1, 0.1)).translate((5.0, 0.0, 0.0))
    solid = lofts.unite([shell, far])
    assert solid.volume() == pytest.approx(manifold3d.Manifold.sphere(1.0, 32).volume(), rel=1e-9)


def test_senseless_sections_are_refused() -> None:
    flat = np.full(2, 0.1)
    with pytest.raises(ValueError, match="increasing positions"):
        lofts.Wing(z=np.zeros(2), lead=flat, height=flat, chord=flat, thickness=flat)
    with pytest.raises(ValueError, match="positive chord"):
        lofts.Wing(z=np.arange(2.0), lead=flat, height=flat, chord=-flat, thickness=flat)
    with pytest.raises(ValueError, match="increasing positions"):
        lofts.Hull(x=np.zeros(2), half_width=flat, top=flat, bottom=-flat)
    with pytest.raises(ValueError, match="positive width"):
        lofts.Hull(x=np.arange(2.0), half_width=flat, top=flat, bottom=flat)
