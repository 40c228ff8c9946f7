"""Similarities: composition and inverses, their storage, and invalid values."""

import json

import numpy as np
import pytest
import trimesh
from helpers.plain_geometry import random_similarity
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from shapeprior.geometry.transforms import UNIT_SPHERE_BUFFER, Similarity, rotation_about_y

POINTS = hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.just(3)), elements=st.floats(-100.0, 100.0))


@st.composite
def similarities(draw: st.DrawFn) -> Similarity:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return random_similarity(
        rng, scale=10.0 ** draw(st.floats(-6.0, 6.0)), reach=draw(st.sampled_from([0.0, 1.0, 1e3]))
    )


def assert_same_map(found: Similarity, expected: Similarity) -> None:
    np.testing.assert_allclose(found.scale, expected.scale, rtol=1e-12)
    np.testing.assert_allclose(found.rotation, expected.rotation, atol=1e-12)
    np.testing.assert_allclose(found.offset, expected.offset, rtol=1e-9, atol=1e-9 * max(1.0, expected.scale))


@given(T_b_a=similarities(), points=POINTS)
@settings(deadline=None)
def test_the_inverse_brings_points_back(T_b_a: Similarity, points: np.ndarray) -> None:
    back = T_b_a.inverse().apply(T_b_a.apply(points))
    # An offset far larger than the points' image costs digits.
    lost = np.abs(T_b_a.offset).max() / T_b_a.scale
    np.testing.assert_allclose(back, points, rtol=1e-12, atol=1e-13 * (100.0 + lost))


@given(T_c_b=similarities(), T_b_a=similarities(), points=POINTS)
@settings(deadline=None)
def test_composition_is_application_one_after_the_other(
    T_c_b: Similarity, T_b_a: Similarity, points: np.ndarray
) -> None:
    found = (T_c_b @ T_b_a).apply(points)
    expected = T_c_b.apply(T_b_a.apply(points))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max(initial=1.0))


@given(T_b_a=similarities(), points=POINTS)
@settings(deadline=None)
def test_the_matrix_agrees_with_trimesh_and_survives_a_round_trip(T_b_a: Similarity, points: np.ndarray) -> None:
    found = T_b_a.apply(points)
    expected = trimesh.transform_points(points, T_b_a.matrix())
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max(initial=1.0))
    assert_same_map(Similarity.from_matrix(T_b_a.matrix()), T_b_a)


@given(T_b_a=similarities())
@settings(deadline=None)
def test_json_keeps_every_bit(T_b_a: Similarity) -> None:
    back = Similarity.from_json(json.loads(json.dumps(T_b_a.to_json())))
    assert back.scale == T_b_a.scale
    assert back.rotation.tobytes() == T_b_a.rotation.tobytes()
    assert back.offset.tobytes() == T_b_a.offset.tobytes()


@given(T_b_a=similarities(), points=POINTS)
@settings(deadline=None)
def test_distances_grow_by_the_scale_and_directions_only_turn(T_b_a: Similarity, points: np.ndarray) -> None:
    before = np.linalg.norm(points - points[:1], axis=1)
    image = T_b_a.apply(points)
    after = np.linalg.norm(image - image[:1], axis=1)
    np.testing.assert_allclose(after, T_b_a.scale * before, rtol=1e-9, atol=1e-12 * np.abs(image).max(initial=1.0))
    turned = T_b_a.apply_vectors(points)
    # numpy's norm squares: below 1e-150 the squares are denormal and the norm itself has lost its digits.
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), np.linalg.norm(points, axis=1), rtol=1e-12, atol=1e-150)


def test_a_known_map() -> None:
    # A quarter turn around z, twice the size, one up.
    quarter = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    T_b_a = Similarity(scale=2.0, rotation=quarter, offset=np.array([0.0, 0.0, 1.0]))
    np.testing.assert_allclose(T_b_a.apply(np.array([1.0, 0.0, 3.0])), [0.0, 2.0, 7.0], atol=1e-15)
    np.testing.assert_allclose(T_b_a.apply_vectors(np.array([1.0, 0.0, 3.0])), [0.0, 1.0, 3.0], atol=1e-15)
    assert_same_map(T_b_a @ T_b_a.inverse(), Similarity.identity())


@given(
    seed=st.integers(0, 2**32),
    count=st.integers(2, 40),
    size=st.floats(1e-3, 1e3),
    place=st.floats(-1e3, 1e3),
)
@settings(deadline=None)
def test_the_unit_sphere_holds_the_points_with_room(seed: int, count: int, size: float, place: float) -> None:
    points = place + size * np.random.default_rng(seed).standard_normal((count, 3))
    T_unit_from = Similarity.to_unit_sphere(points)
    unit = T_unit_from.apply(points)
    accuracy = 1e-14 * (1.0 + abs(place) / size) * 100
    assert np.linalg.norm(unit, axis=1).max() == pytest.approx(1.0 / 1.03, abs=accuracy)
    np.testing.assert_allclose(unit.min(axis=0) + unit.max(axis=0), 0.0, atol=2 * accuracy)
    np.testing.assert_array_equal(T_unit_from.rotation, np.eye(3))


def test_the_buffer_is_deepsdfs() -> None:
    assert UNIT_SPHERE_BUFFER == 1.03
    corners = np.array([[-3.0, 0.0, 0.0], [5.0, 0.0, 0.0]])
    assert Similarity.to_unit_sphere(corners, buffer=1.0).apply(corners)[:, 0].tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("points", [np.zeros((0, 3)), np.ones((1, 3)), np.full((4, 3), 7.0)])
def test_no_unit_sphere_without_extent(points: np.ndarray) -> None:
    with pytest.raises(ValueError, match="unit sphere needs"):
        Similarity.to_unit_sphere(points)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_bad_scales_are_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="scale"):
        Similarity(scale=scale, rotation=np.eye(3), offset=np.zeros(3))


@pytest.mark.parametrize(
    "rotation",
    [
        np.diag([1.0, 1.0, -1.0]),
        2.0 * np.eye(3),
        np.zeros((3, 3)),
        np.array([[1.0, 0.1, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        np.full((3, 3), np.nan),
    ],
    ids=["mirror", "scaled", "zero", "shear", "nan"],
)
def test_what_is_no_rotation_is_refused(rotation: np.ndarray) -> None:
    with pytest.raises(ValueError, match="rotation"):
        Similarity(scale=1.0, rotation=rotation, offset=np.zeros(3))


@pytest.mark.parametrize("offset", [[np.nan, 0.0, 0.0], [np.inf, 0.0, 0.0]])
def test_bad_offsets_are_refused(offset: list) -> None:
    with pytest.raises(ValueError, match="offset"):
        Similarity(scale=1.0, rotation=np.eye(3), offset=np.array(offset))


SHEAR = np.eye(4)
SHEAR[0, 1] = 0.2
PERSPECTIVE = np.eye(4)
PERSPECTIVE[3, 0] = 0.1
UNFINISHED = np.eye(4)
UNFINISHED[1, 1] = np.nan


@pytest.mark.parametrize(
    "matrix",
    [np.diag([1.0, 2.0, 1.0, 1.0]), np.diag([-1.0, 1.0, 1.0, 1.0]), np.zeros((4, 4)), SHEAR, PERSPECTIVE, UNFINISHED],
    ids=["uneven", "mirror", "zero", "shear", "perspective", "nan"],
)
def test_matrices_that_are_no_similarity_are_refused(matrix: np.ndarray) -> None:
    with pytest.raises(ValueError, match="similarity"):
        Similarity.from_matrix(matrix)


@pytest.mark.parametrize(
    "change",
    [
        {"scale": "large"},
        {"scale": None},
        {"rotation": [[1.0]]},
        {"rotation": "none"},
        {"offset": [0.0]},
        {"offset": {}},
    ],
)
def test_broken_json_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"similarity|convert"):
        Similarity.from_json({**Similarity.identity().to_json(), **change})


def test_json_without_a_key_is_refused() -> None:
    with pytest.raises(KeyError, match="offset"):
        Similarity.from_json({"scale": 1.0, "rotation": np.eye(3).tolist()})


def test_rotations_about_y_are_scipys_and_turn_z_towards_x() -> None:
    angles = np.linspace(-7.0, 7.0, 30).reshape(5, 6)
    expected = Rotation.from_rotvec(angles.reshape(-1, 1) * [0.0, 1.0, 0.0]).as_matrix().reshape(5, 6, 3, 3)
    np.testing.assert_allclose(rotation_about_y(angles), expected, atol=1e-15)
    np.testing.assert_allclose(rotation_about_y(np.pi / 2) @ [0.0, 0.0, 1.0], [1.0, 0.0, 0.0], atol=1e-15)
