"""Extraction as a whole, against analytic solids and the field at all corners; components, settings and refusals."""

import numpy as np
import pytest
from helpers.analytic_fields import (
    Field,
    box,
    clamped_torus,
    leaving_sphere,
    on_the_grid,
    sphere,
    steep_torus,
    stepped_torus,
    surrounding_cavity,
    thin_plate,
    torus,
    touching_spheres,
    two_spheres,
    with_crumb,
)
from helpers.plain_marching import assert_all_crossings, in_order

from shapeprior.errors import CompletionError, ConfigError
from shapeprior.sdf.isosurface.extract import ExtractConfig, extract_mesh

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


@pytest.mark.parametrize("resolution", [64, 60])
@pytest.mark.parametrize("field", SOLIDS, ids=lambda field: field.__name__)
def test_sparse_mesh_is_closed_and_has_the_vertices_of_the_full_grid(field: Field, resolution: int) -> None:
    config = ExtractConfig(resolution=resolution, coarse=16, min_area_share=0.0, project=False, mending=0.0)
    extraction = extract_mesh(field, config)
    assert_all_crossings(extraction.mesh, field, resolution)
    assert extraction.mesh.volume > 0
    assert extraction.dropped_components == 0


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


@pytest.mark.parametrize("resolution", [6, 13, 33, 60, 100])
def test_any_resolution(resolution: int) -> None:
    mesh = extract_mesh(torus, ExtractConfig(resolution=resolution, coarse=10, project=False)).mesh
    assert_all_crossings(mesh, torus, resolution)


def test_a_surface_that_leaves_the_cube_is_closed_on_its_sides() -> None:
    mesh = extract_mesh(leaving_sphere, ExtractConfig(resolution=64)).mesh
    assert mesh.is_watertight
    np.testing.assert_allclose(mesh.bounds[1, :2], 1.0, atol=1e-4)
    assert np.abs(mesh.vertices).max() < 1.0


@pytest.mark.slow
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
