"""The refined, creased surface keeps area, place and connection, and its edges are short."""

import numpy as np
import pytest
from helpers.plain_geometry import box, sphere

from shapeprior.evaluation.structure.true_surface import TrueSurface, unit_vertex_normals
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.proximity import FaceTree
from shapeprior.sdf.signed_distance import SignedDistance


@pytest.mark.parametrize("max_edge", [0.3, 0.07, 0.02])
def test_refinement_keeps_the_surface_closed_and_in_place(max_edge: float) -> None:
    coarse = TrueSurface.of(SignedDistance(box(extents=(1.1, 0.02, 0.7))))
    fine = coarse.refined(max_edge)
    assert fine.mesh.longest_edges.max() <= max_edge
    assert fine.mesh.is_watertight
    assert fine.mesh.face_areas.sum() == pytest.approx(coarse.mesh.face_areas.sum(), rel=1e-12)
    assert fine.mesh.volume == pytest.approx(1.1 * 0.02 * 0.7, rel=1e-12)
    assert FaceTree(coarse.mesh).distance(fine.mesh.vertices).max() < 1e-12
    # Halving only long edges leaves a narrow rim in few pieces: about 2 · area / (max_edge² / 4) faces in all.
    assert len(fine.mesh.faces) < 40 * fine.mesh.face_areas.sum() / max_edge**2 + 200


def test_creases_give_each_face_of_a_box_its_own_vertices() -> None:
    creased = TrueSurface.of(SignedDistance(box(extents=(0.8, 0.5, 0.3)))).refined(0.1).creased()
    normals = unit_vertex_normals(creased.mesh)
    assert np.abs(normals).max(axis=1) == pytest.approx(1.0)
    assert len(np.unique(creased.mesh.part_labels)) == 6
    # A sphere has no crease.
    ball = TrueSurface.of(SignedDistance(sphere(radius=0.5, subdivisions=3)))
    assert len(ball.creased().mesh.vertices) == len(ball.mesh.vertices)
    outward = ball.mesh.vertices / np.linalg.norm(ball.mesh.vertices, axis=1, keepdims=True)
    order = np.einsum("ij,ij->i", unit_vertex_normals(ball.mesh), outward)
    assert order.min() > 0.999


@pytest.mark.parametrize("inside_out", [False, True])
def test_normals_point_out_and_sheets_are_told_from_skin(inside_out: bool) -> None:
    ball = sphere(radius=0.3, subdivisions=2)
    square = np.array([[0.6, -0.3, -0.3], [0.6, 0.3, -0.3], [0.6, 0.3, 0.3], [0.6, -0.3, 0.3]])
    skin = ball.faces[:, ::-1] if inside_out else ball.faces
    sheet = np.array([[0, 1, 2], [0, 2, 3]]) + len(ball.vertices)
    surface = TrueSurface.of(
        SignedDistance(TriangleMesh(np.concatenate([ball.vertices, square]), np.concatenate([skin, sheet])))
    )
    assert surface.mesh.face_areas[surface.sheet].sum() == pytest.approx(0.36)
    assert surface.restricted(~surface.sheet).mesh.volume == pytest.approx(ball.volume)
