"""Sampling strategies: distributions, edges, rays and normals, against analytic solids and plain second ways."""

import numpy as np
import pytest
from helpers.plain_geometry import box, box_sdf, brute_force_distance, flip, from_trimesh, join, moved, sphere, torus
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest, norm
from trimesh.creation import cylinder

from shapeprior.errors import ConfigError, MeshError
from shapeprior.geometry.cleaning import clean_mesh
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.transforms import Similarity
from shapeprior.sdf.signed_distance import SHEET_HALF_THICKNESS, SignedDistance
from shapeprior.sdf.strategies import (
    BEND_STEP,
    NORMAL_STEP,
    DepthRays,
    NearSurface,
    OnSurface,
    SharpEdges,
    StrategySettings,
    UniformBall,
)

BLOCK_SIZE = np.array([1.0, 0.6, 0.8])
BALL = SignedDistance(sphere(radius=0.6, subdivisions=3))
BLOCK = SignedDistance(box(extents=BLOCK_SIZE.tolist()))
SLAB = SignedDistance(box(extents=(40.0, 40.0, 1.0)))
SHEET_MESH = TriangleMesh(
    vertices=np.array([[-0.7, -0.5, 0.0], [0.7, -0.5, 0.0], [0.7, 0.5, 0.0], [-0.7, 0.5, 0.0]]),
    faces=np.array([[0, 1, 2], [0, 2, 3]]),
)
SHEET = SignedDistance(SHEET_MESH)


def distance_to(*parts: TriangleMesh) -> SignedDistance:
    return SignedDistance(clean_mesh(join(*parts), name="a.obj")[0])


# The two parts share a wall, which is hidden.
TWO_BOXES = distance_to(
    box(extents=(0.6, 0.6, 0.6), center=(-0.3, 0, 0)), box(extents=(0.6, 0.4, 0.4), center=(0.3, 0, 0))
)
# A box with a wall across it; the wall is hidden inside.
WALLED = distance_to(
    box(),
    TriangleMesh(
        vertices=np.array([[-0.5, -0.5, 0.1], [0.5, -0.5, 0.1], [0.5, 0.5, 0.1], [-0.5, 0.5, 0.1]]),
        faces=np.array([[0, 1, 2], [0, 2, 3]]),
    ),
)
SHAPES = {"ball": BALL, "block": BLOCK, "sheet": SHEET, "two boxes": TWO_BOXES}
STRATEGY_SETTINGS = StrategySettings()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def distance_to_box_edges(points: np.ndarray, extents: np.ndarray) -> np.ndarray:
    """Return the distance of points to the 12 edges of a centred box."""
    best = np.full(len(points), np.inf)
    folded = np.abs(points)
    for axis in range(3):
        across = np.delete(folded - extents / 2, axis, axis=1)
        past = np.maximum(folded[:, axis] - extents[axis] / 2, 0.0)
        best = np.minimum(best, np.sqrt((across**2).sum(axis=1) + past**2))
    return best


# All strategies.


@pytest.mark.parametrize("name", list(vars(STRATEGY_SETTINGS)))
@given(seed=st.integers(0, 2**32), count=st.integers(0, 40))
@settings(max_examples=10, deadline=None)
def test_any_count_with_the_same_bytes_for_the_same_seed(name: str, seed: int, count: int) -> None:
    strategy = getattr(STRATEGY_SETTINGS, name)
    for distance in SHAPES.values():
        points = strategy.draw(distance, count, rng=rng(seed))
        assert points.shape == (count, 3)
        assert np.isfinite(points).all()
        assert points.tobytes() == strategy.draw(distance, count, rng=rng(seed)).tobytes()


@pytest.mark.parametrize("name", list(vars(STRATEGY_SETTINGS)))
def test_another_seed_gives_other_samples(name: str) -> None:
    strategy = getattr(STRATEGY_SETTINGS, name)
    first, second = (strategy.draw(BLOCK, 50, rng=rng(seed)) for seed in (1, 2))
    assert not np.isin(first, second).any()


# Near.


@pytest.mark.parametrize("variance", [0.0025, 0.00025])
def test_offsets_have_the_variance_asked_for(variance: float) -> None:
    # Beside a large flat face the distance is the offset's component along the normal, which is normally distributed.
    points = NearSurface(variances=(variance,)).draw(SLAB, 4000, rng=rng())
    flat = np.abs(points[:, :2]).max(axis=1) < 19.0
    assert flat.mean() > 0.8
    assert kstest(np.abs(points[flat, 2]) - 0.5, norm(scale=np.sqrt(variance)).cdf).pvalue > 1e-3


def test_deepsdfs_variances_are_recovered_half_each() -> None:
    points = NearSurface().draw(SLAB, 8000, rng=rng())
    height = np.abs(points[np.abs(points[:, :2]).max(axis=1) < 19.0, 2]) - 0.5
    wide, tight = norm(scale=np.sqrt(0.0025)).cdf, norm(scale=np.sqrt(0.00025)).cdf
    assert kstest(height, lambda h: 0.5 * wide(h) + 0.5 * tight(h)).pvalue > 1e-3


def test_near_samples_are_uniform_over_the_surface() -> None:
    points = NearSurface(variances=(1e-10,)).draw(BLOCK, 6000, rng=rng())
    wall = np.argmin(np.abs(np.abs(points) - BLOCK_SIZE / 2), axis=1)
    areas = BLOCK_SIZE.prod() / BLOCK_SIZE
    assert chisquare(np.bincount(wall, minlength=3), 6000 * areas / areas.sum()).pvalue > 1e-3


def test_hidden_walls_are_not_sampled() -> None:
    points = NearSurface(variances=(1e-8,)).draw(distance_to(sphere(radius=0.8), sphere(radius=0.3)), 2000, rng=rng())
    assert np.linalg.norm(points, axis=1).min() > 0.7


# Uniform.


def test_uniform_samples_fill_the_unit_ball() -> None:
    points = UniformBall().draw(BALL, 4000, rng=rng())
    radius = np.linalg.norm(points, axis=1)
    assert radius.max() <= 1.0
    # The share of the ball's volume within a radius is the radius cubed.
    assert kstest(radius, lambda r: np.clip(r, 0, 1) ** 3).pvalue > 1e-3
    assert chisquare(np.bincount((points > 0) @ np.array([1, 2, 4]), minlength=8)).pvalue > 1e-3


# Edges.


def test_edge_samples_cluster_at_the_edges_of_a_box() -> None:
    points = SharpEdges(variance=1e-10).draw(BLOCK, 4000, rng=rng())
    assert distance_to_box_edges(points, BLOCK_SIZE).max() < 1e-4
    # Near samples are mostly elsewhere, so not just any samples would pass.
    assert np.median(distance_to_box_edges(NearSurface().draw(BLOCK, 4000, rng=rng()), BLOCK_SIZE)) > 0.05


def test_edges_are_drawn_by_length_and_evenly_along() -> None:
    points = SharpEdges(variance=1e-12).draw(BLOCK, 12_000, rng=rng())
    _, kept = np.unique(points.round(4), axis=0, return_index=True)
    points = points[kept]  # Places are drawn with repetition.
    on_wall = np.abs(np.abs(points) - BLOCK_SIZE / 2) < 1e-4
    inner = on_wall.sum(axis=1) == 2
    assert inner.mean() > 0.99
    along = np.argmin(on_wall[inner], axis=1)
    assert chisquare(np.bincount(along, minlength=3), inner.sum() * BLOCK_SIZE / BLOCK_SIZE.sum()).pvalue > 1e-3
    places = np.take_along_axis(points[inner], along[:, None], axis=1)[:, 0] / BLOCK_SIZE[along] + 0.5
    assert kstest(places, "uniform").pvalue > 1e-3


def test_edge_offsets_have_the_variance_asked_for() -> None:
    points = SharpEdges(variance=0.0004).draw(BLOCK, 6000, rng=rng())
    # Near the middle of an edge along x, the other two components are the offsets.
    middle = points[
        (np.abs(points[:, 0]) < 0.3) & (np.abs(np.abs(points[:, 1:]) - BLOCK_SIZE[1:] / 2) < 0.1).all(axis=1)
    ]
    offsets = np.abs(middle[:, 1:]) - BLOCK_SIZE[1:] / 2
    assert len(offsets) > 1000
    assert kstest(offsets.ravel(), norm(scale=0.02).cdf).pvalue > 1e-3


@pytest.mark.parametrize(("sections", "sharp"), [(10, True), (16, False)])
def test_the_angle_decides(sections: int, sharp: bool) -> None:
    # The sides of a prism bend by 36° and by 22.5°; its rims by 90°.
    prism = SignedDistance(from_trimesh(cylinder(radius=0.5, height=1.0, sections=sections)))
    places = SharpEdges(min_bend_deg=30.0).places(prism.surface, 2000, rng=rng())
    on_side = np.abs(places[:, 2]) < 0.49
    assert on_side.any() == sharp
    assert (~on_side).any()
    # Diagonals of flat sides are never drawn.
    np.testing.assert_allclose(np.hypot(places[on_side, 0], places[on_side, 1]), 0.5, atol=1e-9)


def test_a_smooth_shape_falls_back_to_near_samples() -> None:
    strategy = SharpEdges()
    assert len(strategy.places(BALL.surface, 500, rng=rng())) == 0
    points = strategy.draw(BALL, 4000, rng=rng())
    height = BALL(points)
    # On a plane, two standard deviations hold 95 % of the samples; the ball's curvature changes little.
    assert np.mean(np.abs(height) < 0.1) > 0.95
    assert np.std(height) == pytest.approx(np.sqrt(0.5 * (0.0025 + 0.00025)), rel=0.1)


def test_a_few_samples_find_a_few_edges() -> None:
    # A fine ball beside a small box, with unshared vertices: few sides of the faces are sharp.
    ball = sphere(radius=0.3, center=(0.5, 0.0, 0.0), subdivisions=3)
    soup = TriangleMesh(vertices=ball.corners.reshape(-1, 3), faces=np.arange(3 * len(ball.faces)).reshape(-1, 3))
    distance = SignedDistance(join(box(extents=(0.2,) * 3), ball))
    distance.surface = join(box(extents=(0.2,) * 3), soup)
    for seed in range(20):
        points = SharpEdges(variance=1e-10).draw(distance, 1, rng=rng(seed))
        assert distance_to_box_edges(points, np.full(3, 0.2)).max() < 1e-3


def test_faces_too_thin_for_a_third_corner_make_no_edges() -> None:
    # These corners are collinear up to rounding: some of the faces have an area, but no direction across their edges.
    start, end = rng(1).uniform(-1, 1, (2, 200, 3))
    corners = np.stack([start, end, start + rng(2).random((200, 1)) * (end - start)], axis=1)
    needles = TriangleMesh(vertices=corners.reshape(-1, 3), faces=np.arange(600).reshape(-1, 3))
    places = SharpEdges().places(join(box(extents=BLOCK_SIZE.tolist()), needles), 20_000, rng=rng())
    assert np.isfinite(places).all()


def test_the_rim_of_a_sheet_is_sharp_and_its_diagonal_is_not() -> None:
    places = SharpEdges().places(SHEET.surface, 2000, rng=rng())
    to_rim = np.min(np.abs(np.abs(places[:, :2]) - [0.7, 0.5]), axis=1)
    assert to_rim.max() < 1e-12
    assert len(places) > 500


def test_unshared_vertices_of_a_flat_wall_make_no_edges() -> None:
    solid = box(extents=BLOCK_SIZE.tolist())
    soup = TriangleMesh(vertices=solid.corners.reshape(-1, 3), faces=np.arange(36).reshape(-1, 3))
    places = SharpEdges().places(soup, 3000, rng=rng())
    # Close to a corner of a wall, the step across a diagonal ends beyond the wall.
    assert distance_to_box_edges(places, BLOCK_SIZE).max() < BEND_STEP
    assert len(places) > 1000


def test_the_root_of_a_fin_on_a_flat_wall_is_sharp() -> None:
    # Three walls share the edge along y; the two flat ones continue each other, and the fin ends there.
    vertices = np.array(
        [[-1, 0, 0], [-1, 1, 0], [0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 1]], float
    )
    quads = [(0, 2, 3, 1), (2, 4, 5, 3), (2, 6, 7, 3)]
    faces = np.array([face for a, b, c, d in quads for face in ((a, b, c), (a, c, d))])
    places = SharpEdges().places(TriangleMesh(vertices=vertices, faces=faces), 4000, rng=rng())
    at_root = np.abs(places[:, [0, 2]]).max(axis=1) < 1e-12
    # One of the edge's three sides is sharp, beside 9 rims of length 1.
    assert at_root.mean() == pytest.approx((1 / 3) / (9 + 1 / 3), abs=0.01)


def test_hidden_edges_are_not_drawn_and_those_between_parts_are() -> None:
    # The small box reaches no farther in than the wall of the large one at x = 0: its edges there lie in that wall.
    places = SharpEdges().places(TWO_BOXES.surface, 4000, rng=rng())
    assert np.abs(TWO_BOXES(places)).max() < 1e-9
    between = (np.abs(places[:, 0]) < 1e-9) & (np.abs(places[:, 1:]).max(axis=1) < 0.2 + 1e-9)
    assert between.sum() > 20


@pytest.mark.parametrize("change", [{"min_bend_deg": 0.0}, {"min_bend_deg": 90.0}, {"min_bend_deg": float("nan")}])
def test_bends_out_of_range_are_refused(change: dict) -> None:
    with pytest.raises(ConfigError, match=r"min_bend_deg = .*; expected more than 0, less than 90 degrees"):
        SharpEdges(**change)


# Rays.


def first_hits(mesh: TriangleMesh, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Return the distances to the first face, by solving for barycentric weights ray by ray."""
    first = np.full(len(origins), np.inf)
    for a, b, c in mesh.corners:
        matrix = np.stack(
            [np.broadcast_to(b - a, directions.shape), np.broadcast_to(c - a, directions.shape), -directions], -1
        )
        flat = np.abs(np.linalg.det(matrix)) < 1e-12
        matrix[flat] = np.eye(3)
        u, v, t = np.linalg.solve(matrix, (origins - a)[..., None])[..., 0].T
        hit = ~flat & (u >= -1e-9) & (v >= -1e-9) & (u + v <= 1 + 1e-9) & (t > 0)
        first = np.where(hit, np.minimum(first, t), first)
    return first


@pytest.mark.parametrize("name", ["block", "two boxes"])
def test_rays_start_outside_and_end_at_the_first_hit(name: str) -> None:
    distance = SHAPES[name]
    origins, directions, first_hit = DepthRays(viewpoint_distance=1.7).cast(distance, 400, rng=rng())
    np.testing.assert_allclose(np.linalg.norm(origins, axis=1), 1.7)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1.0)
    np.testing.assert_allclose(first_hit, first_hits(distance.surface, origins, directions), atol=1e-6)
    # Viewpoints lie on all sides.
    assert chisquare(np.bincount((origins > 0) @ np.array([1, 2, 4]), minlength=8)).pvalue > 1e-3


@pytest.mark.parametrize("name", ["ball", "block", "two boxes"])
def test_samples_before_the_hit_are_free_and_seen(name: str) -> None:
    distance, strategy = SHAPES[name], DepthRays(free_share=0.6)
    points = strategy.draw(distance, 500, rng=rng())
    origins, directions, first_hit = strategy.cast(distance, 500, rng=rng())  # The same generator gives the same rays.
    reach = np.einsum("ij,ij->i", points - origins, directions)
    np.testing.assert_allclose(points, origins + reach[:, None] * directions, atol=1e-12)
    assert (reach[:300] <= first_hit[:300]).all()
    assert distance(points[:300]).min() > -1e-6
    # No surface lies between a free sample and its camera.
    mesh = distance.surface
    if len(mesh.faces) < 200:
        assert (first_hits(mesh, points[:300], -directions[:300]) > reach[:300] - 1e-3).all()
    assert np.linalg.norm(points[:300], axis=1).max() <= 1.0 + 1e-9
    behind = reach[300:] - first_hit[300:]
    assert kstest(behind / 0.05, "uniform").pvalue > 1e-3


def test_free_samples_are_uniform_from_the_ball_to_the_hit() -> None:
    strategy = DepthRays(free_share=1.0)
    points = strategy.draw(BLOCK, 3000, rng=rng())
    origins, directions, first_hit = strategy.cast(BLOCK, 3000, rng=rng())
    reach = np.einsum("ij,ij->i", points - origins, directions)
    # Solve |o + t d| = 1 with numpy's solver of polynomials.
    enters = np.array(
        [min(np.roots([1.0, 2.0 * o @ d, o @ o - 1.0]).real) for o, d in zip(origins, directions, strict=True)]
    )
    assert kstest((reach - enters) / (first_hit - enters), "uniform").pvalue > 1e-3


def test_samples_behind_the_hit_of_a_thick_wall_are_inside() -> None:
    points = DepthRays(free_share=0.0, behind=0.05).draw(BALL, 1000, rng=rng())
    sdf = BALL(points)
    assert sdf.min() > -0.05 - 1e-9
    assert np.mean(sdf < 0.0) > 0.95  # A ray that grazes a facet leaves it again.


def test_rays_do_not_see_what_stands_behind() -> None:
    # A screen hides the block from viewpoints on its side; from the others, the space between them is seen as free.
    screen = moved(SHEET_MESH, Similarity(scale=1.0, rotation=np.eye(3), offset=np.array([0.0, 0.0, 0.6])))
    distance = distance_to(box(extents=(0.6, 0.6, 0.6)), screen)
    strategy = DepthRays(free_share=1.0)
    points = strategy.draw(distance, 1000, rng=rng())
    origins, directions, _ = strategy.cast(distance, 1000, rng=rng())
    at_screen = (0.6 - origins[:, 2]) / directions[:, 2]
    crossing = origins + at_screen[:, None] * directions
    hits_screen = (at_screen > 0) & (np.abs(crossing[:, :2]) < [0.69, 0.49]).all(axis=1) & (origins[:, 2] > 0.6)
    assert hits_screen.sum() > 100
    assert (points[hits_screen, 2] >= 0.6 - 1e-6).all()


# On the surface.


def finite_differences(distance: SignedDistance, points: np.ndarray, *, step: float = 2e-5) -> np.ndarray:
    """Return the gradient by central differences along the axes."""
    steps = step * np.eye(3)
    return np.stack([(distance(points + s) - distance(points - s)) / (2 * step) for s in steps], axis=1)


@pytest.mark.parametrize(
    "distance",
    [
        BALL,
        BLOCK,
        SHEET,
        TWO_BOXES,
        WALLED,
        distance_to(sphere(radius=0.8), flip(sphere(radius=0.3))),
        distance_to(torus(major=0.65, minor=0.25, sections=16)),
    ],
    ids=["ball", "block", "sheet", "two boxes", "wall inside", "ball inside", "torus"],
)
def test_surface_points_are_on_the_zero_level_and_normals_are_its_gradient(distance: SignedDistance) -> None:
    points, normals = OnSurface().draw(distance, 600, rng=rng())
    assert points.shape == normals.shape == (600, 3)
    stored = points.astype(np.float32).astype(np.float64)
    assert np.abs(distance(stored)).max() < 1.2e-7
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0)
    np.testing.assert_allclose(finite_differences(distance, stored), normals, atol=0.01)


def test_normals_of_a_sphere_point_away_from_its_centre() -> None:
    points, normals = OnSurface().draw(BALL, 500, rng=rng())
    assert np.einsum("ij,ij->i", points / 0.6, normals).min() > 0.98


def test_normals_point_outward_whatever_the_winding() -> None:
    distance = SignedDistance(sphere(radius=0.6, subdivisions=3))
    distance.surface = flip(distance.surface, np.arange(len(distance.surface.faces)) % 3 == 0)
    points, normals = OnSurface().draw(distance, 500, rng=rng())
    assert np.einsum("ij,ij->i", points / 0.6, normals).min() > 0.98


def test_no_surface_point_lies_within_a_step_of_an_edge() -> None:
    points, _ = OnSurface().draw(BLOCK, 20_000, rng=rng())
    # About ten of the points drawn do, and there the distance behind the surface is that to the other wall.
    assert distance_to_box_edges(points, BLOCK_SIZE).min() > 0.99 * NORMAL_STEP


def test_both_sides_of_a_sheet_are_drawn_at_its_thickness() -> None:
    points, normals = OnSurface().draw(SHEET, 4000, rng=rng())
    np.testing.assert_allclose(np.abs(points[:, 2]), SHEET_HALF_THICKNESS, atol=1e-12)
    np.testing.assert_allclose(normals, np.sign(points[:, 2])[:, None] * [0.0, 0.0, 1.0], atol=1e-12)
    assert np.mean(points[:, 2] > 0) == pytest.approx(0.5, abs=0.03)
    assert kstest(points[:, 0], "uniform", args=(-0.7, 1.4)).pvalue > 1e-3


def test_surface_points_are_uniform_over_the_skin_and_both_sides_of_sheets() -> None:
    points, _ = OnSurface().draw(distance_to(box(extents=(0.5,) * 3, center=(0, 0, 0.5)), SHEET_MESH), 6000, rng=rng())
    on_plate = np.abs(points[:, 2]) < SHEET_HALF_THICKNESS + 1e-9
    # The box with its six walls touches nothing; the plate of 1.4 by 1.0 has two sides.
    assert on_plate.mean() == pytest.approx(2.8 / (2.8 + 1.5), abs=0.02)


def test_no_surface_point_lies_inside_another_part() -> None:
    points, _ = OnSurface().draw(TWO_BOXES, 2000, rng=rng())
    offset = np.array([0.3, 0.0, 0.0])
    in_large = box_sdf(points + offset, extents=(0.6, 0.6, 0.6))
    in_small = box_sdf(points - offset, extents=(0.6, 0.4, 0.4))
    np.testing.assert_allclose(np.minimum(in_large, in_small), 0.0, atol=1e-9)


def test_no_surface_samples_need_no_surface() -> None:
    points, normals = OnSurface().draw(BALL, 0, rng=rng())
    assert points.shape == normals.shape == (0, 3)


def test_the_same_seed_gives_the_same_surface() -> None:
    first, second = (OnSurface().draw(TWO_BOXES, 300, rng=rng(4)) for _ in range(2))
    assert first[0].tobytes() == second[0].tobytes()
    assert first[1].tobytes() == second[1].tobytes()


def test_a_sheet_without_thickness_has_no_normals() -> None:
    flat = SignedDistance(SHEET_MESH, sheet_half_thickness=0.0)
    with pytest.raises(MeshError, match=r"0 of \d+ points of the surface .* expected 10; check the mesh"):
        OnSurface().draw(flat, 10, rng=rng())


# Settings.


@pytest.mark.parametrize(
    ("strategy", "change", "found"),
    [
        (NearSurface, {"variances": ()}, r"variances = \(\)"),
        (NearSurface, {"variances": (0.1, 0.0)}, "variances"),
        (NearSurface, {"variances": (-1.0,)}, "variances"),
        (NearSurface, {"variances": (float("nan"),)}, "variances"),
        (NearSurface, {"variances": (float("inf"),)}, "variances"),
        (SharpEdges, {"variance": 0.0}, "variance = 0.0"),
        (SharpEdges, {"variance": float("nan")}, "variance = nan"),
        (DepthRays, {"viewpoint_distance": 1.0}, "viewpoint_distance = 1.0"),
        (DepthRays, {"viewpoint_distance": float("inf")}, "viewpoint_distance = inf"),
        (DepthRays, {"free_share": -0.1}, "free_share = -0.1"),
        (DepthRays, {"free_share": float("nan")}, "free_share = nan"),
        (DepthRays, {"behind": 0.0}, "behind = 0.0"),
    ],
)
def test_settings_out_of_range_are_refused(strategy: type, change: dict, found: str) -> None:
    with pytest.raises(ConfigError, match=f"{found}.*expected"):
        strategy(**change)


def test_the_defaults_are_deepsdfs() -> None:
    assert NearSurface().variances == (0.0025, 0.00025)


def test_the_wall_inside_is_no_surface() -> None:
    # The tests above rely on this.
    assert WALLED.report.hidden_share > 0.1
    assert brute_force_distance(WALLED.surface, np.array([[0.0, 0.0, 0.1]]))[0] == pytest.approx(0.4)
