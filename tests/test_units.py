"""Units by name and by number, and what a format fixes."""

import pytest

from shapeprior.datasets.mesh_source import file_unit, file_up_axis, parse_unit
from shapeprior.errors import ConfigError
from shapeprior.io.meshes import MESH_SUFFIXES


@pytest.mark.parametrize(
    ("text", "metres"),
    [
        ("m", 1.0),
        ("cm", 0.01),
        (" MM ", 0.001),
        ("in", 0.0254),
        ("ft", 12 * 0.0254),
        ("0.5", 0.5),
        (2, 2.0),
        (1e-3, 0.001),
    ],
)
def test_units_are_metres(text: str | float, metres: float) -> None:
    assert parse_unit(text) == pytest.approx(metres, rel=1e-15)


@pytest.mark.parametrize("text", ["", "parsec", "0", "-1", "nan", "inf", "1e999", "1 m", "True", "mmm"])
def test_other_units_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected one of m, cm, mm, in, ft, or the metres in one unit") as caught:
        parse_unit(text)
    assert repr(text) in str(caught.value)


def test_only_glb_fixes_its_axis_and_unit() -> None:
    fixed = {suffix: (file_up_axis(f"a{suffix}"), file_unit(f"a{suffix}")) for suffix in MESH_SUFFIXES}
    assert fixed.pop(".glb") == ("y", 1.0)
    assert set(fixed.values()) == {(None, None)}
    assert (file_up_axis("A.GLB"), file_unit("A.GLB")) == ("y", 1.0)
