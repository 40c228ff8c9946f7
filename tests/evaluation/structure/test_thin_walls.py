"""Plates with holes, displaced and thick plates, shells and sheets have the scores that their sizes give."""

import math

import numpy as np
import pytest
from helpers.plain_geometry import box, sphere
from manifold3d import Manifold

from shapeprior.evaluation.structure.thin_walls import REACH, ThinWalls, ThinWallScores
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.raycasting import RayScene
from shapeprior.sdf.signed_distance import SignedDistance

WIDTH, DEPTH, THICKNESS = 0.6, 0.45, 0.02


def surface(solid: Manifold) -> TriangleMesh:
    found = solid.to_mesh64()
    return TriangleMesh(np.array(found.vert_properties[:, :3]), np.array(found.tri_verts).astype(np.int64))


def plate(*, thickness: float = THICKNESS, shift: float = 0.0, hole: float = 0.0, shorter: float = 0.0) -> TriangleMesh:
    """A plate around the plane y = 0, moved along y, with a round hole through its middle."""
    solid = Manifold.cube((WIDTH - shorter, DEPTH - shorter, thickness), True)
    if hole:
        solid = solid - Manifold.cylinder(1.0, hole, hole, 96, True)
    return surface(solid.rotate((90, 0, 0)).translate((0.0, shift, 0.0)))


@pytest.fixture(scope="module")
def walls() -> ThinWalls:
    found = ThinWalls.of(SignedDistance(plate()))
    assert found is not None
    return found


def scores(walls: ThinWalls, predicted: TriangleMesh) -> ThinWallScores:
    return walls.scores(RayScene(predicted), SignedDistance(predicted).inside)


def test_the_faces_of_a_plate_are_thin_and_its_rim_is_not(walls: ThinWalls) -> None:
    faces, rim = 2 * WIDTH * DEPTH, 2 * (WIDTH + DEPTH) * THICKNESS
    assert walls.share == pytest.approx(faces / (faces + rim), abs=1e-6)
    assert walls.thickness == pytest.approx(THICKNESS, abs=1e-6)
    assert walls.middle[:, 1] == pytest.approx(0.0, abs=1e-6)
    assert walls.areas.sum() == pytest.approx(faces, rel=1e-6)


def test_the_plate_itself_is_perfect(walls: ThinWalls) -> None:
    found = scores(walls, plate())
    assert (found.covered, found.torn_border) == (1.0, 0.0)
    assert found.thickness == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("radius", [0.02, 0.05, 0.15])
def test_a_round_hole_has_its_area_and_its_circumference(walls: ThinWalls, radius: float) -> None:
    found = scores(walls, plate(hole=radius))
    area = math.pi * radius**2
    assert 1.0 - found.covered == pytest.approx(area / (WIDTH * DEPTH), rel=0.05)
    assert found.torn_border == pytest.approx(2 * math.pi * radius, rel=0.03)
    assert found.thickness == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("ratio", [0.5, 1.5, 3.0])
def test_thickness_is_a_ratio(walls: ThinWalls, ratio: float) -> None:
    found = scores(walls, plate(thickness=ratio * THICKNESS))
    assert found.thickness == pytest.approx(ratio, rel=1e-3)
    assert (found.covered, found.torn_border) == (1.0, 0.0)


def test_a_displaced_plate_counts_as_long_as_it_is_near(walls: ThinWalls) -> None:
    for shift in (0.5 * THICKNESS, THICKNESS, THICKNESS + REACH - 1e-3):
        for sign in (1, -1):
            found = scores(walls, plate(shift=sign * shift))
            assert (found.covered, found.torn_border) == (1.0, 0.0)
            assert found.thickness == pytest.approx(1.0, rel=1e-3)
    lost = scores(walls, plate(shift=THICKNESS + REACH + 1e-3))
    assert lost.covered == 0.0
    assert math.isnan(lost.thickness)
    assert math.isnan(lost.torn_border)


def test_a_rim_that_is_a_little_short_is_not_torn(walls: ThinWalls) -> None:
    found = scores(walls, plate(shorter=0.02))
    assert found.torn_border == 0.0
    assert found.covered == pytest.approx((WIDTH - 0.02) * (DEPTH - 0.02) / (WIDTH * DEPTH), abs=0.005)
    # A tenth off all around is a tear.
    assert scores(walls, plate(shorter=0.1)).torn_border == pytest.approx(2 * (WIDTH + DEPTH - 0.2), rel=0.03)


def test_a_solid_covers_a_wall_and_is_too_thick(walls: ThinWalls) -> None:
    found = scores(walls, surface(Manifold.cube((1.0, 1.0, 1.0), True)))
    assert (found.covered, found.torn_border) == (1.0, 0.0)
    assert found.thickness == pytest.approx(1.0 / THICKNESS, rel=1e-3)


def test_the_winding_of_the_prediction_does_not_matter(walls: ThinWalls) -> None:
    mesh = plate(hole=0.05, shift=0.015)
    flipped = TriangleMesh(mesh.vertices, mesh.faces[:, ::-1])
    inside = SignedDistance(mesh).inside
    assert walls.scores(RayScene(flipped), inside) == walls.scores(RayScene(mesh), inside)


@pytest.mark.slow
def test_a_shell_with_a_hole_at_its_pole() -> None:
    """A hollow ball, whose wall is thin everywhere, loses the cap that a round tool cuts off."""
    outer, wall, tool = 0.6, 0.03, 0.12
    ball = Manifold.sphere(outer, 128) - Manifold.sphere(outer - wall, 128)
    # A sealed void is inside for the sign, so that the shell needs an opening of its own, at the other pole.
    opening = Manifold.cylinder(1.0, 0.2, 0.2, 96).translate((0, 0, -1.0))
    true = ThinWalls.of(SignedDistance(surface(ball - opening)))
    assert true is not None
    assert true.share > 0.9
    assert np.median(true.thickness) == pytest.approx(wall, rel=0.02)
    found = scores(true, surface(ball - opening - Manifold.cylinder(1.0, tool, tool, 96)))
    assert found.torn_border == pytest.approx(2 * math.pi * tool, rel=0.05)
    caps = [2 * math.pi * outer**2 * (1 - math.sqrt(1 - (radius / outer) ** 2)) for radius in (tool, 0.2)]
    assert 1.0 - found.covered == pytest.approx(caps[0] / (4 * math.pi * outer**2 - caps[1]), rel=0.1)


def test_a_sheet_counts_as_its_plate() -> None:
    flat = box(extents=(WIDTH, 0.02, DEPTH))
    square = TriangleMesh(flat.vertices * [1, 0, 1], flat.faces[flat.face_normals[:, 1] > 0.5])
    distance = SignedDistance(square, sheet_half_thickness=THICKNESS / 2)
    found = ThinWalls.of(distance)
    assert found is not None
    assert found.share == pytest.approx(1.0)
    assert scores(found, plate(thickness=1.5 * THICKNESS)).thickness == pytest.approx(1.5, rel=1e-3)
    torn = scores(found, plate(hole=0.05))
    assert torn.torn_border == pytest.approx(2 * math.pi * 0.05, rel=0.03)
    assert 1.0 - torn.covered == pytest.approx(math.pi * 0.05**2 / (WIDTH * DEPTH), rel=0.05)


def test_solids_have_no_thin_walls() -> None:
    assert ThinWalls.of(SignedDistance(sphere(radius=0.5, subdivisions=3))) is None
    assert ThinWalls.of(SignedDistance(surface(Manifold.cube((0.5, 0.5, 0.05), True)))) is None
