"""Exact surfaces are smooth, and ripples of known slope are as rough as their slope."""

import numpy as np
import pytest
from helpers.plain_geometry import box, sphere

from shapeprior.evaluation.structure.roughness import EDGE_MARGIN, SmoothDiscs
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.proximity import FaceTree
from shapeprior.sdf.signed_distance import SignedDistance

RADIUS = 0.5


def roughness(true: TriangleMesh, predicted: TriangleMesh) -> float:
    discs = SmoothDiscs.of(SignedDistance(true), seed=0)
    assert discs is not None
    return discs.roughness_deg(predicted, FaceTree(predicted))


def rippled(mesh: TriangleMesh, amplitude: float, wavelength: float) -> TriangleMesh:
    """Waves along the meridians of a sphere."""
    latitude = np.arctan2(mesh.vertices[:, 2], np.hypot(mesh.vertices[:, 0], mesh.vertices[:, 1]))
    height = amplitude * np.sin(2 * np.pi * RADIUS * latitude / wavelength)
    return TriangleMesh(mesh.vertices * (1.0 + height / RADIUS)[:, None], mesh.faces)


@pytest.mark.parametrize(
    "true", [sphere(radius=RADIUS, subdivisions=5), box(extents=(1.0, 0.6, 0.4)), box(extents=(1.0, 0.02, 0.6))]
)
def test_the_truth_itself_is_smooth(true: TriangleMesh) -> None:
    assert roughness(true, true) < 0.2


@pytest.mark.slow
def test_ripples_are_as_rough_as_their_slope() -> None:
    discs = SmoothDiscs.of(SignedDistance(sphere(radius=RADIUS, subdivisions=5)), seed=0)
    fine = sphere(radius=RADIUS, subdivisions=7)
    assert discs is not None
    for amplitude, wavelength in [(0.001, 0.03), (0.0005, 0.03), (0.001, 0.045)]:
        slope = 2 * np.pi * amplitude / wavelength * np.cos(np.linspace(0, 2 * np.pi, 1000, endpoint=False))
        expected = np.degrees(np.sqrt(np.mean(np.arctan(slope) ** 2)))
        waves = rippled(fine, amplitude, wavelength)
        assert discs.roughness_deg(waves, FaceTree(waves)) == pytest.approx(expected, rel=0.1)


def test_displacement_and_size_are_not_rough() -> None:
    true, fine = box(extents=(1.0, 0.6, 0.4)), sphere(radius=RADIUS, subdivisions=5)
    moved = TriangleMesh(true.vertices + np.array([0.01, -0.02, 0.015]), true.faces)
    assert roughness(true, moved) < 0.2
    assert roughness(fine, TriangleMesh(1.1 * fine.vertices, fine.faces)) < 0.3


def test_a_tilt_is_not_rough() -> None:
    # The corners move by 0.013, so that no disc reaches around an edge.
    true, turn = box(extents=(1.0, 0.6, 0.4)), np.deg2rad(1.5)
    matrix = np.array([[np.cos(turn), -np.sin(turn), 0.0], [np.sin(turn), np.cos(turn), 0.0], [0.0, 0.0, 1.0]])
    assert roughness(true, TriangleMesh(true.vertices @ matrix.T, true.faces)) < 0.1


def test_a_thin_plate_finds_its_own_side_of_a_displaced_one() -> None:
    true = box(extents=(1.0, 0.02, 0.6))
    for shift in (-0.03, -0.012, 0.012):
        assert roughness(true, TriangleMesh(true.vertices + np.array([0.0, shift, 0.0]), true.faces)) < 0.2


def test_discs_keep_away_from_edges() -> None:
    discs = SmoothDiscs.of(SignedDistance(box(extents=(1.0, 0.6, 0.4))), seed=0)
    assert discs is not None
    centers, half = discs.points.mean(axis=1), np.array([0.5, 0.3, 0.2])
    # A face's edges are where its two other coordinates end.
    from_edges = np.sort(half - np.abs(centers), axis=1)[:, 1]
    assert from_edges.min() > EDGE_MARGIN - 0.03
    assert np.abs(discs.normals).max(axis=2) == pytest.approx(1.0)


def test_a_shape_of_edges_alone_has_no_smooth_place() -> None:
    assert SmoothDiscs.of(SignedDistance(box(extents=(0.1, 0.1, 0.1))), seed=0) is None


def test_the_seed_decides() -> None:
    distance = SignedDistance(sphere(radius=RADIUS, subdivisions=4))
    first, same, other = (SmoothDiscs.of(distance, seed=seed) for seed in (0, 0, 1))
    assert first is not None
    assert same is not None
    assert other is not None
    assert np.array_equal(first.points, same.points)
    assert not np.array_equal(first.points, other.points)
