"""Slices of a field, against the analytic distance of a ball."""

import numpy as np
import pytest
from plain_geometry import box, sphere, sphere_sdf

from shapeprior.sdf.signed_distance import SignedDistance
from shapeprior.visualization.inspection import draw_slice, slice_field

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
