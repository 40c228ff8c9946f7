"""The inside test, against analytic solids and a plain sum of solid angles."""

import numpy as np
import pytest
import trimesh
from helpers.plain_geometry import (
    box,
    box_sdf,
    brute_force_winding,
    flip,
    join,
    keep,
    lathe,
    moved,
    points_around,
    random_similarity,
    sphere,
    sphere_sdf,
    to_trimesh,
    torus,
    torus_sdf,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from shapeprior.geometry.cleaning import clean_mesh
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.sdf.inside_test import InsideTest

POINTS = points_around(np.random.default_rng(0), 1500)
CUT = sphere(radius=0.9, subdivisions=3)
# The mug is open at the rim between its walls, as many models are.
DOUBLE_WALL = join(lathe([(0.0, -0.7), (0.6, -0.7), (0.6, 0.7)]), lathe([(0.0, -0.6), (0.55, -0.6), (0.55, 0.7)]))


def inside_of(mesh: TriangleMesh) -> InsideTest:
    return InsideTest(clean_mesh(mesh, name="a.obj")[0])


def assert_signs(inside: InsideTest, points: np.ndarray, sdf: np.ndarray, *, margin: float) -> None:
    """Assert that points farther from the surface than the margin are on the side that the analytic distance tells."""
    clear = np.abs(sdf) > margin
    assert clear.sum() > len(points) / 2
    np.testing.assert_array_equal(inside(points[clear]), sdf[clear] < 0.0)


@pytest.mark.parametrize(
    ("mesh", "sdf", "margin"),
    [
        (sphere(radius=0.9), sphere_sdf(POINTS, radius=0.9), 0.03),
        (box(extents=(1.5, 0.8, 0.3)), box_sdf(POINTS, extents=(1.5, 0.8, 0.3)), 1e-9),
        (torus(major=0.7, minor=0.3), torus_sdf(POINTS, major=0.7, minor=0.3), 0.01),
    ],
    ids=["sphere", "box", "torus"],
)
def test_analytic_solids(mesh: TriangleMesh, sdf: np.ndarray, margin: float) -> None:
    inside = inside_of(mesh)
    assert inside.is_closed
    assert_signs(inside, POINTS, sdf, margin=margin)


def test_trimesh_agrees_on_a_closed_mesh() -> None:
    mesh = torus(major=0.7, minor=0.3, sections=16)
    np.testing.assert_array_equal(inside_of(mesh)(POINTS), to_trimesh(mesh).contains(POINTS))


@pytest.mark.parametrize("name", ["closed", "open", "soup"])
def test_winding_numbers_agree_with_a_plain_sum(name: str) -> None:
    mesh = {
        "closed": join(sphere(subdivisions=1), box(center=(0.3, 0.0, 0.0))),
        "open": keep(CUT, CUT.corners.mean(axis=1)[:, 2] < 0.2),
        "soup": TriangleMesh(
            vertices=np.random.default_rng(5).standard_normal((60, 3)), faces=np.arange(60).reshape(-1, 3)
        ),
    }[name]
    found = InsideTest(mesh).winding_number(POINTS[:300])
    # The hierarchical sum approximates distant groups of faces by points.
    np.testing.assert_allclose(found, brute_force_winding(mesh, POINTS[:300]), atol=0.02)


@given(seed=st.integers(0, 2**32), scale=st.sampled_from([1e-3, 1.0, 1e3]))
@settings(max_examples=10, deadline=None)
def test_place_and_size_do_not_matter(seed: int, scale: float) -> None:
    placement = random_similarity(np.random.default_rng(seed), scale=scale, reach=3.0 * scale)
    mesh = join(box(), torus(major=0.7, minor=0.2, sections=16))
    np.testing.assert_array_equal(inside_of(moved(mesh, placement))(placement.apply(POINTS)), inside_of(mesh)(POINTS))


def test_overlapping_parts_count_as_their_union() -> None:
    # The ball is inside out in the file.
    mesh = join(box(extents=(1.5, 0.8, 0.3)), flip(sphere(radius=0.6, subdivisions=3)))
    union = np.minimum(box_sdf(POINTS, extents=(1.5, 0.8, 0.3)), sphere_sdf(POINTS, radius=0.6))
    assert_signs(inside_of(mesh), POINTS, union, margin=0.01)


@pytest.mark.parametrize("inward", [False, True])
def test_what_a_closed_skin_encloses_is_inside(inward: bool) -> None:
    core = sphere(radius=0.4)
    mesh = join(sphere(radius=0.9, subdivisions=3), flip(core) if inward else core)
    assert_signs(inside_of(mesh), POINTS, sphere_sdf(POINTS, radius=0.9), margin=0.01)


@pytest.mark.parametrize("turned", [0.0, 0.5, 1.0])
def test_a_small_hole_lets_nothing_out(turned: float) -> None:
    rng = np.random.default_rng(1)
    holed = keep(CUT, CUT.corners.mean(axis=1)[:, 2] < 0.88)
    assert len(holed.faces) == len(CUT.faces) - 12
    inside = inside_of(flip(holed, rng.random(len(holed.faces)) < turned))
    assert not inside.is_closed
    sdf = sphere_sdf(POINTS, radius=0.9)
    far_from_the_hole = np.linalg.norm(POINTS - [0.0, 0.0, 0.9], axis=1) > 0.3
    assert_signs(inside, POINTS[far_from_the_hole], sdf[far_from_the_hole], margin=0.01)
    # Near the hole, only points that lie outside for certain are checked.
    assert not inside(POINTS[sdf > 0.02]).any()


def test_a_hole_the_size_of_a_hemisphere_is_an_opening() -> None:
    shell = keep(CUT, CUT.corners.mean(axis=1)[:, 2] < 0.0)
    assert not inside_of(shell)(POINTS).any()


@pytest.mark.parametrize("turned", [False, True])
def test_the_cavity_of_a_cup_is_outside_and_its_wall_is_inside(turned: bool) -> None:
    inside = inside_of(flip(DOUBLE_WALL) if turned else DOUBLE_WALL)
    angle = np.linspace(0.1, 6.0, 20)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def at(radius: float, height: float) -> np.ndarray:
        return np.column_stack([radius * ring, np.full(len(ring), height)])

    for height in (-0.55, -0.3, 0.0, 0.3, 0.5):
        assert inside(at(0.575, height)).all()
        for radius in (0.0, 0.3, 0.54, 0.65):
            assert not inside(at(radius, height)).any()
    for radius in (0.0, 0.3, 0.5):
        assert inside(at(radius, -0.65)).all()
        assert not inside(at(radius, 0.8)).any()
        assert not inside(at(radius, -0.75)).any()


def test_the_hollow_of_a_bottle_is_outside_though_nobody_sees_it() -> None:
    # The bottle's mouth is as small as a crack, and a missing face opens the mesh.
    outer = [(0.0, -0.7), (0.5, -0.7), (0.5, 0.4), (0.08, 0.5), (0.08, 0.9)]
    inner = [(0.04, 0.9), (0.04, 0.5), (0.45, 0.35), (0.45, -0.65), (0.0, -0.65)]
    bottle = lathe(outer + inner, sections=16)
    inside = inside_of(keep(bottle, np.arange(len(bottle.faces)) != 4))
    hollow = np.array([[0.0, 0.0, height] for height in (-0.6, -0.3, 0.0, 0.3)])
    assert not inside.is_closed
    assert (inside.escape_share(hollow) <= inside.SURE_ESCAPE).all()
    assert not inside(hollow).any()
    assert inside(np.array([[-0.475, 0.0, -0.3], [-0.475, 0.0, 0.3], [0.0, 0.0, -0.68]])).all()


def test_the_cavity_of_a_deep_cup_with_a_single_wall_is_outside() -> None:
    inside = inside_of(lathe([(0.0, -0.7), (0.6, -0.7), (0.6, 0.7)]))
    assert not inside(np.array([[0.0, 0.0, -0.5]])).any()


def test_a_sheet_has_no_inside() -> None:
    sheet = TriangleMesh(
        vertices=np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]), faces=np.array([[0, 1, 2], [0, 2, 3]])
    )
    assert not inside_of(sheet)(POINTS * [1.0, 1.0, 0.01]).any()


def test_escape_shares_are_solid_angles() -> None:
    # From the middle of a sphere without a cap, the share of the sky that is open is the cap's share of the sphere.
    top = CUT.corners.mean(axis=1)[:, 2]
    for height in (0.0, 0.45, 0.8):
        inside = InsideTest(keep(CUT, top < height))
        share = inside.escape_share(np.zeros((1, 3)))[0]
        assert share == pytest.approx(0.5 * (1.0 - height / 0.9), abs=0.04)
    assert InsideTest(CUT).escape_share(np.zeros((1, 3))).tolist() == [0.0]
    assert InsideTest(box()).escape_share(np.full((1, 3), 50.0))[0] > 0.98


def test_no_points_and_many_points() -> None:
    inside = inside_of(keep(CUT, CUT.corners.mean(axis=1)[:, 2] < 0.88))
    assert inside(np.zeros((0, 3))).shape == (0,)
    # These points are more than one batch.
    many = np.tile(POINTS[:100], (170, 1))
    np.testing.assert_array_equal(inside(many), np.tile(inside(POINTS[:100]), 170))


def test_a_boolean_union_agrees() -> None:
    parts = [box(), box(extents=(1.4, 0.3, 0.3), center=(0.2, 0.1, 0.0)), box(extents=(0.2, 1.6, 0.2))]
    union = trimesh.boolean.union([to_trimesh(part) for part in parts])
    np.testing.assert_array_equal(inside_of(join(*parts))(POINTS), union.contains(POINTS))
