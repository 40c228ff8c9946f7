"""Orientation: however the patches of a mesh are turned, they end up facing outward."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_geometry import box, flip, join, keep, lathe, moved, random_similarity, sphere, to_trimesh, torus

from shapeprior.geometry.cleaning import clean_mesh, orient_outward
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.transforms import Similarity

BALL = sphere(radius=0.9)
CLOSED = {
    "sphere": BALL,
    "box": box(extents=(1.0, 2.0, 0.5), center=(3.0, 0.0, 0.0)),
    "torus": torus(major=0.7, minor=0.2, sections=16),
    "overlapping": join(box(), box(extents=(2.0, 0.4, 0.4)), sphere(radius=0.4, center=(0.5, 0.5, 0.5))),
    "touching along an edge": join(box(), box(center=(1.0, 1.0, 0.0))),
}
# Open shapes and the point of each, beside which a face looks away from it.
CUT = sphere(radius=0.9, subdivisions=3)
OPEN = {
    "hemisphere": keep(CUT, CUT.corners.mean(axis=1)[:, 2] < 0.0),
    "holed sphere": keep(CUT, CUT.corners.mean(axis=1)[:, 2] < 0.8),
    "cylinder": lathe([(0.5, -0.7), (0.5, 0.7)]),
    "cup": lathe([(1e-9, -0.7), (0.6, -0.7), (0.6, 0.7)]),
    "box without lid": keep(box(), box().face_normals[:, 2] < 0.5),
}


def outward_share(mesh: TriangleMesh) -> float:
    """Share of faces that look away from the middle; 1 for the convex shapes here, if the orientation is right."""
    away = np.einsum("ij,ij->i", mesh.face_normals, mesh.corners.mean(axis=1) - mesh.bounds.mean(axis=0))
    return float(np.mean(away > 0.0))


@pytest.mark.parametrize("name", CLOSED)
@given(seed=st.integers(0, 2**32), share=st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]))
@settings(max_examples=10, deadline=None)
def test_closed_meshes_with_randomly_turned_faces(name: str, seed: int, share: float) -> None:
    mesh = CLOSED[name]
    turned = flip(mesh, np.random.default_rng(seed).random(len(mesh.faces)) < share)
    cleaned, report = clean_mesh(turned, name="a.obj")
    # The meshes were right to begin with, so each face must have its first winding back.
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
    # The first ball is inside out, the second is not; both closed, or both with a hole.
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
