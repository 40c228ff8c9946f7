"""The case table: every pattern of signs gives a closed manifold surface that separates inside from outside."""

from itertools import product

import igl
import numpy as np
import pytest

from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.sdf.isosurface.case_table import CORNER_OFFSETS, EDGE_CORNERS, cube_cases
from shapeprior.sdf.isosurface.extract import ExtractConfig, extract_mesh


def middles(edges: np.ndarray) -> np.ndarray:
    return CORNER_OFFSETS[EDGE_CORNERS[edges]].mean(axis=-2)


def test_loops_use_each_crossed_edge_once_and_walk_along_faces() -> None:
    for case, loops in enumerate(cube_cases().loops):
        inside = np.array([case >> corner & 1 for corner in range(8)])
        crossed = {edge for edge, (a, b) in enumerate(EDGE_CORNERS) if inside[a] != inside[b]}
        used = [edge for loop in loops for edge in loop]
        assert sorted(used) == sorted(crossed), case
        for loop in loops:
            points = middles(np.array(loop))
            for here, there in zip(points, np.roll(points, -1, axis=0), strict=True):
                # Two successive midpoints lie on one face of the cell, so they share a coordinate of 0 or 1.
                assert any(x == y and x in (0, 1) for x, y in zip(here, there, strict=True)), case


def test_a_single_corner_is_cut_off_by_a_triangle_that_faces_away_from_it() -> None:
    cases = cube_cases()
    for corner in range(8):
        triangles = cases.triangles[cases.first[1 << corner] : cases.first[(1 << corner) + 1]]
        assert len(triangles) == 1
        a, b, c = middles(triangles[0])
        assert np.cross(b - a, c - a) @ (a - CORNER_OFFSETS[corner]) > 0


def random_signs(seed: int) -> TriangleMesh:
    """Return the mesh of random signs on a grid of 16 cells, with all cases and all pairs of them on one face."""
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(17, 17, 17))

    def field(points: np.ndarray) -> np.ndarray:
        return signs[tuple(np.round((points + 1.0) * 8.0).astype(int).T)]

    return extract_mesh(field, ExtractConfig(resolution=16, coarse=16, min_area_share=0.0, project=False)).mesh


@pytest.mark.parametrize("seed", range(3))
def test_random_signs_give_a_closed_manifold(seed: int) -> None:
    mesh = random_signs(seed)
    assert mesh.is_watertight
    assert igl.is_edge_manifold(mesh.faces)[0]
    assert np.all(igl.is_vertex_manifold(mesh.faces))


def test_winding_numbers_of_random_signs_are_the_signs() -> None:
    signs = np.random.default_rng(1).choice([-1.0, 1.0], size=(17, 17, 17))
    signs[[0, -1]] = signs[:, [0, -1]] = signs[:, :, [0, -1]] = 1.0  # The sides of the cube are outside.
    corners = np.array(list(product(range(17), repeat=3)))
    mesh = random_signs(1)
    winding = np.asarray(igl.winding_number(mesh.vertices, mesh.faces, corners / 8.0 - 1.0), dtype=np.float64)
    np.testing.assert_allclose(winding, (signs[tuple(corners.T)] < 0).astype(float), atol=1e-6)
