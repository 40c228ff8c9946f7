"""The mesh class, its parts, row keys and vertex normals, against trimesh, numpy and formulas."""

import numpy as np
import pytest
from helpers.plain_geometry import box, flip, join, keep, moved, random_similarity, sphere, to_trimesh, torus
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shapeprior.geometry.mesh import TriangleMesh, keep_components, row_keys, vertex_normals


def spheres(*radii: float) -> TriangleMesh:
    """Return spheres side by side, with faces and vertices in random order."""
    parts = [sphere(radius=radius, subdivisions=2) for radius in radii]
    offsets = np.cumsum([0, *(len(part.vertices) for part in parts)])
    vertices = np.concatenate([part.vertices + np.array([3.0 * i, 0.0, 0.0]) for i, part in enumerate(parts)])
    faces = np.concatenate([part.faces + offset for part, offset in zip(parts, offsets[:-1], strict=True)])
    rng = np.random.default_rng(0)
    order = rng.permutation(len(vertices))
    return TriangleMesh(vertices=vertices[np.argsort(order)], faces=rng.permutation(order[faces]))


@pytest.mark.parametrize(
    ("share", "largest", "left"),
    [(0.0, False, 4), (0.01, False, 3), (0.2, False, 2), (0.99, False, 1), (0.0, True, 1), (0.2, True, 1)],
)
def test_parts_are_kept_by_their_share_of_the_area(share: float, largest: bool, left: int) -> None:
    mesh = spheres(1.0, 0.7, 0.3, 0.05)  # Shares of the area: 63, 31, 5.7 and 0.16 %.
    kept, dropped = keep_components(mesh, min_area_share=share, largest_only=largest)
    assert dropped == 4 - left
    assert kept.is_watertight
    assert int(kept.part_labels.max()) + 1 == left
    each = sphere(radius=1.0, subdivisions=2)
    assert len(kept.vertices) == left * len(each.vertices)
    assert kept.volume == pytest.approx(each.volume * sum(r**3 for r in (1.0, 0.7, 0.3, 0.05)[:left]))
    assert set(map(tuple, kept.vertices)) <= set(map(tuple, mesh.vertices))


def test_one_part_is_returned_as_it_is() -> None:
    mesh = spheres(1.0)
    assert keep_components(mesh, min_area_share=0.5, largest_only=False) == (mesh, 0)


SOLIDS = {
    "sphere": sphere(),
    "box": box(extents=(1.0, 2.0, 3.0), center=(5.0, 0.0, -1.0)),
    "torus": torus(major=0.7, minor=0.2, sections=12),
}


@pytest.mark.parametrize("name", SOLIDS)
def test_areas_normals_volume_and_bounds_agree_with_trimesh(name: str) -> None:
    mesh, other = SOLIDS[name], to_trimesh(SOLIDS[name])
    np.testing.assert_allclose(mesh.face_areas, other.area_faces, rtol=1e-12)
    np.testing.assert_allclose(mesh.face_normals, other.face_normals, atol=1e-12)
    assert mesh.volume == pytest.approx(other.volume, rel=1e-12)
    np.testing.assert_array_equal(mesh.bounds, other.bounds)
    assert mesh.is_watertight
    assert other.is_watertight


def test_the_box_has_the_volume_and_area_of_a_box() -> None:
    mesh = SOLIDS["box"]
    assert mesh.volume == pytest.approx(6.0, rel=1e-12)
    assert mesh.face_areas.sum() == pytest.approx(22.0, rel=1e-12)
    np.testing.assert_array_equal(mesh.bounds, [[4.5, -1.0, -2.5], [5.5, 1.0, 0.5]])


@given(seed=st.integers(0, 2**32), scale=st.floats(0.01, 100.0))
@settings(deadline=None)
def test_volume_and_area_scale_with_the_mesh(seed: int, scale: float) -> None:
    mesh = SOLIDS["torus"]
    placement = random_similarity(np.random.default_rng(seed), scale=scale)
    image = moved(mesh, placement)
    assert image.face_areas.sum() == pytest.approx(scale**2 * mesh.face_areas.sum(), rel=1e-9)
    # The offset does not grow with the scale; it costs the sum for the volume some digits.
    assert image.volume == pytest.approx(scale**3 * mesh.volume, rel=1e-7, abs=1e-7 * scale**2)
    np.testing.assert_allclose(image.face_normals, placement.apply_vectors(mesh.face_normals), atol=1e-9)


def test_turning_all_faces_negates_the_volume() -> None:
    assert flip(SOLIDS["box"]).volume == pytest.approx(-6.0, rel=1e-12)
    assert flip(SOLIDS["box"]).is_watertight


def test_faces_without_area_have_no_normal() -> None:
    mesh = TriangleMesh(vertices=np.eye(3), faces=np.array([[0, 0, 1], [0, 1, 2]]))
    np.testing.assert_array_equal(mesh.face_normals[0], np.zeros(3))
    np.testing.assert_allclose(np.linalg.norm(mesh.face_normals[1]), 1.0)


def test_bounds_leave_out_vertices_without_faces() -> None:
    mesh = TriangleMesh(vertices=np.vstack([np.eye(3), [[100.0, 0.0, 0.0]]]), faces=np.array([[0, 1, 2]]))
    np.testing.assert_array_equal(mesh.bounds, [[0.0] * 3, [1.0] * 3])


@given(seed=st.integers(0, 2**32), dropped=st.integers(1, 3))
@settings(deadline=None)
def test_a_missing_face_opens_a_mesh(seed: int, dropped: int) -> None:
    mesh = SOLIDS["sphere"]
    chosen = np.ones(len(mesh.faces), dtype=bool)
    chosen[np.random.default_rng(seed).choice(len(chosen), dropped, replace=False)] = False
    opened = keep(mesh, chosen)
    assert not opened.is_watertight
    assert np.count_nonzero(opened.edge_counts == 1) <= 3 * dropped
    assert np.count_nonzero(opened.edge_counts == 1) % 2 == dropped % 2


def test_one_turned_face_is_not_watertight() -> None:
    mesh = SOLIDS["sphere"]
    chosen = np.zeros(len(mesh.faces), dtype=bool)
    chosen[7] = True
    turned = flip(mesh, chosen)
    assert np.all(turned.edge_counts == 2)
    assert not turned.is_watertight


def test_nothing_is_not_watertight() -> None:
    assert not TriangleMesh(vertices=np.zeros((0, 3)), faces=np.zeros((0, 3), dtype=np.int64)).is_watertight


def test_parts_hang_together_through_vertices() -> None:
    parts = join(sphere(), box(center=(9.0, 0.0, 0.0)), torus(major=0.7, minor=0.2, sections=12))
    labels = parts.part_labels
    sizes = [len(SOLIDS["sphere"].faces), 12, len(SOLIDS["torus"].faces)]
    assert sorted(np.bincount(labels).tolist()) == sorted(sizes)
    assert len(np.unique(labels[: sizes[0]])) == 1
    assert len(to_trimesh(parts).split(only_watertight=False)) == len(np.unique(labels)) == 3


def test_vertices_without_faces_are_no_part() -> None:
    mesh = TriangleMesh(vertices=np.vstack([np.zeros((5, 3)), np.eye(3)]), faces=np.array([[5, 6, 7]]))
    assert mesh.part_labels.tolist() == [0]


@pytest.mark.parametrize("largest", [2, 2**21, 2**61])
@given(data=st.data())
def test_codes_tell_rows_apart_and_keep_their_order(largest: int, data: st.DataObject) -> None:
    shape = (data.draw(st.integers(1, 30)), data.draw(st.integers(1, 4)))
    rows = data.draw(arrays(np.int64, shape, elements=st.integers(0, largest)))
    _, expected = np.unique(rows, axis=0, return_inverse=True)
    _, found = np.unique(row_keys(rows), return_inverse=True)
    np.testing.assert_array_equal(found.reshape(-1), expected.reshape(-1))


def test_no_rows() -> None:
    assert row_keys(np.zeros((0, 3), dtype=np.int64)).tolist() == []


def test_on_a_sphere_they_point_away_from_its_middle() -> None:
    ball = sphere(radius=0.7, subdivisions=4)
    normals = vertex_normals(ball)
    cosine = np.einsum("ij,ij->i", normals, ball.vertices) / np.linalg.norm(normals, axis=1) / 0.7
    assert cosine.min() > 0.999


def test_they_sum_the_areas_around_each_vertex() -> None:
    cube = box()
    normals = vertex_normals(cube)
    # Every face is counted at its three vertices, and a closed surface has no direction.
    np.testing.assert_allclose(normals.sum(axis=0), 0.0, atol=1e-12)
    outward = np.sign(cube.vertices - cube.vertices.mean(axis=0))
    assert np.all(normals * outward > 0)
