"""Depth images and masks in PNG, TIFF, NPY and NPZ files, as other libraries write them, and damaged."""

import io
import json
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers.scan_writers import damaged, npy_bytes, npz_bytes, png_bytes, refused_scan, saved
from PIL import Image

from shapeprior.errors import ScanError
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.depth_images import read_depth, read_depth_image, read_mask
from shapeprior.scans.read import read_scan

METRES = np.linspace(0.5, 3.0, 6 * 8, dtype=np.float32).reshape(6, 8)
K = np.array([[10.0, 0.0, 3.5], [0.0, 11.0, 2.5], [0.0, 0.0, 1.0]])
INTRINSICS = {"fx": 10.0, "fy": 11.0, "cx": 3.5, "cy": 2.5}
RAW = np.arange(12, dtype=np.uint16).reshape(3, 4) * 1000
SMALL_INTRINSICS = {"fx": 4.0, "fy": 4.0, "cx": 1.5, "cy": 1.0}
NO_DEPTH = np.array([[0.0, -1.0, np.nan], [0.0, -2.0, np.inf]])


def tiff(path: Path, values: np.ndarray) -> Path:
    Image.fromarray(values).save(path, format="TIFF")
    return path


def npz(path: Path, **arrays: object) -> Path:
    return saved(path, npz_bytes(**arrays))


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header alone states a size."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def test_depth_png_in_millimetres_and_in_other_units(tmp_path: Path) -> None:
    path = saved(tmp_path / "depth.png", png_bytes(RAW))
    np.testing.assert_allclose(read_depth(path), RAW / 1000)
    np.testing.assert_allclose(read_depth(path, depth_scale=0.0002), RAW / 5000)


def test_depth_npy_of_floats_is_metres_and_of_integers_raw(tmp_path: Path) -> None:
    metres = RAW.astype(np.float32) / 1000
    metres[0, :3] = [np.nan, np.inf, -1.0]
    expected = np.where(RAW < 3000, 0.0, RAW / 1000)
    np.testing.assert_allclose(read_depth(saved(tmp_path / "a.npy", npy_bytes(metres))), expected)
    # A scale that the caller states is one that the numbers have, whatever they are.
    np.testing.assert_allclose(read_depth(tmp_path / "a.npy", depth_scale=0.5), 0.5 * expected)
    np.testing.assert_allclose(read_depth(saved(tmp_path / "b.npy", npy_bytes(RAW))), RAW / 1000)
    np.testing.assert_allclose(
        read_depth(saved(tmp_path / "c.npy", npy_bytes(-RAW.astype(np.int32) + 5000)))[0], [5, 4, 3, 2]
    )


@pytest.mark.parametrize("kind", ["L", "1", "P", "RGB", "RGBA", "LA", "npy-bool", "npy-float"])
def test_masks_of_every_kind(tmp_path: Path, kind: str) -> None:
    intrinsics = saved(tmp_path / "camera.json", json.dumps(SMALL_INTRINSICS).encode())
    truth = np.zeros((3, 4), dtype=bool)
    truth[1, 1:] = True
    if kind.startswith("npy"):
        path = saved(tmp_path / "mask.npy", npy_bytes(truth if kind == "npy-bool" else np.where(truth, 0.5, 0.0)))
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
    depth = saved(tmp_path / "depth.png", png_bytes(RAW))
    assert len(read_scan(depth, intrinsics=intrinsics, mask=path).points_world) == 3


def test_depth_without_any_measurement_is_counted(tmp_path: Path) -> None:
    intrinsics = saved(tmp_path / "camera.json", json.dumps(SMALL_INTRINSICS).encode())
    path = saved(tmp_path / "a.npy", npy_bytes(NO_DEPTH.reshape(1, 6)[:, :5]))
    text = "no depth in front of the camera in 5 pixels (1 are NaN or infinite, 2 negative, 2 zero)"
    with pytest.raises(ScanError, match=re.escape(text)):
        read_depth(path)
    assert text in refused_scan(path, intrinsics=intrinsics)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.png", b"junk", "no readable PNG"),
        ("a.png", png_bytes(RAW)[:60], "no readable PNG"),
        ("a.png", png_bytes(RAW.astype(np.uint8)), "pixel type 'L'; expected 16-bit grey"),
        ("a.png", png_bytes(np.zeros((3, 4, 3), dtype=np.uint8)), "pixel type 'RGB'; expected 16-bit grey"),
        ("a.png", png_bytes(RAW), "a depth image of 4 x 3 pixels without intrinsics"),
        ("a.png", bomb(8001, 8000), "64000000 at most"),
        ("a.png", bomb(9999, 9999), "64000000 at most"),
        ("a.png", bomb(60000, 60000), "64000000 at most"),
        ("a.png", bomb(100, 100), "no readable PNG"),
        ("a.npy", npy_bytes(NO_DEPTH[:, :2]), "without intrinsics"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, name: str, content: bytes, text: str) -> None:
    assert text in refused_scan(saved(tmp_path / name, content))


@pytest.mark.parametrize("suffix", [".tif", ".TIFF"])
@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_tiff_depth(tmp_path: Path, suffix: str, kind: type) -> None:
    values = (METRES * 1000).astype(kind) if kind is not np.float32 else METRES
    depth = read_depth(tiff(tmp_path / f"a{suffix}", values))
    np.testing.assert_allclose(depth, METRES, atol=1e-3 if kind is not np.float32 else 0)


def test_tiff_masks_and_pictures(tmp_path: Path) -> None:
    truth = METRES > 1.0
    np.testing.assert_array_equal(read_mask(tiff(tmp_path / "m.tif", truth.astype(np.uint8) * 255)), truth)
    assert "a TIFF of pixel type 'L'" in refused_scan(tmp_path / "m.tif")
    assert "no readable TIFF" in refused_scan(saved(tmp_path / "a.tif", b"II*\0junk"))


@pytest.mark.slow
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
    assert text in refused_scan(npz(tmp_path / "a.npz", **arrays))


def test_a_scale_that_cannot_be_metres_is_refused_unless_the_caller_says_so(tmp_path: Path) -> None:
    path = tmp_path / "000007.png"
    Image.fromarray((METRES * 1000).astype(np.uint16)).save(path)
    for scale in (25.0, 1000.0):
        camera = saved(tmp_path / "k.json", json.dumps({**INTRINSICS, "depth_scale": scale}).encode())
        assert f"a depth scale of {scale:g} metres" in refused_scan(path, intrinsics=camera)
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
    assert "none for an image named 'depth'" in refused_scan(tmp_path / "depth.png", intrinsics=camera)


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
