"""Several views of one object as one: in Python, by files, and in folders; and points that weigh more than others."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shapeprior.completion.residuals import observed_samples
from shapeprior.errors import ConfigError, ScanError
from shapeprior.geometry.camera import LensDistortion, PinholeCamera, look_at
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.transforms import Similarity
from shapeprior.scans.folder import ViewFiles, find_scans, read_placed_scan
from shapeprior.scans.free_space import free_space_samples
from shapeprior.scans.observation import Observation, join_views
from shapeprior.scans.read import read_views
from shapeprior.scans.simulation import render_depth

CAMERA = PinholeCamera(fx=80.0, fy=80.0, cx=31.5, cy=31.5, width=64, height=64)
EYES = ([0.0, 0.3, 3.0], [2.5, 1.0, 0.5], [-1.5, 1.0, -2.0])
POSES = [look_at(np.array(eye), np.zeros(3)) for eye in EYES]
ORIGIN = np.zeros(3)


def ball_depth(pose: Similarity) -> np.ndarray:
    """Depth of the unit sphere by the quadratic formula."""
    rays = CAMERA.pixel_rays()
    center = pose.inverse().apply(ORIGIN)
    square, half = (rays * rays).sum(axis=2), rays @ center
    root = half**2 - square * (center @ center - 1.0)
    return np.where(root > 0, (half - np.sqrt(np.maximum(root, 0.0))) / square, 0.0)


@pytest.fixture
def ball(tmp_path: Path) -> Path:
    """Three depth images of the unit ball in a folder of their own, with all that belongs to them."""
    folder = tmp_path / "scans" / "ball"
    folder.mkdir(parents=True)
    for number, pose in enumerate(POSES):
        np.save(folder / f"{number}.npy", ball_depth(pose))
        (folder / f"{number}.camera_pose.json").write_text(json.dumps({"matrix": pose.matrix().tolist()}))
    camera = {"fx": 80.0, "fy": 80.0, "cx": 31.5, "cy": 31.5}
    (tmp_path / "scans" / "ball.intrinsics.json").write_text(json.dumps(camera))
    return folder


def test_views_of_a_ball_join_to_the_ball(ball: Path) -> None:
    paths = [ball / f"{number}.npy" for number in range(3)]
    intrinsics = ball.parent / "ball.intrinsics.json"
    view = read_views(paths, intrinsics=intrinsics, T_world_cameras=POSES, background_is_free=True)
    np.testing.assert_allclose(np.linalg.norm(view.points_world, axis=1), 1.0, atol=1e-9)
    assert view.origins_world is not None
    places, counts = np.unique(view.origins_world.round(9), axis=0, return_counts=True)
    np.testing.assert_allclose(places, sorted(EYES), atol=1e-9)
    assert counts.sum() == sum((ball_depth(pose) > 0).sum() for pose in POSES)
    # What is free is outside, whichever camera saw it.
    free = free_space_samples(view, per_ray=8, rng=np.random.default_rng(0), radius=1.4)
    assert len(free) > 5000
    assert np.linalg.norm(free, axis=1).min() > 1.0 - 1e-9
    assert len(view.background_directions) == sum((ball_depth(pose) == 0).sum() for pose in POSES)
    each = read_views(paths, intrinsics=[intrinsics] * 3, T_world_cameras=POSES, background_is_free=True)
    np.testing.assert_array_equal(each.points_world, view.points_world)


def test_joining_keeps_normals_and_weights_with_their_points() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(5, 3)), rng.normal(size=(4, 3))
    units = one / np.linalg.norm(one, axis=1, keepdims=True)
    weighted = Observation.from_points(one, ORIGIN, normals_world=units, weights=rng.random(5) + 0.1)
    plain = Observation.from_points(two, np.ones(3))
    both = join_views([weighted, plain])
    np.testing.assert_array_equal(both.points_world, np.concatenate([one, two]))
    np.testing.assert_array_equal(both.origins_world, [[0.0] * 3] * 5 + [[1.0] * 3] * 4)
    np.testing.assert_array_equal(both.normals_world, np.concatenate([units, np.zeros((4, 3))]))
    assert weighted.weights is not None
    np.testing.assert_array_equal(both.weights, [*weighted.weights, 1, 1, 1, 1])
    alone = join_views([plain])
    assert alone.normals_world is alone.weights is None
    with pytest.raises(ScanError, match="no sensor position in 1 of 2 views"):
        join_views([plain, Observation.from_points(one)])
    with pytest.raises(ScanError, match="0 views"):
        join_views([])
    assert join_views([Observation.from_points(one)] * 2).origins_world is None


def test_joined_views_move_as_one() -> None:
    rng = np.random.default_rng(1)
    motion = Similarity(scale=2.0, rotation=POSES[1].rotation, offset=np.array([1.0, 2.0, 3.0]))
    views = [Observation.from_depth(ball_depth(pose), CAMERA, pose, background_is_free=True) for pose in POSES]
    views[0] = Observation.from_points(views[0].points_world, ORIGIN, weights=rng.random(len(views[0].points_world)))
    first, last = join_views(views).transformed(motion), join_views([view.transformed(motion) for view in views])
    for name, value in vars(first).items():
        np.testing.assert_allclose(value, getattr(last, name)) if value is not None else None


def test_what_does_not_fit_is_refused(ball: Path, tmp_path: Path) -> None:
    paths, intrinsics = [ball / f"{number}.npy" for number in range(3)], ball.parent / "ball.intrinsics.json"
    cloud = tmp_path / "cloud.npy"
    np.save(cloud, np.random.default_rng(0).normal(size=(20, 3)))
    with pytest.raises(ScanError, match="one of 3 views, without its camera's pose"):
        read_views(paths, intrinsics=intrinsics)
    with pytest.raises(ConfigError, match="2 camera poses for 3 views"):
        read_views(paths, intrinsics=intrinsics, T_world_cameras=POSES[:2])
    with pytest.raises(ConfigError, match="1 masks for 3 views"):
        read_views(paths, intrinsics=intrinsics, T_world_cameras=POSES, masks=[cloud])
    with pytest.raises(ScanError, match="0 views"):
        read_views([])
    with pytest.raises(ScanError, match="these with depth images only"):
        read_views([cloud], intrinsics=intrinsics)
    with pytest.raises(ScanError, match="leave the position out"):
        read_views(paths, intrinsics=intrinsics, T_world_cameras=POSES, sensor=(0.0, 0.0, 1.0))
    with pytest.raises(ScanError, match="no sensor position in 1 of 2"):
        read_views([paths[0], cloud], intrinsics=intrinsics, T_world_cameras=[POSES[0], None])
    mixed = read_views(
        [paths[0], cloud], intrinsics=intrinsics, T_world_cameras=[POSES[0], None], sensor=(0.0, 0.0, 9.0)
    )
    np.testing.assert_array_equal(mixed.origins_world[-1], [0.0, 0.0, 9.0])  # pyright: ignore


def test_the_command_lines_files_are_matched_by_their_order() -> None:
    scans, files = [Path("a.png"), Path("b.png")], [Path("1.json"), Path("2.json")]
    views = ViewFiles.each(scans, intrinsics=files[:1], camera_poses=files)
    assert views == (
        ViewFiles(scan=scans[0], intrinsics=files[0], camera_pose=files[0]),
        ViewFiles(scan=scans[1], intrinsics=files[0], camera_pose=files[1]),
    )
    with pytest.raises(ConfigError, match="--mask with 1 files for 2 scans"):
        ViewFiles.each(scans, masks=files[:1])


def test_a_camera_pose_says_which_way_an_object_stands(ball: Path) -> None:
    intrinsics, camera_pose = ball.parent / "ball.intrinsics.json", ball / "0.camera_pose.json"
    view = ViewFiles(scan=ball / "0.npy", intrinsics=intrinsics, camera_pose=camera_pose)
    seen, placed = read_placed_scan([view], sensor=None, pose=None)
    assert placed is None
    np.testing.assert_allclose(np.linalg.norm(seen.points_world, axis=1), 1.0, atol=1e-9)
    with pytest.raises(ScanError, match="--camera-pose"):
        read_placed_scan([ViewFiles(scan=ball / "0.npy", intrinsics=intrinsics)], sensor=None, pose=None)


def test_a_sub_folder_is_one_object(ball: Path) -> None:
    scans = ball.parent
    np.save(scans / "single.npy", np.ones((4, 3)))
    Image.fromarray(np.ones((64, 64), np.uint8)).save(ball / "1.mask.png")
    (ball / "2.intrinsics.json").write_text("{}")
    (scans / "ball.pose.json").write_text("{}")
    (scans / "notes").mkdir()
    (scans / "notes" / "a.md").write_text("no scan")
    (scans / "out").mkdir()
    np.save(scans / "out" / "result.npy", np.ones((4, 3)))
    (scans / "out" / "summary.csv").write_text("scan,status,reason\n")
    fallback = {"intrinsics": Path("K"), "mask": Path("M"), "camera_pose": Path("C"), "pose": Path("P")}
    found = find_scans(scans, out=scans / "out", **fallback)
    assert [(scan.name, scan.stem) for scan in found] == [("ball", "ball"), ("single.npy", "single")]
    shared = scans / "ball.intrinsics.json"
    assert found[0].pose == scans / "ball.pose.json"
    assert found[0].views == (
        ViewFiles(scan=ball / "0.npy", intrinsics=shared, camera_pose=ball / "0.camera_pose.json"),
        ViewFiles(
            scan=ball / "1.npy", intrinsics=shared, mask=ball / "1.mask.png", camera_pose=ball / "1.camera_pose.json"
        ),
        ViewFiles(scan=ball / "2.npy", intrinsics=ball / "2.intrinsics.json", camera_pose=ball / "2.camera_pose.json"),
    )
    (single,) = found[1].views
    assert single == ViewFiles(scan=scans / "single.npy", intrinsics=Path("K"), mask=Path("M"), camera_pose=Path("C"))
    assert found[1].pose == Path("P")
    np.save(scans / "ball.npy", np.ones((4, 3)))
    with pytest.raises(ScanError, match=r"ball and ball\.npy would both become ball\.ply"):
        find_scans(scans, out=scans / "out", **fallback)


def test_points_are_drawn_by_their_weights() -> None:
    points = np.random.default_rng(0).normal(size=(3000, 3))
    weights = np.repeat([0.0, 1.0, 4.0], 1000)
    view = Observation.from_points(points, ORIGIN, weights=weights)
    drawn = view.subsampled(300, seed=0)
    assert drawn.weights is not None
    assert len(drawn.points_world) == 300
    # A weight stays with its point, and points in their order.
    rows = [int(np.flatnonzero((points == point).all(axis=1))[0]) for point in drawn.points_world]
    assert rows == sorted(rows)
    np.testing.assert_array_equal(drawn.weights, weights[rows])
    assert (drawn.weights > 0).all()
    counts = np.array([
        [(view.subsampled(300, seed=seed).weights == weight).sum() for weight in (1.0, 4.0)] for seed in range(40)
    ])  # fmt: skip
    # numpy's own drawing without replacement, as far as chance allows.
    share = weights / weights.sum()
    plain = np.array([
        (weights[np.random.default_rng(seed).choice(3000, 300, replace=False, p=share)] == 4.0).sum()
        for seed in range(40)
    ])  # fmt: skip
    assert counts[:, 1].mean() == pytest.approx(plain.mean(), abs=5.0)
    assert len(view.subsampled(2500, seed=0).points_world) == 2000
    assert len(view.subsampled(9999, seed=0).points_world) == 2000
    np.testing.assert_array_equal(view.subsampled(300, seed=0).points_world, drawn.points_world)


@pytest.mark.parametrize("weights", [-np.ones(5), np.zeros(5), np.full(5, np.nan)])
def test_weights_that_are_none_are_refused(weights: np.ndarray) -> None:
    with pytest.raises(ScanError, match="weights"):
        Observation.from_points(np.zeros((5, 3)), weights=weights)


def test_samples_of_a_view_prefer_points_of_greater_weight() -> None:
    rng = np.random.default_rng(0)
    units = rng.normal(size=(4000, 3))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    weights = np.where(units[:, 1] > 0, 9.0, 1.0)
    view = Observation.from_points(0.9 * units, normals_world=units, weights=weights)
    samples = observed_samples(view.subsampled(800, seed=0), seed=0)
    upper = samples.surface[:, 1] > 0
    assert 0.8 < upper.mean() < 0.95
    np.testing.assert_allclose(samples.normals, samples.surface / 0.9, atol=1e-12)


def test_unknown_normals_are_estimated_beside_given_ones() -> None:
    rng = np.random.default_rng(0)
    units = rng.normal(size=(3000, 3))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    units = units[units[:, 2] > 0.3]
    given = np.where(rng.random((len(units), 1)) < 0.5, units, 0.0)
    eye = np.array([0.0, 0.0, 5.0])
    samples = observed_samples(
        Observation.from_points(units, eye, normals_world=given).subsampled(5000, seed=0), seed=0
    )
    assert (np.einsum("ij,ij->i", samples.normals, samples.surface) > 0.95).all()
    exact = (np.abs(samples.normals - samples.surface) < 1e-12).all(axis=1)
    assert 0.4 < exact.mean() < 0.6
    unseen = observed_samples(Observation.from_points(units, normals_world=given).subsampled(5000, seed=0), seed=0)
    assert 0.4 < unseen.normals.any(axis=1).mean() < 0.6


def test_render_sees_nothing_where_a_lens_has_no_ray() -> None:
    camera = PinholeCamera(fx=20.0, fy=20.0, cx=15.5, cy=15.5, width=32, height=32, lens=LensDistortion(k1=-0.5))
    vertices = np.array([[-90.0, -90.0, 2.0], [90.0, -90.0, 2.0], [0.0, 150.0, 2.0]])
    wall = TriangleMesh(vertices=vertices, faces=np.array([[0, 1, 2]], dtype=np.int64))
    depth = render_depth(wall, camera, Similarity.identity())
    met = np.isfinite(camera.pixel_rays()[:, :, 0])
    np.testing.assert_allclose(depth, np.where(met, 2.0, 0.0), atol=1e-6)
