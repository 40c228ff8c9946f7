"""Metrics of meshes, against known answers and other libraries; faulty predictions must not profit from their
faults."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import trimesh
from manifold3d import Manifold

from shapeprior.errors import ConfigError, MeshError
from shapeprior.evaluation.ground_truth import GroundTruth, score, score_view
from shapeprior.evaluation.mesh_metrics import TruePoints, edge_normal_error
from shapeprior.evaluation.metrics import (
    FSCORE_05_THRESHOLD,
    FSCORE_1_THRESHOLD,
    FSCORE_2_THRESHOLD,
    METRIC_DEFINITIONS,
    OPTIONAL_METRICS,
    SPLIT_METRICS,
    WALL_METRICS,
    Metrics,
    MetricsConfig,
    Scores,
    SurfaceMetrics,
    mean_metrics,
)
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.sdf.signed_distance import SignedDistance

QUICK = MetricsConfig(surface_points=20_000, volume_points=50_000, edge_points=5000, emd_points=256)
FEW = MetricsConfig(surface_points=2000, volume_points=4000, edge_points=4000, emd_points=64)


def icosphere(radius: float, center: tuple[float, float, float] = (0, 0, 0)) -> TriangleMesh:
    source = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return TriangleMesh(
        vertices=np.asarray(source.vertices, dtype=np.float64) + np.array(center),
        faces=np.asarray(source.faces, dtype=np.int64),
    )


def cube(side: float, center: tuple[float, float, float] = (0, 0, 0)) -> TriangleMesh:
    source = trimesh.creation.box(extents=(side, side, side))
    return TriangleMesh(
        vertices=np.asarray(source.vertices, dtype=np.float64) + np.array(center),
        faces=np.asarray(source.faces, dtype=np.int64),
    )


def truth_of(mesh: TriangleMesh) -> GroundTruth:
    return GroundTruth(surface_unit=mesh, distance=SignedDistance(mesh))


def compare_spheres(
    radius: float, other: float, center: tuple[float, float, float] = (0, 0, 0), *, seed: int = 0
) -> Metrics:
    return score(icosphere(radius, center), truth_of(icosphere(other)), seed=seed, config=QUICK)


def test_equal_meshes_are_nearly_perfect() -> None:
    metrics = compare_spheres(0.7, 0.7)
    # Two independent draws of n points on an area A are ½ √(A/n) apart in the mean.
    spacing = 0.5 * np.sqrt(4 * np.pi * 0.7**2 / QUICK.surface_points)
    assert metrics.chamfer_l1 == pytest.approx(spacing, rel=0.03)
    # The chance that none of n points falls into a disc of radius τ is exp(-n π τ² / A).
    missed = np.exp(-QUICK.surface_points * np.pi * FSCORE_1_THRESHOLD**2 / (4 * np.pi * 0.7**2))
    assert metrics.fscore_1 == pytest.approx(1 - missed, abs=3e-3)
    assert metrics.fscore_2 > 0.9999
    assert metrics.normal_consistency > 0.998
    assert metrics.iou == 1.0
    # Distances to the mesh itself have no spacing of points: only the facets remain.
    assert metrics.mesh_accuracy < 1e-3
    assert metrics.mesh_completion == 1.0
    assert metrics.edge_normal_deg is None


@pytest.mark.parametrize("gap", [0.015, 0.025, 0.035, 0.045, 0.2])
def test_concentric_spheres_have_the_analytic_scores(gap: float) -> None:
    inner, outer = 0.6, 0.6 + gap
    metrics = compare_spheres(inner, outer)
    noise = 4 * np.pi * outer**2 / QUICK.surface_points  # Squared spacing of the points along the surface.
    assert gap - 1e-3 < metrics.chamfer_l1 < np.sqrt(gap**2 + noise) + 1e-3
    assert metrics.chamfer_l2_x1000 == pytest.approx(2000 * gap**2, abs=2000 * noise)
    assert metrics.iou == pytest.approx((inner / outer) ** 3, abs=0.02)
    assert metrics.normal_consistency == pytest.approx(1.0, abs=2e-3)
    # A facet's middle is nearer to the centre than its corners, by 0.0008 of 0.6 radii.
    assert metrics.mesh_accuracy == pytest.approx(gap, abs=2e-3)
    assert metrics.mesh_completion == 0.0
    # Of 256 points, two draws of one sphere are some 0.12 apart.
    assert metrics.emd == pytest.approx(gap, abs=0.15)
    assert metrics.emd >= gap - 1e-3
    thresholds = (FSCORE_05_THRESHOLD, FSCORE_1_THRESHOLD, FSCORE_2_THRESHOLD)
    for found, threshold in zip((metrics.fscore_05, metrics.fscore_1, metrics.fscore_2), thresholds, strict=True):
        assert found > 0.9 if gap < threshold else found == 0.0


@pytest.mark.parametrize("shift", [0.1, 0.25])
def test_shifted_cubes_have_the_known_scores(shift: float) -> None:
    """Two cubes of side 1, shifted along x, share 1 − shift of their volume."""
    true, moved = truth_of(cube(1.0)), cube(1.0, (shift, 0.0, 0.0))
    metrics = score(moved, true, seed=0, config=QUICK)
    assert metrics.iou == pytest.approx((1 - shift) / (1 + shift), abs=0.01)
    # The face behind is `shift` from the other cube's, the one before inside it, at most as far; of four faces a strip
    # sticks out.
    mean = (shift + (1 - (1 - 2 * shift) ** 3) / 6 + 4 * shift * shift / 2) / 6
    assert metrics.chamfer_l1 == pytest.approx(mean, abs=0.006)
    assert metrics.mesh_accuracy == pytest.approx(shift, abs=1e-6)
    off = 1 + 0.98**2 + 4 * (shift - 0.01)
    assert metrics.mesh_completion == pytest.approx(1 - off / 6, abs=0.01)
    # No match can move the mean by less, and the shift itself is one.
    assert shift - 0.08 < metrics.emd < shift + 0.15


def to_mesh(points: np.ndarray, mesh: TriangleMesh) -> np.ndarray:
    """Return the distance of each point to the nearest triangle, by trimesh's closest point on a triangle."""
    nearest = np.full(len(points), np.inf)
    for corners in mesh.corners:
        foot = trimesh.triangles.closest_point(np.broadcast_to(corners, (len(points), 3, 3)), points)
        nearest = np.minimum(nearest, np.linalg.norm(points - foot, axis=1))
    return nearest


def test_distances_to_meshes_are_those_of_trimesh() -> None:
    source = trimesh.creation.icosphere(subdivisions=2, radius=0.55)
    source.apply_translation((0.05, 0.0, 0.0))
    predicted = TriangleMesh(
        vertices=np.asarray(source.vertices, dtype=np.float64), faces=np.asarray(source.faces, dtype=np.int64)
    )
    true = cube(1.0)
    metrics = score(predicted, truth_of(true), seed=3, config=FEW)
    drawn = TruePoints.draw(SignedDistance(true), seed=3, config=FEW)
    assert metrics.mesh_completion == (to_mesh(drawn.points, predicted) <= 0.01).mean()
    # The predicted points are drawn apart; a second draw of them has the same percentile but for chance.
    points = np.asarray(trimesh.sample.sample_surface(source, 2000, seed=0)[0])
    assert metrics.mesh_accuracy == pytest.approx(np.percentile(to_mesh(points, true), 90), rel=0.05)


def test_edge_normals_of_a_turned_cube_lean_by_the_turn() -> None:
    turn = np.deg2rad(8.0)
    matrix = np.array([[np.cos(turn), -np.sin(turn), 0.0], [np.sin(turn), np.cos(turn), 0.0], [0.0, 0.0, 1.0]])
    true = cube(1.0)
    same = edge_normal_error(true, true, seed=0)
    turned = edge_normal_error(true, TriangleMesh(vertices=true.vertices @ matrix.T, faces=true.faces), seed=0)
    assert same is not None
    assert turned is not None
    # At an edge, the nearest point may be on the face around the corner: that many, on the cube itself.
    assert 0.0 < same < 15.0
    assert turned > same + 2.0
    flipped = edge_normal_error(true, TriangleMesh(vertices=true.vertices, faces=true.faces[:, ::-1]), seed=0)
    assert flipped == pytest.approx(180.0 - same, abs=12.0)
    # A sphere of 1280 faces bends by less than 30° anywhere: there is no edge to be right at.
    assert edge_normal_error(icosphere(0.5), true, seed=0) is None


@pytest.mark.slow
def test_exchanging_the_meshes_changes_only_the_draw() -> None:
    one, two = compare_spheres(0.5, 0.6), compare_spheres(0.6, 0.5)
    # Accuracy and completion go in one direction only, and what some shapes lack is measured on the truth alone.
    for name in METRIC_DEFINITIONS.keys() - {"mesh_accuracy", "mesh_completion", *OPTIONAL_METRICS}:
        assert getattr(one, name) == pytest.approx(getattr(two, name), rel=0.02, abs=1e-3)


@pytest.mark.slow
def test_disjoint_shapes_score_zero_overlap_and_finite_distances() -> None:
    metrics = compare_spheres(0.2, 0.2, (0.8, 0.0, 0.0))
    assert (metrics.iou, metrics.fscore_1, metrics.fscore_2) == (0.0, 0.0, 0.0)
    assert 0.4 < metrics.chamfer_l1 < 0.8
    assert all(np.isfinite(value) for value in dataclasses.astuple(metrics) if value is not None)


def test_the_orientation_of_faces_does_not_matter() -> None:
    mesh = icosphere(0.5)
    flipped = TriangleMesh(vertices=mesh.vertices, faces=mesh.faces[:, ::-1])
    assert score(flipped, truth_of(mesh), seed=0, config=QUICK).normal_consistency > 0.998


@pytest.mark.slow
def test_the_seed_decides_the_numbers() -> None:
    assert compare_spheres(0.5, 0.55, seed=4) == compare_spheres(0.5, 0.55, seed=4)
    assert compare_spheres(0.5, 0.55, seed=4) != compare_spheres(0.5, 0.55, seed=5)


def better_or_equal(one: float, two: float, name: str) -> bool:
    badness = METRIC_DEFINITIONS[name].badness
    return badness(one) <= badness(two) + 1e-9


# Predictions that are no surface or have the wrong size.


def no_faces() -> TriangleMesh:
    return TriangleMesh(vertices=np.zeros((0, 3)), faces=np.zeros((0, 3), dtype=np.int64))


def with_nan() -> TriangleMesh:
    mesh = cube(1.0)
    return TriangleMesh(vertices=np.where(np.arange(8)[:, None] == 3, np.nan, mesh.vertices), faces=mesh.faces)


def flat() -> TriangleMesh:
    return TriangleMesh(vertices=np.zeros((3, 3)), faces=np.array([[0, 1, 2]]))


@pytest.mark.parametrize(
    ("mesh", "text"),
    [(no_faces(), "empty: 0 faces"), (with_nan(), "1 of 8 vertices that are NaN"), (flat(), "total area of 0")],
    ids=["empty", "nan", "flat"],
)
def test_what_is_no_surface_is_refused_with_its_reason(mesh: TriangleMesh, text: str) -> None:
    with pytest.raises(MeshError, match=text):
        score(mesh, truth_of(cube(1.0)), seed=0, config=FEW)


@pytest.mark.parametrize("scale", [1e-6, 0.1, 10.0, 1e3, 1e9])
def test_a_mesh_of_the_wrong_scale_scores_badly_and_never_worse_than_a_failure(scale: float) -> None:
    true = truth_of(cube(1.0))
    right, worst = score(cube(1.0), true, seed=0, config=FEW), Metrics.worst()
    wrong = score(cube(scale), true, seed=0, config=FEW)
    assert wrong.iou < 0.01
    assert wrong.fscore_2 < 0.01
    for name, definition in METRIC_DEFINITIONS.items():
        value = getattr(wrong, name)
        assert (value is None) == (name in WALL_METRICS)
        if value is None:
            continue
        assert np.isfinite(value)
        assert better_or_equal(value, definition.worst, name)
        assert better_or_equal(getattr(right, name), value, name) or name in ("normal_consistency", "edge_normal_deg")
    if scale >= 1e3:
        assert (wrong.chamfer_l1, wrong.chamfer_l2_x1000, wrong.emd) == (worst.chamfer_l1, worst.chamfer_l2_x1000, 2.0)


def test_a_number_that_is_none_counts_as_the_worst() -> None:
    for definition in METRIC_DEFINITIONS.values():
        assert definition.bounded(float("nan")) == definition.worst
        assert definition.bounded(float("inf") if definition.better == "lower" else -float("inf")) == definition.worst
        assert definition.bounded(definition.worst) == definition.worst


def open_box(*, wall: float, hole: float = 0.0) -> TriangleMesh:
    """A box of side 1 without a lid, with a round hole through its floor."""
    inner = Manifold.cube((1 - 2 * wall, 1 - 2 * wall, 1.0), True).translate((0, 0, wall))
    solid = Manifold.cube((1.0, 1.0, 1.0), True) - inner
    if hole:
        solid = solid - Manifold.cylinder(0.5, hole, hole, 96).translate((0, 0, -0.75))
    found = solid.to_mesh64()
    return TriangleMesh(np.array(found.vert_properties[:, :3]), np.array(found.tri_verts).astype(np.int64))


@pytest.mark.slow
def test_a_hole_in_a_wall_is_told_by_the_scores_of_structure() -> None:
    true = truth_of(open_box(wall=0.03))
    points = TruePoints.draw(true.distance, seed=0, config=FEW)

    def scored(mesh: TriangleMesh) -> Metrics:
        return score_view(mesh, true, None, seed=0, config=FEW, points=points).whole

    right = scored(open_box(wall=0.03))
    assert (right.whole, right.parts_error, right.genus_error) == (1.0, 0.0, 0.0)
    assert (right.thin_covered, right.torn_border) == (pytest.approx(1.0, abs=1e-3), 0.0)
    assert right.thin_thickness == pytest.approx(1.0, abs=1e-3)
    assert right.roughness_deg == pytest.approx(0.0, abs=0.1)
    torn = scored(open_box(wall=0.03, hole=0.1))
    assert (torn.whole, torn.parts_error, torn.genus_error) == (0.0, 0.0, 1.0)
    assert torn.torn_border == pytest.approx(2 * np.pi * 0.1, rel=0.05)
    assert torn.thin_covered is not None
    assert 0.98 < torn.thin_covered < 0.996
    thick = scored(open_box(wall=0.06))
    assert thick.thin_thickness == pytest.approx(2.0, rel=0.01)
    # Of the wall, nothing is left: its thickness and its border are the worst, not missing.
    gone = scored(cube(0.2))
    worst = Metrics.worst()
    assert (gone.thin_covered, gone.thin_thickness) == (worst.thin_covered, worst.thin_thickness)
    assert gone.torn_border == worst.torn_border
    assert score(cube(1.0), truth_of(cube(1.0)), seed=0, config=FEW).thin_covered is None


# Seen and unseen parts.


def test_a_sphere_is_seen_as_far_as_its_horizon() -> None:
    """The cap of a sphere that is seen from a distance is the share (1 − radius / distance) / 2 of its surface."""
    drawn = TruePoints.draw(
        SignedDistance(icosphere(0.6)), seed=0, config=QUICK, origins_unit=np.array([[0.0, 0.0, 3.0]])
    )
    assert drawn.seen is not None
    assert drawn.seen.mean() == pytest.approx((1 - 0.6 / 3.0) / 2, abs=0.01)
    horizon = 0.6 * 0.6 / 3.0
    wrong = drawn.seen != (drawn.points[:, 2] > horizon)
    assert np.abs(drawn.points[wrong, 2] - horizon).max() < 0.03
    both = TruePoints.draw(
        SignedDistance(icosphere(0.6)), seed=0, config=QUICK, origins_unit=np.array([[0, 0, 3.0], [0, 0, -3.0]])
    )
    assert both.seen is not None
    assert both.seen.mean() == pytest.approx(1 - 0.6 / 3.0, abs=0.01)


def test_what_hides_behind_another_part_is_not_seen() -> None:
    front, back = cube(0.4, (0.0, 0.0, 0.5)), cube(0.4, (0.0, 0.0, -0.5))
    both = TriangleMesh(
        vertices=np.concatenate([front.vertices, back.vertices]), faces=np.concatenate([front.faces, back.faces + 8])
    )
    drawn = TruePoints.draw(SignedDistance(both), seed=0, config=QUICK, origins_unit=np.array([[0.0, 0.0, 3.0]]))
    assert drawn.seen is not None
    # Of twelve faces, one is seen: the rest look away or stand in the first cube's shadow.
    assert drawn.seen.mean() == pytest.approx(1 / 12, abs=0.01)
    assert drawn.points[drawn.seen, 2].min() > 0.69


@pytest.mark.slow
def test_parts_tell_where_a_prediction_is_wrong() -> None:
    """The half that faces the sensor is right, and the other half is moved outwards."""
    true = icosphere(0.5)
    pushed = np.where(true.vertices[:, 2:] < -0.1, true.vertices * 1.4, true.vertices)
    scores = score_view(
        TriangleMesh(vertices=pushed, faces=true.faces),
        truth_of(true),
        np.array([[0.0, 0.0, 3.0]]),
        seed=0,
        config=QUICK,
    )
    assert scores.seen is not None
    assert scores.unseen is not None
    assert scores.seen.fscore_2 > 0.99
    assert scores.unseen.fscore_2 < 0.6
    assert scores.seen.chamfer_l1 < scores.whole.chamfer_l1 < scores.unseen.chamfer_l1
    assert [field.name for field in dataclasses.fields(SurfaceMetrics)] == list(SPLIT_METRICS)


@pytest.mark.slow
def test_leaving_out_the_unseen_part_does_not_help_there() -> None:
    """A prediction without a back has no points there, so its precision there is the worst, not missing."""
    true = icosphere(0.5)
    front = TriangleMesh(vertices=true.vertices, faces=true.faces[true.vertices[true.faces, 2].min(axis=1) > 0.25])
    origins = np.array([[0.0, 0.0, 3.0]])
    scores = [
        score_view(mesh, truth_of(true), origins, seed=0, config=QUICK).unseen for mesh in (front, icosphere(0.7))
    ]
    none, rough = scores
    assert none is not None
    assert rough is not None
    assert none.fscore_2 == 0.0
    assert none.mesh_accuracy == METRIC_DEFINITIONS["mesh_accuracy"].worst
    assert none.chamfer_l1 > 1.0 > rough.chamfer_l1
    assert none.normal_consistency < 0.5


def test_a_failure_is_worst_exactly_where_the_truth_has_what_is_measured() -> None:
    origins = np.array([[0.0, 0.0, 3.0]])
    box, egg = (
        TruePoints.draw(SignedDistance(mesh), seed=0, config=FEW, origins_unit=origins)
        for mesh in (cube(1.0), icosphere(0.5))
    )
    worst = SurfaceMetrics.worst_surface(edges=True)
    assert box.worst() == Scores(whole=Metrics.worst(walls=False), seen=worst, unseen=worst)
    assert egg.worst().whole == Metrics.worst(edges=False, walls=False)
    assert egg.worst().unseen == SurfaceMetrics.worst_surface(edges=False)
    plain = TruePoints.draw(SignedDistance(cube(1.0)), seed=0, config=FEW).worst()
    assert plain == Scores(whole=Metrics.worst(walls=False))
    good = score(cube(1.0), truth_of(cube(1.0)), seed=0, config=FEW)
    for one, two in zip(dataclasses.astuple(good), dataclasses.astuple(box.worst().whole), strict=True):
        assert (one is None) == (two is None)


@pytest.mark.slow
def test_the_worst_scores_bound_every_shape_inside_the_unit_sphere() -> None:
    # Two specks at opposite poles of the unit sphere are as far apart as two shapes can be.
    far = compare_spheres(1e-3, 1e-3, (2.0, 0.0, 0.0))
    worst = Metrics.worst()
    for name, definition in METRIC_DEFINITIONS.items():
        assert getattr(worst, name) == definition.worst
        if getattr(far, name) is not None:
            assert definition.badness(getattr(far, name)) <= definition.badness(definition.worst)


def test_definitions_are_those_of_the_conventions_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "conventions.md").read_text(encoding="utf-8")
    rows = [line.strip("|").split("|") for line in page.split("## Metrics")[1].splitlines() if line.startswith("| `")]
    worst = {}
    for names, definition, unit, score_ in rows:
        for name in names.replace("`", " ").split():
            worst[name] = float(score_)
            assert METRIC_DEFINITIONS[name].unit == unit.strip()
            assert METRIC_DEFINITIONS[name].text[:15] in definition or name.startswith("fscore")
    assert worst == {name: definition.worst for name, definition in METRIC_DEFINITIONS.items()}
    assert set(worst) == {field.name for field in dataclasses.fields(Metrics)}
    assert (FSCORE_05_THRESHOLD, FSCORE_1_THRESHOLD, FSCORE_2_THRESHOLD) == (0.005 * 2, 0.01 * 2, 0.02 * 2)


def test_means_leave_out_only_what_no_truth_has() -> None:
    edges, none = Metrics.worst(), Metrics.worst(edges=False)
    half = dataclasses.replace(none, chamfer_l1=0.5, iou=0.5)
    mean = mean_metrics([edges, half])
    assert (mean["chamfer_l1"], mean["iou"], mean["edge_normal_deg"]) == (1.25, 0.25, 180.0)
    assert mean_metrics([none])["edge_normal_deg"] is None
    with pytest.raises(ValueError, match="at least one row"):
        mean_metrics([])


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="surface_points = 0"):
        MetricsConfig(surface_points=0)
