"""Cleaning: the usual faults of mesh files are repaired, and correct meshes stay as they are."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.plain_geometry import (
    box,
    flip,
    from_trimesh,
    join,
    keep,
    lathe,
    moved,
    random_similarity,
    sorted_corners,
    sphere,
    to_trimesh,
    torus,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from shapeprior.errors import MeshError
from shapeprior.geometry.cleaning import (
    STRAY_AREA_SHARE,
    STRAY_GAP_RATIO,
    WELD_TOLERANCE,
    CleanReport,
    clean_mesh,
    orient_outward,
)
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.transforms import Similarity

BALL = sphere(radius=0.9)
SOLIDS = {
    "sphere": BALL,
    "box": box(extents=(1.0, 2.0, 0.5), center=(3.0, 0.0, 0.0)),
    "torus": torus(major=0.7, minor=0.2, sections=16),
    "two parts": join(BALL, box(center=(1.5, 0.0, 0.0))),
}


def soup(mesh: TriangleMesh) -> TriangleMesh:
    """Give each face three vertices of its own, as in STL files."""
    return TriangleMesh(vertices=mesh.corners.reshape(-1, 3), faces=np.arange(3 * len(mesh.faces)).reshape(-1, 3))


def doubled(mesh: TriangleMesh) -> TriangleMesh:
    """Repeat each face in the other winding, as in ShapeNet's files."""
    return TriangleMesh(vertices=mesh.vertices, faces=np.concatenate([mesh.faces, mesh.faces[:, ::-1]]))


@pytest.mark.parametrize("name", SOLIDS)
def test_a_good_mesh_stays_as_it_is(name: str) -> None:
    mesh = SOLIDS[name]
    cleaned, report = clean_mesh(mesh, name="a.ply")
    np.testing.assert_array_equal(cleaned.vertices, mesh.vertices)
    np.testing.assert_array_equal(cleaned.faces, mesh.faces)
    assert report == CleanReport(
        source_faces=len(mesh.faces),
        faces=len(mesh.faces),
        degenerate_faces=0,
        twin_faces=0,
        stray_faces=0,
        flipped_faces=0,
        patches=len(to_trimesh(mesh).split(only_watertight=False)),
        boundary_edges=0,
        nonmanifold_edges=0,
    )


@pytest.mark.parametrize("name", SOLIDS)
def test_split_vertices_are_welded(name: str) -> None:
    cleaned, report = clean_mesh(soup(SOLIDS[name]), name="a.stl")
    assert cleaned.is_watertight
    assert len(cleaned.vertices) == len(SOLIDS[name].vertices)
    assert report.boundary_edges == 0
    np.testing.assert_array_equal(sorted_corners(cleaned), sorted_corners(SOLIDS[name]))


@given(seed=st.integers(0, 2**32), offset=st.sampled_from([0.0, 1.0, 1e6]))
@settings(max_examples=30, deadline=None)
def test_nearly_equal_vertices_are_welded_wherever_they_lie(seed: int, offset: float) -> None:
    # Corners are moved by at most a quarter of the tolerance each; some of them cross borders of the rounding grid.
    rng = np.random.default_rng(seed)
    torn = soup(BALL)
    reach = 0.25 * WELD_TOLERANCE * np.linalg.norm(np.ptp(BALL.bounds, axis=0))
    noise = rng.uniform(-1.0, 1.0, torn.vertices.shape) * reach / np.sqrt(3.0)
    cleaned, _ = clean_mesh(TriangleMesh(vertices=torn.vertices + noise + offset, faces=torn.faces), name="a.stl")
    assert cleaned.is_watertight
    assert len(cleaned.vertices) == len(BALL.vertices)


def test_vertices_beyond_the_tolerance_stay_apart() -> None:
    torn = soup(BALL)
    noise = np.random.default_rng(0).standard_normal(torn.vertices.shape) * 1e-4
    cleaned, report = clean_mesh(TriangleMesh(vertices=torn.vertices + noise, faces=torn.faces), name="a.stl")
    assert len(cleaned.vertices) == len(torn.vertices)
    assert report.boundary_edges == 3 * len(torn.faces)


def test_many_vertices_in_one_place_are_welded_fast() -> None:
    # A tree alone would return a number of pairs that is the square of this.
    fan = np.concatenate([np.zeros((30_000, 3)), BALL.vertices])
    faces = np.concatenate([np.arange(30_000).reshape(-1, 3), BALL.faces + 30_000])
    cleaned, report = clean_mesh(TriangleMesh(vertices=fan, faces=faces), name="a.ply")
    assert report.degenerate_faces == 10_000
    np.testing.assert_array_equal(sorted_corners(cleaned), sorted_corners(BALL))


@pytest.mark.parametrize("name", SOLIDS)
@given(seed=st.integers(0, 2**32), welded=st.booleans())
@settings(max_examples=10, deadline=None)
def test_twin_faces_leave_the_original_mesh(name: str, seed: int, welded: bool) -> None:
    mesh = SOLIDS[name]
    double = doubled(mesh)
    shuffled = TriangleMesh(
        vertices=double.vertices, faces=np.random.default_rng(seed).permutation(double.faces, axis=0)
    )
    cleaned, report = clean_mesh(shuffled if welded else soup(shuffled), name="a.obj")
    np.testing.assert_array_equal(sorted_corners(cleaned), sorted_corners(mesh))
    assert report.twin_faces == len(mesh.faces)
    assert cleaned.volume == pytest.approx(mesh.volume, rel=1e-12)


def test_faces_without_area_are_dropped() -> None:
    middle = 0.5 * (BALL.vertices[BALL.faces[0, 0]] + BALL.vertices[BALL.faces[0, 1]])
    a, b, c = BALL.faces[0]
    extra = [[a, a, b], [c, c, c], [a, b, len(BALL.vertices)]]
    mesh = TriangleMesh(vertices=np.vstack([BALL.vertices, middle]), faces=np.vstack([BALL.faces, extra]))
    cleaned, report = clean_mesh(mesh, name="a.obj")
    assert report.degenerate_faces == 3
    np.testing.assert_array_equal(sorted_corners(cleaned), sorted_corners(BALL))


def test_slivers_with_a_little_area_are_kept() -> None:
    sliver = TriangleMesh(vertices=np.array([[0.0, 0, 0], [1, 0, 0], [0.5, 1e-5, 0]]), faces=np.array([[0, 1, 2]]))
    assert clean_mesh(sliver, name="a.obj")[1].faces == 1


@pytest.mark.parametrize(
    "mesh",
    [
        TriangleMesh(vertices=np.zeros((3, 3)), faces=np.array([[0, 1, 2]])),
        TriangleMesh(vertices=np.arange(9.0).reshape(3, 3), faces=np.array([[0, 1, 2]])),
        TriangleMesh(vertices=BALL.vertices * [1.0, 0.0, 0.0], faces=BALL.faces),
    ],
    ids=["a point", "a line", "a flattened sphere"],
)
def test_nothing_with_area_is_refused(mesh: TriangleMesh) -> None:
    with pytest.raises(MeshError, match=r"^meshes/a\.obj: \d+ faces, none with area; expected"):
        clean_mesh(mesh, name="meshes/a.obj")


@pytest.mark.parametrize("size", [1e-300, 1e-60, 1e60, 1e300])
def test_sizes_beyond_floating_point_are_refused(size: float) -> None:
    with pytest.raises(MeshError, match=r"a\.obj: .* units across; expected 1e-50 to 1e\+50"):
        clean_mesh(TriangleMesh(vertices=BALL.vertices * size, faces=BALL.faces), name="a.obj")


# Stray parts.


def speck(distance: float, *, share: float = 1e-4) -> TriangleMesh:
    """A small box beside the ball, at a distance from its box, in diagonals, with a share of its area."""
    diagonal = float(np.linalg.norm(np.ptp(BALL.bounds, axis=0)))
    side = float(np.sqrt(share * BALL.face_areas.sum() / 6.0))
    return box(extents=(side,) * 3, center=(BALL.bounds[1, 0] + distance * diagonal + side / 2, 0.0, 0.0))


def test_far_small_parts_are_dropped_and_near_ones_kept() -> None:
    mesh = join(BALL, speck(5.0), speck(0.9 * STRAY_GAP_RATIO))
    cleaned, report = clean_mesh(mesh, name="a.obj")
    assert report.stray_faces == 12
    np.testing.assert_array_equal(sorted_corners(cleaned), sorted_corners(join(BALL, speck(0.9 * STRAY_GAP_RATIO))))
    assert len(cleaned.vertices) == len(BALL.vertices) + 8


@pytest.mark.parametrize(("distance", "stray"), [(0.95 * STRAY_GAP_RATIO, 0), (1.05 * STRAY_GAP_RATIO, 12)])
def test_far_begins_at_the_gap(distance: float, stray: int) -> None:
    assert clean_mesh(join(BALL, speck(distance)), name="a.obj")[1].stray_faces == stray


def test_far_large_parts_are_kept() -> None:
    # The share is doubled, as the part itself adds to the total.
    _, report = clean_mesh(join(BALL, speck(5.0, share=2.0 * STRAY_AREA_SHARE)), name="a.obj")
    assert report.stray_faces == 0


@pytest.mark.parametrize(("count", "stray"), [(1, 12), (4, 0)])
def test_far_parts_count_together(count: int, stray: int) -> None:
    # Each part has nearly half of the area share up to which parts are dropped.
    far = [speck(5.0 * (number + 1), share=0.45 * STRAY_AREA_SHARE) for number in range(count)]
    assert clean_mesh(join(BALL, *far), name="a.obj")[1].stray_faces == stray


def test_a_chain_of_small_parts_reaches_far() -> None:
    chain = [speck(step * STRAY_GAP_RATIO) for step in (0.5, 1.0, 1.5, 2.0, 2.5)]
    assert clean_mesh(join(BALL, *chain), name="a.obj")[1].stray_faces == 0
    assert clean_mesh(join(BALL, chain[-1]), name="a.obj")[1].stray_faces == 12


def test_a_swarm_of_small_parts_is_not_thrown_away() -> None:
    # Each part is small beside the rest, but none of them is the object.
    rng = np.random.default_rng(0)
    swarm = join(*(box(extents=(0.1,) * 3, center=center) for center in rng.uniform(-9, 9, (150, 3))))
    assert clean_mesh(swarm, name="a.obj")[1].stray_faces == 0


# Invariance.


@given(seed=st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_the_order_of_faces_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mesh = join(doubled(BALL), speck(5.0), torus(major=1.2, minor=0.1, sections=12))
    order = rng.permutation(len(mesh.faces))
    turn = rng.integers(0, 3, len(order))
    faces = np.stack([np.roll(mesh.faces[face], shift) for face, shift in zip(order, turn, strict=True)])
    cleaned, report = clean_mesh(mesh, name="a.obj")
    again, report_again = clean_mesh(TriangleMesh(vertices=mesh.vertices, faces=faces), name="a.obj")
    np.testing.assert_array_equal(sorted_corners(again), sorted_corners(cleaned))
    assert replace(report_again, flipped_faces=0) == replace(report, flipped_faces=0)


@given(seed=st.integers(0, 2**32), scale=st.sampled_from([1e-6, 0.01, 1.0, 1e5]))
@settings(max_examples=20, deadline=None)
def test_place_and_size_do_not_matter(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    placement = random_similarity(rng, scale=scale, reach=3.0 * scale)
    mesh = join(soup(flip(BALL)), speck(5.0), lathe([(0.3, -1.2), (0.3, 1.2)], sections=8))
    cleaned, report = clean_mesh(mesh, name="a.obj")
    image, image_report = clean_mesh(moved(mesh, placement), name="a.obj")
    np.testing.assert_array_equal(image.faces, cleaned.faces)
    np.testing.assert_allclose(placement.inverse().apply(image.vertices), cleaned.vertices, atol=1e-12)
    assert image_report == report


def test_cleaning_twice_changes_nothing_more() -> None:
    rng = np.random.default_rng(4)
    mesh = flip(join(doubled(BALL), speck(3.0), box(center=(1.0, 0.2, 0.0))))
    once, _ = clean_mesh(flip(mesh, rng.random(len(mesh.faces)) < 0.5), name="a.obj")
    twice, report = clean_mesh(once, name="a.obj")
    np.testing.assert_array_equal(twice.faces, once.faces)
    np.testing.assert_array_equal(twice.vertices, once.vertices)
    assert report.flipped_faces == report.twin_faces == report.degenerate_faces == report.stray_faces == 0


@given(seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_triangle_soup_is_cleaned_or_refused(seed: int) -> None:
    # There are few places for vertices, so that twins, degenerate faces and non-manifold edges are frequent.
    rng = np.random.default_rng(seed)
    vertices = rng.integers(0, 3, (12, 3)).astype(np.float64)
    faces = rng.integers(0, 12, (rng.integers(1, 40), 3))
    try:
        cleaned, report = clean_mesh(TriangleMesh(vertices=vertices, faces=faces), name="a.obj")
    except MeshError:
        cross = np.cross(vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]])
        assert not cross.any()
        return
    dropped = report.degenerate_faces + report.twin_faces + report.stray_faces
    assert report.faces == len(cleaned.faces) == report.source_faces - dropped
    assert (cleaned.face_areas > 0).all()
    assert len(np.unique(np.sort(cleaned.faces, axis=1), axis=0)) == len(cleaned.faces)
    assert len(np.unique(cleaned.vertices, axis=0)) == len(cleaned.vertices)
    assert np.unique(cleaned.faces).tolist() == list(range(len(cleaned.vertices)))
    counts = np.unique(
        np.sort(cleaned.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0, return_counts=True
    )[1]
    assert report.boundary_edges == np.count_nonzero(counts == 1)
    assert report.nonmanifold_edges == np.count_nonzero(counts > 2)


def test_holes_and_fins_are_counted() -> None:
    opened = keep(BALL, np.arange(len(BALL.faces)) != 5)
    assert clean_mesh(opened, name="a.obj")[1].boundary_edges == 3
    a, b = BALL.faces[0, :2]
    fin = TriangleMesh(
        vertices=np.vstack([BALL.vertices, 1.2 * BALL.vertices[a]]),
        faces=np.vstack([BALL.faces, [a, b, len(BALL.vertices)]]),
    )
    report = clean_mesh(fin, name="a.obj")[1]
    assert (report.boundary_edges, report.nonmanifold_edges) == (2, 1)


def test_trimesh_agrees_on_a_welded_mesh() -> None:
    torn = soup(SOLIDS["torus"])
    other = to_trimesh(torn)
    other.merge_vertices()
    cleaned, _ = clean_mesh(torn, name="a.stl")
    np.testing.assert_array_equal(sorted_corners(cleaned), sorted_corners(from_trimesh(other)))


CLOSED = {
    "sphere": BALL,
    "box": box(extents=(1.0, 2.0, 0.5), center=(3.0, 0.0, 0.0)),
    "torus": torus(major=0.7, minor=0.2, sections=16),
    "overlapping": join(box(), box(extents=(2.0, 0.4, 0.4)), sphere(radius=0.4, center=(0.5, 0.5, 0.5))),
    "touching along an edge": join(box(), box(center=(1.0, 1.0, 0.0))),
}
# Open shapes, each with a point from which all its faces should look away.
CUT = sphere(radius=0.9, subdivisions=3)
OPEN = {
    "hemisphere": keep(CUT, CUT.corners.mean(axis=1)[:, 2] < 0.0),
    "holed sphere": keep(CUT, CUT.corners.mean(axis=1)[:, 2] < 0.8),
    "cylinder": lathe([(0.5, -0.7), (0.5, 0.7)]),
    "cup": lathe([(1e-9, -0.7), (0.6, -0.7), (0.6, 0.7)]),
    "box without lid": keep(box(), box().face_normals[:, 2] < 0.5),
}


def outward_share(mesh: TriangleMesh) -> float:
    """Share of faces that look away from the middle; 1 for these convex shapes if they are oriented correctly."""
    away = np.einsum("ij,ij->i", mesh.face_normals, mesh.corners.mean(axis=1) - mesh.bounds.mean(axis=0))
    return float(np.mean(away > 0.0))


@pytest.mark.parametrize("name", CLOSED)
@given(seed=st.integers(0, 2**32), share=st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]))
@settings(max_examples=10, deadline=None)
def test_closed_meshes_with_randomly_turned_faces(name: str, seed: int, share: float) -> None:
    mesh = CLOSED[name]
    turned = flip(mesh, np.random.default_rng(seed).random(len(mesh.faces)) < share)
    cleaned, report = clean_mesh(turned, name="a.obj")
    # The meshes were correct before faces were flipped, so each face must get its original winding back.
    np.testing.assert_allclose(cleaned.face_normals, mesh.face_normals, atol=1e-12)
    assert report.flipped_faces == np.count_nonzero(np.any(turned.faces != mesh.faces, axis=1))


@pytest.mark.parametrize("name", OPEN)
@given(seed=st.integers(0, 2**32), share=st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=5, deadline=None)
def test_open_shells_look_outward(name: str, seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    mesh = OPEN[name]
    turned = moved(flip(mesh, rng.random(len(mesh.faces)) < share), random_similarity(rng, scale=2.0))
    cleaned, report = clean_mesh(turned, name="a.obj")
    assert outward_share(cleaned) == 1.0
    assert report.patches == 1


@pytest.mark.parametrize("opening", [0, 5])
def test_each_patch_is_turned_on_its_own(opening: int) -> None:
    # The first ball is inside out, the second is not; both are closed, or both have a hole.
    chosen = np.arange(len(BALL.faces)) >= opening
    parts = [keep(BALL, chosen), keep(sphere(radius=0.5, center=(2.0, 0.0, 0.0)), chosen)]
    mesh = join(flip(parts[0]), parts[1])
    patches = np.repeat([0, 1], int(chosen.sum()))
    oriented = orient_outward(mesh, patches)
    np.testing.assert_array_equal(oriented.faces, join(*parts).faces)


def test_trimesh_agrees_on_the_volume_of_an_inside_out_mesh() -> None:
    mesh = flip(CLOSED["torus"])
    other = to_trimesh(mesh)
    other.fix_normals()
    cleaned, _ = clean_mesh(mesh, name="a.obj")
    assert cleaned.volume == pytest.approx(other.volume, rel=1e-9)
    assert cleaned.volume > 0


def test_a_closed_part_far_from_the_origin_is_turned_by_its_own_volume() -> None:
    place = Similarity(scale=1.0, rotation=np.eye(3), offset=np.array([1e6, -1e6, 1e6]))
    cleaned, _ = clean_mesh(moved(flip(BALL), place), name="a.obj")
    assert outward_share(cleaned) == 1.0


def test_walls_that_face_each_other_both_look_outward() -> None:
    # A cup of two shells whose rims are not joined: the inner wall's outside is the cavity.
    outer = lathe([(1e-9, -0.7), (0.6, -0.7), (0.6, 0.7)])
    inner = lathe([(1e-9, -0.6), (0.5, -0.6), (0.5, 0.7)])
    for turned in (join(outer, inner), join(flip(outer), inner), flip(join(outer, inner))):
        cleaned, report = clean_mesh(turned, name="a.obj")
        centers = cleaned.corners.mean(axis=1)
        radius = np.hypot(centers[:, 0], centers[:, 1])
        side = np.abs(cleaned.face_normals[:, 2]) < 0.5
        radial = np.einsum("ij,ij->i", cleaned.face_normals[:, :2], centers[:, :2]) / radius
        assert report.patches == 2
        assert (radial[side & (radius > 0.55)] > 0.9).all()
        assert (radial[side & (radius < 0.55)] < -0.9).all()


def test_the_result_is_the_same_every_time() -> None:
    mesh = join(*OPEN.values())
    assert len({clean_mesh(mesh, name="a.obj")[0].faces.tobytes() for _ in range(3)}) == 1
