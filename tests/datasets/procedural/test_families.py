"""All families: closed, in one piece, oriented, deterministic and varied."""

import functools
import hashlib
import importlib
import subprocess
import sys

import igl
import manifold3d
import numpy as np
import pytest
import trimesh
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from shapeprior.datasets.procedural import FAMILIES, synthesize
from shapeprior.datasets.procedural.solids import box, lathe, round_plan, to_mesh
from shapeprior.errors import ConfigError
from shapeprior.geometry.mesh import TriangleMesh

VESSELS = ["bowl", "can", "mug"]
BUILT_OF_PARTS = ["airplane", "camera"]
# The package has functions of the same names, so the modules are imported by their names.
BUILDERS = [
    entry[-1]
    for family in BUILT_OF_PARTS
    for entry in importlib.import_module(f"shapeprior.datasets.procedural.{family}").TYPES
]


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
    """Return the largest distance from the axis on the side where no mug has its handle."""
    away = mesh.vertices[mesh.vertices[:, 0] <= 0]
    return float(np.hypot(away[:, 0], away[:, 2]).max())


def check_solid(mesh: TriangleMesh) -> None:
    # trimesh welds vertices that share a position.
    peer = trimesh.Trimesh(mesh.vertices, mesh.faces)
    assert peer.is_watertight
    assert peer.is_winding_consistent
    assert peer.volume > 0
    assert len(peer.split(only_watertight=False)) == 1
    assert len(mesh.faces) <= 20_000
    assert mesh.bounds[0, 1] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bowl", "mug"])
def test_vessels_are_open_at_the_top_and_closed_at_the_bottom(family: str) -> None:
    for mesh in draws(family, 15):
        # The highest point on the side without a handle, since a mug's handle may rise above its rim.
        rim = mesh.vertices[mesh.vertices[:, 0] <= 0, 1].max()
        above_to_below_rim = np.column_stack([np.zeros(5), rim * np.linspace(1.1, 0.97, 5), np.zeros(5)])
        np.testing.assert_allclose(winding_number(mesh, above_to_below_rim), 0.0, atol=1e-6)
        column = np.column_stack([np.zeros(400), np.linspace(0, rim, 400), np.zeros(400)])
        assert winding_number(mesh, column).max() > 0.5


@pytest.mark.slow
def test_cans_are_solid_unless_opened() -> None:
    filled = []
    for mesh in draws("can", 40):
        center = np.array([[0.0, 0.55 * mesh.bounds[1, 1], 0.0]])
        filled.append(winding_number(mesh, center)[0] > 0.5)
    assert 0.75 <= np.mean(filled) < 1.0


@pytest.mark.slow
def test_mug_handles_point_towards_plus_x() -> None:
    with_handle = 0
    for mesh in draws("mug", 40):
        radius = np.hypot(mesh.vertices[:, 0], mesh.vertices[:, 2])
        outside = mesh.vertices[radius > 1.08 * body_radius(mesh)]
        assert np.all(outside[:, 0] > np.abs(outside[:, 2]))
        with_handle += len(outside) > 0
    assert with_handle >= 36


@pytest.mark.slow
@pytest.mark.parametrize("family", VESSELS)
def test_draws_differ_in_proportion(family: str) -> None:
    extents = np.array([np.ptp(mesh.bounds, axis=0) for mesh in draws(family, 40)])
    assert np.std(np.log(extents[:, 1] / extents[:, 2])) > 0.2
    assert np.std(np.log(extents[:, 1])) > 0.2


@pytest.mark.slow
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
    with pytest.raises(ConfigError, match="unknown family 'teapot'; expected one of airplane, bowl, camera, can, mug"):
        synthesize("teapot", seed=0, index=0)


def test_negative_seed_is_refused() -> None:
    with pytest.raises(ConfigError, match="seed -1 and index 0; expected 0 or more"):
        synthesize("mug", seed=-1, index=0)


def test_a_family_that_never_gives_a_solid_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    def torn(rng: np.random.Generator) -> TriangleMesh:
        mesh = to_mesh(lathe(box((0.0, 0.0), (1.0, 1.0)), round_plan(8)))
        return TriangleMesh(vertices=mesh.vertices, faces=mesh.faces[1:])

    monkeypatch.setitem(FAMILIES, "torn", torn)
    with pytest.raises(AssertionError, match="family 'torn' gave no valid solid"):
        synthesize("torn", seed=0, index=0)


# Families that are unions of overlapping parts.


def piece_count(mesh: TriangleMesh) -> int:
    edges = mesh.faces[:, [0, 1, 1, 2]].reshape(-1, 2)
    count = len(mesh.vertices)
    links = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    return int(connected_components(links, directed=False)[0])


def digest_of_family(family: str, count: int) -> str:
    total = hashlib.sha256()
    for seed in range(count):
        mesh = FAMILIES[family](np.random.default_rng(seed))
        total.update(mesh.vertices.tobytes() + mesh.faces.tobytes())
    return total.hexdigest()


@pytest.mark.parametrize("family", BUILT_OF_PARTS)
def test_every_draw_of_parts_is_a_single_closed_solid(family: str) -> None:
    for seed in range(8):
        mesh = FAMILIES[family](np.random.default_rng(seed))
        assert mesh.is_watertight
        assert mesh.volume > 0
        assert piece_count(mesh) == 1
        assert 500 < len(mesh.faces) < 20_000


@pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)
def test_every_part_of_every_type_is_solid_and_joined(build) -> None:
    for seed in range(2):
        parts = build(np.random.default_rng(100 + seed))
        assert all(part.status() == manifold3d.Error.NoError and part.volume() > 0 for part in parts)
        whole = manifold3d.Manifold.batch_boolean(parts, manifold3d.OpType.Add)
        # Sealed hollows count as pieces with a negative volume; nothing else may lie apart from the largest piece.
        assert sum(piece.volume() > 1e-12 for piece in whole.decompose()) == 1


@pytest.mark.parametrize("family", BUILT_OF_PARTS)
def test_seed_decides_the_shape(family: str) -> None:
    shapes = [FAMILIES[family](np.random.default_rng(seed)) for seed in (3, 3, 4)]
    assert shapes[0].vertices.tobytes() == shapes[1].vertices.tobytes()
    assert shapes[0].faces.tobytes() == shapes[1].faces.tobytes()
    assert shapes[0].vertices.tobytes() != shapes[2].vertices.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("family", BUILT_OF_PARTS)
def test_another_process_gives_the_same_bytes(family: str) -> None:
    code = (
        "import hashlib, numpy as np\n"
        f"from shapeprior.datasets.procedural import {family}\n"
        "total = hashlib.sha256()\n"
        "for seed in range(10):\n"
        f"    mesh = {family}(np.random.default_rng(seed))\n"
        "    total.update(mesh.vertices.tobytes() + mesh.faces.tobytes())\n"
        "import sys; sys.stdout.write(total.hexdigest())\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == digest_of_family(family, 10)
