"""Rays against analytic spheres and boxes, and the two backends against each other."""

import sys
from typing import Literal

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.raycasting import RayScene
from shapeprior.geometry.sampling import fibonacci_directions

Backend = Literal["embree", "libigl"]


@pytest.fixture(params=["embree", "libigl"])
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param == "embree":
        pytest.importorskip("embreex")
    return request.param


def box(*, center: np.ndarray, half: float) -> TriangleMesh:
    made = trimesh.creation.box(extents=[2 * half] * 3)
    return TriangleMesh(np.asarray(made.vertices) + center, np.asarray(made.faces, dtype=np.int64))


def sphere(subdivisions: int = 3) -> TriangleMesh:
    made = trimesh.creation.icosphere(subdivisions=subdivisions)
    return TriangleMesh(np.array(made.vertices), np.array(made.faces, dtype=np.int64))


def box_distance(origins: np.ndarray, directions: np.ndarray, center: np.ndarray, half: float) -> np.ndarray:
    """Distance to the first boundary of a box, by the slab test; infinity for a miss."""
    with np.errstate(divide="ignore"):
        one, two = (center - half - origins) / directions, (center + half - origins) / directions
    enter, leave = np.minimum(one, two).max(axis=1), np.maximum(one, two).min(axis=1)
    first = np.where(enter >= 0, enter, leave)
    return np.where((enter <= leave) & (leave >= 0), first, np.inf)


@pytest.mark.parametrize("shift", [0.0, 1e3, 1e6])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_box_matches_the_slab_test_anywhere_and_at_any_size(backend: Backend, shift: float, scale: float) -> None:
    rng = np.random.default_rng(1)
    center, half = np.array([shift, -shift, 0.5 * shift]), 0.7 * scale
    origins = center + scale * rng.uniform(-2, 2, (2000, 3))
    directions = rng.normal(size=(2000, 3)) * rng.uniform(0.1, 9, (2000, 1))
    distance, face = RayScene(box(center=center, half=half), backend=backend).first_hit(origins, directions)
    units = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    truth, larger = (box_distance(origins, units, center, size) for size in (half, half * (1 + 1e-5)))
    clear = np.isinf(truth) == np.isinf(larger)
    both = clear & np.isfinite(truth)
    clear[both] = np.abs(truth[both] - larger[both]) < 1e-3 * scale
    assert clear.mean() > 0.99  # The others graze an edge, and may hit or miss.
    assert np.array_equal(np.isinf(distance[clear]), np.isinf(truth[clear]))
    assert np.array_equal(face >= 0, np.isfinite(distance))
    hit = clear & np.isfinite(truth)
    assert 200 < hit.sum() < 1900
    np.testing.assert_allclose(distance[hit], truth[hit], rtol=0, atol=1e-9 * scale + 1e-14 * shift * 1e3)


def test_a_far_camera_keeps_its_precision(backend: Backend) -> None:
    origins = np.tile([0.0, 0.0, 1e6], (100, 1))
    targets = np.random.default_rng(2).uniform(-0.5, 0.5, (100, 3))
    distance, _ = RayScene(box(center=np.zeros(3), half=0.7), backend=backend).first_hit(origins, targets - origins)
    units = (targets - origins) / np.linalg.norm(targets - origins, axis=1, keepdims=True)
    np.testing.assert_allclose(origins[:, 2] + distance * units[:, 2], 0.7, atol=1e-6)


def test_hit_points_lie_on_the_named_face_and_near_the_sphere(backend: Backend) -> None:
    mesh = sphere()
    directions = fibonacci_directions(500)
    origins = np.full((500, 3), 0.1)
    distance, face = RayScene(mesh, backend=backend).first_hit(origins, directions)
    hits = origins + distance[:, None] * directions
    height = np.einsum("ij,ij->i", mesh.face_normals[face], hits - mesh.corners[face, 0])
    np.testing.assert_allclose(height, 0, atol=1e-12)
    barycentric = trimesh.triangles.points_to_barycentric(mesh.corners[face], hits)
    assert barycentric.min() > -1e-5
    radius = np.linalg.norm(hits, axis=1)
    assert radius.max() <= 1 + 1e-9
    assert radius.min() > 0.99


def test_the_backends_agree() -> None:
    pytest.importorskip("embreex")
    rng = np.random.default_rng(3)
    mesh = TriangleMesh(sphere(2).vertices * [1.0, 2.0, 0.3] + [5, 6, 7], sphere(2).faces)
    origins, directions = rng.normal(loc=[5, 6, 7], size=(3000, 3)), rng.normal(size=(3000, 3))
    embree, libigl = RayScene(mesh, backend="embree"), RayScene(mesh, backend="libigl")
    distance, face = embree.first_hit(origins, directions)
    distance_slow, face_slow = libigl.first_hit(origins, directions)
    same = np.isfinite(distance) == np.isfinite(distance_slow)
    assert same.mean() > 0.998
    both = np.isfinite(distance) & np.isfinite(distance_slow)
    assert 500 < both.sum() < 2900
    close = np.abs(distance[both] - distance_slow[both]) < 1e-9
    assert close.mean() > 0.998
    assert (face == face_slow).mean() > 0.995
    blocked, blocked_slow = embree.occluded(origins, directions), libigl.occluded(origins, directions)
    assert (blocked == blocked_slow).mean() > 0.998
    assert np.mean(blocked == np.isfinite(distance)) > 0.998


def test_no_ray_leaks_out_of_a_closed_mesh(backend: Backend) -> None:
    mesh = sphere(3)
    edges = np.unique(np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
    targets = np.concatenate([mesh.vertices[edges].mean(axis=1), mesh.vertices, mesh.corners.mean(axis=1)])
    origins = np.tile([0.013, -0.027, 0.031], (len(targets), 1))
    scene = RayScene(mesh, backend=backend)
    assert scene.occluded(origins, targets - origins).all()
    assert np.isfinite(scene.first_hit(origins, targets - origins)[0]).all()


def test_occluded_ignores_the_face_it_starts_on(backend: Backend) -> None:
    mesh = box(center=np.array([100.0, 0, 0]), half=3.0)
    starts = mesh.corners.mean(axis=1)
    scene = RayScene(mesh, backend=backend)
    assert not scene.occluded(starts, mesh.face_normals).any()
    assert scene.occluded(starts, -mesh.face_normals).all()


def test_misses_and_backs_of_rays(backend: Backend) -> None:
    scene = RayScene(box(center=np.zeros(3), half=1.0), backend=backend)
    origins = np.array([[0.0, 0, 5], [0, 0, 5], [9, 9, 9], [0, 0, 0.5]])
    directions = np.array([[0.1, 0, -1.0], [0.1, 0, 1], [1, 0, 0], [0, 0.1, -2]])
    distance, face = scene.first_hit(origins, directions)
    assert np.isfinite(distance).tolist() == [True, False, False, True]
    assert (face >= 0).tolist() == [True, False, False, True]
    assert scene.occluded(origins, directions).tolist() == [True, False, False, True]


@pytest.mark.parametrize("count", [0, 1])
def test_small_batches(backend: Backend, count: int) -> None:
    scene = RayScene(box(center=np.zeros(3), half=1.0), backend=backend)
    rays = np.full((count, 3), 0.2)
    distance, face = scene.first_hit(rays, rays)
    assert distance.shape == face.shape == scene.occluded(rays, rays).shape == (count,)
    assert face.dtype == np.int64
    far_distance, _ = scene.first_hit(rays + 10, rays)  # All rays miss the sphere around the mesh.
    assert np.isinf(far_distance).all()


def test_a_mesh_without_faces_stops_nothing(backend: Backend) -> None:
    scene = RayScene(TriangleMesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64)), backend=backend)
    rays = np.ones((4, 3))
    assert np.isinf(scene.first_hit(rays, rays)[0]).all()
    assert not scene.occluded(rays, rays).any()


@pytest.mark.parametrize(("origin", "direction"), [(0.0, 0.0), (np.nan, 1.0), (0.0, np.inf)])
def test_senseless_rays_are_refused(origin: float, direction: float) -> None:
    scene = RayScene(box(center=np.zeros(3), half=1.0))
    with pytest.raises(ValueError, match="finite"):
        scene.first_hit(np.full((2, 3), origin), np.full((2, 3), direction))


def test_auto_falls_back_to_libigl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "embreex", None)
    monkeypatch.setitem(sys.modules, "embreex.rtcore_scene", None)
    assert RayScene(box(center=np.zeros(3), half=1.0)).backend == "libigl"


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-3, 1e3), shift=st.floats(-1e4, 1e4))
def test_distances_scale_with_the_mesh(seed: int, scale: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    mesh = sphere(1)
    origins, directions = 2 * rng.normal(size=(50, 3)), rng.normal(size=(50, 3))
    distance, face = RayScene(mesh).first_hit(origins, directions)
    moved = TriangleMesh(mesh.vertices * scale + shift, mesh.faces)
    distance_moved, face_moved = RayScene(moved).first_hit(origins * scale + shift, directions)
    same = face == face_moved
    assert same.mean() >= 0.96
    hit = same & (face >= 0)
    np.testing.assert_allclose(distance_moved[hit], distance[hit] * scale, rtol=1e-6, atol=1e-5 * scale + 1e-10)


def test_fibonacci_directions_are_even_unit_vectors() -> None:
    directions = fibonacci_directions(256)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(directions.mean(axis=0), 0.0, atol=0.01)
    np.testing.assert_allclose(directions.T @ directions / 256, np.eye(3) / 3, atol=0.01)
    cosines = directions @ directions.T - 2 * np.eye(256)
    nearest = np.arccos(cosines.max(axis=1))
    assert nearest.min() > 0.7 * nearest.max()
    assert fibonacci_directions(0).shape == (0, 3)
    with pytest.raises(ValueError, match="negative"):
        fibonacci_directions(-1)
