"""Intrinsics files: every dialect gives the same camera and lens, and other files are refused in one line."""

import json
from pathlib import Path

import numpy as np
import pytest

from shapeprior.errors import ScanError
from shapeprior.geometry.camera import LensDistortion, PinholeCamera
from shapeprior.io.intrinsics import camera_from_json

CAMERA = PinholeCamera(fx=500.0, fy=600.0, cx=31.0, cy=22.5, width=64, height=48)
MATRIX = [[500.0, 0.0, 31.0], [0.0, 600.0, 22.5], [0.0, 0.0, 1.0]]
COEFFICIENTS = {"k1": 0.12, "k2": -0.25, "p1": 0.0011, "p2": -0.0007, "k3": 0.08, "k4": 0.03, "k5": -0.01, "k6": 0.005}
FIVE = dict(list(COEFFICIENTS.items())[:5])


def write(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value))
    return path


def refused(path: Path, **options: object) -> str:
    """The text of the error, which is one line that begins with the file."""
    with pytest.raises(ScanError) as caught:
        camera_from_json(path, **options)  # pyright: ignore[reportArgumentType]
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


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
        ([1, 2], "a JSON list; expected intrinsics as a JSON object"),
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
    size = None if value is BOP else (64, 48)
    assert text in refused(write(tmp_path / "camera.json", value), size=size)


def test_broken_missing_and_large_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "camera.json"
    for content in (b"{", b"\xff\xfe\x00", b"[" * 100_000, b'{"fx": ' + b"9" * 5000 + b"}"):
        path.write_bytes(content)
        assert "not JSON" in (message := refused(path)) or "not UTF-8" in message
    path.write_bytes(b"")
    assert "an empty file; expected intrinsics" in refused(path)
    with path.open("wb") as file:
        file.truncate(2**24 + 1)
    assert "16 MiB at most" in refused(path)
    assert "No such file" in refused(tmp_path / "none.json")
    assert "a folder" in refused(tmp_path)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "camera.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(OURS).encode())
    assert camera_from_json(path)[0] == CAMERA


SIZE = {"width": 640, "height": 480}
VALUES = list(COEFFICIENTS.values())
LENS_MATRIX = [500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("value", "lens"),
    [
        ({"fx": 500, "fy": 510, "cx": 320, "cy": 240, **SIZE, **COEFFICIENTS}, COEFFICIENTS),
        ({"fx": 500, "fy": 510, "cx": 320, "cy": 240, **SIZE, **COEFFICIENTS, "codx": 0, "cody": 0.0}, COEFFICIENTS),
        ({"fx": 500, "fy": 510, "ppx": 320, "ppy": 240, **SIZE, "coeffs": VALUES[:5], "model": "Brown Conrady"}, FIVE),
        ({"fx": 500, "fy": 510, "ppx": 320, "ppy": 240, **SIZE, "coeffs": [0] * 5, "model": "distortion.none"}, {}),
        ({"K": LENS_MATRIX, "D": VALUES[:5], "distortion_model": "plumb_bob", **SIZE}, FIVE),
        (
            {"k": LENS_MATRIX, "d": VALUES, "distortion_model": "rational_polynomial", **SIZE, "binning_x": 0},
            COEFFICIENTS,
        ),
        ({"K": LENS_MATRIX, "D": [], "distortion_model": "", **SIZE, "roi": {"x_offset": 0, "y_offset": 0}}, {}),
    ],
)
def test_intrinsics_files_state_the_lens(tmp_path: Path, value: dict, lens: dict[str, float]) -> None:
    camera, scale = camera_from_json(write(tmp_path / "camera.json", value), size=(640, 480))
    assert scale is None
    assert camera == PinholeCamera(
        fx=500.0, fy=510.0, cx=320.0, cy=240.0, width=640, height=480, lens=LensDistortion(**lens)
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"K": LENS_MATRIX, "D": VALUES[:4], "distortion_model": "equidistant"}, "of model 'equidistant'"),
        ({"K": LENS_MATRIX, "D": VALUES[:5]}, "of model 'unstated'"),
        ({"K": LENS_MATRIX, "D": [*VALUES, 0.1], "distortion_model": "rational_polynomial"}, "9 coefficients"),
        ({"K": [0.0] * 9, "D": []}, "expected fx 0 cx"),
        ({"K": LENS_MATRIX, "binning_x": 2}, "binning [2.0]"),
        ({"K": LENS_MATRIX, "roi": {"x_offset": 8, "y_offset": 0}}, "region of interest at [8.0, 0.0]"),
        (
            {"fx": 5, "fy": 5, "ppx": 3, "ppy": 2, "coeffs": VALUES[:5], "model": "inverse_brown_conrady"},
            "'inverse_brown",
        ),
        ({"fx": 5, "fy": 5, "cx": 3, "cy": 2, "codx": 0.1}, "codx is 0.1"),
        ({"fx": 5, "fy": 5, "cx": 3, "cy": 2, "k1": float("nan")}, "expected finite numbers"),
        ({"fx": 5, "fy": 5, "cx": 3, "cy": 2, "k1": "a"}, "k1 is 'a'; expected a number"),
    ],
)
def test_other_lenses_are_refused(tmp_path: Path, value: dict, text: str) -> None:
    assert text in refused(write(tmp_path / "camera.json", value), size=(640, 480))
