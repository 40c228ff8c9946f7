"""Inspection of a mesh: counts, the picture, and slices of a field against a ball's analytic distance."""

from pathlib import Path

import numpy as np
import pytest
from helpers.plain_geometry import box, join, keep, lathe, sphere, sphere_sdf

from shapeprior.errors import MeshError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.io.meshes import save_mesh
from shapeprior.sdf.signed_distance import SignedDistance
from shapeprior.visualization.inspection import PANEL, count_holes, draw_slice, inspect_mesh, slice_field


@pytest.mark.parametrize(
    ("mesh", "holes"),
    [
        (sphere(), 0),
        (keep(sphere(), np.arange(320) > 0), 1),
        (keep(sphere(), np.abs(sphere().corners.mean(axis=1)[:, 2]) < 0.6), 2),
        (join(*(keep(box(center=(2.0 * i, 0, 0)), np.arange(12) > 1) for i in range(3))), 3),
    ],
    ids=["ball", "missing face", "ring", "three open boxes"],
)
def test_holes_are_counted(mesh: TriangleMesh, holes: int) -> None:
    assert count_holes(mesh) == holes


@pytest.mark.slow
def test_figures_and_picture_of_a_cup(tmp_path: Path) -> None:
    cup = lathe([(0.0, -0.7), (0.5, -0.7), (0.5, 0.7), (0.4, 0.7), (0.4, -0.6), (0.0, -0.6)])
    upright = TriangleMesh(100.0 * cup.vertices, cup.faces)
    found = inspect_mesh(save_mesh(tmp_path / "cup.ply", upright), up="z")
    assert found.figures["parts"] == 1
    assert found.figures["holes"] == 0
    assert found.figures["closed"] == "yes"
    assert found.figures["confidence"] == 1.0
    # The farthest points are on the rim's circle, not in the box's corners.
    assert found.figures["diameter"] == pytest.approx(200.0 * np.hypot(0.5, 0.7), rel=0.01)
    pixels = np.asarray(found.picture).astype(int)
    front = pixels[-PANEL:, PANEL : 2 * PANEL]
    blue = front[..., 2] > front[..., 0] + 40
    # The wall on both sides of the cavity is blue, the cavity is not.
    assert blue[PANEL // 2, : PANEL // 2].any()
    assert blue[PANEL // 2, PANEL // 2 :].any()
    assert not blue[PANEL // 2, PANEL // 2]


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text("v 0 0 0\n")
    with pytest.raises(MeshError, match=r"a\.obj"):
        inspect_mesh(tmp_path / "a.obj")


BALL = SignedDistance(sphere(radius=0.6, subdivisions=4))


@pytest.mark.parametrize(("plane", "through"), [("front", 2), ("side", 0), ("top", 1)])
def test_a_slice_is_the_field_on_its_plane(plane: str, through: int) -> None:
    sdf, points = slice_field(BALL, plane, at=0.2, size=32)  # pyright: ignore[reportArgumentType]
    np.testing.assert_array_equal(points[..., through], 0.2)
    np.testing.assert_allclose(sdf, sphere_sdf(points.reshape(-1, 3), radius=0.6).reshape(32, 32), atol=0.003)


def test_up_is_up_and_right_is_right() -> None:
    tall = SignedDistance(box(extents=(0.4, 1.2, 0.4), center=(0.5, 0.2, 0.0)))
    sdf, points = slice_field(tall, "front", at=0.0, size=40)
    rows, columns = np.nonzero(sdf < 0.0)
    assert columns.mean() == pytest.approx(0.75 * 40 - 0.5)
    assert rows.mean() == pytest.approx(0.4 * 40 - 0.5)
    assert points[0, 0, 1] > points[-1, 0, 1]


def test_inside_and_outside_have_their_colours_and_the_surface_is_dark() -> None:
    sdf, _ = slice_field(BALL, "front", at=0.0, size=200)
    red, _, blue = np.moveaxis(draw_slice(sdf).astype(int), 2, 0)
    clear = np.abs(sdf) > 0.03
    assert (blue > red)[clear & (sdf < 0.0)].all()
    assert (red > blue)[clear & (sdf > 0.0)].all()
    assert draw_slice(sdf)[np.abs(sdf) < 0.002].max() < 90
