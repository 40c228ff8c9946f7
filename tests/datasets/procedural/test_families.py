"""The parametric families of vessels: closed, single, oriented, deterministic and varied."""

import functools
import hashlib
import subprocess
import sys

import igl
import numpy as np
import pytest
import trimesh

from shapeprior.datasets.procedural import FAMILIES, synthesize
from shapeprior.datasets.procedural.solids import (
    box,
    lathe,
    polygon_plan,
    rectangle_plan,
    round_plan,
    section,
    shell,
    sweep,
    to_mesh,
)
from shapeprior.errors import ConfigError
from shapeprior.geometry.mesh import TriangleMesh

VESSELS = ["bowl", "can", "mug"]


@functools.cache
def draw(family: str, index: int) -> TriangleMesh:
    return synthesize(family, seed=5, index=index)


def draws(family: str, count: int) -> list[TriangleMesh]:
    return [draw(family, index) for index in range(count)]


def winding_number(mesh: TriangleMesh, points: np.ndarray) -> np.ndarray:
    return igl.winding_number(mesh.vertices, mesh.faces, points)


def digest(mesh: TriangleMesh) -> str:
    return hashlib.sha256(mesh.vertices.tobytes() + mesh.faces.tobytes()).hexdigest()


def body_radius(mesh: TriangleMesh) -> float:
    """Largest distance from the axis on the side where no mug has its handle."""
    away = mesh.vertices[mesh.vertices[:, 0] <= 0]
    return float(np.hypot(away[:, 0], away[:, 2]).max())


def check_solid(mesh: TriangleMesh) -> None:
    peer = trimesh.Trimesh(mesh.vertices, mesh.faces)  # Welds vertices that share a position.
    assert peer.is_watertight
    assert peer.is_winding_consistent
    assert peer.volume > 0
    assert len(peer.split(only_watertight=False)) == 1
    assert len(mesh.faces) <= 20_000
    assert mesh.bounds[0, 1] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("family", VESSELS)
def test_draws_are_single_closed_solids(family: str) -> None:
    for mesh in draws(family, 12):
        check_solid(mesh)


@pytest.mark.slow
@pytest.mark.parametrize("family", VESSELS)
def test_many_draws_are_single_closed_solids(family: str) -> None:
    for mesh in draws(family, 200):
        check_solid(mesh)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bowl", "mug"])
def test_many_vessels_have_a_floor_under_an_open_rim(family: str) -> None:
    for mesh in draws(family, 200):
        bottom, top = mesh.bounds[:, 1]
        column = np.column_stack([np.zeros(100), np.linspace(bottom, top, 100), np.zeros(100)])
        inside = winding_number(mesh, column) > 0.5
        assert inside.any()
        assert not inside[-5:].any()


@pytest.mark.parametrize("family", ["bowl", "mug"])
def test_vessels_are_open_at_the_top_and_closed_at_the_bottom(family: str) -> None:
    for mesh in draws(family, 15):
        # The rim, not a mug's handle, which may rise above it.
        rim = mesh.vertices[mesh.vertices[:, 0] <= 0, 1].max()
        above_to_below_rim = np.column_stack([np.zeros(5), rim * np.linspace(1.1, 0.97, 5), np.zeros(5)])
        np.testing.assert_allclose(winding_number(mesh, above_to_below_rim), 0.0, atol=1e-6)
        column = np.column_stack([np.zeros(400), np.linspace(0, rim, 400), np.zeros(400)])
        assert winding_number(mesh, column).max() > 0.5


def test_cans_are_solid_unless_opened() -> None:
    filled = []
    for mesh in draws("can", 40):
        center = np.array([[0.0, 0.55 * mesh.bounds[1, 1], 0.0]])
        filled.append(winding_number(mesh, center)[0] > 0.5)
    assert 0.75 <= np.mean(filled) < 1.0


def test_mug_handles_point_towards_plus_x() -> None:
    with_handle = 0
    for mesh in draws("mug", 40):
        radius = np.hypot(mesh.vertices[:, 0], mesh.vertices[:, 2])
        outside = mesh.vertices[radius > 1.08 * body_radius(mesh)]
        assert np.all(outside[:, 0] > np.abs(outside[:, 2]))
        with_handle += len(outside) > 0
    assert with_handle >= 36


@pytest.mark.parametrize("family", VESSELS)
def test_draws_differ_in_proportion(family: str) -> None:
    extents = np.array([np.ptp(mesh.bounds, axis=0) for mesh in draws(family, 40)])
    assert np.std(np.log(extents[:, 1] / extents[:, 2])) > 0.2
    assert np.std(np.log(extents[:, 1])) > 0.2


@pytest.mark.parametrize("family", VESSELS)
def test_same_seed_and_index_give_the_same_bytes_in_another_process(family: str) -> None:
    code = (
        "import hashlib; from shapeprior.datasets.procedural import synthesize;"
        f"m = [synthesize('{family}', seed=3, index=i) for i in (9, 4)];"
        "print(*[hashlib.sha256(x.vertices.tobytes() + x.faces.tobytes()).hexdigest() for x in m])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = [digest(synthesize(family, seed=3, index=i)) for i in (4, 9)]
    assert run.stdout.split() == here[::-1]
    assert here[0] != here[1]
    assert digest(synthesize(family, seed=4, index=4)) != here[0]


def test_unknown_family_names_those_that_exist() -> None:
    with pytest.raises(ConfigError, match="unknown family 'teapot'; there are airplane, bowl, camera, can, mug"):
        synthesize("teapot", seed=0, index=0)


def test_negative_seed_is_refused() -> None:
    with pytest.raises(ConfigError, match="got seed -1 and index 0"):
        synthesize("mug", seed=-1, index=0)


def test_a_family_that_never_gives_a_solid_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    def torn(rng: np.random.Generator) -> TriangleMesh:
        mesh = to_mesh(lathe(box((0.0, 0.0), (1.0, 1.0)), round_plan(8)))
        return TriangleMesh(vertices=mesh.vertices, faces=mesh.faces[1:])

    monkeypatch.setitem(FAMILIES, "torn", torn)
    with pytest.raises(AssertionError, match="family 'torn' gave no valid solid"):
        synthesize("torn", seed=0, index=0)


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


def test_straight_sweep_is_a_cylinder_of_known_volume() -> None:
    path = np.column_stack([np.linspace(0, 3, 10), np.zeros(10)])
    bar = sweep(path, thickness=np.full(10, 0.2), width=np.full(10, 0.4), exponent=2.0, sides=64)
    assert bar.volume() == pytest.approx(3 * 0.2 * 0.4 * 0.5 * 64 * np.sin(2 * np.pi / 64), rel=1e-6)


def test_sharp_bend_is_smoothed_until_it_no_longer_folds() -> None:
    path = np.concatenate([np.column_stack([t, 0 * t]) for t in [np.linspace(0, 1, 20)]])
    path = np.concatenate([path, np.column_stack([np.linspace(0.95, 0, 20), np.linspace(0.01, 0.2, 20)])])
    bar = sweep(path, thickness=np.full(40, 0.1), width=np.full(40, 0.1), exponent=2.0)
    apart = bar.decompose()
    assert len(apart) == 1
    assert to_mesh(bar).is_watertight
    assert bar.volume() > 0


def test_section_is_mirrored_at_the_axis() -> None:
    cone = section(np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert cone.area() == pytest.approx(1.0)
    assert cone.bounds() == pytest.approx((-1.0, 0.0, 1.0, 1.0))
