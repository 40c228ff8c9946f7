"""Sharp features, against analytic solids: the positions of their edges and the normals of their sides."""

from collections.abc import Callable

import igl
import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from shapeprior.errors import ConfigError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.sdf.isosurface.extract import Edges, ExtractConfig, Extraction, extract_mesh

Field = Callable[[np.ndarray], np.ndarray]

CELLS = 48
WIDTH = 2.0 / CELLS
TURN = Rotation.from_euler("xyz", [20, 35, 50], degrees=True).as_matrix()
HALF = np.array([0.55, 0.31, 0.43])


def block(points: np.ndarray, half: np.ndarray) -> np.ndarray:
    q = np.abs(points) - half
    return np.linalg.norm(np.maximum(q, 0.0), axis=1) + np.minimum(q.max(axis=1), 0.0)


def turned_box(points: np.ndarray) -> np.ndarray:
    return block(points @ TURN, HALF)


def cylinder(points: np.ndarray) -> np.ndarray:
    own = points @ TURN
    return block(np.column_stack([np.hypot(own[:, 0], own[:, 2]), own[:, 1]]), np.array([0.4, 0.5]))


def box_frame(points: np.ndarray) -> np.ndarray:
    """Bars, 0.2 thick, along the edges of a cube of side 1: convex and concave edges, and corners of both."""
    own, bars = np.abs(points @ TURN), []
    for axis in range(3):
        half, middle = np.full(3, 0.1), np.full(3, 0.5)
        half[axis], middle[axis] = 0.6, 0.0
        bars.append(block(own - middle, half))
    return np.min(bars, axis=0)


def torus(points: np.ndarray) -> np.ndarray:
    return np.hypot(np.hypot(points[:, 0], points[:, 2]) - 0.5, points[:, 1]) - 0.2


def random_values(seed: int) -> Field:
    """Return a field with all cases of signs and gradients in all directions."""
    values = np.random.default_rng(seed).normal(size=(17, 17, 17))
    return lambda points: map_coordinates(values, ((points + 1.0) * 8.0).T, order=1, mode="nearest")


def extraction(field: Field, edges: Edges, cells: int = CELLS) -> Extraction:
    return extract_mesh(field, ExtractConfig(resolution=cells, coarse=16, min_area_share=0.0, edges=edges))


def box_edges() -> np.ndarray:
    """Return points on the twelve edges of the turned box."""
    along = np.linspace(-1.0, 1.0, 301)
    lines = []
    for axis in range(3):
        for s, t in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
            points = np.zeros((len(along), 3))
            points[:, axis], points[:, axis - 1], points[:, axis - 2] = along, s, t
            lines.append(points * HALF)
    return np.concatenate(lines) @ TURN.T


def circles() -> np.ndarray:
    """Return points on the two edges of the cylinder."""
    angle = np.linspace(0.0, 2.0 * np.pi, 1000)
    ring = np.column_stack([0.4 * np.cos(angle), np.full(1000, 0.5), 0.4 * np.sin(angle)])
    return np.concatenate([ring, ring * [1.0, -1.0, 1.0]]) @ TURN.T


def distances_to(mesh: TriangleMesh, points: np.ndarray) -> np.ndarray:
    return np.sqrt(igl.point_mesh_squared_distance(points, mesh.vertices, mesh.faces)[0]) / WIDTH


@pytest.mark.parametrize(
    ("field", "edges"), [(turned_box, box_edges()), (cylinder, circles())], ids=["box", "cylinder"]
)
def test_the_solids_edges_lie_on_the_mesh(field: Field, edges: np.ndarray) -> None:
    plain, sharp = (distances_to(extraction(field, mode).mesh, edges) for mode in ("smooth", "sharp"))
    assert plain.mean() > 0.2
    assert sharp.mean() < 0.02
    assert sharp.max() < 0.4


@pytest.mark.parametrize("field", [turned_box, cylinder, box_frame], ids=lambda field: field.__name__)
def test_faces_beside_edges_lie_in_the_solids_sides(field: Field) -> None:
    wrong, off = [], []
    for mode in ("smooth", "sharp"):
        mesh = extraction(field, mode).mesh
        # The distance of the faces' centres, and the area of faces whose normal is 5 degrees off the field's gradient.
        middles, step = mesh.corners.mean(axis=1), 1e-4
        gradient = np.stack([field(middles + step * e) - field(middles - step * e) for e in np.eye(3)], axis=1)
        cosine = np.einsum("ij,ij->i", mesh.face_normals, gradient / (2.0 * step))
        wrong.append(mesh.face_areas[cosine < np.cos(np.deg2rad(5.0))].sum() / mesh.face_areas.sum())
        off.append(np.average(np.abs(field(middles)), weights=mesh.face_areas) / WIDTH)
    assert wrong[0] > 0.03
    assert wrong[1] < 0.1 * wrong[0]
    assert off[1] < 0.6 * off[0]


def test_the_volume_of_a_box_is_exact_to_a_hundredth_of_what_its_cut_edges_lack() -> None:
    exact = 8.0 * float(HALF.prod())
    plain, sharp = (extraction(turned_box, mode).mesh.volume for mode in ("smooth", "sharp"))
    assert abs(sharp - exact) < 0.02 * abs(plain - exact)


def test_a_smooth_surface_stays_as_it_is_and_is_asked_little_more() -> None:
    plain, sharp = extraction(torus, "smooth"), extraction(torus, "sharp")
    np.testing.assert_array_equal(plain.mesh.faces, sharp.mesh.faces)
    assert np.abs(torus(sharp.mesh.vertices)).max() <= np.abs(torus(plain.mesh.vertices)).max()
    assert sharp.evaluations < 2 * plain.evaluations


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "cells"),
    [(random_values(0), 16), (random_values(1), 16), (random_values(2), 32), (box_frame, 40), (box_frame, 17)],
    ids=["random 0", "random 1", "random 2", "frame 40", "frame 17"],
)
def test_the_mesh_is_closed_and_manifold_whatever_the_field(field: Field, cells: int) -> None:
    mesh = extraction(field, "sharp", cells).mesh
    plain = extraction(field, "smooth", cells).mesh
    assert len(mesh.vertices) > len(plain.vertices)
    assert mesh.is_watertight
    assert igl.is_edge_manifold(mesh.faces)[0]
    assert np.all(igl.is_vertex_manifold(mesh.faces))
    assert len(np.unique(mesh.faces)) == len(mesh.vertices)
    assert mesh.face_areas.min() > 0
    # The numbers of handles and pieces are those without sharp edges: V - E + F, with E = 3 F / 2.
    euler = [len(m.vertices) - len(m.faces) // 2 for m in (mesh, plain)]
    assert euler[0] == euler[1]


def test_other_words_for_edges_are_refused() -> None:
    config = ExtractConfig()
    object.__setattr__(config, "edges", "crisp")  # This gets past the type checks that run in tests.
    with pytest.raises(ConfigError, match="edges = 'crisp'; expected 'smooth' or 'sharp'"):
        config.__post_init__()
