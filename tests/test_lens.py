"""Lens distortion: against OpenCV's numbers, a plain inverse, and a sphere seen through a bent lens."""

import json
from pathlib import Path

import numpy as np
import pytest

from shapeprior.errors import ConfigError, ScanError
from shapeprior.geometry.camera import LensDistortion, PinholeCamera, look_at
from shapeprior.io.intrinsics import camera_from_json
from shapeprior.scans.observation import Observation

COEFFICIENTS = {"k1": 0.12, "k2": -0.25, "p1": 0.0011, "p2": -0.0007, "k3": 0.08, "k4": 0.03, "k5": -0.01, "k6": 0.005}
FIVE = dict(list(COEFFICIENTS.items())[:5])
FOCAL, CENTER = np.array([500.0, 510.0]), np.array([320.0, 240.0])
PIXELS = np.array([[0.0, 0.0], [100.0, 50.0], [639.0, 479.0], [320.0, 0.0], [600.0, 30.0]])
POINTS = np.array([[0.3, -0.2, 1.0], [-0.5, 0.4, 1.2], [0.1, 0.6, 0.9]])
UNDISTORTED = {
    5: [
        [-6.424099358095e-01, -4.733930691180e-01], [-4.331988059968e-01, -3.673283161212e-01],
        [6.407451300445e-01, 4.696214452991e-01], [1.488210310960e-04, -4.643107043844e-01],
        [5.562358869161e-01, -4.092740631762e-01],
    ],
    8: [
        [-6.549872078810e-01, -4.827030181506e-01], [-4.371181853337e-01, -3.706616132118e-01],
        [6.531680967745e-01, 4.786859015989e-01], [1.515516772922e-04, -4.671342722300e-01],
        [5.639299667680e-01, -4.149431320052e-01],
    ],
}  # fmt: skip
"""`cv2.undistortPoints` of the pixels, OpenCV 5.0.0, 200 iterations."""
PROJECTED = {
    5: [[471.558114, 136.98247248], [108.012187294596, 413.06046767761], [376.039380466401, 584.195712158076]],
    8: [
        [470.992449542317, 137.367124311225],
        [109.659668858557, 411.716122711418],
        [375.368715546693, 580.091242849462],
    ],
}
"""`cv2.projectPoints` of the points."""


@pytest.mark.parametrize(("count", "coefficients"), [(5, FIVE), (8, COEFFICIENTS)])
def test_opencv_finds_the_same(count: int, coefficients: dict[str, float]) -> None:
    lens = LensDistortion(**coefficients)
    np.testing.assert_allclose(lens.undistort((PIXELS - CENTER) / FOCAL), UNDISTORTED[count], atol=1e-11)
    camera = PinholeCamera(fx=500.0, fy=510.0, cx=320.0, cy=240.0, width=640, height=480, lens=lens)
    np.testing.assert_allclose(camera.project(POINTS), PROJECTED[count], atol=1e-9)


def test_undistorting_is_the_inverse_of_distorting() -> None:
    rng = np.random.default_rng(0)
    slopes = rng.uniform(-0.55, 0.55, (500, 2))
    for _ in range(20):
        k = rng.normal(size=8) * [0.1, 0.05, 0.002, 0.002, 0.02, 0.05, 0.02, 0.005]
        lens = LensDistortion(**dict(zip(COEFFICIENTS, k.tolist(), strict=True)))
        found = lens.undistort(lens.distort(slopes))
        np.testing.assert_allclose(found, slopes, atol=1e-8)
    assert not LensDistortion()
    np.testing.assert_array_equal(LensDistortion().undistort(slopes), slopes)


def test_no_ray_is_found_where_the_polynomial_turns_back() -> None:
    # r (1 - 0.5 r²) is largest, 0.544, at r = 0.816: beyond, the image shows nothing.
    lens = LensDistortion(k1=-0.5)
    along = np.linspace(0.0, 1.5, 61)
    found = lens.undistort(np.stack([along, 0 * along], axis=1))
    assert np.isfinite(found[along < 0.54]).all()
    assert np.isnan(found[along > 0.55]).all()
    assert np.nanmax(found) < 0.8165
    camera = PinholeCamera(fx=20.0, fy=20.0, cx=15.5, cy=15.5, width=32, height=32, lens=lens)
    rays = camera.pixel_rays()
    met = np.isfinite(rays).all(axis=2)
    assert 0 < met.sum() < 32 * 32
    assert np.isnan(rays[~met]).all()
    depth = np.ones((32, 32))
    assert len(camera.back_project(depth)) == met.sum()
    depth[:8] = 0.0
    view = Observation.from_depth(depth, camera, background_is_free=True)
    assert len(view.points_world) == met[8:].sum()
    assert len(view.background_directions) == met[:8].sum()
    assert np.isfinite(view.background_directions).all()


def test_a_sphere_through_a_bent_lens_is_a_sphere() -> None:
    lens = LensDistortion(**FIVE)
    camera = PinholeCamera(fx=60.0, fy=62.0, cx=31.0, cy=24.0, width=64, height=48, lens=lens)
    # A ray tracer of its own: for each pixel, OpenCV's fixed-point inverse, then the nearer root of a quadratic.
    center, radius = np.array([0.1, -0.05, 3.0]), 1.1
    depth = np.zeros((48, 64))
    for v in range(48):
        for u in range(64):
            seen = np.array([(u - 31.0) / 60.0, (v - 24.0) / 62.0])
            x, y = seen
            for _ in range(60):
                square = x * x + y * y
                radial = 1 + FIVE["k1"] * square + FIVE["k2"] * square**2 + FIVE["k3"] * square**3
                x, y = (
                    (seen[0] - 2 * FIVE["p1"] * x * y - FIVE["p2"] * (square + 2 * x * x)) / radial,
                    (seen[1] - FIVE["p1"] * (square + 2 * y * y) - 2 * FIVE["p2"] * x * y) / radial,
                )
            ray = np.array([x, y, 1.0])
            half, rest = ray @ center, center @ center - radius**2
            root = half**2 - (ray @ ray) * rest
            depth[v, u] = (half - np.sqrt(root)) / (ray @ ray) if root > 0 else 0.0
    pose = look_at(np.array([2.0, 1.0, -1.0]), np.zeros(3))
    view = Observation.from_depth(depth, camera, pose)
    assert len(view.points_world) > 900
    far = np.linalg.norm(view.points_world - pose.apply(center), axis=1)
    np.testing.assert_allclose(far, radius, atol=1e-9)
    straight = Observation.from_depth(
        depth, PinholeCamera(fx=60.0, fy=62.0, cx=31.0, cy=24.0, width=64, height=48), pose
    )
    assert np.abs(np.linalg.norm(straight.points_world - pose.apply(center), axis=1) - radius).max() > 1e-3


SIZE = {"width": 640, "height": 480}
VALUES = list(COEFFICIENTS.values())
MATRIX = [500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("value", "lens"),
    [
        ({"fx": 500, "fy": 510, "cx": 320, "cy": 240, **SIZE, **COEFFICIENTS}, COEFFICIENTS),
        ({"fx": 500, "fy": 510, "cx": 320, "cy": 240, **SIZE, **COEFFICIENTS, "codx": 0, "cody": 0.0}, COEFFICIENTS),
        ({"fx": 500, "fy": 510, "ppx": 320, "ppy": 240, **SIZE, "coeffs": VALUES[:5], "model": "Brown Conrady"}, FIVE),
        ({"fx": 500, "fy": 510, "ppx": 320, "ppy": 240, **SIZE, "coeffs": [0] * 5, "model": "distortion.none"}, {}),
        ({"K": MATRIX, "D": VALUES[:5], "distortion_model": "plumb_bob", **SIZE}, FIVE),
        ({"k": MATRIX, "d": VALUES, "distortion_model": "rational_polynomial", **SIZE, "binning_x": 0}, COEFFICIENTS),
        ({"K": MATRIX, "D": [], "distortion_model": "", **SIZE, "roi": {"x_offset": 0, "y_offset": 0}}, {}),
    ],
)
def test_intrinsics_files_state_the_lens(tmp_path: Path, value: dict, lens: dict[str, float]) -> None:
    path = tmp_path / "camera.json"
    path.write_text(json.dumps(value))
    camera, scale = camera_from_json(path, size=(640, 480))
    assert scale is None
    assert camera == PinholeCamera(
        fx=500.0, fy=510.0, cx=320.0, cy=240.0, width=640, height=480, lens=LensDistortion(**lens)
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"K": MATRIX, "D": VALUES[:4], "distortion_model": "equidistant"}, "of model 'equidistant'"),
        ({"K": MATRIX, "D": VALUES[:5]}, "of model 'unstated'"),
        ({"K": MATRIX, "D": [*VALUES, 0.1], "distortion_model": "rational_polynomial"}, "9 coefficients"),
        ({"K": [0.0] * 9, "D": []}, "expected fx 0 cx"),
        ({"K": MATRIX, "binning_x": 2}, "binning [2.0]"),
        ({"K": MATRIX, "roi": {"x_offset": 8, "y_offset": 0}}, "region of interest at [8.0, 0.0]"),
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
    path = tmp_path / "camera.json"
    path.write_text(json.dumps(value))
    with pytest.raises(ScanError) as caught:
        camera_from_json(path, size=(640, 480))
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_coefficient_must_be_a_number() -> None:
    with pytest.raises(ConfigError, match="expected finite numbers"):
        LensDistortion(k2=np.inf)
