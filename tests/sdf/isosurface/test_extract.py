"""Extraction against analytic solids, the full grid, and scikit-image's marching cubes."""

from collections.abc import Callable

import igl
import numpy as np
import pytest
from helpers.plain_marching import dense_crossings, dense_values
from scipy.spatial import KDTree
from skimage.measure import marching_cubes

from shapeprior.errors import CompletionError, ConfigError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.sdf.isosurface.extract import ExtractConfig, extract_mesh

Field = Callable[[np.ndarray], np.ndarray]


def sphere(points: np.ndarray, center: tuple[float, float, float] = (0, 0, 0), radius: float = 0.6) -> np.ndarray:
    return np.linalg.norm(points - np.array(center), axis=1) - radius


def torus(points: np.ndarray) -> np.ndarray:
    return np.hypot(np.hypot(points[:, 0], points[:, 2]) - 0.5, points[:, 1]) - 0.2


def box(points: np.ndarray, half: tuple[float, float, float] = (0.55, 0.31, 0.43)) -> np.ndarray:
    q = np.abs(points) - np.array(half)
    return np.linalg.norm(np.maximum(q, 0.0), axis=1) + np.minimum(q.max(axis=1), 0.0)


def thin_plate(points: np.ndarray) -> np.ndarray:
    # About 1.5 cells of the 64³ grid thick and not aligned with it.
    return box(points - np.array([0.0, 0.007, 0.0]), (0.7, 0.75 / 64, 0.5))


def two_spheres(points: np.ndarray) -> np.ndarray:
    return np.minimum(sphere(points, (-0.5, 0, 0), 0.3), sphere(points, (0.45, 0.1, 0), 0.25))


def touching_spheres(points: np.ndarray) -> np.ndarray:
    return np.minimum(sphere(points, (-0.25, 0, 0), 0.25), sphere(points, (0.25, 0, 0), 0.25))


def leaving_sphere(points: np.ndarray) -> np.ndarray:
    return sphere(points, (0.8, 0.9, 0.0), 0.5)


def surrounding_cavity(points: np.ndarray) -> np.ndarray:
    return 0.4 - np.linalg.norm(points, axis=1)


def clamped_torus(points: np.ndarray) -> np.ndarray:
    return np.clip(torus(points), -0.1, 0.1)


def steep_torus(points: np.ndarray) -> np.ndarray:
    # A squashed decoder output that grows three times as fast as distance: the pruning bound does not hold.
    return 0.1 * np.tanh(30.0 * torus(points))


def stepped_torus(points: np.ndarray) -> np.ndarray:
    # Only the sign is right: no cell centre is ever near zero.
    return np.where(torus(points) < 0, -0.3, 0.3)


def on_the_grid(points: np.ndarray) -> np.ndarray:
    # Zero at whole layers of grid points, which leaves holes in careless implementations.
    return np.abs(points).max(axis=1) - 0.5


def noise(points: np.ndarray) -> np.ndarray:
    waves = np.random.default_rng(3).normal(scale=12.0, size=(3, 12))
    return np.sin(points @ waves + np.arange(12)).sum(axis=1) / 10.0


SOLIDS: list[Field] = [
    sphere,
    torus,
    box,
    thin_plate,
    two_spheres,
    touching_spheres,
    leaving_sphere,
    surrounding_cavity,
    clamped_torus,
    steep_torus,
    stepped_torus,
    on_the_grid,
]


def in_order(points: np.ndarray) -> np.ndarray:
    return points[np.lexsort(np.round(points, 7).T)]


def assert_all_crossings(mesh: TriangleMesh, field: Field, cells: int) -> None:
    """The mesh has exactly the vertices of the full grid, and is closed and manifold."""
    np.testing.assert_allclose(in_order(mesh.vertices), dense_crossings(dense_values(field, cells)), atol=1e-7)
    assert len(np.unique(mesh.faces)) == len(mesh.vertices)
    assert mesh.is_watertight
    assert np.all(igl.is_vertex_manifold(mesh.faces))
    assert mesh.face_areas.min() > 0


@pytest.mark.parametrize("resolution", [64, 60])
@pytest.mark.parametrize("field", SOLIDS, ids=lambda field: field.__name__)
def test_sparse_mesh_is_closed_and_has_the_vertices_of_the_full_grid(field: Field, resolution: int) -> None:
    config = ExtractConfig(resolution=resolution, coarse=16, min_area_share=0.0, project=False)
    extraction = extract_mesh(field, config)
    assert_all_crossings(extraction.mesh, field, resolution)
    assert extraction.mesh.volume > 0
    assert extraction.dropped_components == 0


def test_noise_is_closed_and_lacks_only_specks_of_the_full_grid() -> None:
    config = ExtractConfig(resolution=64, coarse=32, min_area_share=0.0, project=False)
    mesh = extract_mesh(noise, config).mesh
    assert mesh.is_watertight
    assert mesh.face_areas.min() > 0
    dense = dense_crossings(dense_values(noise, 64))
    assert KDTree(dense).query(mesh.vertices)[0].max() < 1e-7
    assert 0.995 * len(dense) < len(mesh.vertices) <= len(dense)


@pytest.mark.parametrize(
    ("field", "volume"),
    [
        (sphere, 4 / 3 * np.pi * 0.6**3),
        (torus, 2 * np.pi**2 * 0.5 * 0.2**2),
        (box, 8 * 0.55 * 0.31 * 0.43),
        (two_spheres, 4 / 3 * np.pi * (0.3**3 + 0.25**3)),
        (surrounding_cavity, 8 - 4 / 3 * np.pi * 0.4**3),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_volume_is_the_analytic_one(field: Field, volume: float) -> None:
    mesh = extract_mesh(field, ExtractConfig(resolution=96, coarse=32)).mesh
    assert mesh.volume == pytest.approx(volume, rel=5e-3)


def test_vertices_lie_on_the_surface_and_agree_with_scikit_image() -> None:
    resolution = 64
    mesh = extract_mesh(torus, ExtractConfig(resolution=resolution, project=False)).mesh
    assert np.abs(torus(mesh.vertices)).max() < 0.05 * 2 / resolution
    axis = np.linspace(-1, 1, resolution + 1)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    theirs = marching_cubes(torus(grid.reshape(-1, 3)).reshape(grid.shape[:3]), 0.0, method="lorensen")[0]
    theirs = theirs * 2 / resolution - 1
    assert len(theirs) == len(mesh.vertices)
    # Ours keep 0.1 % of an edge away from its ends.
    assert KDTree(theirs).query(mesh.vertices)[0].max() < 1.1e-3 * 2 / resolution
    assert KDTree(mesh.vertices).query(theirs)[0].max() < 1.1e-3 * 2 / resolution


def squared_sphere(points: np.ndarray) -> np.ndarray:
    # Far from linear along an edge, as a learned field is beside its kinks.
    return np.sign(sphere(points)) * np.sqrt(np.abs(sphere(points)))


@pytest.mark.parametrize("field", [torus, squared_sphere, two_spheres], ids=lambda field: field.__name__)
def test_projection_brings_vertices_nearer_to_the_surface_and_changes_no_face(field: Field) -> None:
    plain = extract_mesh(field, ExtractConfig(resolution=64, project=False)).mesh
    projected = extract_mesh(field, ExtractConfig(resolution=64)).mesh
    np.testing.assert_array_equal(plain.faces, projected.faces)
    truth = sphere if field is squared_sphere else field
    before, after = (np.abs(truth(mesh.vertices)).max() for mesh in (plain, projected))
    # A vertex that is not asked again was within 2 % of an edge.
    assert after < max(0.6 * before, 0.021 * 2 / 64)
    assert after <= before
    assert projected.is_watertight


@pytest.mark.parametrize("beyond", [0.0, 1e-15, -1e-15, 1e-9])
def test_values_near_zero_do_not_shrink_triangles(beyond: float) -> None:
    mesh = extract_mesh(lambda points: on_the_grid(points) - beyond, ExtractConfig(resolution=32)).mesh
    sides = np.linalg.norm(mesh.corners - np.roll(mesh.corners, 1, axis=1), axis=2)
    assert sides.min() > 0.9e-3 * 2 / 32
    assert mesh.is_watertight


def test_normals_point_to_the_positive_side() -> None:
    mesh = extract_mesh(torus, ExtractConfig(resolution=64)).mesh
    centers = mesh.corners.mean(axis=1)
    assert (torus(centers + 0.05 * mesh.face_normals) > torus(centers - 0.05 * mesh.face_normals)).all()


@pytest.mark.parametrize(("resolution", "share"), [(128, 0.07), (256, 0.03)])
def test_evaluations_stay_far_below_the_full_grid(resolution: int, share: float) -> None:
    seen = 0
    largest = 0

    def counted(points: np.ndarray) -> np.ndarray:
        nonlocal seen, largest
        seen += len(points)
        largest = max(largest, len(points))
        return torus(points)

    extraction = extract_mesh(counted, ExtractConfig(resolution=resolution, batch_points=5000))
    assert extraction.evaluations == seen
    assert seen < share * (resolution + 1) ** 3
    assert largest <= 5000


def test_cells_that_the_bound_misses_are_reached_across_faces() -> None:
    # With a margin this small almost every cell is pruned; one that stays is enough to find the rest.
    extraction = extract_mesh(sphere, ExtractConfig(resolution=64, coarse=32, margin=0.02, project=False))
    assert_all_crossings(extraction.mesh, sphere, 64)


@pytest.mark.parametrize("resolution", [6, 13, 33, 60, 100])
def test_any_resolution(resolution: int) -> None:
    mesh = extract_mesh(torus, ExtractConfig(resolution=resolution, coarse=10, project=False)).mesh
    assert_all_crossings(mesh, torus, resolution)


def thin_ring(points: np.ndarray) -> np.ndarray:
    # A handle 1.3 cells of the 256³ grid thick.
    return np.hypot(np.hypot(points[:, 0] - 0.013, points[:, 1]) - 0.4, points[:, 2] - 0.003) - 0.65 * 2 / 256


def thin_wing(points: np.ndarray) -> np.ndarray:
    # A plate of 1.2 cells' thickness, oblique to all axes.
    normal = np.array([0.3, 1.0, -0.55]) / np.linalg.norm([0.3, 1.0, -0.55])
    across = np.abs(points @ normal - 0.017) - 0.6 * 2 / 256
    return np.maximum(across, np.linalg.norm(points, axis=1) - 0.7)


@pytest.mark.parametrize("field", [thin_ring, thin_wing], ids=lambda field: field.__name__)
def test_no_thin_part_is_missed(field: Field) -> None:
    config = ExtractConfig(resolution=256, min_area_share=0.0, project=False)
    assert_all_crossings(extract_mesh(field, config).mesh, field, 256)


def test_a_surface_that_leaves_the_cube_is_closed_on_its_sides() -> None:
    mesh = extract_mesh(leaving_sphere, ExtractConfig(resolution=64)).mesh
    assert mesh.is_watertight
    np.testing.assert_allclose(mesh.bounds[1, :2], 1.0, atol=1e-4)
    assert np.abs(mesh.vertices).max() < 1.0


def with_crumb(points: np.ndarray) -> np.ndarray:
    return np.minimum(sphere(points, radius=0.5), sphere(points, (0.8, 0.8, 0.8), 0.045))


def test_small_components_are_dropped_and_counted() -> None:
    everything = extract_mesh(with_crumb, ExtractConfig(min_area_share=0.0))
    cleaned = extract_mesh(with_crumb, ExtractConfig())
    assert everything.dropped_components == 0
    assert everything.mesh.bounds[1, 0] > 0.8
    assert cleaned.dropped_components == 1
    assert cleaned.mesh.is_watertight
    alone = extract_mesh(lambda p: sphere(p, radius=0.5), ExtractConfig()).mesh
    np.testing.assert_allclose(in_order(cleaned.mesh.vertices), in_order(alone.vertices), atol=1e-7)


def test_largest_only_keeps_one_component() -> None:
    both = extract_mesh(two_spheres, ExtractConfig())
    largest = extract_mesh(two_spheres, ExtractConfig(largest_only=True))
    assert both.dropped_components == 0
    assert largest.dropped_components == 1
    assert largest.mesh.bounds[1, 0] < 0.0


@pytest.mark.parametrize(
    ("value", "text"), [(0.25, "positive \\(outside\\) everywhere"), (-0.25, "negative \\(inside\\) everywhere")]
)
def test_no_surface_is_an_error_that_names_the_range(value: float, text: str) -> None:
    def constant(points: np.ndarray) -> np.ndarray:
        return np.full(len(points), value)

    with pytest.raises(CompletionError, match=f"{text}.*from {value} to {value}"):
        extract_mesh(constant, ExtractConfig(resolution=32))


def test_values_that_are_not_numbers_are_an_error() -> None:
    with pytest.raises(CompletionError, match="not a finite number at 35937 of 35937 points"):
        extract_mesh(lambda points: np.full(len(points), np.nan), ExtractConfig())


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"resolution": 1}, "resolution = 1; expected at least 2"),
        ({"coarse": 0}, "coarse = 0"),
        ({"margin": 0.0}, "margin = 0.0"),
        ({"batch_points": 0}, "batch_points = 0"),
        ({"min_area_share": 1.0}, r"min_area_share = 1.0; expected a share in \[0, 1\)"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        ExtractConfig(**settings)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("resolution", [32, 64, 256])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_field_without_a_surface_is_refused_at_every_resolution(resolution: int, sign: float) -> None:
    with pytest.raises(CompletionError, match="no surface found"):
        extract_mesh(lambda points: sign * (np.linalg.norm(points, axis=1) + 5.0), ExtractConfig(resolution=resolution))
