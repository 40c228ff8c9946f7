"""Mended walls, against solids with a known number of handles: what is below the resolution closes, nothing else.

The grid is 64³, so that a cell is 1/32, and openings are closed up to a field of three quarters of a cell.
"""

from collections.abc import Callable

import igl
import igl.predicates
import numpy as np
import pytest
from helpers.plain_marching import assert_all_crossings
from scipy.spatial.transform import Rotation

from shapeprior.geometry.mesh import TriangleMesh, components_of
from shapeprior.sdf.isosurface import extract
from shapeprior.sdf.isosurface.extract import Edges, ExtractConfig, Extraction, extract_mesh

Field = Callable[[np.ndarray], np.ndarray]

CELLS = 64
WIDTH = 2.0 / CELLS
OBLIQUE = Rotation.from_euler("xyz", [20, 35, 50], degrees=True).as_matrix()
SHIFTS = np.random.default_rng(0).uniform(-0.5, 0.5, (4, 3)) * WIDTH


@pytest.fixture(autouse=True)
def _no_limit_in_radii(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all of 0.75 cells count, though these cells are large."""
    monkeypatch.setattr(extract, "MAX_MENDED_VALUE", WIDTH)


def plate(points: np.ndarray, *, hole: float, thick: float) -> np.ndarray:
    """Return the distance of a round plate, radius 0.5, with a hole along y; sizes of hole and plate are in cells."""
    out = np.hypot(points[:, 0], points[:, 2])
    solid = np.maximum(out - 0.5, np.abs(points[:, 1]) - 0.5 * thick * WIDTH)
    return np.maximum(solid, hole * WIDTH - out) if hole else solid


def dented_plate(points: np.ndarray) -> np.ndarray:
    """Return a plate, 3 cells thick, in whose middle the field rises to 0.2 cells, as learned fields of thin walls
    do."""
    out = np.hypot(points[:, 0], points[:, 2])
    return plate(points, hole=0.0, thick=3.0) + 1.7 * WIDTH * np.exp(-np.square(out / (3.0 * WIDTH)))


def ring(points: np.ndarray, *, tube: float) -> np.ndarray:
    return np.hypot(np.hypot(points[:, 0], points[:, 2]) - 0.5, points[:, 1]) - tube * WIDTH


def cup(points: np.ndarray) -> np.ndarray:
    """Return a cup with walls of 1.1 cells and three handles; this is no distance, but has its sign and slope."""
    x, y, z = points.T
    out = np.hypot(x, z)
    shell = np.abs(np.maximum(out - 0.45, -y - 0.5)) - 0.55 * WIDTH
    body = np.maximum(shell, y - 0.5)
    handles = []
    for turn in (0.3, 2.5, 4.4):
        along, across = x * np.cos(turn) + z * np.sin(turn), z * np.cos(turn) - x * np.sin(turn)
        bar = np.hypot(np.hypot(along - 0.45, y) - 0.25, across) - 1.5 * WIDTH
        handles.append(np.maximum(bar, 0.45 - out))
    return np.minimum(body, np.min(handles, axis=0))


def moved(field: Field, shift: np.ndarray, turn: np.ndarray) -> Field:
    return lambda points: field((points - shift) @ turn)


def run(field: Field, mending: float = 0.75, edges: Edges = "smooth") -> Extraction:
    return extract_mesh(field, ExtractConfig(resolution=CELLS, mending=mending, min_area_share=0.0, edges=edges))


def genus(mesh: TriangleMesh) -> int:
    """Return the number of handles: of each closed part, V - E + F = 2 - 2 g, and E = 3 F / 2."""
    return components_of(mesh)[0] - (len(mesh.vertices) - len(mesh.faces) // 2) // 2


def large_parts(mesh: TriangleMesh) -> int:
    """Return the number of parts that are no crumbs: the grid cuts off the tips of a wing's corners."""
    areas = np.bincount(components_of(mesh)[2][mesh.faces[:, 0]], weights=mesh.face_areas)
    return int(np.count_nonzero(areas > 0.01 * areas.sum()))


def crossing_faces(mesh: TriangleMesh) -> int:
    return len(igl.predicates.find_self_intersections(mesh.vertices, mesh.faces)[1])


def assert_closed_and_manifold(mesh: TriangleMesh) -> None:
    assert mesh.is_watertight
    assert igl.is_edge_manifold(mesh.faces)[0]
    assert np.all(igl.is_vertex_manifold(mesh.faces))
    assert len(np.unique(mesh.faces)) == len(mesh.vertices)
    assert mesh.face_areas.min() > 0


@pytest.mark.parametrize("turn", [np.eye(3), OBLIQUE], ids=["straight", "oblique"])
@pytest.mark.parametrize("shift", SHIFTS)
def test_a_hole_below_the_resolution_closes_and_a_larger_one_stays(shift: np.ndarray, turn: np.ndarray) -> None:
    small, large = (moved(lambda p, r=r: plate(p, hole=r, thick=4.0), shift, turn) for r in (0.45, 1.5))
    assert genus(run(small).mesh) == 0
    assert genus(run(large).mesh) == 1
    assert run(large).mended.closed_holes == 0


@pytest.mark.parametrize("edges", ["smooth", "sharp"])
@pytest.mark.parametrize("turn", [np.eye(3), OBLIQUE], ids=["straight", "oblique"])
def test_a_shallow_hole_closes_and_the_rest_stays(turn: np.ndarray, edges: Edges) -> None:
    field = moved(dented_plate, SHIFTS[0], turn)
    before, after = run(field, 0.0, edges), run(field, 0.75, edges)
    assert (genus(before.mesh), genus(after.mesh)) == (1, 0)
    assert (before.mended.closed_holes, after.mended.closed_holes) == (0, 1)
    assert_closed_and_manifold(after.mesh)
    # Beyond the hole and two cells around it, vertices are the same to the last bit.
    far = [np.hypot(*((m.vertices - SHIFTS[0]) @ turn).T[[0, 2]]) > 6.0 * WIDTH for m in (before.mesh, after.mesh)]
    kept, now = before.mesh.vertices[far[0]], after.mesh.vertices[far[1]]
    assert np.array_equal(np.unique(kept, axis=0), np.unique(now, axis=0))
    # The membrane lies where the hole was, within the plate's thickness.
    new = ((after.mesh.vertices[~far[1]] - SHIFTS[0]) @ turn)[:, 1]
    assert np.abs(new).max() < 2.0 * WIDTH
    # Fans around sharp features can cross each other; closing adds none.
    assert crossing_faces(after.mesh) <= crossing_faces(before.mesh) * (edges == "sharp")


@pytest.mark.parametrize("seed", range(4))
def test_an_oblique_plate_of_a_cell_has_no_holes(seed: int) -> None:
    turn = Rotation.random(rng=seed).as_matrix()
    field = moved(lambda p: plate(p, hole=0.0, thick=1.2), SHIFTS[seed], turn)
    before, after = run(field, 0.0), run(field)
    assert genus(after.mesh) == 0
    # One restored sheet may close several holes.
    assert after.mended.closed_holes <= genus(before.mesh)
    assert (after.mended.places > 0) == (genus(before.mesh) > 0)
    assert_closed_and_manifold(after.mesh)


@pytest.mark.parametrize("tube", [0.8, 0.95])
def test_a_thin_ring_keeps_its_opening(tube: float) -> None:
    field = moved(lambda p: ring(p, tube=tube), SHIFTS[1], OBLIQUE)
    after = run(field)
    assert genus(after.mesh) == 1
    assert components_of(after.mesh)[0] == 1
    assert after.mended.closed_holes == 0
    assert np.abs(field(after.mesh.vertices)).max() < 0.5 * WIDTH


def test_a_cup_of_thin_walls_keeps_its_three_handles() -> None:
    before, after = run(moved(cup, SHIFTS[2], OBLIQUE), 0.0), run(moved(cup, SHIFTS[2], OBLIQUE))
    assert genus(before.mesh) > 10
    assert genus(after.mesh) == 3
    assert components_of(after.mesh)[0] == 1
    # Two membranes that touch count as one, and a restored sheet may close several holes.
    assert after.mended.closed_holes == pytest.approx(genus(before.mesh) - 3, rel=0.06)
    assert_closed_and_manifold(after.mesh)


def torn_wing(points: np.ndarray, *, lost: float) -> np.ndarray:
    """Return a bar along x from -0.8 to 0.8, 1.5 cells thick and 8 cells wide, with a body at one end.

    From x = -0.2 to 0.4, the field is `lost` radii above zero where it is lowest. It is as round as that of a decoder
    whose cells are twice this grid's.
    """
    x, y, z = points.T
    across = np.hypot(y, 2.0 * WIDTH) - 2.136 * WIDTH
    torn = np.clip((x + 0.3) / 0.1, 0.0, 1.0) * np.clip((0.5 - x) / 0.1, 0.0, 1.0)
    across += torn * (0.136 * WIDTH + lost)
    wing = np.maximum(np.maximum(across, np.abs(z) - 4.0 * WIDTH), np.abs(x) - 0.8)
    return np.minimum(wing, np.linalg.norm(points - [-0.6, 0.0, 0.0], axis=1) - 0.2)


@pytest.mark.parametrize("turn", [np.eye(3), OBLIQUE], ids=["straight", "oblique"])
@pytest.mark.parametrize("shift", SHIFTS[:2])
def test_a_wing_that_is_nearly_there_is_restored(shift: np.ndarray, turn: np.ndarray) -> None:
    field = moved(lambda p: torn_wing(p, lost=0.001), shift, turn)
    before, after = run(field, 0.0), run(field)
    assert large_parts(before.mesh) == 2
    assert large_parts(after.mesh) == 1
    assert genus(after.mesh) == 0
    assert after.mended.restored_sheets >= 1
    assert_closed_and_manifold(after.mesh)
    # It spans the gap over its width, no thicker than a cell or two.
    wing = (after.mesh.vertices - shift) @ turn
    wing = wing[np.abs(wing[:, 0] - 0.1) < 0.2]
    assert np.ptp(wing[:, 2]) > 5.0 * WIDTH
    assert np.ptp(wing[:, 1]) < 3.0 * WIDTH


def test_a_wing_that_is_not_there_stays_away() -> None:
    after = run(moved(lambda p: torn_wing(p, lost=0.03), SHIFTS[0], OBLIQUE))
    assert large_parts(after.mesh) == 2
    along = ((after.mesh.vertices - SHIFTS[0]) @ OBLIQUE)[:, 0]
    assert np.abs(along - 0.1).min() > 0.25


@pytest.mark.parametrize("gap", [0.1, 0.3, 1.0, 2.0])
def test_a_gap_between_two_parts_is_never_bridged(gap: float) -> None:
    # Between these spheres, a raised level would grow a bridge.
    off = 0.35 + 0.5 * gap * WIDTH
    sides = np.array([[off, 0.0, 0.0], [-off, 0.0, 0.0]]) @ OBLIQUE.T

    def spheres(points: np.ndarray) -> np.ndarray:
        return np.linalg.norm(points[:, None] - sides, axis=2).min(axis=1) - 0.35

    before, after = run(spheres, 0.0), run(spheres)
    assert components_of(after.mesh)[0] == 2
    assert after.mended.closed_holes == 0
    assert np.array_equal(before.mesh.vertices, after.mesh.vertices)


def test_what_is_nowhere_inside_stays_away() -> None:
    def with_blob(points: np.ndarray) -> np.ndarray:
        blob = np.linalg.norm(points - np.array([0.6, 0.6, 0.6]), axis=1) - 0.1
        # A blob, and the shell of another, where the field comes down to 0.1 cells.
        shell = np.abs(np.linalg.norm(points + np.array([0.6, 0.6, 0.6]), axis=1) - 0.15)
        low = np.minimum(np.maximum(blob, 0.0), shell) + 0.1 * WIDTH
        return np.minimum(np.linalg.norm(points, axis=1) - 0.4, low)

    after = run(with_blob)
    assert components_of(after.mesh)[0] == 1
    assert after.mesh.bounds.max() < 0.42
    assert after.mended.closed_holes == 0


def test_a_void_in_a_wall_that_is_no_deeper_is_filled() -> None:
    def with_void(points: np.ndarray) -> np.ndarray:
        out = np.linalg.norm(points, axis=1)
        return np.maximum(out - 0.5, np.minimum(0.1 - out, 0.3 * WIDTH))

    assert components_of(run(with_void, 0.0).mesh)[0] == 2
    after = run(with_void)
    assert components_of(after.mesh)[0] == 1
    assert after.mended.closed_holes == 0


def test_a_surface_on_the_cubes_sides_is_left_alone() -> None:
    def slab(points: np.ndarray) -> np.ndarray:
        return np.abs(points[:, 1]) - 0.2

    before, after = run(slab, 0.0), run(slab)
    assert np.array_equal(before.mesh.vertices, after.mesh.vertices)


def test_the_same_field_gives_the_same_bytes() -> None:
    first, second = (run(moved(cup, SHIFTS[3], OBLIQUE)).mesh for _ in range(2))
    assert first.vertices.tobytes() == second.vertices.tobytes()
    assert first.faces.tobytes() == second.faces.tobytes()


def test_coarse_grids_close_no_more_than_the_limit_in_radii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "MAX_MENDED_VALUE", 0.2 * WIDTH)
    assert run(dented_plate).mended.closed_holes == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("edges", ["smooth", "sharp"])
def test_the_mesh_is_closed_and_manifold_whatever_the_field(seed: int, edges: Edges) -> None:
    waves = np.random.default_rng(seed).normal(scale=10.0, size=(3, 12))

    def field(points: np.ndarray) -> np.ndarray:
        return 0.02 * np.sin(points @ waves + np.arange(12)).sum(axis=1)

    before, after = run(field, 0.0, edges), run(field, 0.75, edges)
    assert after.mended.closed_holes > 0
    assert genus(after.mesh) < genus(before.mesh)
    assert_closed_and_manifold(after.mesh)
    if edges == "smooth":
        assert crossing_faces(after.mesh) == 0


def test_nothing_to_close_gives_all_crossings_of_the_full_grid() -> None:
    field = moved(lambda p: ring(p, tube=6.0), SHIFTS[0], OBLIQUE)
    config = ExtractConfig(resolution=CELLS, mending=0.75, min_area_share=0.0, project=False)
    assert_all_crossings(extract_mesh(field, config).mesh, field, CELLS)


def test_a_field_that_is_small_everywhere_is_left_as_it_is() -> None:
    def flat(points: np.ndarray) -> np.ndarray:
        return 1e-4 * (np.linalg.norm(points, axis=1) - 0.5)

    before, after = run(flat, 0.0), run(flat)
    assert after.mended.places == 0
    assert np.array_equal(before.mesh.vertices, after.mesh.vertices)
    assert after.evaluations < 3 * before.evaluations
