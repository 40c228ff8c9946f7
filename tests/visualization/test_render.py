"""Rendered meshes and points, against projections worked out by hand."""

import numpy as np
import pytest
import trimesh
from scipy.ndimage import binary_erosion

from shapeprior.errors import ConfigError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.scans.simulation import view_direction
from shapeprior.visualization.render import BACKGROUND, View, render_mesh, render_points

PAPER = np.round(255 * np.array(BACKGROUND)).astype(np.uint8)
SMALL = View(width=96, height=96)
RED, BLUE = (0.9, 0.1, 0.1), (0.1, 0.1, 0.9)


def ball(radius: float, center: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> TriangleMesh:
    source = trimesh.creation.icosphere(subdivisions=5, radius=radius)
    return TriangleMesh(
        vertices=np.asarray(source.vertices, dtype=np.float64) + np.array(center),
        faces=np.asarray(source.faces, dtype=np.int64),
    )


def drawn(picture: np.ndarray) -> np.ndarray:
    return np.any(picture != PAPER, axis=2)


def middle_of(mask: np.ndarray) -> np.ndarray:
    """Mean column and row of the marked pixels."""
    return np.argwhere(mask)[:, ::-1].mean(axis=0)


@pytest.mark.parametrize(("width", "height"), [(96, 96), (120, 64)])
@pytest.mark.parametrize("radius", [0.3, 0.6])
def test_silhouette_of_a_sphere(width: int, height: int, radius: float) -> None:
    view = View(width=width, height=height, samples=1, azimuth_deg=130.0, elevation_deg=-10.0, distance=3.0)
    mask = drawn(render_mesh(ball(radius), view=view))
    # The unit sphere spans asin(1/3) to each side and touches the left and the right edge; this one is inside it.
    edge = np.tan(np.arcsin(radius / 3.0)) / np.tan(np.arcsin(1.0 / 3.0)) * width / 2
    row, column = np.indices((height, width))
    distance = np.hypot(column - (width - 1) / 2, row - (height - 1) / 2)
    assert mask[distance < edge - 1].all()
    assert not mask[distance > edge + 1].any()


def test_more_samples_soften_edges_only() -> None:
    coarse = render_mesh(ball(0.6), view=View(width=96, height=96, samples=1))
    fine = render_mesh(ball(0.6), view=View(width=96, height=96, samples=3))
    assert len(np.unique(fine[drawn(fine)], axis=0)) > len(np.unique(coarse[drawn(coarse)], axis=0))
    assert abs(int(drawn(fine).sum()) - int(drawn(coarse).sum())) < 4 * 96


def test_up_is_up_and_azimuth_0_has_x_to_the_right() -> None:
    view = View(width=96, height=96, azimuth_deg=0.0, elevation_deg=0.0)
    raised = middle_of(drawn(render_mesh(ball(0.1, (0.0, 0.6, 0.0)), view=view)))
    right = middle_of(drawn(render_mesh(ball(0.1, (0.6, 0.0, 0.0)), view=view)))
    assert raised[1] < 30
    assert raised[0] == pytest.approx(47.5, abs=0.5)
    assert right[0] > 66
    assert right[1] == pytest.approx(47.5, abs=0.5)


def test_the_same_call_gives_the_same_bytes() -> None:
    view = SMALL.fitted(ball(0.4).vertices)
    points = np.random.default_rng(0).normal(scale=0.4, size=(200, 3))
    for draw in (
        lambda: render_mesh(ball(0.4), view=view, points=points),
        lambda: render_points(points, view=view),
    ):
        assert draw().tobytes() == draw().tobytes()


def test_points_are_discs_at_their_projections() -> None:
    view = View(width=200, height=200, samples=2, azimuth_deg=20.0, elevation_deg=30.0)
    point = np.array([[0.3, -0.2, 0.4]])
    camera, T_unit_camera = view.camera(samples=1)
    point_camera = T_unit_camera.inverse().apply(point)
    expected = camera.project(point_camera)[0]
    mask = drawn(render_points(point, view=view, color=RED, radius=0.1))
    np.testing.assert_allclose(middle_of(mask), expected, atol=0.5)
    radius = camera.fx * 0.1 / point_camera[0, 2]
    assert np.pi * (radius - 0.5) ** 2 < mask.sum() < np.pi * (radius + 1.5) ** 2


def test_nearer_points_hide_farther_ones_in_any_order() -> None:
    toward = view_direction(azimuth_deg=SMALL.azimuth_deg, elevation_deg=SMALL.elevation_deg)
    pair = np.stack([0.5 * toward, -0.5 * toward])
    front = render_points(pair[:1], view=SMALL, color=None, radius=0.1)
    both = render_points(pair, view=SMALL, color=None, radius=0.1)
    np.testing.assert_array_equal(both, render_points(pair[::-1], view=SMALL, color=None, radius=0.1))
    covered = drawn(front)
    np.testing.assert_array_equal(both[covered], front[covered])
    # By depth, near is warm and far is cold.
    back = render_points(pair[1:], view=SMALL, color=None, radius=0.1)
    red, _, blue = front[48, 48].astype(int)
    assert red > blue
    red, _, blue = back[48, 48].astype(int)
    assert blue > red


def test_points_behind_a_mesh_are_hidden_and_those_in_front_are_not() -> None:
    toward = view_direction(azimuth_deg=SMALL.azimuth_deg, elevation_deg=SMALL.elevation_deg)
    mesh = ball(0.5)
    plain = render_mesh(mesh, view=SMALL)
    hidden = render_mesh(mesh, view=SMALL, points=-0.7 * toward[None], point_radius=0.05, point_color=RED)
    shown = render_mesh(mesh, view=SMALL, points=0.5 * toward[None], point_radius=0.05, point_color=RED)
    np.testing.assert_array_equal(hidden, plain)
    changed = np.any(shown != plain, axis=2)
    np.testing.assert_allclose(middle_of(changed), 47.5, atol=0.5)
    assert shown[48, 48, 0] > 2 * shown[48, 48, 2]


def test_many_points_are_drawn_in_batches_without_a_trace() -> None:
    points = np.random.default_rng(1).uniform(-0.5, 0.5, size=(2500, 3))
    together = render_points(points, view=SMALL, color=BLUE, radius=0.02)
    np.testing.assert_array_equal(together, render_points(points[::-1], view=SMALL, color=BLUE, radius=0.02))


def test_no_points_and_no_faces_leave_the_paper_blank() -> None:
    view = View(width=40, height=24, ground=-0.5)
    empty = TriangleMesh(vertices=np.zeros((0, 3)), faces=np.zeros((0, 3), dtype=np.int64))
    for picture in (render_points(np.zeros((0, 3)), view=view), render_mesh(empty, view=view)):
        assert picture.shape == (24, 40, 3)
        assert not drawn(picture).any()


def test_points_behind_the_viewer_are_left_out() -> None:
    toward = view_direction(azimuth_deg=SMALL.azimuth_deg, elevation_deg=SMALL.elevation_deg)
    assert not drawn(render_points(6.0 * toward[None], view=SMALL, color=RED)).any()


def test_the_ground_has_a_shadow_under_the_shape() -> None:
    mesh = ball(0.3)
    view = View(width=160, height=160, ground=-0.3)
    plain, grounded = (render_mesh(mesh, view=each) for each in (View(width=160, height=160), view))
    shape = drawn(plain)
    interior = binary_erosion(shape, iterations=2)
    np.testing.assert_array_equal(grounded[interior], plain[interior])
    shadow = np.where(shape, 0, PAPER[0] - grounded[:, :, 0].astype(int))
    assert shadow.max() > 20
    assert middle_of(shadow > 10)[1] > middle_of(shape)[1]
    edges = np.concatenate([grounded[0], grounded[-1], grounded[:, 0], grounded[:, -1]]).astype(int)
    assert np.abs(edges - PAPER).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("size", [(300, 300), (300, 180)])
def test_a_fitted_view_is_filled_to_its_border(size: tuple[int, int]) -> None:
    mesh = ball(0.2, (0.3, 0.4, -0.2))
    view = View(width=size[0], height=size[1]).fitted(mesh.vertices, border=0.1)
    rows, columns = np.nonzero(drawn(render_mesh(mesh, view=View(**{**vars(view), "ground": None}))))
    assert view.ground == pytest.approx(0.2)
    assert rows.min() + rows.max() == pytest.approx(view.height - 1, abs=2)
    assert columns.min() + columns.max() == pytest.approx(view.width - 1, abs=2)
    assert rows.max() - rows.min() == pytest.approx(view.height / 1.2, abs=3)


def test_a_fitted_view_of_something_flat_is_lower() -> None:
    flat = ball(0.9).vertices * [1.0, 0.02, 1.0]
    view = View(width=200, height=200, elevation_deg=5.0).fitted(flat)
    assert view.height == 100


@pytest.mark.parametrize("settings", [{"width": 0}, {"height": 0}, {"samples": 0}])
def test_pictures_without_pixels_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="at least 1 pixel and 1 sample"):
        View(**settings)  # pyright: ignore[reportArgumentType]


def test_paint_gives_each_place_its_colour() -> None:
    mesh, view = ball(0.8), View(width=40, height=40, samples=1, azimuth_deg=0.0)
    plain = render_mesh(mesh, view=view, color=(0.9, 0.2, 0.1))
    same = render_mesh(mesh, view=view, color=lambda points: np.tile((0.9, 0.2, 0.1), (len(points), 1)))
    assert np.array_equal(plain, same)
    # Seen from +z, +x is to the right: red there, blue on the left.
    halves = render_mesh(
        mesh,
        view=view,
        color=lambda points: np.where(points[:, :1] > 0, np.array([[0.9, 0.1, 0.1]]), np.array([[0.1, 0.1, 0.9]])),
    )
    left, right = halves[20, 10].astype(int), halves[20, 30].astype(int)
    assert right[0] > 2 * right[2]
    assert left[2] > 2 * left[0]
