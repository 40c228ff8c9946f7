"""Sections, plans and the lathe against analytic areas and volumes."""

import numpy as np
import pytest

from shapeprior.datasets.procedural.solids import box, lathe, polygon_plan, rectangle_plan, round_plan, section, shell


def test_lathe_makes_prisms_of_known_volume() -> None:
    block = box((0.0, 0.0), (1.0, 2.0))
    hexagon = 6 * np.tan(np.pi / 6)
    assert lathe(block, polygon_plan(6)).volume() == pytest.approx(2 * hexagon, rel=1e-6)
    circle = 0.5 * 64 * np.sin(2 * np.pi / 64)
    assert lathe(block, round_plan(64)).volume() == pytest.approx(2 * circle, rel=1e-6)
    rounded = 4 * 1.0 * 0.6 - (4 - np.pi) * 0.3**2
    assert lathe(block, rectangle_plan(0.6, corner=0.3)).volume() == pytest.approx(2 * rounded, rel=3e-3)


def test_rectangle_plan_keeps_the_wall_thickness() -> None:
    plan = rectangle_plan(0.6, corner=0.3)
    assert plan.reach(1.0) == pytest.approx(1.0)
    assert plan.reach(0.9) == pytest.approx(0.9)
    assert np.abs(plan.outline(0.9)[:, 1]).max() == pytest.approx(0.5)


def test_shell_of_a_cylinder_has_the_asked_thicknesses() -> None:
    path = np.column_stack([np.ones(3), np.linspace(0, 2, 3)])
    tube = lathe(shell(path, wall=0.1, floor=0.25, level=1.0, fillet=0.0).wall, round_plan(64))
    circle = 0.5 * 64 * np.sin(2 * np.pi / 64)
    assert tube.volume() == pytest.approx(circle * (2 - 0.9**2 * 1.75), rel=1e-3)
    assert tube.bounding_box()[4] == pytest.approx(2.0, abs=1e-6)


def test_section_is_mirrored_at_the_axis() -> None:
    cone = section(np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert cone.area() == pytest.approx(1.0)
    assert cone.bounds() == pytest.approx((-1.0, 0.0, 1.0, 1.0))
