"""Reading scans: views from points and depth, with the files beside them, and one clear line for each fault."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from helpers.scan_writers import npy_bytes, ply_bytes, png_bytes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from shapeprior.errors import ConfigError, ScanError, ShapePriorError
from shapeprior.geometry.transforms import Similarity
from shapeprior.io import files, point_files
from shapeprior.io.depth_images import read_depth, read_mask
from shapeprior.io.point_files import read_cloud
from shapeprior.scans.placement import read_pose
from shapeprior.scans.read import read_scan

POINTS = np.random.default_rng(0).normal(size=(42, 3))
RAW = np.arange(12, dtype=np.uint16).reshape(3, 4) * 1000
INTRINSICS = {"fx": 4.0, "fy": 4.0, "cx": 1.5, "cy": 1.0}


@pytest.fixture
def intrinsics(tmp_path: Path) -> Path:
    path = tmp_path / "camera.json"
    path.write_text(json.dumps(INTRINSICS))
    return path


def saved(path: Path, array: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        Image.fromarray(array).save(path)
    return path


def refused(call, *args, **options) -> str:
    """The text of the ScanError, after checks that hold for all of them."""
    with pytest.raises(ScanError) as caught:
        call(*args, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert any(str(path) in message for path in [*args, *options.values()])
    return message


def test_point_clouds_become_observations(tmp_path: Path) -> None:
    path = saved(tmp_path / "scan.npy", POINTS)
    observation = read_scan(path, sensor=(0.0, 1.0, 2.0))
    np.testing.assert_array_equal(observation.points_world, POINTS)
    np.testing.assert_array_equal(observation.origins_world, np.tile([0.0, 1.0, 2.0], (42, 1)))
    assert read_scan(path).origins_world is None
    assert "three finite" in refused(read_scan, path, sensor=(0.0, np.nan, 0.0))
    assert "depth images only" in refused(read_scan, path, intrinsics=path)


def test_depth_scan_by_hand(tmp_path: Path, intrinsics: Path) -> None:
    path = saved(tmp_path / "depth.png", RAW)
    observation = read_scan(path, intrinsics=intrinsics)
    assert len(observation.points_world) == 11
    row, column = 2, 3
    np.testing.assert_allclose(observation.points_world[-1], [11 * (column - 1.5) / 4, 11 * (row - 1.0) / 4, 11.0])
    np.testing.assert_array_equal(observation.origins_world, np.zeros((11, 3)))
    assert len(observation.background_directions) == 0
    assert len(read_scan(path, intrinsics=intrinsics, background_is_free=True).background_directions) == 1


def test_the_callers_depth_scale_comes_before_the_intrinsics_files(tmp_path: Path, intrinsics: Path) -> None:
    path = saved(tmp_path / "depth.png", RAW)
    intrinsics.write_text(json.dumps({**INTRINSICS, "depth_scale": 0.01}))
    assert read_scan(path, intrinsics=intrinsics).points_world[-1, 2] == pytest.approx(110.0)
    assert read_scan(path, intrinsics=intrinsics, depth_scale=0.1).points_world[-1, 2] == pytest.approx(1100.0)
    metres = saved(tmp_path / "depth.npy", RAW.astype(np.float64))
    assert read_scan(metres, intrinsics=intrinsics).points_world[-1, 2] == 11000.0
    with pytest.raises(ConfigError, match="positive metres"):
        read_scan(path, intrinsics=intrinsics, depth_scale=0.0)


def test_poses(tmp_path: Path) -> None:
    pose = Similarity(scale=2.0, rotation=np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), offset=np.array([1.0, 2, 3]))
    path = tmp_path / "pose.json"
    for value in (pose.to_json(), {"matrix": pose.matrix().tolist()}):
        path.write_text(json.dumps(value))
        np.testing.assert_allclose(read_pose(path).matrix(), pose.matrix())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"R": 1}, "the keys 'R'; expected the keys scale, rotation and offset"),
        ({"matrix": [[1, 0], [0, 1]]}, "shape (2, 2), not 4 x 4"),
        ({"matrix": np.diag([1.0, 1, -1, 1]).tolist()}, "right-handed"),
        ({"matrix": np.diag([1.0, 2, 3, 1]).tolist()}, "right-handed"),
        ({"matrix": [[1, 0], [0]]}, "no pose"),
        ({"matrix": "eye"}, "no pose"),
        ({"scale": 0, "rotation": np.eye(3).tolist(), "offset": [0, 0, 0]}, "positive, finite scale"),
        ({"scale": "a", "rotation": np.eye(3).tolist(), "offset": [0, 0, 0]}, "no pose"),
        ({"scale": None, "rotation": np.eye(3).tolist(), "offset": [0, 0, 0]}, "no pose"),
        ({"scale": 1, "rotation": np.eye(3).tolist(), "offset": 0}, "not (3, 3) and (3,)"),
        ({"scale": 1, "rotation": np.eye(3).tolist(), "offset": [0, 0, None]}, "no pose"),
    ],
)
def test_other_poses_are_refused(tmp_path: Path, value: object, text: str) -> None:
    path = tmp_path / "pose.json"
    path.write_text(json.dumps(value))
    assert text in refused(read_pose, path)


@pytest.mark.parametrize("reader", [read_scan, read_cloud, read_depth, read_mask])
def test_missing_files_folders_and_suffixes(tmp_path: Path, reader) -> None:
    suffix = ".ply" if reader is read_cloud else ".npy"
    assert "No such file" in refused(reader, tmp_path / f"none{suffix}")
    folder = tmp_path / f"folder{suffix}"
    folder.mkdir()
    assert "a folder" in refused(reader, folder)
    stl = tmp_path / "a.stl"
    stl.write_bytes(b"solid")
    assert "the suffix '.stl'" in refused(reader, stl)
    bare = tmp_path / "bare"
    bare.write_bytes(b"0 0 0")
    assert "the suffix ''" in refused(reader, bare)


def test_too_large_files_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.npy", POINTS)
    monkeypatch.setattr(files, "MAX_POINTS", 41)
    assert "42 points; expected 41 at most" in refused(read_cloud, path)
    small = dataclasses.replace(files.SCAN_FILE, max_bytes=100)
    monkeypatch.setattr(point_files, "SCAN_FILE", small)
    monkeypatch.setattr(files, "SCAN_FILE", small)
    assert "at most; thin or crop the scan first" in refused(read_cloud, path)


def test_files_that_do_not_fit_each_other(tmp_path: Path, intrinsics: Path) -> None:
    depth = saved(tmp_path / "depth.png", RAW)
    mask = saved(tmp_path / "mask.png", np.ones((4, 3), dtype=np.uint8))
    text = refused(read_scan, depth, intrinsics=intrinsics, mask=mask)
    assert text == f"{mask}: found a mask of 3 x 4 pixels; expected 4 x 3, the size of depth.png"
    empty = saved(tmp_path / "empty.png", np.zeros((3, 4), dtype=np.uint8))
    assert "the mask keeps 0" in refused(read_scan, depth, intrinsics=intrinsics, mask=empty)
    flat = saved(tmp_path / "flat.npy", np.ones(12))
    assert "expected height x width for a mask" in refused(read_scan, depth, intrinsics=intrinsics, mask=flat)
    assert "leave the position out" in refused(read_scan, depth, intrinsics=intrinsics, sensor=(0.0, 0.0, 0.0))
    intrinsics.write_text(json.dumps({**INTRINSICS, "width": 640, "height": 480}))
    assert "640 x 480 pixels; the depth image is 4 x 3" in refused(read_scan, depth, intrinsics=intrinsics)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_give_points_or_a_clear_error(tmp_path: Path, intrinsics: Path, data: st.DataObject) -> None:
    sources = {
        "a.ply": [
            ply_bytes(POINTS, mesh=mesh, encoding=encoding)
            for mesh in (True, False)
            for encoding in ("ascii", "binary")
        ],
        "a.npy": [npy_bytes(POINTS), npy_bytes(RAW), npy_bytes(RAW / 1000)],
        "a.png": [png_bytes(RAW)],
        "a.txt": [b"1 2 3\n4 5 6\n"],
    }
    name = data.draw(st.sampled_from(sorted(sources)))
    content = bytearray(data.draw(st.sampled_from(sources[name])))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(len(content), 400) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / name
    path.write_bytes(bytes(content[: data.draw(st.integers(1, len(content)))]))
    message, points = "", np.zeros((1, 3))
    try:
        points = read_scan(path, intrinsics=intrinsics if name == "a.png" else None).points_world
    except ShapePriorError as error:
        message = str(error)
    assert "\n" not in message
    assert np.isfinite(points).all()
    assert len(points) > 0
