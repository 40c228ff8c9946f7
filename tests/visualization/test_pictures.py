"""Panels in rows: sizes, titles, a shared camera, and files."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from shapeprior.errors import OutputError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.visualization.pictures import Panel, comparison_picture, contact_sheet, save_picture
from shapeprior.visualization.render import View

SOURCE = trimesh.creation.icosphere(subdivisions=2, radius=0.5)
BALL = TriangleMesh(
    vertices=np.asarray(SOURCE.vertices, dtype=np.float64), faces=np.asarray(SOURCE.faces, dtype=np.int64)
)
VIEW = View(width=120, height=100, samples=1)
DOT = np.array([[0.4, 0.3, 0.1]])


def test_panels_stand_side_by_side_under_their_titles() -> None:
    plain = comparison_picture([Panel(mesh=BALL), Panel(points=DOT)], view=VIEW)
    titled = comparison_picture([Panel(title="true", mesh=BALL), Panel(points=DOT)], view=VIEW)
    assert plain.size == (240, 100)
    strip = titled.size[1] - 100
    assert titled.size[0] == 240
    assert strip > 8
    pixels = np.asarray(titled)
    np.testing.assert_array_equal(pixels[strip:], np.asarray(plain))
    inked = np.argwhere(np.any(pixels[:strip] != pixels[0, 0], axis=2))
    assert len(inked) > 10
    # Centred over the first panel, clear of the edges.
    assert inked[:, 1].mean() == pytest.approx(60, abs=4)
    assert inked[:, 0].min() > 0
    assert inked[:, 0].max() < strip - 1


def test_long_titles_stay_inside_their_panel() -> None:
    title = "completion of a very long name, which does not fit"
    pixels = np.asarray(comparison_picture([Panel(title=title, points=DOT), Panel(points=DOT)], view=VIEW))
    strip = pixels.shape[0] - 100
    assert not np.any(pixels[:strip, 120:] != pixels[0, -1])


def test_panels_share_one_camera() -> None:
    far = Panel(points=np.array([[-0.9, -0.6, 0.2]]), point_color=(0.1, 0.1, 0.9))
    pixels = np.asarray(comparison_picture([Panel(points=DOT), Panel(points=DOT), far]), dtype=np.int64)
    width = pixels.shape[1] // 3
    np.testing.assert_array_equal(pixels[:, :width], pixels[:, width : 2 * width])
    # The fitted view also holds the third panel's point, which is left of the first panel's.
    orange = np.argwhere(pixels[:, :width, 0] - pixels[:, :width, 2] > 80)
    blue = np.argwhere(pixels[:, 2 * width :, 2] - pixels[:, 2 * width :, 0] > 80)
    assert len(orange) > 0
    assert len(blue) > 0
    assert blue[:, 1].max() < orange[:, 1].min()


def test_a_sheet_has_a_row_for_each_list() -> None:
    rows = [[Panel(mesh=BALL), Panel(points=DOT)], [Panel(mesh=BALL)]]
    sheet = contact_sheet(rows, view=VIEW)
    assert sheet.size == (240, 200)
    pixels = np.asarray(sheet)
    np.testing.assert_array_equal(pixels[:100, :120], pixels[100:, :120])
    assert (pixels[100:, 120:] == pixels[0, 0]).all()


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="'empty' shows nothing"):
        Panel(title="empty")
    with pytest.raises(ValueError, match="at least one panel"):
        contact_sheet([[]])
    with pytest.raises(ValueError, match="without any face or point"):
        comparison_picture([Panel(points=np.zeros((0, 3)))])


def test_pictures_are_saved_whole_and_read_back(tmp_path: Path) -> None:
    picture = comparison_picture([Panel(mesh=BALL)], view=VIEW)
    path = save_picture(tmp_path / "new" / "ball.png", picture)
    with Image.open(path) as read:
        np.testing.assert_array_equal(np.asarray(read), np.asarray(picture))
    first = path.read_bytes()
    assert save_picture(path, comparison_picture([Panel(mesh=BALL)], view=VIEW)).read_bytes() == first
    assert [entry.name for entry in path.parent.iterdir()] == ["ball.png"]


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    picture = Image.new("RGB", (4, 4))
    with pytest.raises(OutputError, match=r"ball\.bmp: suffix '\.bmp'; expected \.png"):
        save_picture(tmp_path / "ball.bmp", picture)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"ball\.png"):
        save_picture(tmp_path / "file" / "ball.png", picture)
