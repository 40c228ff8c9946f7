"""Metrics of point sets, against dense matrices, a linear program and trimesh."""

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.spatial.distance import cdist

from shapeprior.evaluation.point_metrics import (
    chamfer_l1,
    chamfer_l2_x1000,
    earth_movers_distance,
    fscore,
    intersection_over_union,
    normal_consistency,
)


def solids() -> list[trimesh.Trimesh]:
    """Ten closed meshes in the unit sphere."""
    made = [
        trimesh.creation.icosphere(subdivisions=3, radius=0.9),
        trimesh.creation.icosphere(subdivisions=2, radius=0.6),
        trimesh.creation.box(extents=(1.0, 1.0, 1.0)),
        trimesh.creation.box(extents=(0.4, 1.2, 0.8)),
        trimesh.creation.cylinder(radius=0.5, height=1.2, sections=40),
        trimesh.creation.cylinder(radius=0.2, height=1.6, sections=24),
        trimesh.creation.cone(radius=0.6, height=1.0, sections=32),
        trimesh.creation.capsule(radius=0.3, height=0.8),
        trimesh.creation.torus(major_radius=0.6, minor_radius=0.2),
        trimesh.creation.annulus(r_min=0.3, r_max=0.7, height=0.5),
    ]
    for solid in made:
        solid.apply_translation(-solid.bounds.mean(axis=0))
    return made


def point_pairs() -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Points and normals of ten pairs of meshes: each and the next one."""
    drawn = []
    for number, solid in enumerate(solids()):
        points, faces = trimesh.sample.sample_surface(solid, 700 + 10 * number, seed=number)
        drawn.append((np.asarray(points), np.asarray(solid.face_normals[faces])))
    return [(*drawn[i], *drawn[(i + 1) % len(drawn)]) for i in range(len(drawn))]


@pytest.fixture(scope="module")
def pairs() -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    return point_pairs()


def test_chamfer_distances_are_those_of_the_dense_matrix(pairs) -> None:
    for a, _, b, _ in pairs:
        dense = cdist(a, b)
        forward, backward = dense.min(axis=1), dense.min(axis=0)
        assert chamfer_l1(a, b) == pytest.approx((forward.mean() + backward.mean()) / 2, rel=1e-12)
        squares = np.mean(forward**2) + np.mean(backward**2)
        assert chamfer_l2_x1000(a, b) == pytest.approx(1000 * squares, rel=1e-12)


@pytest.mark.parametrize("threshold", [0.01, 0.02, 0.04, 0.2])
def test_fscores_are_those_of_counts(pairs, threshold: float) -> None:
    for a, _, b, _ in pairs:
        near = cdist(a, b) <= threshold
        hits_a, hits_b = int(near.any(axis=1).sum()), int(near.any(axis=0).sum())
        # The harmonic mean of hits_a / len(a) and hits_b / len(b), without a division by zero.
        expected = 2 * hits_a * hits_b / (hits_a * len(b) + hits_b * len(a)) if hits_a and hits_b else 0.0
        assert fscore(a, b, threshold=threshold) == pytest.approx(expected, rel=1e-12)


def test_normal_consistency_is_that_of_the_dense_matrix(pairs) -> None:
    for a, normals_a, b, normals_b in pairs:
        dense = cdist(a, b)
        cosines = np.abs(normals_a @ normals_b.T)
        forward = cosines[np.arange(len(a)), dense.argmin(axis=1)].mean()
        backward = cosines[dense.argmin(axis=0), np.arange(len(b))].mean()
        assert normal_consistency(a, normals_a, b, normals_b) == pytest.approx((forward + backward) / 2, rel=1e-12)


def transport(a: np.ndarray, b: np.ndarray) -> float:
    """Return the distance as a linear program over all flows (Kantorovich), solved by simplex and not by matching."""
    count = len(a)
    rows = np.kron(np.eye(count), np.ones((1, count)))
    columns = np.kron(np.ones((1, count)), np.eye(count))
    solved = linprog(
        cdist(a, b).ravel(),
        A_eq=np.concatenate([rows, columns]),
        b_eq=np.full(2 * count, 1.0 / count),
        method="highs-ds",
    )
    assert solved.success
    return float(solved.fun)


def test_the_earth_movers_distance_is_the_optimum_of_the_transport_problem(pairs) -> None:
    for a, _, b, _ in pairs:
        assert earth_movers_distance(a[:24], b[:24]) == pytest.approx(transport(a[:24], b[:24]), rel=1e-9)


def test_the_earth_movers_distance_of_a_shifted_set_is_the_shift() -> None:
    a = np.random.default_rng(0).uniform(-1, 1, (200, 3))
    assert earth_movers_distance(a, a[::-1] + np.array([0.3, 0.0, 0.0])) == pytest.approx(0.3, rel=1e-12)
    with pytest.raises(ValueError, match="sets of 3 and 2 points"):
        earth_movers_distance(a[:3], a[:2])


def test_the_overlap_of_boxes_is_that_of_trimeshs_volumes() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (20_000, 3))
    box, moved = trimesh.creation.box(extents=(1, 1, 1)), trimesh.creation.box(extents=(1, 1, 1))
    moved.apply_translation((0.25, 0.0, 0.0))
    inside = [
        np.asarray(np.all((points >= solid.bounds[0]) & (points <= solid.bounds[1]), axis=1)) for solid in (box, moved)
    ]
    # 0.75 of each is in both: 0.75 / 1.25.
    assert intersection_over_union(*inside) == pytest.approx(0.6, abs=0.02)
    both = trimesh.boolean.intersection([box, moved], engine="manifold").volume
    assert both / (box.volume + moved.volume - both) == pytest.approx(0.6, rel=1e-6)
    assert intersection_over_union(*inside) == (inside[0] & inside[1]).sum() / (inside[0] | inside[1]).sum()


@pytest.mark.slow
@settings(deadline=None)  # The trees' threads may wait for a core.
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


@pytest.mark.slow
@given(st.floats(0.001, 0.2))
def test_a_shifted_lattice_is_as_far_as_it_was_shifted(shift: float) -> None:
    # Lattice points are 0.5 apart, so that each point's nearest stays the point's own image.
    axis = np.arange(4) * 0.5
    points = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    moved = points + np.array([shift, 0.0, 0.0])
    assert chamfer_l1(points, moved) == pytest.approx(shift)
    assert chamfer_l2_x1000(points, moved) == pytest.approx(2000 * shift**2)
    assert fscore(points, moved, threshold=shift * 1.001) == 1.0
    assert fscore(points, moved, threshold=shift * 0.999) == 0.0


def test_normals_of_crossing_planes_score_the_cosine() -> None:
    # Each plane's points meet the other plane's nearest points at 45°.
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(-1, 1, size=(500, 2)), np.zeros((500, 1))], axis=1)
    up, tilted = np.tile([0.0, 0.0, 1.0], (500, 1)), np.tile(np.array([0.0, 1.0, 1.0]) / np.sqrt(2), (500, 1))
    assert normal_consistency(points, up, points, tilted) == pytest.approx(np.sqrt(0.5))
    assert normal_consistency(points, up, points, -tilted) == pytest.approx(np.sqrt(0.5))


def test_overlap_of_nothing_is_zero() -> None:
    nothing, some = np.zeros(5, dtype=np.bool_), np.array([True, True, False, False, False])
    assert intersection_over_union(nothing, nothing) == 0.0
    assert intersection_over_union(some, nothing) == 0.0
    assert intersection_over_union(some, np.array([True, False, True, False, False])) == pytest.approx(1 / 3)


def test_empty_point_sets_are_refused() -> None:
    with pytest.raises(ValueError, match="got 0 and 3"):
        chamfer_l1(np.zeros((0, 3)), np.zeros((3, 3)))
