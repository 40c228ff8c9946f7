"""Signed distances, against analytic solids, brute force over all triangles, and exact unions."""

from collections.abc import Callable

import igl
import numpy as np
import pytest
import skimage.measure
import trimesh
from helpers.plain_geometry import (
    box,
    box_sdf,
    brute_force_distance,
    flip,
    from_trimesh,
    join,
    keep,
    lathe,
    moved,
    points_around,
    random_rotation,
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
from shapeprior.geometry.transforms import Similarity
from shapeprior.sdf.signed_distance import SHEET_HALF_THICKNESS, SignedDistance

SEAM = 0.03
"""Largest error of a distance near the intersection of two parts: half a piece, and a little for its corners."""
POINTS = points_around(np.random.default_rng(0), 1500)
FINE = sphere(radius=0.9, subdivisions=3)
SHEET = TriangleMesh(
    vertices=np.array([[-0.7, -0.5, 0.0], [0.7, -0.5, 0.0], [0.7, 0.5, 0.0], [-0.7, 0.5, 0.0]]),
    faces=np.array([[0, 1, 2], [0, 2, 3]]),
)
# The parts overlap; the planes of one cut the faces of the other.
A, B = box(center=(-0.3, 0.0, 0.0)), box(extents=(1.2, 0.5, 0.5), center=(0.3, 0.05, 0.03))


def distance_to(mesh: TriangleMesh) -> SignedDistance:
    return SignedDistance(clean_mesh(mesh, name="a.obj")[0])


def rotated(mesh: TriangleMesh, rotation: np.ndarray) -> TriangleMesh:
    return moved(mesh, Similarity(scale=1.0, rotation=rotation, offset=np.zeros(3)))


@pytest.mark.parametrize(
    ("mesh", "sdf", "sagitta"),
    [
        (FINE, lambda p: sphere_sdf(p, radius=0.9), 0.005),
        (box(extents=(1.5, 0.8, 0.3)), lambda p: box_sdf(p, extents=(1.5, 0.8, 0.3)), 1e-12),
        (torus(major=0.65, minor=0.25), lambda p: torus_sdf(p, major=0.65, minor=0.25), 0.005),
    ],
    ids=["sphere", "box", "torus"],
)
def test_analytic_solids(mesh: TriangleMesh, sdf: Callable[[np.ndarray], np.ndarray], sagitta: float) -> None:
    points = np.concatenate([POINTS, mesh.vertices[:50] * 0.999, np.zeros((1, 3))])
    found, exact = distance_to(mesh)(points), sdf(points)
    # The sagitta bounds how far a chord of the mesh lies from the surface.
    np.testing.assert_allclose(found, exact, atol=sagitta)
    clear = np.abs(exact) > sagitta
    np.testing.assert_array_equal(found[clear] < 0.0, exact[clear] < 0.0)


@pytest.mark.parametrize(
    "mesh",
    [
        sphere(radius=0.9),
        torus(major=0.65, minor=0.25, sections=16),
        keep(sphere(radius=0.9), np.arange(320) % 40 > 0),
        join(box(extents=(0.4,) * 3, center=(-0.5, 0.0, 0.0)), sphere(radius=0.3, center=(0.5, 0.1, 0.0))),
    ],
    ids=["sphere", "torus", "holes", "parts"],
)
def test_distances_are_exact(mesh: TriangleMesh) -> None:
    # None of these has a hidden face. Errors are likeliest near the surface and at vertices.
    rng = np.random.default_rng(1)
    near = mesh.corners[rng.integers(0, len(mesh.faces), 300)].mean(axis=1) + 0.01 * rng.standard_normal((300, 3))
    points = np.concatenate([POINTS[:300], near, mesh.vertices[np.unique(mesh.faces)][:100]])
    distance = distance_to(mesh)
    assert distance.report.skin_share == pytest.approx(1.0)
    np.testing.assert_allclose(np.abs(distance(points)), brute_force_distance(mesh, points), rtol=0.0, atol=1e-9)


def test_angle_weighted_normals_agree_on_the_sign() -> None:
    # libigl's pseudonormals give the sign in another way, which is correct on closed meshes.
    mesh = torus(major=0.65, minor=0.25, sections=16)
    kind = igl.SIGNED_DISTANCE_TYPE_PSEUDONORMAL
    other = igl.signed_distance(POINTS, mesh.vertices, mesh.faces, sign_type=kind)[0]
    np.testing.assert_allclose(distance_to(mesh)(POINTS), np.asarray(other), atol=1e-12)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=5, deadline=None)
def test_turning_everything_changes_nothing(seed: int) -> None:
    rotation = random_rotation(np.random.default_rng(seed))
    for mesh in (sphere(radius=0.9), join(A, sphere(radius=0.25, center=(0.7, 0.0, 0.0)))):
        turned = distance_to(rotated(mesh, rotation))(POINTS @ rotation.T)
        np.testing.assert_allclose(turned, distance_to(mesh)(POINTS), atol=1e-9)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=5, deadline=None)
def test_it_is_a_distance(seed: int) -> None:
    # A signed distance changes no faster than its argument.
    rng = np.random.default_rng(seed)
    start = points_around(rng, 200, reach=1.0)
    end = start + 0.2 * rng.standard_normal(start.shape)
    distance = distance_to(join(torus(major=0.65, minor=0.25, sections=16), SHEET))
    change = np.abs(distance(end) - distance(start))
    assert (change <= np.linalg.norm(end - start, axis=1) + 1e-9).all()


# Overlapping parts.


def exact_union(points: np.ndarray) -> np.ndarray:
    """Return the distance to the union of A and B as manifold3d computes it, with the analytic sign."""
    union = from_trimesh(trimesh.boolean.union([to_trimesh(A), to_trimesh(B)]))
    assert union.is_watertight
    within = np.minimum(
        box_sdf(points - [-0.3, 0.0, 0.0], extents=(1.0, 1.0, 1.0)),
        box_sdf(points - [0.3, 0.05, 0.03], extents=(1.2, 0.5, 0.5)),
    )
    return np.where(within < 0.0, -1.0, 1.0) * brute_force_distance(union, points)


@pytest.mark.parametrize("turned", ["neither", "one", "both"])
def test_walls_inside_a_union_are_ignored(turned: str) -> None:
    mesh = join(flip(A) if turned == "both" else A, B if turned == "neither" else flip(B))
    distance = distance_to(mesh)
    found, exact = distance(POINTS), exact_union(POINTS)
    np.testing.assert_array_equal(found < 0.0, exact < 0.0)
    # Pieces are kept or dropped whole, so that half a piece may be wrong along the intersection.
    error = np.abs(found - exact)
    assert error.max() < SEAM
    assert np.mean(error > 1e-6) < 0.15
    # If the hidden wall were not ignored, this point would be 0.2 from a surface.
    middle = np.array([[0.0, 0.05, 0.03]])
    assert exact_union(middle)[0] < -0.3
    assert distance(middle)[0] == pytest.approx(exact_union(middle)[0], abs=SEAM)
    hidden = 1.0 - brute_force_area(found_union=True) / brute_force_area(found_union=False)
    assert distance.report.hidden_share == pytest.approx(hidden, abs=0.02)
    assert distance.report.sheet_share == 0.0


def brute_force_area(*, found_union: bool) -> float:
    parts = [to_trimesh(A), to_trimesh(B)]
    return trimesh.boolean.union(parts).area if found_union else sum(part.area for part in parts)


def test_a_wall_in_the_middle_of_a_union_is_ignored() -> None:
    # The wall that two boxes share lies half a unit from the outside.
    mesh = join(box(center=(-0.5, 0.0, 0.0)), box(center=(0.5, 0.0, 0.0)))
    found = distance_to(mesh)(POINTS)
    np.testing.assert_allclose(found, box_sdf(POINTS, extents=(2.0, 1.0, 1.0)), atol=1e-9)


@pytest.mark.parametrize("inward", [False, True])
def test_a_part_inside_another_is_ignored(inward: bool) -> None:
    core = sphere(radius=0.4)
    distance = distance_to(join(FINE, flip(core) if inward else core))
    np.testing.assert_allclose(distance(POINTS), sphere_sdf(POINTS, radius=0.9), atol=0.005)
    area = 4.0 * np.pi * 0.4**2
    assert distance.report.hidden_share == pytest.approx(area / (area + 4.0 * np.pi * 0.9**2), abs=0.01)


# Open meshes.


@pytest.mark.slow
def test_a_cup_with_an_open_rim_keeps_its_cavity() -> None:
    outer = lathe([(0.0, -0.7), (0.6, -0.7), (0.6, 0.7)], sections=16)
    inner = lathe([(0.0, -0.6), (0.5, -0.6), (0.5, 0.7)], sections=16)
    for mesh in (join(outer, inner), flip(join(outer, inner))):
        distance = distance_to(mesh)
        found = distance(np.array([[0.0, 0.0, 0.0], [0.55, 0.0, 0.0], [0.0, 0.0, -0.65], [0.7, 0.0, 0.0], [0, 0, 1.0]]))
        expected = [0.5, -0.05, -0.05, 0.1, np.hypot(0.3, 0.5)]
        # The polygon's sixteen sides lie up to 0.012 inside the circle; the rims count as sheets.
        np.testing.assert_allclose(found, expected, atol=0.012 + SHEET_HALF_THICKNESS)
        assert distance.report.skin_share > 0.9
        assert distance.report.hidden_share == 0.0


@pytest.mark.parametrize("turned", [0.0, 0.5, 1.0])
def test_a_sphere_with_a_small_hole_stays_solid(turned: float) -> None:
    holed = keep(FINE, FINE.corners.mean(axis=1)[:, 2] < 0.88)
    distance = distance_to(flip(holed, np.random.default_rng(2).random(len(holed.faces)) < turned))
    far_from_the_hole = np.linalg.norm(POINTS - [0.0, 0.0, 0.9], axis=1) > 0.3
    points = POINTS[far_from_the_hole & (np.linalg.norm(POINTS, axis=1) > 0.6)]
    # Farther inside, the nearest surface would be the missing faces; the distance is to those that exist.
    nearest_is_there = np.linalg.norm(points - [0.0, 0.0, 0.9], axis=1) > 0.35
    exact = sphere_sdf(points, radius=0.9)
    np.testing.assert_allclose(distance(points)[nearest_is_there], exact[nearest_is_there], atol=0.005)
    assert distance(np.zeros((1, 3)))[0] == pytest.approx(-0.9, abs=0.005)
    assert distance.report.skin_share == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_randomly_turned_faces_do_not_matter(seed: int) -> None:
    turned = flip(FINE, np.random.default_rng(seed).random(len(FINE.faces)) < 0.5)
    np.testing.assert_array_equal(distance_to(turned)(POINTS), distance_to(FINE)(POINTS))


@pytest.mark.parametrize("half_thickness", [0.0, SHEET_HALF_THICKNESS, 0.1])
def test_a_sheet_gets_a_thickness(half_thickness: float) -> None:
    mesh, _ = clean_mesh(SHEET, name="a.obj")
    distance = SignedDistance(mesh, sheet_half_thickness=half_thickness)
    expected = brute_force_distance(SHEET, POINTS) - half_thickness
    np.testing.assert_allclose(distance(POINTS), expected, atol=1e-12)
    assert (distance.report.skin_share, distance.report.sheet_share) == (0.0, 1.0)


def test_a_fin_beside_a_body_gets_a_thickness_and_its_root_is_hidden() -> None:
    # A fin stands on a box and continues into it.
    body = box(extents=(1.4, 0.4, 0.4))
    fin = TriangleMesh(
        vertices=np.array([[-0.2, 0.0, -0.1], [0.2, 0.0, -0.1], [0.2, 0.0, 0.6], [-0.2, 0.0, 0.6]]),
        faces=np.array([[0, 1, 2], [0, 2, 3]]),
    )
    distance = distance_to(join(body, fin))
    body_sdf = box_sdf(POINTS, extents=(1.4, 0.4, 0.4))
    above = TriangleMesh(vertices=np.maximum(fin.vertices, [-9.0, -9.0, 0.2]), faces=fin.faces)
    expected = np.minimum(body_sdf, brute_force_distance(above, POINTS) - SHEET_HALF_THICKNESS)
    np.testing.assert_allclose(distance(POINTS), expected, atol=SEAM)
    assert np.mean(np.abs(distance(POINTS) - expected) > 1e-9) < 0.1
    area = 2 * (1.4 * 0.4 * 2 + 0.16) + 0.4 * 0.7
    assert distance.report.sheet_share == pytest.approx(0.16 / area, abs=0.02)
    assert distance.report.hidden_share == pytest.approx(0.12 / area, abs=0.02)
    # One point is beside the fin's middle, the other in the body where the fin's root would be.
    points = np.array([[0.0, 0.005, 0.4], [0.0, 0.02, 0.4], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(distance(points), [-0.005, 0.01, -0.2], atol=1e-9)


def test_a_closed_surface_comes_out_of_the_field() -> None:
    # scikit-image's marching cubes gives one closed ball of the right volume for a holed, inside-out sphere.
    holed = flip(keep(FINE, FINE.corners.mean(axis=1)[:, 2] < 0.88))
    axis = np.linspace(-1.0, 1.0, 24)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    values = distance_to(holed)(grid.reshape(-1, 3)).reshape(grid.shape[:3])
    vertices, faces, _, _ = skimage.measure.marching_cubes(values, 0.0, spacing=(axis[1] - axis[0],) * 3)
    ball = trimesh.Trimesh(vertices=vertices, faces=faces)
    assert ball.is_watertight
    assert abs(ball.volume) == pytest.approx(4 / 3 * np.pi * 0.9**3, rel=0.03)


def test_the_shares_add_up_and_the_surface_leaves_hidden_faces_out() -> None:
    distance = distance_to(join(A, B, SHEET, sphere(radius=0.2)))
    report = distance.report
    assert report.skin_share + report.hidden_share + report.sheet_share == pytest.approx(1.0)
    assert min(report.skin_share, report.hidden_share, report.sheet_share) > 0.0
    total = sum(mesh.face_areas.sum() for mesh in (A, B, SHEET, sphere(radius=0.2)))
    assert distance.surface.face_areas.sum() == pytest.approx((1.0 - report.hidden_share) * total)


def test_no_points() -> None:
    assert distance_to(FINE)(np.zeros((0, 3))).shape == (0,)
