"""The airplane and camera families, and the lofts they are made of, against analytic volumes and plain invariants."""

import hashlib
import importlib
import subprocess
import sys

import manifold3d
import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from shapeprior.datasets.procedural import lofts
from shapeprior.datasets.procedural.solids import to_mesh
from shapeprior.geometry.mesh import TriangleMesh

# The package exports functions of the same names, so the modules are asked for by name.
airplanes = importlib.import_module("shapeprior.datasets.procedural.airplane")
cameras = importlib.import_module("shapeprior.datasets.procedural.camera")
FAMILIES = {"airplane": airplanes.airplane, "camera": cameras.camera}
BUILDERS = [entry[-1] for entry in (*airplanes.TYPES, *cameras.TYPES)]


def piece_count(mesh: TriangleMesh) -> int:
    edges = mesh.faces[:, [0, 1, 1, 2]].reshape(-1, 2)
    count = len(mesh.vertices)
    links = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    return int(connected_components(links, directed=False)[0])


def digest(family: str, count: int) -> str:
    total = hashlib.sha256()
    for seed in range(count):
        mesh = FAMILIES[family](np.random.default_rng(seed))
        total.update(mesh.vertices.tobytes() + mesh.faces.tobytes())
    return total.hexdigest()


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_draws_are_single_closed_solids(family: str) -> None:
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


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_seed_decides_the_shape(family: str) -> None:
    shapes = [FAMILIES[family](np.random.default_rng(seed)) for seed in (3, 3, 4)]
    assert shapes[0].vertices.tobytes() == shapes[1].vertices.tobytes()
    assert shapes[0].faces.tobytes() == shapes[1].faces.tobytes()
    assert shapes[0].vertices.tobytes() != shapes[2].vertices.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(FAMILIES))
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
    assert answer.stdout == digest(family, 10)


@pytest.mark.parametrize("entry", airplanes.TYPES, ids=lambda entry: entry[-1].__name__)
def test_airplanes_are_mirror_symmetric(entry) -> None:
    whole = lofts.unite(entry[-1](np.random.default_rng(5)))
    mirrored = whole.mirror((0.0, 0.0, 1.0))
    assert (whole - mirrored).volume() < 1e-4 * whole.volume()


def test_airplanes_face_minus_x_with_the_fin_up() -> None:
    for seed in range(12):
        mesh = airplanes.airplane(np.random.default_rng(seed))
        (x_low, _, z_low), (x_high, y_high, z_high) = mesh.bounds
        length, span = x_high - x_low, z_high - z_low
        assert 0.45 < span / length < 3.0
        # The highest point of all but biplanes and parasol wings is the tail's, in the back third.
        highest = mesh.vertices[mesh.vertices[:, 1] > y_high - 1e-3 * length, 0].mean()
        wing_top = np.abs(mesh.vertices[mesh.vertices[:, 1] > y_high - 1e-3 * length, 2]).max() > 0.3 * span
        assert highest > x_low + 0.5 * length or wing_top


def test_camera_lenses_point_forward() -> None:
    for _, build in cameras.TYPES:
        for seed in range(2):
            solid = lofts.unite(build(np.random.default_rng(seed)))
            mesh = to_mesh(solid)
            (x_low, _, _), (x_high, _, z_high) = mesh.bounds
            front = mesh.vertices[mesh.vertices[:, 2] > z_high - 1e-3]
            # What reaches farthest forward is a lens, hood, visor or bed: narrower than the camera.
            assert np.ptp(front[:, 0]) < 0.97 * (x_high - x_low)
            assert solid.volume() > 0.02


def test_turned_ring_has_the_volume_of_pappus() -> None:
    profile = [(0.0, 0.5), (0.0, 1.0), (0.4, 1.0), (0.4, 0.5), (0.1, 0.0)]
    segments = 256
    solid = lofts.turned(profile, axis="x", segments=segments)
    # Cylinder of radius 1 and height 0.4 less a cone frustum (a full cone of radius 0.5 from x = 0.1 to 0.4).
    exact = np.pi * 0.4 - np.pi * 0.25 * 0.3 / 3
    assert solid.volume() == pytest.approx(exact, rel=1e-3)
    assert np.allclose(solid.bounding_box(), (0.0, -1.0, -1.0, 0.4, 1.0, 1.0), atol=1e-3)


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_rounded_block_fills_its_size(axis: str) -> None:
    size = (2.0, 1.0, 0.6)
    solid = lofts.rounded_block(size, corner=0.05, edge=0.02, axis=axis)
    assert np.allclose(solid.bounding_box(), (-1.0, -0.5, -0.3, 1.0, 0.5, 0.3), atol=1e-9)
    assert 0.97 * np.prod(size) < solid.volume() < np.prod(size)


def test_rod_is_a_prism_between_its_ends() -> None:
    start, end = (0.1, 0.2, -0.3), (1.0, -0.5, 0.4)
    length = float(np.linalg.norm(np.subtract(end, start)))
    area = 0.5 * 12 * 0.05**2 * np.sin(2 * np.pi / 12)
    assert lofts.rod(start, end, 0.05).volume() == pytest.approx(area * length, rel=1e-6)


def test_hull_with_constant_sections_is_an_elliptic_cylinder() -> None:
    hull = lofts.Hull(
        x=np.array([0.0, 1.0]), half_width=np.full(2, 0.2), top=np.full(2, 0.1), bottom=np.full(2, -0.1),
        round_front=1e-4, round_back=1e-4,
    )  # fmt: skip
    assert hull.solid(points=200).volume() == pytest.approx(np.pi * 0.2 * 0.1, rel=2e-3)
    assert hull.at(0.3) == pytest.approx((0.2, 0.1, -0.1))


def test_wing_pair_has_twice_the_volume_of_one_wing() -> None:
    wing = lofts.Wing(
        z=np.array([0.0, 1.0]), lead=np.array([0.0, 0.3]), height=np.array([0.0, 0.1]), chord=np.array([0.3, 0.1]),
        thickness=np.array([0.03, 0.02]),
    )  # fmt: skip
    assert wing.pair().volume() == pytest.approx(2 * wing.single().volume(), rel=1e-9)
    assert wing.at(0.5) == pytest.approx((0.15, 0.05, 0.2, 0.025))
    upright = wing.single(roll=90.0).bounding_box()
    assert upright[1] == pytest.approx(0.0, abs=1e-9)
    assert upright[4] > 1.0


def test_airfoil_is_a_closed_outline_of_unit_size() -> None:
    outline = lofts.airfoil_section()
    assert np.ptp(outline[:, 0]) == pytest.approx(1.0)
    assert np.ptp(outline[:, 1]) == pytest.approx(1.0, abs=0.03)


def test_unite_drops_loose_pieces_and_hollows() -> None:
    shell = manifold3d.Manifold.sphere(1.0, 32) - manifold3d.Manifold.sphere(0.5, 32)
    far = manifold3d.Manifold.cube((0.1, 0.1, 0.1)).translate((5.0, 0.0, 0.0))
    solid = lofts.unite([shell, far])
    assert solid.volume() == pytest.approx(manifold3d.Manifold.sphere(1.0, 32).volume(), rel=1e-9)


def test_senseless_sections_are_refused() -> None:
    flat = np.full(2, 0.1)
    with pytest.raises(ValueError, match="increasing positions"):
        lofts.Wing(z=np.zeros(2), lead=flat, height=flat, chord=flat, thickness=flat)
    with pytest.raises(ValueError, match="positive chord"):
        lofts.Wing(z=np.arange(2.0), lead=flat, height=flat, chord=-flat, thickness=flat)
    with pytest.raises(ValueError, match="increasing positions"):
        lofts.Hull(x=np.zeros(2), half_width=flat, top=flat, bottom=-flat)
    with pytest.raises(ValueError, match="positive width"):
        lofts.Hull(x=np.arange(2.0), half_width=flat, top=flat, bottom=flat)
