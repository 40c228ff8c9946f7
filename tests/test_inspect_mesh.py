"""Inspection of a mesh: counts that can be told by hand, and a picture with both sides in it."""

from pathlib import Path

import numpy as np
import pytest
from plain_geometry import box, join, keep, lathe, sphere

from shapeprior.errors import MeshError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.io.meshes import save_mesh
from shapeprior.visualization.inspection import PANEL, count_holes, inspect_mesh


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


def test_figures_and_picture_of_a_cup(tmp_path: Path) -> None:
    cup = lathe([(0.0, -0.7), (0.5, -0.7), (0.5, 0.7), (0.4, 0.7), (0.4, -0.6), (0.0, -0.6)])
    upright = TriangleMesh(100.0 * cup.vertices, cup.faces)
    found = inspect_mesh(save_mesh(tmp_path / "cup.ply", upright), up="z")
    assert found.figures["parts"] == 1
    assert found.figures["holes"] == 0
    assert found.figures["closed"] == "yes"
    assert found.figures["confidence"] == 1.0
    # Half the box's diagonal reaches the farthest corner only in a box; the rim's circle is farthest here.
    assert found.figures["diameter"] == pytest.approx(200.0 * np.hypot(0.5, 0.7), rel=0.01)
    pixels = np.asarray(found.picture).astype(int)
    front = pixels[-PANEL:, PANEL : 2 * PANEL]
    blue = front[..., 2] > front[..., 0] + 40
    # The wall is blue on both sides of the cavity, which is not.
    assert blue[PANEL // 2, : PANEL // 2].any()
    assert blue[PANEL // 2, PANEL // 2 :].any()
    assert not blue[PANEL // 2, PANEL // 2]


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text("v 0 0 0\n")
    with pytest.raises(MeshError, match=r"a\.obj"):
        inspect_mesh(tmp_path / "a.obj")
