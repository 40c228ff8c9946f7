"""Extraction against analytic solids, the full grid, and scikit-image's marching cubes."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

from shapeprior.errors import CompletionError, ConfigError
from shapeprior.extract import ExtractConfig, extract_dense, extract_mesh
from shapeprior.mesh import TriangleMesh

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


def canonical(mesh: TriangleMesh) -> tuple[np.ndarray, np.ndarray]:
    """Vertices in lexicographic order; faces starting at their smallest index, in lexicographic order."""
    order = np.lexsort(mesh.vertices.T)
    faces = np.argsort(order)[mesh.faces]
    faces = np.take_along_axis(faces, (np.argmin(faces, axis=1)[:, None] + np.arange(3)) % 3, axis=1)
    return mesh.vertices[order], faces[np.lexsort(faces.T)]


@pytest.mark.parametrize("field", SOLIDS, ids=lambda field: field.__name__)
def test_sparse_mesh_is_closed_and_equals_that_of_the_full_grid(field: Field) -> None:
    extraction = extract_mesh(field, ExtractConfig(resolution=64, coarse=16, min_area_share=0.0))
    dense = extract_dense(field, 64)
    assert extraction.mesh.is_watertight
    assert extraction.mesh.volume > 0
    assert extraction.mesh.face_areas.min() > 0
    assert len(np.unique(extraction.mesh.faces)) == len(extraction.mesh.vertices)
    assert extraction.dropped_components == 0
    for mine, theirs in zip(canonical(extraction.mesh), canonical(dense), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_noise_is_closed_and_lacks_only_specks_of_the_full_grid() -> None:
    mesh = extract_mesh(noise, ExtractConfig(resolution=64, coarse=32, min_area_share=0.0)).mesh
    dense = extract_dense(noise, 64)
    assert mesh.is_watertight
    assert dense.is_watertight
    assert mesh.face_areas.min() > 0
    mine, theirs = ({tuple(vertex) for vertex in each.vertices.tolist()} for each in (mesh, dense))
    assert mine <= theirs
    assert len(mine) > 0.999 * len(theirs)


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
    mesh = extract_mesh(torus, ExtractConfig(resolution=resolution)).mesh
    assert np.abs(torus(mesh.vertices)).max() < 0.05 * 2 / resolution
    axis = np.linspace(-1, 1, resolution + 1)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    theirs = marching_cubes(torus(grid.reshape(-1, 3)).reshape(grid.shape[:3]), 0.0, method="lorensen")[0]
    theirs = theirs * 2 / resolution - 1
    assert len(theirs) == len(mesh.vertices)
    # Ours keep 0.1 % of an edge away from its ends.
    assert cKDTree(theirs).query(mesh.vertices)[0].max() < 1.1e-3 * 2 / resolution
    assert cKDTree(mesh.vertices).query(theirs)[0].max() < 1.1e-3 * 2 / resolution


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
    extraction = extract_mesh(sphere, ExtractConfig(resolution=64, coarse=32, margin=0.02))
    assert extraction.mesh.is_watertight
    np.testing.assert_array_equal(canonical(extraction.mesh)[0], canonical(extract_dense(sphere, 64))[0])


def test_resolutions_that_are_no_power_of_two() -> None:
    mesh = extract_mesh(torus, ExtractConfig(resolution=60, coarse=10)).mesh
    np.testing.assert_array_equal(canonical(mesh)[0], canonical(extract_dense(torus, 60))[0])


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
    np.testing.assert_array_equal(
        canonical(cleaned.mesh)[0], canonical(extract_mesh(lambda p: sphere(p, radius=0.5), ExtractConfig()).mesh)[0]
    )


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
    with pytest.raises(CompletionError, match=text):
        extract_dense(constant, 16)


def test_values_that_are_not_numbers_are_an_error() -> None:
    with pytest.raises(CompletionError, match="not a finite number at 32768 of 32768 points"):
        extract_mesh(lambda points: np.full(len(points), np.nan), ExtractConfig())


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"resolution": 100}, "multiple of the coarse resolution; got resolution 100 and coarse 32"),
        ({"coarse": 0}, "coarse 0"),
        ({"margin": 0.0}, "margin must be positive"),
        ({"batch_points": 0}, "at least 1 point"),
        ({"min_area_share": 1.0}, r"in \[0, 1\)"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        ExtractConfig(**settings)  # pyright: ignore[reportArgumentType]
