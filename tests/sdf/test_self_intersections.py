"""Splitting at self-intersections: the surface stays the same, and whole pieces lie on one side of all others."""

import numpy as np
import pytest
from helpers.plain_geometry import box, box_sdf, join, sphere, torus

from shapeprior.geometry.cleaning import clean_mesh
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.sampling import sample_surface
from shapeprior.sdf.self_intersections import (
    MAX_CROSSING_EDGE,
    MAX_PIECES,
    _max_edges,
    _split_into_four,
    split_self_intersections,
    split_to_size,
)

INNER = (0.6, 0.6, 0.6)
CROSSING = join(box(extents=INNER), box(extents=(1.6, 0.3, 0.2), center=(0.1, 0.05, 0.02)))


def longest(mesh: TriangleMesh) -> np.ndarray:
    return np.linalg.norm(mesh.corners - np.roll(mesh.corners, 1, axis=1), axis=2).max(axis=1)


def test_whole_pieces_do_not_cross_the_other_part() -> None:
    pieces, crossed = split_self_intersections(clean_mesh(CROSSING, name="a")[0])
    assert crossed.sum() > 0
    assert (longest(pieces)[crossed] <= MAX_CROSSING_EDGE).all()
    points, face = sample_surface(pieces, 50_000, rng=np.random.default_rng(0))
    # The bar's faces are those with a corner off the cube's surface.
    on_cube = np.abs(box_sdf(pieces.corners.reshape(-1, 3), extents=INNER)).reshape(-1, 3).max(axis=1) < 1e-9
    bar = ~crossed[face] & ~on_cube[face]
    side = box_sdf(points[bar], extents=INNER) < 0.0
    first = np.full(len(pieces.faces), -1)
    first[face[bar]] = side
    np.testing.assert_array_equal(first[face[bar]], side)
    assert side.any()
    assert not side.all()


@pytest.mark.parametrize("mesh", [CROSSING, join(box(), box(center=(1.0, 0.2, 0.1)))], ids=["crossing", "touching"])
def test_the_surface_stays_the_same(mesh: TriangleMesh) -> None:
    pieces, crossed = split_self_intersections(mesh)
    assert crossed.any()
    assert pieces.face_areas.sum() == pytest.approx(mesh.face_areas.sum(), rel=1e-12)
    assert pieces.volume == pytest.approx(mesh.volume, rel=1e-12)


@pytest.mark.parametrize("mesh", [sphere(), torus(major=0.7, minor=0.2), join(box(), box(center=(3.0, 0, 0)))])
def test_what_does_not_cross_is_left_alone(mesh: TriangleMesh) -> None:
    mesh = clean_mesh(mesh, name="a")[0]
    pieces, crossed = split_self_intersections(mesh)
    assert not crossed.any()
    np.testing.assert_array_equal(pieces.faces, mesh.faces)


def test_split_to_size_knows_where_pieces_come_from() -> None:
    mesh = box(extents=(2.0, 1.0, 0.5))
    chosen = np.arange(12) % 3 == 0
    pieces, source = split_to_size(mesh, chosen, 0.3)
    assert (longest(pieces)[chosen[source]] <= 0.3).all()
    area = np.bincount(source, weights=pieces.face_areas, minlength=12)
    np.testing.assert_allclose(area, mesh.face_areas, rtol=1e-12)
    np.testing.assert_allclose(np.einsum("ij,ij->i", pieces.face_normals, mesh.face_normals[source]), 1.0)
    assert np.bincount(source)[~chosen].tolist() == [1] * int((~chosen).sum())


def plainly_split(mesh: TriangleMesh) -> tuple[TriangleMesh, np.ndarray]:
    """Split like `split_self_intersections`, but look for intersections among all remaining faces in every round."""
    vertices, faces, whole = mesh.vertices, mesh.faces, []
    while True:
        limit, _ = _max_edges(vertices, faces)
        whole.append(faces[~np.isfinite(limit)])
        faces, limit = faces[np.isfinite(limit)], limit[np.isfinite(limit)]
        long = longest(TriangleMesh(vertices, faces)) > limit
        if not long.any() or len(faces) > MAX_PIECES:
            return TriangleMesh(vertices, np.concatenate([*whole, faces])), np.repeat(
                [False, True], [sum(map(len, whole)), len(faces)]
            )
        vertices, split = _split_into_four(vertices, faces[long])
        faces = np.concatenate([faces[~long], split])


def triangles(mesh: TriangleMesh, chosen: np.ndarray) -> list[list[float]]:
    return sorted(np.round(np.sort(mesh.corners[chosen], axis=1), 9).reshape(-1, 9).tolist())


@pytest.mark.parametrize(
    "mesh",
    [
        CROSSING,
        join(box(extents=INNER), torus(major=0.4, minor=0.1), sphere(radius=0.35)),
        join(box(), box(center=(0.9, 0.2, 0.1)), box(extents=(0.2, 1.7, 0.3), center=(0.43, 0.01, 0.02))),
    ],
    ids=["crossing", "three parts", "three boxes"],
)
def test_looking_only_at_what_was_split_finds_the_same(mesh: TriangleMesh) -> None:
    pieces, crossed = split_self_intersections(mesh)
    expected, expected_crossed = plainly_split(mesh)
    assert crossed.any()
    assert triangles(pieces, crossed) == triangles(expected, expected_crossed)
    assert triangles(pieces, ~crossed) == triangles(expected, ~expected_crossed)
