"""Points drawn from surfaces: on the surface, uniform by area, reproducible."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from shapeprior.errors import MeshError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.sampling import evenly_spaced, sample_surface, select_evenly, shape_rng

# Two triangles of areas 1 and 3 in the planes z = 0 and z = 1, with a face without area between them.
UNEVEN = TriangleMesh(
    vertices=np.array([[0, 0, 0], [2, 0, 0], [0, 1, 0], [0, 0, 1], [2, 0, 1], [0, 3, 1]], dtype=np.float64),
    faces=np.array([[0, 1, 2], [0, 0, 1], [3, 4, 5]]),
)


def test_points_lie_on_the_faces_they_name() -> None:
    points, face_index = sample_surface(UNEVEN, 5000, rng=np.random.default_rng(0))
    a, b, c = UNEVEN.corners[face_index].transpose(1, 0, 2)
    normal = UNEVEN.face_normals[face_index]
    assert np.abs(np.einsum("ij,ij->i", points - a, normal)).max() < 1e-12
    for start, end in ((a, b), (b, c), (c, a)):
        assert (np.einsum("ij,ij->i", np.cross(end - start, points - start), normal) > -1e-12).all()


def test_faces_are_drawn_in_proportion_to_their_area() -> None:
    _, face_index = sample_surface(UNEVEN, 40_000, rng=np.random.default_rng(1))
    counts = np.bincount(face_index, minlength=3)
    assert counts[1] == 0
    assert chisquare(counts[[0, 2]], [10_000, 30_000]).pvalue > 1e-3


def test_points_are_uniform_inside_a_face() -> None:
    # The density of a right triangle with legs of 2 falls linearly along x, so its distribution is 1 - (1 - x/2)².
    points, face_index = sample_surface(UNEVEN, 20_000, rng=np.random.default_rng(2))
    x = points[face_index == 2, 0]
    assert kstest(x, lambda value: 1.0 - (1.0 - value / 2.0) ** 2).pvalue > 1e-3


@given(seed=st.integers(0, 2**32), count=st.integers(0, 50))
def test_the_same_seed_gives_the_same_bytes(seed: int, count: int) -> None:
    first = sample_surface(UNEVEN, count, rng=np.random.default_rng(seed))
    second = sample_surface(UNEVEN, count, rng=np.random.default_rng(seed))
    assert first[0].tobytes() == second[0].tobytes()
    assert first[1].tobytes() == second[1].tobytes()
    assert first[0].shape == (count, 3)


class _Ends(np.random.Generator):
    """A generator that always draws the largest number below 1."""

    def random(self, size: int) -> np.ndarray:  # pyright: ignore[reportIncompatibleMethodOverride]
        return np.full(size, np.nextafter(1.0, 0.0))


def test_the_largest_draw_never_lands_on_a_face_without_area() -> None:
    mesh = TriangleMesh(vertices=UNEVEN.vertices, faces=np.array([[0, 1, 2], [3, 4, 5], [0, 0, 1]]))
    _, face_index = sample_surface(mesh, 3, rng=_Ends(np.random.PCG64(0)))
    assert face_index.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "faces", [np.zeros((0, 3), dtype=np.int64), np.array([[0, 0, 1]])], ids=["no faces", "no area"]
)
def test_a_mesh_without_area_is_refused(faces: np.ndarray) -> None:
    mesh = TriangleMesh(vertices=UNEVEN.vertices, faces=faces)
    with pytest.raises(MeshError, match=r"total area of 0\.0"):
        sample_surface(mesh, 10, rng=np.random.default_rng(0))


def test_a_mesh_with_infinite_coordinates_is_refused() -> None:
    mesh = TriangleMesh(vertices=np.full((3, 3), np.nan), faces=np.array([[0, 1, 2]]))
    with pytest.raises(MeshError, match="positive, finite area"):
        sample_surface(mesh, 10, rng=np.random.default_rng(0))


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        sample_surface(UNEVEN, -1, rng=np.random.default_rng(0))


def test_each_seed_and_name_has_its_own_generator() -> None:
    draws = {(seed, name): shape_rng(seed, name).random() for seed in (0, 1) for name in ("a", "b", "a/b")}
    assert len(set(draws.values())) == 6
    assert shape_rng(1, "a").random() == draws[1, "a"]


def test_evenly_spaced_items_reach_from_the_first_to_the_last() -> None:
    assert select_evenly("abcdefg", 3) == ["a", "d", "g"]
    assert select_evenly("abc", None) == select_evenly("abc", 9) == ["a", "b", "c"]
    assert evenly_spaced(6, 4).tolist() == [0, 2, 3, 5]
    assert evenly_spaced(6, 4, round_down=True).tolist() == [0, 1, 3, 5]
    assert evenly_spaced(5, 0).tolist() == []
