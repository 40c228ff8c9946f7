"""Depth in EXR files: as the OpenEXR library writes it, the choice of the channel, and damaged files."""

import json
import sys
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from helpers.scan_writers import damaged, refused_scan, saved

from shapeprior.errors import ConfigError, ScanError
from shapeprior.io.depth_images import read_depth
from shapeprior.scans.read import read_scan

METRES = np.linspace(0.5, 3.0, 6 * 8, dtype=np.float32).reshape(6, 8)
INTRINSICS = {"fx": 10.0, "fy": 11.0, "cx": 3.5, "cy": 2.5}


def exr(path: Path, channels: dict[str, np.ndarray], **header: object) -> Path:
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, **header}
    with OpenEXR.File(header, channels) as file:
        file.write(str(path))
    return path


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
    assert "a picture of red, green" in refused_scan(exr(path, {"R": METRES, "G": METRES + 1, "B": METRES}))
    assert "the channels 'U', 'W'" in refused_scan(exr(path, {"U": METRES, "W": METRES}))


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
    assert "pixels" in refused_scan(saved(tmp_path / "b.exr", bytes(content)))


@pytest.mark.parametrize("compression", ["NO_COMPRESSION", "ZIP_COMPRESSION", "PIZ_COMPRESSION"])
def test_damaged_exr_files_give_depth_or_one_line(tmp_path: Path, compression: str) -> None:
    content = exr(tmp_path / "a.exr", {"Z": METRES}, compression=getattr(OpenEXR, compression)).read_bytes()
    path = tmp_path / "b.exr"
    for cut in range(1, len(content), 37):
        assert str(path) in refused_scan(saved(path, content[:cut]))
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
