"""The pinhole camera and its lens, against numbers worked out by hand, OpenCV and round trips."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shapeprior.errors import ConfigError
from shapeprior.geometry.camera import LensDistortion, PinholeCamera, has_measurement, look_at
from shapeprior.scans.observation import Observation

CAMERA = PinholeCamera(fx=500.0, fy=600.0, cx=31.0, cy=22.5, width=64, height=48)


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
    # r (1 - 0.5 r²) has its maximum, 0.544, at r = 0.816; no ray meets the image beyond it.
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
    # A second way, pixel by pixel: OpenCV's fixed-point inverse, then the nearer root of a quadratic.
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


def test_a_coefficient_must_be_a_number() -> None:
    with pytest.raises(ConfigError, match="expected finite numbers"):
        LensDistortion(k2=np.inf)
