"""PCD files in all encodings: as PCL writes them, damaged, and with headers that lie."""

import struct
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from helpers.scan_writers import (
    NORMALS,
    POINTS,
    check_damaged_cloud,
    lzf_compress,
    pcd_bytes,
    refused_scan,
    saved,
)

from shapeprior.errors import ConfigError, ScanError
from shapeprior.io.pcd import unpack_lzf
from shapeprior.io.point_files import read_cloud
from shapeprior.scans.read import read_scan

RNG = np.random.default_rng(0)


def pcd(data: str, *, points: np.ndarray = POINTS, size: int = 8, **options: object) -> bytes:
    rows = len(points)
    fields = [
        ("intensity", "U", 2, np.arange(rows)),
        ("x", "F", size, points[:, 0]),
        ("fpfh", "F", 4, np.tile(np.arange(5.0), (rows, 1))),
        ("y", "F", size, points[:, 1]),
        ("z", "F", size, points[:, 2]),
        ("normal_x", "F", 4, 3.0 * NORMALS[:rows, 0]),
        ("normal_y", "F", 4, 3.0 * NORMALS[:rows, 1]),
        ("rgb", "I", 4, np.arange(rows) - 7),
        ("normal_z", "F", 4, 3.0 * NORMALS[:rows, 2]),
    ]
    return pcd_bytes(fields, data=data, **options)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "data",
    [b"a", b"abcabcabcabc" * 9, b"\0" * 5000, RNG.bytes(3000), bytes(RNG.integers(0, 3, 20_000, dtype=np.uint8))],
)
def test_lzf_gives_back_what_was_packed(data: bytes) -> None:
    packed = lzf_compress(data)
    assert unpack_lzf(packed, len(data)) == data
    for size in (len(data) - 1, len(data) + 1):
        with pytest.raises(ValueError, match="packed bytes hold"):
            unpack_lzf(packed, size)


def test_lzf_by_hand() -> None:
    # Three bytes as they are; five from three back, running into themselves; 264 times the last one.
    assert unpack_lzf(bytes([2, *b"abc", 3 << 5, 2, 7 << 5, 255, 0]), 272) == b"abcabcab" + b"b" * 264
    # A run and references that the bytes end within, references before the start, and no bytes at all.
    for packed in (bytes([5, 1]), bytes([32, 9]), bytes([224]), bytes([0, 65, 32]), bytes([0, 65, 63, 255]), b""):
        with pytest.raises(ValueError, match=r"packed bytes hold|compressed data"):
            unpack_lzf(packed, 9)


@pytest.mark.parametrize("data", ["ascii", "binary", "binary_compressed"])
@pytest.mark.parametrize("size", [4, 8])
def test_pcd_points_and_normals(tmp_path: Path, data: str, size: int) -> None:
    cloud = read_cloud(saved(tmp_path / "a.PCD", pcd(data, size=size)))
    np.testing.assert_allclose(cloud.points, POINTS, rtol=1e-15 if size == 8 else 1e-6)
    assert cloud.normals is not None
    np.testing.assert_allclose(cloud.normals, NORMALS, atol=1e-6)
    assert cloud.sensor is None


@pytest.mark.parametrize("data", ["ascii", "binary", "binary_compressed"])
def test_pixels_of_an_organised_pcd_that_saw_nothing_are_left_out(tmp_path: Path, data: str) -> None:
    points = POINTS.copy()
    points[[3, 17], 1] = np.nan
    cloud = read_cloud(saved(tmp_path / "a.pcd", pcd(data, points=points, height=6)))
    keep = np.isfinite(points[:, 1])
    np.testing.assert_array_equal(cloud.points, points[keep])
    assert cloud.normals is not None
    np.testing.assert_allclose(cloud.normals, NORMALS[keep], atol=1e-6)
    points[0, 0] = np.inf
    with pytest.raises(ScanError, match="1 of 58 points with NaN or infinite"):
        read_cloud(saved(tmp_path / "a.pcd", pcd(data, points=points)))


@pytest.mark.parametrize(
    ("viewpoint", "sensor"),
    [
        (None, None),
        ("0 0 0 1 0 0 0", None),
        ("1 -2 3 1 0 0 0", [1.0, -2.0, 3.0]),
        ("0 0 0 0.6 0.8 0 0", [0.0, 0.0, 0.0]),
    ],
)
def test_a_pcds_viewpoint_is_the_sensor(tmp_path: Path, viewpoint: str | None, sensor: list[float] | None) -> None:
    path = saved(tmp_path / "a.pcd", pcd("binary", viewpoint=viewpoint))
    origins = read_scan(path).origins_world
    if sensor is None:
        assert origins is None
    else:
        np.testing.assert_array_equal(origins, np.tile(sensor, (60, 1)))
    given = read_scan(path, sensor=(9.0, 8.0, 7.0)).origins_world
    np.testing.assert_array_equal(given, np.tile([9.0, 8.0, 7.0], (60, 1)))


def replaced(old: bytes, new: bytes, *, data: str = "binary") -> bytes:
    content = pcd(data)
    assert old in content
    return content.replace(old, new)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"ply\n" * 9, "no PCD header (no line DATA)"),
        (replaced(b"VERSION", b"\xff\xff"), "no PCD header"),
        (replaced(b"FIELDS", b"FELDER"), "no PCD header (no line 'COLUMNS')"),
        (replaced(b" x ", b" u "), "no PCD header (the fields intensity u"),
        (replaced(b"SIZE 2", b"SIZE 3"), "a field of type U and 3 bytes"),
        (replaced(b"TYPE U", b"TYPE F"), "a field of type F and 2 bytes"),
        (replaced(b"COUNT 1 1 5", b"COUNT 1 1 5 1"), "9 fields, 9 sizes, 9 types, 10 counts"),
        (replaced(b"COUNT 1 1 5", b"COUNT 1 1 99999"), "numbers a point"),
        (replaced(b"WIDTH 60", b"WIDTH 61"), "60 points in 61 cells"),
        (replaced(b"WIDTH 60", b"WIDTH -6"), "'-6', not a whole number"),
        (
            replaced(b"WIDTH 60", b"WIDTH 99999999").replace(b"POINTS 60", b"POINTS 99999999"),
            "50000000 at most",
        ),
        (replaced(b"WIDTH 60", b"WIDTH 59").replace(b"POINTS 60", b"POINTS 59"), "no readable binary PCD"),
        (replaced(b"VIEWPOINT 0 0 0 1", b"VIEWPOINT 0 0 0"), "a viewpoint of 6 numbers"),
        (replaced(b"VIEWPOINT 0", b"VIEWPOINT inf"), "a sensor position that is NaN or infinite"),
        (replaced(b"DATA binary", b"DATA zip"), "data 'zip'"),
        (pcd("binary")[:-1], "no readable binary PCD"),
        (pcd("binary") + b"\0" * 99, "no readable binary PCD"),
        (pcd("ascii") + b"1 2 3 4 5 6 7 8 9 10 11 12 13\n", "61 or more lines"),
        (pcd("ascii")[:-150], "no readable ascii PCD"),
        (pcd("binary_compressed")[:-1], "no readable binary_compressed PCD"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, content: bytes, text: str) -> None:
    assert text in refused_scan(saved(tmp_path / "a.pcd", content))


def test_packed_points_cannot_become_more_than_the_file_can_hold(tmp_path: Path) -> None:
    header = pcd("binary_compressed").split(b"DATA")[0]
    header = header.replace(b"WIDTH 60", b"WIDTH 9000000").replace(b"POINTS 60", b"POINTS 9000000")
    content = header + b"DATA binary_compressed\n" + struct.pack("<II", 1000, 9_000_000 * 62) + b"\xe0\xff\0" * 400
    tracemalloc.start()
    with pytest.raises(ScanError, match="1000 packed bytes that hold 558000000"):
        read_cloud(saved(tmp_path / "a.pcd", content))
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_packed_points_that_are_hostile_are_refused_in_one_line(tmp_path: Path) -> None:
    content = pcd("binary_compressed")
    at = content.index(b"DATA binary_compressed\n") + len(b"DATA binary_compressed\n")
    size = struct.unpack_from("<I", content, at + 4)[0]
    for packed in (b"\xff" * 3000, b"\x1f" * 3000, b"\x20\xff" * 1500, b"\0" * 3000, content[at + 8 :] + b"\0a"):
        hostile = content[:at] + struct.pack("<II", len(packed), size) + packed
        assert "no readable binary_compressed PCD" in refused_scan(saved(tmp_path / "a.pcd", hostile))
    for sizes in ((2**32 - 1, size), (len(content), size), (0, size), (len(content) - at - 8, size + 1)):
        hostile = content[:at] + struct.pack("<II", *sizes) + content[at + 8 :]
        assert "packed bytes that hold" in refused_scan(saved(tmp_path / "a.pcd", hostile))


@pytest.mark.parametrize(("data", "head"), [("ascii", 400), ("binary", 400), ("binary_compressed", 420)])
def test_damaged_files_give_points_or_one_line(tmp_path: Path, data: str, head: int) -> None:
    check_damaged_cloud(tmp_path / "a.pcd", pcd(data), head=head)


def test_without_the_lzf_library_the_install_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lzf", None)
    with pytest.raises(ConfigError, match=r"pip install 'shapeprior\[pcd\]'"):
        read_cloud(saved(tmp_path / "a.pcd", pcd("binary_compressed")))
    assert len(read_cloud(saved(tmp_path / "a.pcd", pcd("binary"))).points) == 60
