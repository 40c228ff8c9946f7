"""Reading scans: round trips through each format, and one clear line for each way a file can be wrong."""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from shapeprior.errors import ConfigError, ScanError, ShapePriorError
from shapeprior.geometry.transforms import Similarity
from shapeprior.io import files
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


def read_points(path: Path) -> np.ndarray:
    return read_cloud(path).points


def ply(*, mesh: bool, encoding: str) -> bytes:
    made = trimesh.creation.icosphere(subdivisions=1)
    made.vertices = POINTS
    data = (made if mesh else trimesh.PointCloud(POINTS)).export(file_type="ply", encoding=encoding)
    return data if isinstance(data, bytes) else str(data).encode()


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


@pytest.mark.parametrize("mesh", [True, False])
@pytest.mark.parametrize("encoding", ["ascii", "binary"])
def test_ply_points(tmp_path: Path, mesh: bool, encoding: str) -> None:
    path = tmp_path / "scan.PLY"
    path.write_bytes(ply(mesh=mesh, encoding=encoding))
    np.testing.assert_allclose(read_points(path), POINTS, atol=1e-6)


@pytest.mark.parametrize("mesh", [True, False])
@pytest.mark.parametrize("encoding", ["ascii", "binary"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6])
def test_truncated_ply_is_refused(tmp_path: Path, mesh: bool, encoding: str, share: float) -> None:
    data = ply(mesh=mesh, encoding=encoding)
    path = tmp_path / "scan.ply"
    path.write_bytes(data[: int(len(data) * share)])
    refused(read_points, path)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16])
@pytest.mark.parametrize("columns", [3, 6])
def test_npy_points(tmp_path: Path, dtype: type, columns: int) -> None:
    array = (np.tile(POINTS, 2)[:, :columns] * 100).astype(dtype)
    points = read_points(saved(tmp_path / "scan.npy", array))
    assert points.dtype == np.float64
    np.testing.assert_array_equal(points, array[:, :3])


@pytest.mark.parametrize("suffix", [".xyz", ".txt"])
@pytest.mark.parametrize("delimiter", [" ", ",", ", ", "\t"])
def test_text_points(tmp_path: Path, suffix: str, delimiter: str) -> None:
    rows = [delimiter.join(f"{value:.12f}" for value in [*point, 255, 0, 7]) for point in POINTS]
    path = tmp_path / f"scan{suffix}"
    path.write_text("# x y z r g b\n" + "\n".join(rows) + "  # last\n\n")
    np.testing.assert_allclose(read_points(path), POINTS, atol=1e-11)


def test_point_clouds_become_observations(tmp_path: Path) -> None:
    path = saved(tmp_path / "scan.npy", POINTS)
    observation = read_scan(path, sensor=(0.0, 1.0, 2.0))
    np.testing.assert_array_equal(observation.points_world, POINTS)
    np.testing.assert_array_equal(observation.origins_world, np.tile([0.0, 1.0, 2.0], (42, 1)))
    assert read_scan(path).origins_world is None
    assert "three finite" in refused(read_scan, path, sensor=(0.0, np.nan, 0.0))
    assert "depth images only" in refused(read_scan, path, intrinsics=path)


def test_depth_png_in_millimetres_and_in_other_units(tmp_path: Path) -> None:
    path = saved(tmp_path / "depth.png", RAW)
    np.testing.assert_allclose(read_depth(path), RAW / 1000)
    np.testing.assert_allclose(read_depth(path, depth_scale=0.0002), RAW / 5000)


def test_depth_npy_of_floats_is_metres_and_of_integers_raw(tmp_path: Path) -> None:
    metres = RAW.astype(np.float32) / 1000
    metres[0, :3] = [np.nan, np.inf, -1.0]
    expected = np.where(RAW < 3000, 0.0, RAW / 1000)
    np.testing.assert_allclose(read_depth(saved(tmp_path / "a.npy", metres)), expected)
    # A scale that the caller states is one that the numbers have, whatever they are.
    np.testing.assert_allclose(read_depth(tmp_path / "a.npy", depth_scale=0.5), 0.5 * expected)
    np.testing.assert_allclose(read_depth(saved(tmp_path / "b.npy", RAW)), RAW / 1000)
    np.testing.assert_allclose(read_depth(saved(tmp_path / "c.npy", -RAW.astype(np.int32) + 5000))[0], [5, 4, 3, 2])


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


@pytest.mark.parametrize("kind", ["L", "1", "P", "RGB", "RGBA", "LA", "npy-bool", "npy-float"])
def test_masks_of_every_kind(tmp_path: Path, intrinsics: Path, kind: str) -> None:
    truth = np.zeros((3, 4), dtype=bool)
    truth[1, 1:] = True
    if kind.startswith("npy"):
        path = saved(tmp_path / "mask.npy", truth if kind == "npy-bool" else np.where(truth, 0.5, 0.0))
    else:
        path = tmp_path / "mask.png"
        image = Image.fromarray(truth.astype(np.uint8) * 255)
        if kind == "P":
            image = Image.fromarray(truth.astype(np.uint8))
            image.putpalette([9, 9, 9, 9, 9, 9])  # Both colours alike: the index counts.
        elif kind != "L":
            image = image.convert(kind)
        image.save(path)
    np.testing.assert_array_equal(read_mask(path), truth)
    depth = saved(tmp_path / "depth.png", RAW)
    assert len(read_scan(depth, intrinsics=intrinsics, mask=path).points_world) == 3


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


def pickled() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return file.getvalue()


def archived() -> bytes:
    file = io.BytesIO()
    np.savez(file, points=POINTS)
    return file.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header alone states a size."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, format="PNG")
    return file.getvalue()


BAD_POINTS = np.where(np.arange(126).reshape(42, 3) == 7, np.nan, POINTS)
NO_DEPTH = np.array([[0.0, -1.0, np.nan], [0.0, -2.0, np.inf]])


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.ply", b"", "an empty file"),
        ("a.ply", b"ply\nformat ascii 1.0\nend_header\n", "no PLY header with vertices"),
        ("a.ply", b"solid stl", "no PLY header with vertices"),
        ("a.ply", ply(mesh=False, encoding="ascii").replace(b"vertex 42", b"vertex 43"), "43"),
        ("a.ply", ply(mesh=False, encoding="binary").replace(b"vertex 42", b"vertex 99999999"), "50000000 at most"),
        ("a.ply", ply(mesh=True, encoding="ascii").replace(b"property float x", b"property float u"), "PLY"),
        ("a.npy", pickled(), "neither pickled objects nor a truncated file"),
        ("a.npy", archived(), "an archive of arrays (NPZ)"),
        ("a.npy", npy(POINTS)[:-8], "truncated"),
        ("a.npy", npy(POINTS)[:40], "truncated"),
        ("a.npy", b"junk", "no readable array"),
        ("a.npy", npy(np.zeros((0, 3))), "0 points"),
        ("a.npy", npy(np.array(["a", "b"])), "expected real numbers"),
        ("a.npy", npy(POINTS + 1j), "expected real numbers"),
        ("a.npy", npy(np.zeros(7)), "array of shape (7,)"),
        ("a.npy", npy(np.zeros((2, 2, 3))), "array of shape (2, 2, 3)"),
        ("a.npy", npy(np.ones((9, 9), dtype=bool)), "a bool array"),
        ("a.npy", npy(BAD_POINTS), "1 of 42 points with NaN or infinite"),
        ("a.npy", npy(NO_DEPTH[:, :2]), "without intrinsics"),
        ("a.txt", b"# nothing\n", "0 points"),
        ("a.txt", b"x y z\n1 2 3\n", "no readable table"),
        ("a.txt", b"1 2\n3 4\n", "no readable table"),
        ("a.txt", b"1 2 3\n4 5\n", "no readable table"),
        ("a.txt", b"\xff\xfe1 2 3", "no readable table"),
        ("a.xyz", b"1 2 inf\n1 2 3\n", "1 of 2 points with NaN or infinite"),
        ("a.obj", b"v 0 0 0", "the suffix '.obj'"),
        ("a", b"0 0 0", "the suffix ''"),
        ("a.png", b"junk", "no readable PNG"),
        ("a.png", png(RAW)[:60], "no readable PNG"),
        ("a.png", png(RAW.astype(np.uint8)), "pixel type 'L'; expected 16-bit grey"),
        ("a.png", png(np.zeros((3, 4, 3), dtype=np.uint8)), "pixel type 'RGB'; expected 16-bit grey"),
        ("a.png", png(RAW), "a depth image of 4 x 3 pixels without intrinsics"),
        ("a.png", bomb(8001, 8000), "64000000 at most"),
        ("a.png", bomb(9999, 9999), "64000000 at most"),
        ("a.png", bomb(60000, 60000), "64000000 at most"),
        ("a.png", bomb(100, 100), "no readable PNG"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, name: str, content: bytes, text: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert text in refused(read_scan, path)


@pytest.mark.parametrize("reader", [read_scan, read_points, read_depth, read_mask])
def test_missing_files_folders_and_suffixes(tmp_path: Path, reader) -> None:
    suffix = ".ply" if reader is read_points else ".npy"
    assert "no such file" in refused(reader, tmp_path / f"none{suffix}")
    folder = tmp_path / f"folder{suffix}"
    folder.mkdir()
    assert "a folder" in refused(reader, folder)
    stl = tmp_path / "a.stl"
    stl.write_bytes(b"solid")
    assert "the suffix '.stl'" in refused(reader, stl)


def test_too_large_files_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.npy", POINTS)
    monkeypatch.setattr(files, "MAX_POINTS", 41)
    assert "42 points; expected 41 at most" in refused(read_points, path)
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 100)
    assert "expected 100 at most" in refused(read_points, path)


def test_depth_without_any_measurement_is_counted(tmp_path: Path, intrinsics: Path) -> None:
    path = saved(tmp_path / "a.npy", NO_DEPTH.reshape(1, 6)[:, :5])
    text = "no depth in front of the camera in 5 pixels (1 are NaN or infinite, 2 negative, 2 zero)"
    assert text in refused(read_depth, path)
    assert text in refused(read_scan, path, intrinsics=intrinsics)


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


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_give_points_or_a_clear_error(tmp_path: Path, intrinsics: Path, data: st.DataObject) -> None:
    sources = {
        "a.ply": [ply(mesh=mesh, encoding=encoding) for mesh in (True, False) for encoding in ("ascii", "binary")],
        "a.npy": [npy(POINTS), npy(RAW), npy(RAW / 1000)],
        "a.png": [png(RAW)],
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


@pytest.mark.parametrize(
    "row", ["0,0123 -0,5 1,25", "1,5e-3  2,0  3,0  255", "0,1\t0,2\t0,3", ",5 ,25 ,125", "1,5 2,5", "7 8 0,5"]
)
def test_decimal_commas_are_no_columns(tmp_path: Path, row: str) -> None:
    path = tmp_path / "scan.xyz"
    path.write_text(f"# of a German program\n{row}\n" * 50)
    assert "decimal commas in the line" in refused(read_points, path)
    # Whole numbers between commas are columns, with spaces after them or not.
    path.write_text("1,2,3\n4, 5, 6\n7 8 9 # 1,2 3,4 5,6\n10,11 12\n13 ,14 ,15\n")
    np.testing.assert_array_equal(read_points(path), np.arange(1.0, 16.0).reshape(5, 3))
