"""LAS and LAZ files: as laspy writes them, damaged, and with headers that lie."""

import io
import struct
import sys
from pathlib import Path

import laspy
import numpy as np
import pytest
from helpers.scan_writers import NORMALS, POINTS, check_damaged_cloud, refused_scan, saved

from shapeprior.errors import ConfigError, ScanError
from shapeprior.io import las as las_module
from shapeprior.io.point_files import read_cloud


def las_bytes(
    suffix: str, *, point_format: int = 6, names: tuple[str, ...] = (), withheld: int = 0, count: int = 60
) -> bytes:
    header = laspy.LasHeader(point_format=point_format, version="1.4")
    header.scales, header.offsets = [1e-5] * 3, [0.5, 1.0, -2.0]
    for name in names:
        header.add_extra_dim(laspy.ExtraBytesParams(name, np.float32))
    file = laspy.LasData(header)
    file.x, file.y, file.z = POINTS[:count].T
    for name, column in zip(names, NORMALS[:count].T, strict=False):
        file[name] = column
    file.withheld = np.arange(count) < withheld
    stream = io.BytesIO()
    file.write(stream, do_compress=suffix == ".laz")
    return stream.getvalue()


@pytest.mark.parametrize("suffix", [".las", ".laz"])
@pytest.mark.parametrize("names", [("NormalX", "NormalY", "NormalZ"), ("nx", "ny", "nz"), ()])
def test_las_points_and_normals(tmp_path: Path, suffix: str, names: tuple[str, ...]) -> None:
    cloud = read_cloud(saved(tmp_path / f"a{suffix}", las_bytes(suffix, names=names, withheld=5)))
    np.testing.assert_allclose(cloud.points, POINTS[5:], atol=0.6e-5)
    assert (cloud.normals is not None) == bool(names)
    if cloud.normals is not None:
        np.testing.assert_allclose(cloud.normals, NORMALS[5:], atol=1e-6)


@pytest.mark.parametrize("point_format", [0, 1, 2, 3, 7, 8])
def test_las_point_formats(tmp_path: Path, point_format: int) -> None:
    for suffix, count in ((".las", 60), (".laz", 60), (".laz", 1)):
        data = las_bytes(suffix, point_format=point_format, names=("odd",), count=count)
        cloud = read_cloud(saved(tmp_path / f"a{suffix}", data))
        np.testing.assert_allclose(cloud.points, POINTS[:count], atol=0.6e-5)


def test_las_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(las_module, "CHUNK_BYTES", 300)
    for suffix in (".las", ".laz"):
        cloud = read_cloud(saved(tmp_path / f"a{suffix}", las_bytes(suffix)))
        np.testing.assert_allclose(cloud.points, POINTS, atol=0.6e-5)


def laz_with(at: int, value: bytes) -> bytes:
    content = bytearray(las_bytes(".laz"))
    content[at : at + len(value)] = value
    return bytes(content)


def test_a_laz_file_that_lies_about_its_parts_is_not_decoded(tmp_path: Path) -> None:
    content = las_bytes(".laz")
    (first,) = struct.unpack_from("<I", content, 96)
    (table,) = struct.unpack_from("<q", content, first)
    lies = {
        "layers of a chunk": (first + 8 + 30 + 4, struct.pack("<I", 0xFFFFFF00)),
        "4294967295 chunks": (table + 4, b"\xff" * 4),
        "a table of chunks at byte 9999999": (first, struct.pack("<q", 9999999)),
        "variable records before byte": (100, struct.pack("<I", 5000)),
        "packed items": (105, struct.pack("<H", 31)),
        "points from byte": (96, struct.pack("<I", 10**9)),
        "20000000 points of 30 bytes": (247, struct.pack("<Q", 20_000_000)),
    }
    for text, (at, value) in lies.items():
        with pytest.raises(ScanError) as caught:
            read_cloud(saved(tmp_path / "a.laz", laz_with(at, value)))
        assert text in str(caught.value) or "variable records" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.las", b"LASF", "an end before the points"),
        ("a.las", b"junk" * 99, "no LAS header"),
        ("a.las", las_bytes(".las")[:-1], "60 points of 30 bytes"),
        ("a.laz", las_bytes(".laz")[:-30], "no readable points"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, name: str, content: bytes, text: str) -> None:
    assert text in refused_scan(saved(tmp_path / name, content))


@pytest.mark.parametrize(
    ("name", "content", "head"),
    [
        ("a.las", las_bytes(".las", names=("nx", "ny", "nz")), 900),
        ("a.laz", las_bytes(".laz"), 700),
        ("a.laz", las_bytes(".laz", point_format=3), 700),
    ],
    ids=["las", "laz", "laz-3"],
)
def test_damaged_files_give_points_or_one_line(tmp_path: Path, name: str, content: bytes, head: int) -> None:
    check_damaged_cloud(tmp_path / name, content, head=head)


@pytest.mark.parametrize("missing", ["laspy", "lazrs"])
def test_without_laspy_the_install_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=r"pip install 'shapeprior\[las\]'"):
        read_cloud(saved(tmp_path / "a.las", las_bytes(".las")))
