"""Depth images of every kind, as other libraries write them; what stands beside them in NPZ and EXR files; damage."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from helpers.scan_writers import damaged, saved
from PIL import Image

from shapeprior.errors import ConfigError, ScanError
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.depth_images import read_depth, read_depth_image, read_mask
from shapeprior.scans.read import read_scan

METRES = np.linspace(0.5, 3.0, 6 * 8, dtype=np.float32).reshape(6, 8)
K = np.array([[10.0, 0.0, 3.5], [0.0, 11.0, 2.5], [0.0, 0.0, 1.0]])
INTRINSICS = {"fx": 10.0, "fy": 11.0, "cx": 3.5, "cy": 2.5}


def exr(path: Path, channels: dict[str, np.ndarray], **header: object) -> Path:
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, **header}
    with OpenEXR.File(header, channels) as file:
        file.write(str(path))
    return path


def tiff(path: Path, values: np.ndarray) -> Path:
    Image.fromarray(values).save(path, format="TIFF")
    return path


def npz(path: Path, **arrays: object) -> Path:
    np.savez_compressed(path, **arrays)  # pyright: ignore[reportArgumentType]
    return path


def refused(path: Path, **options: object) -> str:
    with pytest.raises(ScanError) as caught:
        read_scan(path, **options)  # pyright: ignore[reportArgumentType]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize(
    "names",
    [
        ["Z"],
        ["anything"],
        ["Y"],
        ["R"],
        ["Z", "A", "R"],
        ["View.Depth.Z", "View.A"],
        ["Depth.V", "X.B"],
        ["depth", "A"],
    ],
    ids="+".join,
)
def test_exr_depth_channels(tmp_path: Path, kind: type, names: list[str]) -> None:
    depth = METRES.astype(kind)
    channels = {name: depth if number == 0 else depth + kind(1.0) for number, name in enumerate(names)}
    path = exr(tmp_path / "a.exr", channels)
    np.testing.assert_array_equal(read_depth(path), depth.astype(np.float64))
    np.testing.assert_array_equal(read_depth(path, depth_scale=0.5), 0.5 * depth.astype(np.float64))


@pytest.mark.parametrize(("kind", "huge"), [(np.float32, 1e10), (np.float32, np.inf), (np.float16, 65504.0)])
def test_exr_pixels_that_met_nothing_are_background(tmp_path: Path, kind: type, huge: float) -> None:
    depth = METRES.astype(kind)
    depth[0, :3] = huge
    depth[1, 0] = np.nan
    path = exr(tmp_path / "a.exr", {"Z": depth})
    expected = np.where(np.isfinite(depth) & (depth < 1e4), depth, 0.0)
    np.testing.assert_array_equal(read_depth(path), expected)
    camera = saved(tmp_path / "k.json", json.dumps(INTRINSICS).encode())
    assert len(read_scan(path, intrinsics=camera, background_is_free=True).background_directions) == 4
    assert len(read_scan(path, intrinsics=camera).background_directions) == 0


def test_exr_whole_numbers_are_scaled_like_a_pngs(tmp_path: Path) -> None:
    raw = (METRES * 1000).astype(np.uint32)
    path = exr(tmp_path / "a.exr", {"Z": raw})
    np.testing.assert_allclose(read_depth(path), raw / 1000)
    np.testing.assert_allclose(read_depth(path, depth_scale=0.01), raw / 100)


def test_exr_grey_pictures_of_depth_but_no_others(tmp_path: Path) -> None:
    path = exr(tmp_path / "a.exr", {"R": METRES, "G": METRES, "B": METRES})
    np.testing.assert_array_equal(read_depth(path), METRES)
    assert "a picture of red, green" in refused(exr(path, {"R": METRES, "G": METRES + 1, "B": METRES}))
    assert "the channels 'U', 'W'" in refused(exr(path, {"U": METRES, "W": METRES}))


def test_exr_data_beside_the_whole_image(tmp_path: Path) -> None:
    # A renderer's crop: 6 rows of 8 from (2, 1) of an image of 7 rows of 12.
    windows = {
        "dataWindow": (np.array([2, 1], np.int32), np.array([9, 6], np.int32)),
        "displayWindow": (np.array([0, 0], np.int32), np.array([11, 6], np.int32)),
    }
    depth = read_depth(exr(tmp_path / "a.exr", {"Z": METRES}, **windows))
    expected = np.zeros((7, 12))
    expected[1:7, 2:10] = METRES
    np.testing.assert_array_equal(depth, expected)


def test_exr_of_several_parts(tmp_path: Path) -> None:
    parts = [
        OpenEXR.Part({"type": OpenEXR.scanlineimage}, {"A": METRES, "B": METRES}, name="picture"),
        OpenEXR.Part({"type": OpenEXR.scanlineimage}, {"Z": METRES + 1}, name="depth"),
    ]
    with OpenEXR.File(parts) as file:
        file.write(str(tmp_path / "a.exr"))
    np.testing.assert_array_equal(read_depth(tmp_path / "a.exr"), METRES + 1)


def test_exr_sizes_are_checked_before_pixels_are_decoded(tmp_path: Path) -> None:
    content = bytearray(exr(tmp_path / "a.exr", {"Z": METRES}).read_bytes())
    for window in (b"dataWindow", b"displayWindow"):
        at = content.index(window + b"\0box2i\0") + len(window) + 7 + 4
        content[at + 8 : at + 16] = np.array([99_999, 99_999], "<i4").tobytes()
    assert "pixels" in refused(saved(tmp_path / "b.exr", bytes(content)))


@pytest.mark.parametrize("compression", ["NO_COMPRESSION", "ZIP_COMPRESSION", "PIZ_COMPRESSION"])
def test_damaged_exr_files_give_depth_or_one_line(tmp_path: Path, compression: str) -> None:
    content = exr(tmp_path / "a.exr", {"Z": METRES}, compression=getattr(OpenEXR, compression)).read_bytes()
    path = tmp_path / "b.exr"
    for cut in range(1, len(content), 37):
        assert str(path) in refused(saved(path, content[:cut]))
    for changed in damaged(content, count=60, seed=3, head=400):
        path.write_bytes(changed)
        try:
            depth = read_depth(path)
        except ScanError as error:
            message = str(error)
            assert "\n" not in message
        else:
            assert np.isfinite(depth).all()


def test_without_openexr_the_install_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = exr(tmp_path / "a.exr", {"Z": METRES})
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(ConfigError, match=r"pip install 'shapeprior\[exr\]'"):
        read_depth(path)


@pytest.mark.parametrize("suffix", [".tif", ".TIFF"])
@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_tiff_depth(tmp_path: Path, suffix: str, kind: type) -> None:
    values = (METRES * 1000).astype(kind) if kind is not np.float32 else METRES
    depth = read_depth(tiff(tmp_path / f"a{suffix}", values))
    np.testing.assert_allclose(depth, METRES, atol=1e-3 if kind is not np.float32 else 0)


def test_tiff_masks_and_pictures(tmp_path: Path) -> None:
    truth = METRES > 1.0
    np.testing.assert_array_equal(read_mask(tiff(tmp_path / "m.tif", truth.astype(np.uint8) * 255)), truth)
    assert "a TIFF of pixel type 'L'" in refused(tmp_path / "m.tif")
    assert "no readable TIFF" in refused(saved(tmp_path / "a.tif", b"II*\0junk"))


def test_damaged_tiff_files_give_depth_or_one_line(tmp_path: Path) -> None:
    content, path, messages = tiff(tmp_path / "a.tif", METRES).read_bytes(), tmp_path / "b.tif", []
    for changed in damaged(content, count=150, seed=4, head=200):
        path.write_bytes(changed)
        try:
            assert np.isfinite(read_depth(path)).all()
        except ScanError as error:
            messages.append(str(error))
    assert len(messages) > 30
    assert not any("\n" in message for message in messages)


def test_npz_depth_brings_its_camera_mask_and_scale(tmp_path: Path) -> None:
    raw, mask = (METRES * 2000).astype(np.uint16), METRES > 1.5
    path = npz(tmp_path / "a.npz", depth=raw, K=K, mask=mask, depth_scale=0.0005, rgb=np.zeros((6, 8, 3)))
    view = read_scan(path)
    rows, columns = np.nonzero(mask)
    z = raw[mask] * 0.0005
    expected = np.stack([(columns - 3.5) / 10 * z, (rows - 2.5) / 11 * z, z], axis=1)
    np.testing.assert_allclose(view.points_world, expected)
    np.testing.assert_allclose(read_depth(path), raw * 0.0005)
    # What is given besides comes first.
    other = saved(tmp_path / "k.json", json.dumps({**INTRINSICS, "fx": 20.0, "depth_scale": 0.001}).encode())
    whole = tmp_path / "m.npy"
    np.save(whole, np.ones((6, 8), dtype=bool))
    given = read_scan(path, intrinsics=other, mask=whole)
    assert len(given.points_world) == 48
    np.testing.assert_allclose(given.points_world[0], [-3.5 / 20 * 0.5, -2.5 / 11 * 0.5, 0.5])


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"depth": METRES}, "without intrinsics"),
        ({"depth": METRES.ravel(), "K": K}, "array of shape (48,)"),
        ({"depth": METRES, "K": K[:2]}, "K of shape (2, 3)"),
        ({"depth": METRES, "K": K.T}, "expected fx 0 cx / 0 fy cy / 0 0 1 as three rows"),
        ({"depth": METRES, "K": -K + 2 * np.diag([0, 0, 1])}, "expected positive, finite pixels"),
        ({"depth": METRES, "K": K, "mask": np.ones((8, 6))}, "a mask of shape (8, 6)"),
        ({"depth": METRES, "K": K, "depth_scale": [1.0, 2.0]}, "expected one number"),
        ({"depth": METRES.astype(np.uint16), "K": K, "depth_scale": 1.0}, "expected at most 0.02"),
        ({"depth": 0 * METRES, "K": K}, "no depth in front of the camera"),
    ],
)
def test_other_npz_files_are_refused(tmp_path: Path, arrays: dict, text: str) -> None:
    assert text in refused(npz(tmp_path / "a.npz", **arrays))


def test_a_scale_that_cannot_be_metres_is_refused_unless_the_caller_says_so(tmp_path: Path) -> None:
    path = tmp_path / "000007.png"
    Image.fromarray((METRES * 1000).astype(np.uint16)).save(path)
    for scale in (25.0, 1000.0):
        camera = saved(tmp_path / "k.json", json.dumps({**INTRINSICS, "depth_scale": scale}).encode())
        assert f"a depth scale of {scale:g} metres" in refused(path, intrinsics=camera)
        assert len(read_scan(path, intrinsics=camera, depth_scale=0.001).points_world) == 48


@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_bops_camera_file_states_millimetres(tmp_path: Path, scale: float) -> None:
    """As of YCB-V: our keys, and depth_scale times the raw value is millimetres."""
    path = tmp_path / "000007.png"
    Image.fromarray((METRES * 1000 / scale).round().astype(np.uint16)).save(path)
    camera = saved(tmp_path / "camera.json", json.dumps({**INTRINSICS, "depth_scale": scale}).encode())
    deep = read_scan(path, intrinsics=camera).points_world[:, 2]
    np.testing.assert_allclose(deep, METRES.ravel(), atol=6e-4)


def test_bops_scene_files_hold_the_camera_of_each_image(tmp_path: Path) -> None:
    raw = (METRES * 10_000).astype(np.uint16)
    path = tmp_path / "000007.png"
    Image.fromarray(raw).save(path)
    scene = {str(n): {"cam_K": (K + np.diag([n, 0, 0])).ravel().tolist(), "depth_scale": 0.1} for n in (0, 7, 70)}
    camera = saved(tmp_path / "scene_camera.json", json.dumps(scene).encode())
    first = read_scan(path, intrinsics=camera).points_world[0]
    z = raw[0, 0] * 1e-4
    np.testing.assert_allclose(first, [-3.5 / 17 * z, -2.5 / 11 * z, z])
    path.rename(tmp_path / "depth.png")
    assert "none for an image named 'depth'" in refused(tmp_path / "depth.png", intrinsics=camera)


def test_a_camera_pose_moves_the_view_to_the_world(tmp_path: Path) -> None:
    pose = Similarity(scale=1.0, rotation=np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), offset=np.array([1.0, 2, 3]))
    path = npz(tmp_path / "a.npz", depth=METRES, K=K)
    here, there = read_scan(path), read_scan(path, T_world_camera=pose)
    np.testing.assert_allclose(there.points_world, pose.apply(here.points_world))
    np.testing.assert_allclose(there.origins_world, np.tile(pose.offset, (48, 1)))
    # A point cloud in its camera's frame, too: it stood at the origin, or where the file says.
    cloud = read_scan(npz(tmp_path / "b.npz", points=here.points_world), T_world_camera=pose)
    np.testing.assert_allclose(cloud.points_world, there.points_world)
    np.testing.assert_allclose(cloud.origins_world, there.origins_world)
    stated = npz(tmp_path / "c.npz", points=here.points_world, sensor=[1.0, 0.0, 0.0])
    found = read_scan(stated, T_world_camera=pose).origins_world
    np.testing.assert_allclose(found, np.tile(pose.apply(np.array([1.0, 0.0, 0.0])), (48, 1)))


def test_the_raw_image_keeps_its_type(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.savez(stream, depth=METRES.astype(np.float16))
    image = read_depth_image(saved(tmp_path / "a.npz", stream.getvalue()))
    assert image.raw.dtype == np.float16
    assert image.camera is image.mask is image.depth_scale is None
