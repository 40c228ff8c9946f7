"""Point clouds from files of every kind: as other programs write them, damaged, and lying."""

import io
import resource
import struct
import sys
import tracemalloc
from pathlib import Path

import laspy
import numpy as np
import pytest
import trimesh
from helpers.scan_writers import damaged, lzf_compress, pcd_bytes, saved

from shapeprior.errors import ConfigError, ScanError
from shapeprior.io import las as las_module
from shapeprior.io.pcd import decompress
from shapeprior.io.point_files import read_cloud
from shapeprior.scans.read import read_scan

RNG = np.random.default_rng(0)
NORMALS = RNG.normal(size=(60, 3))
NORMALS /= np.linalg.norm(NORMALS, axis=1, keepdims=True)
POINTS = NORMALS * [1.0, 2.0, 3.0]
ODD = NORMALS.copy()
ODD[:3] = [[0.0, 0.0, 0.0], [np.nan, 0.0, 1.0], [np.inf, 0.0, 0.0]]
"""Three normals that say nothing."""


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


def npz_bytes(**arrays: object) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # pyright: ignore[reportArgumentType]
    return stream.getvalue()


def ply_bytes(*properties: tuple[str, np.ndarray]) -> bytes:
    columns = [("x", POINTS[:, 0]), ("y", POINTS[:, 1]), ("z", POINTS[:, 2]), *properties]
    head = ["ply", "format ascii 1.0", "element vertex 60", *(f"property double {name}" for name, _ in columns)]
    rows = [" ".join(repr(float(column[row])) for _, column in columns) for row in range(60)]
    return "\n".join([*head, "end_header", *rows, ""]).encode()


# LZF.


@pytest.mark.parametrize(
    "data",
    [b"a", b"abcabcabcabc" * 9, b"\0" * 5000, RNG.bytes(3000), bytes(RNG.integers(0, 3, 20_000, dtype=np.uint8))],
)
def test_lzf_gives_back_what_was_packed(data: bytes) -> None:
    packed = lzf_compress(data)
    assert decompress(packed, len(data)) == data
    for size in (len(data) - 1, len(data) + 1):
        with pytest.raises(ValueError, match="packed bytes hold"):
            decompress(packed, size)


def test_lzf_by_hand() -> None:
    # Three bytes as they are; five from three back, running into themselves; 264 times the last one.
    assert decompress(bytes([2, *b"abc", 3 << 5, 2, 7 << 5, 255, 0]), 272) == b"abcabcab" + b"b" * 264
    for packed in (bytes([5, 1]), bytes([32, 9]), bytes([224]), bytes([0, 65, 32])):
        with pytest.raises(ValueError, match="packed bytes"):
            decompress(packed, 9)


# What each format says.


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


def test_npz_points_and_all_that_comes_with_them(tmp_path: Path) -> None:
    weights, sensors = RNG.random(60), RNG.normal(size=(60, 3))
    path = saved(tmp_path / "a.npz", npz_bytes(xyz=POINTS.astype(np.float32), other=["text"]))
    cloud = read_cloud(path)
    np.testing.assert_array_equal(cloud.points, POINTS.astype(np.float32))
    assert cloud.normals is cloud.sensor is cloud.weights is None
    saved(path, npz_bytes(points=POINTS, normals=ODD, sensor=sensors, weights=weights[:, None]))
    cloud = read_cloud(path)
    np.testing.assert_array_equal(cloud.sensor, sensors)
    np.testing.assert_array_equal(cloud.weights, weights)
    assert cloud.normals is not None
    np.testing.assert_array_equal(cloud.normals[:3], 0.0)
    np.testing.assert_allclose(cloud.normals[3:], NORMALS[3:])
    view = read_scan(path)
    np.testing.assert_array_equal(view.origins_world, sensors)
    np.testing.assert_array_equal(view.weights, weights)
    np.testing.assert_array_equal(read_scan(path, sensor=(1.0, 2.0, 3.0)).origins_world, np.tile([1, 2, 3], (60, 1)))


def test_ply_normals_and_confidence(tmp_path: Path) -> None:
    weights = RNG.random(60)
    given = [(name, column) for name, column in zip(("nx", "ny", "nz"), ODD.T, strict=True)]
    cloud = read_cloud(saved(tmp_path / "a.ply", ply_bytes(*given, ("confidence", weights))))
    np.testing.assert_array_equal(cloud.weights, weights)
    assert cloud.normals is not None
    np.testing.assert_array_equal(cloud.normals[:3], 0.0)
    np.testing.assert_allclose(cloud.normals[3:], NORMALS[3:])
    ball = trimesh.creation.icosphere(subdivisions=1)
    content = ball.export(file_type="ply", vertex_normal=True)
    assert isinstance(content, bytes)
    cloud = read_cloud(saved(tmp_path / "b.ply", content))
    assert cloud.normals is not None
    np.testing.assert_allclose(cloud.normals, ball.vertices, atol=1e-6)


@pytest.mark.parametrize("suffix", [".npy", ".txt", ".xyz"])
def test_six_unnamed_columns_are_normals_if_they_can_be(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"

    def read(columns: np.ndarray) -> np.ndarray | None:
        table = np.column_stack([POINTS, columns])
        np.save(path, table) if suffix == ".npy" else np.savetxt(path, table)
        cloud = read_cloud(path)
        np.testing.assert_allclose(cloud.points, POINTS)
        return cloud.normals

    found = read(NORMALS)
    assert found is not None
    np.testing.assert_allclose(found, NORMALS)
    odd = NORMALS.copy()
    odd[:2] = [[0.0, 0.0, 0.0], [np.nan, 0.0, 0.0]]
    found = read(odd)
    assert found is not None
    np.testing.assert_array_equal(found[:2], 0.0)
    for colours in (RNG.integers(0, 256, (60, 3)), RNG.random((60, 3)), np.tile([1.0, 0.0, 0.0], (60, 1))):
        assert read(colours) is None
    assert read(np.zeros((60, 3))) is None


def test_other_columns_of_text_do_no_harm(tmp_path: Path) -> None:
    lines = [" ".join(f"{value:.9f}" for value in point) + " label" * (row % 5) for row, point in enumerate(POINTS)]
    cloud = read_cloud(saved(tmp_path / "a.txt", "\n".join(lines).encode()))
    np.testing.assert_allclose(cloud.points, POINTS, atol=1e-8)
    assert cloud.normals is None


def test_normals_face_a_known_sensor_and_are_believed_otherwise(tmp_path: Path) -> None:
    turned = NORMALS * RNG.choice([-1.0, 1.0], (60, 1))
    path = saved(tmp_path / "a.npz", npz_bytes(points=POINTS, normals=turned))
    np.testing.assert_allclose(read_scan(path).normals_world, turned)
    sensor = np.array([0.0, 0.0, 50.0])
    found = read_scan(path, sensor=(0.0, 0.0, 50.0)).normals_world
    assert found is not None
    assert (np.einsum("ij,ij->i", found, sensor - POINTS) >= 0.0).all()
    np.testing.assert_allclose(np.abs(np.einsum("ij,ij->i", found, NORMALS)), 1.0)


# What is refused.


def replaced(old: bytes, new: bytes, *, data: str = "binary") -> bytes:
    content = pcd(data)
    assert old in content
    return content.replace(old, new)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.pcd", b"ply\n" * 9, "no PCD header (no line DATA)"),
        ("a.pcd", replaced(b"VERSION", b"\xff\xff"), "no PCD header"),
        ("a.pcd", replaced(b"FIELDS", b"FELDER"), "no PCD header (no line 'COLUMNS')"),
        ("a.pcd", replaced(b" x ", b" u "), "no PCD header (the fields intensity u"),
        ("a.pcd", replaced(b"SIZE 2", b"SIZE 3"), "a field of type U and 3 bytes"),
        ("a.pcd", replaced(b"TYPE U", b"TYPE F"), "a field of type F and 2 bytes"),
        ("a.pcd", replaced(b"COUNT 1 1 5", b"COUNT 1 1 5 1"), "9 fields, 9 sizes, 9 types, 10 counts"),
        ("a.pcd", replaced(b"COUNT 1 1 5", b"COUNT 1 1 99999"), "numbers a point"),
        ("a.pcd", replaced(b"WIDTH 60", b"WIDTH 61"), "60 points in 61 cells"),
        ("a.pcd", replaced(b"WIDTH 60", b"WIDTH -6"), "'-6', not a whole number"),
        (
            "a.pcd",
            replaced(b"WIDTH 60", b"WIDTH 99999999").replace(b"POINTS 60", b"POINTS 99999999"),
            "50000000 at most",
        ),
        ("a.pcd", replaced(b"WIDTH 60", b"WIDTH 59").replace(b"POINTS 60", b"POINTS 59"), "no readable binary PCD"),
        ("a.pcd", replaced(b"VIEWPOINT 0 0 0 1", b"VIEWPOINT 0 0 0"), "a viewpoint of 6 numbers"),
        ("a.pcd", replaced(b"VIEWPOINT 0", b"VIEWPOINT inf"), "a sensor position that is NaN or infinite"),
        ("a.pcd", replaced(b"DATA binary", b"DATA zip"), "data 'zip'"),
        ("a.pcd", pcd("binary")[:-1], "no readable binary PCD"),
        ("a.pcd", pcd("binary") + b"\0" * 99, "no readable binary PCD"),
        ("a.pcd", pcd("ascii") + b"1 2 3 4 5 6 7 8 9 10 11 12 13\n", "61 or more lines"),
        ("a.pcd", pcd("ascii")[:-150], "no readable ascii PCD"),
        ("a.pcd", pcd("binary_compressed")[:-1], "no readable binary_compressed PCD"),
        ("a.las", b"LASF", "an end before the points"),
        ("a.las", b"junk" * 99, "no LAS header"),
        ("a.las", las_bytes(".las")[:-1], "60 points of 30 bytes"),
        ("a.laz", las_bytes(".laz")[:-30], "no readable points"),
        ("a.npz", b"PK junk", "cannot be read"),
        ("a.npz", npz_bytes(vertices=POINTS), "neither points nor xyz"),
        ("a.npz", npz_bytes(points=POINTS, xyz=POINTS), "both points and xyz"),
        ("a.npz", npz_bytes(points=POINTS.T), "points of type float64 and shape (3, 60)"),
        ("a.npz", npz_bytes(points=POINTS, normals=NORMALS[:9]), "normals of type float64 and shape (9, 3)"),
        ("a.npz", npz_bytes(points=POINTS, sensor=np.zeros(4)), "expected numbers of shape (3,) or (60, 3)"),
        ("a.npz", npz_bytes(points=POINTS, sensor=[0.0, 0.0, np.nan]), "a sensor position that is NaN"),
        ("a.npz", npz_bytes(points=POINTS, weights=-np.ones(60)), "confidences that are negative"),
        ("a.npz", npz_bytes(points=np.float64(3.0)), "points of type float64 and shape ()"),
        ("a.npz", npz_bytes(points=POINTS > 0), "points of type bool"),
        ("a.npz", npz_bytes(points=POINTS.astype(object)), "expected real numbers"),
        ("a.ply", ply_bytes(("confidence", np.full(60, np.nan))), "confidences that are negative, NaN"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, name: str, content: bytes, text: str) -> None:
    path = saved(tmp_path / name, content)
    with pytest.raises(ScanError) as caught:
        read_scan(path)
    assert text in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_packed_points_cannot_become_more_than_the_file_can_hold(tmp_path: Path) -> None:
    header = pcd("binary_compressed").split(b"DATA")[0]
    header = header.replace(b"WIDTH 60", b"WIDTH 9000000").replace(b"POINTS 60", b"POINTS 9000000")
    content = header + b"DATA binary_compressed\n" + struct.pack("<II", 1000, 9_000_000 * 62) + b"\xe0\xff\0" * 400
    tracemalloc.start()
    with pytest.raises(ScanError, match="1000 packed bytes that hold 558000000"):
        read_cloud(saved(tmp_path / "a.pcd", content))
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


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
    ("name", "content", "head"),
    [
        ("a.pcd", pcd("ascii"), 400),
        ("a.pcd", pcd("binary"), 400),
        ("a.pcd", pcd("binary_compressed"), 420),
        ("a.las", las_bytes(".las", names=("nx", "ny", "nz")), 900),
        ("a.laz", las_bytes(".laz"), 700),
        ("a.laz", las_bytes(".laz", point_format=3), 700),
        ("a.npz", npz_bytes(points=POINTS, normals=NORMALS, sensor=np.zeros(3)), 3000),
        ("a.ply", ply_bytes(("nx", POINTS[:, 0]), ("confidence", np.ones(60))), 200),
    ],
    ids=lambda value: str(value)[:8] if isinstance(value, str) else None,
)
def test_damaged_files_give_points_or_one_line(tmp_path: Path, name: str, content: bytes, head: int) -> None:
    path, messages = tmp_path / name, []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for changed in damaged(content, count=150, seed=1, head=head):
        path.write_bytes(changed)
        try:
            cloud = read_cloud(path)
        except ScanError as error:
            messages.append(str(error))
        else:
            assert np.isfinite(cloud.points).all()
            assert cloud.normals is None or np.isfinite(cloud.normals).all()
    assert len(messages) >= 50
    assert all(message.startswith(str(path)) and "\n" not in message for message in messages)
    if sys.platform == "linux":
        # None made room for the gigabytes that some of them state.
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20


@pytest.mark.parametrize("missing", ["laspy", "lazrs"])
def test_without_laspy_the_install_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=r"pip install 'shapeprior\[las\]'"):
        read_cloud(saved(tmp_path / "a.las", las_bytes(".las")))
