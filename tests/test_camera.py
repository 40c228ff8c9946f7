"""The pinhole camera, against hand-made numbers and round trips, and the four intrinsics dialects."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shapeprior.errors import ConfigError, ScanError
from shapeprior.geometry.camera import PinholeCamera, has_measurement, look_at
from shapeprior.io.intrinsics import camera_from_json

CAMERA = PinholeCamera(fx=500.0, fy=600.0, cx=31.0, cy=22.5, width=64, height=48)
MATRIX = [[500.0, 0.0, 31.0], [0.0, 600.0, 22.5], [0.0, 0.0, 1.0]]


def write(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value))
    return path


def test_projection_of_known_points() -> None:
    points = np.array([[0.0, 0.0, 2.0], [0.2, 0.0, 2.0], [0.0, 0.1, 1.0], [0.0, 0.0, -1.0], [1.0, 1.0, 0.0]])
    pixels = CAMERA.project(points)
    np.testing.assert_allclose(pixels[:3], [[31, 22.5], [81, 22.5], [31, 82.5]])
    assert np.isnan(pixels[3:]).all()


def test_pixel_rays_are_indexed_row_first_and_have_unit_z() -> None:
    rays = CAMERA.pixel_rays()
    assert rays.shape == (48, 64, 3)
    np.testing.assert_allclose(rays[10, 41], [10 / 500, -12.5 / 600, 1.0])


def test_back_projection_inverts_projection() -> None:
    depth = np.random.default_rng(0).uniform(0.5, 3.0, (48, 64))
    depth[3, 4], depth[5, 6], depth[7, 8], depth[9, 10] = 0.0, np.nan, np.inf, -1.0
    points = CAMERA.back_project(depth)
    assert len(points) == 48 * 64 - 4 == has_measurement(depth).sum()
    rows, columns = np.nonzero(has_measurement(depth))
    np.testing.assert_allclose(CAMERA.project(points), np.stack([columns, rows], axis=1), atol=1e-9)
    np.testing.assert_array_equal(points[:, 2], depth[rows, columns])


def test_back_projection_of_another_size_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"has 48 x 64 pixels; expected the camera's 64 x 48"):
        CAMERA.back_project(np.ones((64, 48)))


@pytest.mark.parametrize(
    ("key", "value"), [("fx", 0.0), ("fy", -1.0), ("fx", np.nan), ("cx", np.inf), ("width", 0), ("height", -3)]
)
def test_senseless_cameras_are_refused(key: str, value: float) -> None:
    values = {"fx": 1.0, "fy": 1.0, "cx": 0.0, "cy": 0.0, "width": 2, "height": 2}
    with pytest.raises(ConfigError, match="expected"):
        PinholeCamera(**{**values, key: value})


coordinates = st.floats(-10, 10).map(lambda value: round(value, 3))


@settings(max_examples=60, deadline=None)
@given(eye=st.tuples(*[coordinates] * 3), target=st.tuples(*[coordinates] * 3))
def test_look_at_centres_the_target_and_keeps_up_upright(eye: tuple[float, ...], target: tuple[float, ...]) -> None:
    eye_world, target_world = np.array(eye), np.array(target)
    if np.linalg.norm(eye_world - target_world) < 1e-3:
        return
    pose = look_at(eye_world, target_world)
    assert pose.scale == 1.0
    assert np.linalg.det(pose.rotation) == pytest.approx(1.0)
    in_camera = pose.inverse().apply(target_world)
    np.testing.assert_allclose(in_camera, [0, 0, np.linalg.norm(target_world - eye_world)], atol=1e-9)
    up_camera = pose.inverse().apply_vectors(np.array([0.0, 1.0, 0.0]))
    assert abs(up_camera[0]) < 1e-6  # No roll.
    assert up_camera[1] < 1e-9  # Image y points down.


def test_look_at_from_the_front_by_hand() -> None:
    pose = look_at(np.array([0.0, 0.0, 3.0]), np.zeros(3))
    np.testing.assert_allclose(pose.rotation, np.diag([1.0, -1.0, -1.0]), atol=1e-12)  # +x of the world to the right.


@pytest.mark.parametrize("height", [2.0, -2.0])
def test_look_at_along_up(height: float) -> None:
    pose = look_at(np.array([0.0, height, 0.0]), np.zeros(3))
    np.testing.assert_allclose(pose.inverse().apply(np.zeros(3)), [0, 0, 2], atol=1e-12)
    np.testing.assert_allclose(pose.rotation @ pose.rotation.T, np.eye(3), atol=1e-12)


def test_look_at_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot look at"):
        look_at(np.ones(3), np.ones(3))


OURS = {"fx": 500, "fy": 600.0, "cx": 31, "cy": 22.5, "width": 64, "height": 48}
REALSENSE = {"fx": 500, "fy": 600, "ppx": 31, "ppy": 22.5, "width": 64, "height": 48, "coeffs": [0, 0.0, 0, 0, 0]}
OPEN3D = {"width": 64, "height": 48, "intrinsic_matrix": np.transpose(MATRIX).ravel().tolist()}
BOP = {"cam_K": np.ravel(MATRIX).tolist(), "depth_scale": 0.1}


@pytest.mark.parametrize(
    ("value", "scale"),
    [
        (OURS, None),
        ({**OURS, "depth_scale": 0.00025}, 0.00025),
        ({**REALSENSE, "depth_scale": 0.001}, 0.001),
        (OPEN3D, None),
        ({**BOP, "width": 64, "height": 48}, 1e-4),
        ({"17": {**BOP, "cam_R_w2c": [1] * 9}}, 1e-4),
    ],
)
def test_every_dialect_gives_the_same_camera(tmp_path: Path, value: dict, scale: float | None) -> None:
    camera, found_scale = camera_from_json(write(tmp_path / "camera.json", value), size=(64, 48))
    assert camera == CAMERA
    assert found_scale == (None if scale is None else pytest.approx(scale))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": 1, "b": 2}, "found the keys 'a', 'b'; expected fx fy cx cy"),
        ({}, "found the keys none"),
        ([1, 2], "found a JSON list; expected a JSON object"),
        ({"1": BOP, "2": BOP}, "found the cameras of 2 images, none for"),
        (BOP, "states no image size"),
        ({**OURS, "width": 32}, "made for images of 32 x 48 pixels; the depth image is 64 x 48"),
        ({**OURS, "width": 64.5}, "expected whole pixels"),
        ({**OURS, "fx": "500"}, "fx is '500'; expected a number"),
        ({**OURS, "fx": None}, "fx is None; expected a number"),
        ({**OURS, "fx": 10**400}, "expected a number"),
        ({**OURS, "fx": float("nan")}, "expected positive, finite pixels"),
        ({**OURS, "fx": -1}, "expected positive, finite pixels"),
        ({**OURS, "depth_scale": 0}, "depth_scale 0.0; expected a positive length"),
        ({**REALSENSE, "coeffs": [0.1, 0, 0, 0, 0]}, "coeffs states lens distortion"),
        ({**REALSENSE, "coeffs": 3}, "coeffs is 3; expected a list"),
        ({**OPEN3D, "intrinsic_matrix": np.ravel(MATRIX).tolist()}, "column by column"),
        ({**BOP, "cam_K": np.transpose(MATRIX).ravel().tolist()}, "row by row"),
        ({**BOP, "cam_K": [500.0, 0.0]}, "as nine numbers, row by row"),
        ({**BOP, "cam_K": MATRIX}, "expected a number"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, value: object, text: str) -> None:
    path = write(tmp_path / "camera.json", value)
    size = None if value is BOP else (64, 48)
    with pytest.raises(ScanError) as caught:
        camera_from_json(path, size=size)
    message = str(caught.value)
    assert text in message
    assert message.startswith(str(path))
    assert "\n" not in message


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b'{"fx": ' + b"9" * 5000 + b"}"])
def test_broken_json_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "camera.json"
    path.write_bytes(content)
    with pytest.raises(ScanError, match="cannot be read as JSON"):
        camera_from_json(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="no such file"):
        camera_from_json(tmp_path / "none.json")
    with pytest.raises(ScanError, match="cannot be read"):
        camera_from_json(tmp_path)
