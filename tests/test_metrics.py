"""Metrics against brute force, analytic spheres, and the table of docs/conventions.md."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from shapeprior.errors import ConfigError, MeshError
from shapeprior.mesh import TriangleMesh
from shapeprior.metrics import (
    FSCORE_1_THRESHOLD,
    FSCORE_2_THRESHOLD,
    METRIC_DEFINITIONS,
    Metrics,
    MetricsConfig,
    chamfer_l1,
    chamfer_l2_x1000,
    compare_meshes,
    fscore,
    intersection_over_union,
    normal_consistency,
    summarize,
)

QUICK = MetricsConfig(surface_points=20_000, volume_points=50_000)


def icosphere(radius: float, center: tuple[float, float, float] = (0, 0, 0)) -> TriangleMesh:
    source = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return TriangleMesh(
        vertices=np.asarray(source.vertices, dtype=np.float64) + np.array(center),
        faces=np.asarray(source.faces, dtype=np.int64),
    )


def ball(radius: float, center: tuple[float, float, float] = (0, 0, 0)) -> Callable[[np.ndarray], np.ndarray]:
    return lambda points: np.linalg.norm(points - np.array(center), axis=1) < radius


def compare_spheres(
    radius: float, other: float, center: tuple[float, float, float] = (0, 0, 0), *, seed: int = 0
) -> Metrics:
    return compare_meshes(
        icosphere(radius, center),
        icosphere(other),
        inside_predicted=ball(radius, center),
        inside_true=ball(other),
        seed=seed,
        config=QUICK,
    )


def test_point_metrics_equal_brute_force() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(60, 3)), rng.normal(size=(45, 3))
    normals_a, normals_b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a + 0.3, b - 0.2))
    forward = [min(float(np.sqrt(sum((p - q) ** 2))) for q in b) for p in a]
    backward = [min(float(np.sqrt(sum((p - q) ** 2))) for q in a) for p in b]
    assert chamfer_l1(a, b) == pytest.approx(0.5 * (np.mean(forward) + np.mean(backward)))
    assert chamfer_l2_x1000(a, b) == pytest.approx(1000 * (np.mean(np.square(forward)) + np.mean(np.square(backward))))
    precision = sum(d <= 0.4 for d in forward) / 60
    recall = sum(d <= 0.4 for d in backward) / 45
    assert 0 < precision < 1
    assert fscore(a, b, threshold=0.4) == pytest.approx(2 * precision * recall / (precision + recall))

    table = np.linalg.norm(a[:, None] - b[None], axis=2)
    cosines = np.abs(normals_a @ normals_b.T)
    expected = 0.5 * (
        np.mean(cosines[np.arange(60), table.argmin(axis=1)]) + np.mean(cosines[table.argmin(axis=0), np.arange(45)])
    )
    assert normal_consistency(a, normals_a, b, normals_b) == pytest.approx(expected)


@given(seed=st.integers(0, 1000), count_a=st.integers(1, 20), count_b=st.integers(1, 20))
def test_point_metrics_do_not_depend_on_the_order_of_the_sets(seed: int, count_a: int, count_b: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(count_a, 3)), rng.normal(size=(count_b, 3))
    assert chamfer_l1(a, b) == chamfer_l1(b, a)
    assert chamfer_l2_x1000(a, b) == chamfer_l2_x1000(b, a)
    assert fscore(a, b, threshold=0.5) == fscore(b, a, threshold=0.5)
    assert normal_consistency(a, a, b, b) == normal_consistency(b, b, a, a)
    assert chamfer_l1(a, a) == 0.0
    assert fscore(a, a, threshold=0.0) == 1.0


@given(shift=st.floats(0.001, 0.2))
def test_translating_a_sparse_set_moves_chamfer_by_the_shift(shift: float) -> None:
    # Points half a unit apart: the nearest point stays the point's own image.
    axis = np.arange(4) * 0.5
    points = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    moved = points + np.array([shift, 0.0, 0.0])
    assert chamfer_l1(points, moved) == pytest.approx(shift)
    assert chamfer_l2_x1000(points, moved) == pytest.approx(2000 * shift**2)
    assert fscore(points, moved, threshold=shift * 1.001) == 1.0
    assert fscore(points, moved, threshold=shift * 0.999) == 0.0


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


@pytest.mark.parametrize("gap", [0.015, 0.025, 0.035, 0.045, 0.2])
def test_concentric_spheres_have_the_analytic_scores(gap: float) -> None:
    inner, outer = 0.6, 0.6 + gap
    metrics = compare_spheres(inner, outer)
    noise = 4 * np.pi * outer**2 / QUICK.surface_points  # Squared spacing of the points along the surface.
    assert gap - 1e-3 < metrics.chamfer_l1 < np.sqrt(gap**2 + noise) + 1e-3
    assert metrics.chamfer_l2_x1000 == pytest.approx(2000 * gap**2, abs=2000 * noise)
    assert metrics.iou == pytest.approx((inner / outer) ** 3, abs=0.02)
    assert metrics.normal_consistency == pytest.approx(1.0, abs=2e-3)
    for score, threshold in ((metrics.fscore_1, FSCORE_1_THRESHOLD), (metrics.fscore_2, FSCORE_2_THRESHOLD)):
        assert score > 0.9 if gap < threshold else score == 0.0


def test_exchanging_the_meshes_changes_only_the_draw() -> None:
    one, two = compare_spheres(0.5, 0.6), compare_spheres(0.6, 0.5)
    for name in METRIC_DEFINITIONS:
        assert getattr(one, name) == pytest.approx(getattr(two, name), rel=0.02, abs=1e-3)


def test_disjoint_shapes_score_zero_overlap_and_finite_distances() -> None:
    metrics = compare_spheres(0.2, 0.2, (0.8, 0.0, 0.0))
    assert (metrics.iou, metrics.fscore_1, metrics.fscore_2) == (0.0, 0.0, 0.0)
    assert 0.4 < metrics.chamfer_l1 < 0.8
    assert all(np.isfinite(value) for value in dataclasses.astuple(metrics))


def test_the_orientation_of_faces_does_not_matter() -> None:
    mesh = icosphere(0.5)
    flipped = TriangleMesh(vertices=mesh.vertices, faces=mesh.faces[:, ::-1])
    metrics = compare_meshes(flipped, mesh, inside_predicted=ball(0.5), inside_true=ball(0.5), seed=0, config=QUICK)
    assert metrics.normal_consistency > 0.998


def test_normals_of_crossing_planes_score_the_cosine() -> None:
    # Each plane's points meet the other plane's nearest points at 45°.
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(-1, 1, size=(500, 2)), np.zeros((500, 1))], axis=1)
    up, tilted = np.tile([0.0, 0.0, 1.0], (500, 1)), np.tile(np.array([0.0, 1.0, 1.0]) / np.sqrt(2), (500, 1))
    assert normal_consistency(points, up, points, tilted) == pytest.approx(np.sqrt(0.5))
    assert normal_consistency(points, up, points, -tilted) == pytest.approx(np.sqrt(0.5))


def test_the_seed_decides_the_numbers() -> None:
    assert compare_spheres(0.5, 0.55, seed=4) == compare_spheres(0.5, 0.55, seed=4)
    assert compare_spheres(0.5, 0.55, seed=4) != compare_spheres(0.5, 0.55, seed=5)


def test_overlap_of_nothing_is_zero() -> None:
    nothing, some = np.zeros(5, dtype=np.bool_), np.array([True, True, False, False, False])
    assert intersection_over_union(nothing, nothing) == 0.0
    assert intersection_over_union(some, nothing) == 0.0
    assert intersection_over_union(some, np.array([True, False, True, False, False])) == pytest.approx(1 / 3)


def test_a_prediction_without_faces_is_refused() -> None:
    nothing = TriangleMesh(vertices=np.zeros((0, 3)), faces=np.zeros((0, 3), dtype=np.int64))
    with pytest.raises(MeshError):
        compare_meshes(nothing, icosphere(0.5), inside_predicted=ball(0.0), inside_true=ball(0.5), seed=0, config=QUICK)


def test_empty_point_sets_are_refused() -> None:
    with pytest.raises(ValueError, match="got 0 and 3"):
        chamfer_l1(np.zeros((0, 3)), np.zeros((3, 3)))


def test_the_worst_scores_bound_every_shape_inside_the_unit_sphere() -> None:
    # Two specks at opposite poles of the sphere are as far apart as two shapes can be.
    far = compare_spheres(1e-3, 1e-3, (2.0, 0.0, 0.0))
    worst = Metrics.worst()
    for name, definition in METRIC_DEFINITIONS.items():
        better = 1 if definition.higher_is_better else -1
        assert better * getattr(far, name) >= better * getattr(worst, name) - 1e-2 * definition.worst
        assert getattr(worst, name) == definition.worst


def test_definitions_are_those_of_the_conventions_page() -> None:
    page = (Path(__file__).parents[1] / "docs" / "conventions.md").read_text(encoding="utf-8")
    rows = [line.strip("|").split("|") for line in page.split("## Metrics")[1].splitlines() if line.startswith("| `")]
    worst = {}
    for names, definition, unit, score in rows:
        for name in names.replace("`", " ").split():
            worst[name] = float(score)
            assert METRIC_DEFINITIONS[name].unit == unit.strip()
            assert METRIC_DEFINITIONS[name].definition[:15] in definition or name.startswith("fscore")
    assert worst == {name: definition.worst for name, definition in METRIC_DEFINITIONS.items()}
    assert list(worst) == [field.name for field in dataclasses.fields(Metrics)]
    assert (FSCORE_1_THRESHOLD, FSCORE_2_THRESHOLD) == (0.01 * 2, 0.02 * 2)


def test_summary_has_means_and_medians() -> None:
    rows = [
        Metrics(chamfer_l1=x, chamfer_l2_x1000=2 * x, fscore_1=x, fscore_2=0.5, normal_consistency=1 - x, iou=x)
        for x in (0.1, 0.2, 0.9)
    ]
    summary = summarize([*rows, Metrics.worst()])
    assert summary.count == 4
    assert summary.mean.chamfer_l1 == pytest.approx((0.1 + 0.2 + 0.9 + 2.0) / 4)
    assert summary.median.chamfer_l1 == pytest.approx(0.55)
    assert summary.median.iou == pytest.approx(0.15)
    with pytest.raises(ValueError, match="at least one row"):
        summarize([])


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="got 0 and 100000"):
        MetricsConfig(surface_points=0)
