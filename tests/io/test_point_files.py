"""Point clouds in PLY, text, NPY and NPZ files: as other programs write them, damaged, and lying."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from helpers.scan_writers import (
    NORMALS,
    POINTS,
    check_damaged_cloud,
    npy_bytes,
    npz_bytes,
    ply_bytes,
    refused_scan,
    saved,
)

from shapeprior.io.point_files import read_cloud
from shapeprior.scans.read import read_scan

RNG = np.random.default_rng(0)
ODD = NORMALS.copy()
ODD[:3] = [[0.0, 0.0, 0.0], [np.nan, 0.0, 1.0], [np.inf, 0.0, 0.0]]
"""Normals of which three are unknown."""
CLOUD = RNG.normal(size=(42, 3))
BAD_CLOUD = np.where(np.arange(126).reshape(42, 3) == 7, np.nan, CLOUD)
PICKLED = npy_bytes(np.array([{"a": 1}], dtype=object), allow_pickle=True)


def ply_with(*properties: tuple[str, np.ndarray]) -> bytes:
    columns = [("x", POINTS[:, 0]), ("y", POINTS[:, 1]), ("z", POINTS[:, 2]), *properties]
    head = ["ply", "format ascii 1.0", "element vertex 60", *(f"property double {name}" for name, _ in columns)]
    rows = [" ".join(repr(float(column[row])) for _, column in columns) for row in range(60)]
    return "\n".join([*head, "end_header", *rows, ""]).encode()


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
    cloud = read_cloud(saved(tmp_path / "a.ply", ply_with(*given, ("confidence", weights))))
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


@pytest.mark.parametrize("mesh", [True, False])
@pytest.mark.parametrize("encoding", ["ascii", "binary"])
def test_ply_points(tmp_path: Path, mesh: bool, encoding: str) -> None:
    path = tmp_path / "scan.PLY"
    path.write_bytes(ply_bytes(CLOUD, mesh=mesh, encoding=encoding))
    np.testing.assert_allclose(read_cloud(path).points, CLOUD, atol=1e-6)


@pytest.mark.parametrize("mesh", [True, False])
@pytest.mark.parametrize("encoding", ["ascii", "binary"])
def test_truncated_ply_is_refused(tmp_path: Path, mesh: bool, encoding: str) -> None:
    data = ply_bytes(CLOUD, mesh=mesh, encoding=encoding)
    for share in (0.02, 0.3, 0.6):
        refused_scan(saved(tmp_path / "scan.ply", data[: int(len(data) * share)]))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16])
def test_npy_points(tmp_path: Path, dtype: type) -> None:
    for columns in (3, 6):
        array = (np.tile(CLOUD, 2)[:, :columns] * 100).astype(dtype)
        points = read_cloud(saved(tmp_path / "scan.npy", npy_bytes(array))).points
        assert points.dtype == np.float64
        np.testing.assert_array_equal(points, array[:, :3])


@pytest.mark.parametrize("delimiter", [" ", ",", ", ", "\t"])
def test_text_points(tmp_path: Path, delimiter: str) -> None:
    rows = [delimiter.join(f"{value:.12f}" for value in [*point, 255, 0, 7]) for point in CLOUD]
    for suffix in (".xyz", ".txt"):
        path = tmp_path / f"scan{suffix}"
        path.write_text("# x y z r g b\n" + "\n".join(rows) + "  # last\n\n")
        np.testing.assert_allclose(read_cloud(path).points, CLOUD, atol=1e-11)


@pytest.mark.parametrize(
    "row", ["0,0123 -0,5 1,25", "1,5e-3  2,0  3,0  255", "0,1\t0,2\t0,3", ",5 ,25 ,125", "1,5 2,5", "7 8 0,5"]
)
def test_decimal_commas_are_no_columns(tmp_path: Path, row: str) -> None:
    path = tmp_path / "scan.xyz"
    path.write_text(f"# of a German program\n{row}\n" * 50)
    assert "decimal commas in the line" in refused_scan(path)
    # Whole numbers between commas are columns, with spaces after them or not.
    path.write_text("1,2,3\n4, 5, 6\n7 8 9 # 1,2 3,4 5,6\n10,11 12\n13 ,14 ,15\n")
    np.testing.assert_array_equal(read_cloud(path).points, np.arange(1.0, 16.0).reshape(5, 3))


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.ply", b"", "an empty file"),
        ("a.ply", b"ply\nformat ascii 1.0\nend_header\n", "no PLY header with vertices"),
        ("a.ply", b"solid stl", "no PLY header with vertices"),
        ("a.ply", ply_bytes(CLOUD, mesh=False, encoding="ascii").replace(b"vertex 42", b"vertex 43"), "43"),
        (
            "a.ply",
            ply_bytes(CLOUD, mesh=False, encoding="binary").replace(b"vertex 42", b"vertex 99999999"),
            "50000000 at most",
        ),
        (
            "a.ply",
            ply_bytes(CLOUD, mesh=True, encoding="ascii").replace(b"property float x", b"property float u"),
            "PLY",
        ),
        ("a.npy", PICKLED, "neither pickled objects nor a truncated file"),
        ("a.npy", npz_bytes(points=CLOUD), "an archive of arrays (NPZ)"),
        ("a.npy", npy_bytes(CLOUD)[:-8], "truncated"),
        ("a.npy", npy_bytes(CLOUD)[:40], "truncated"),
        ("a.npy", b"junk", "no readable array"),
        ("a.npy", npy_bytes(np.zeros((0, 3))), "0 points"),
        ("a.npy", npy_bytes(np.array(["a", "b"])), "expected real numbers"),
        ("a.npy", npy_bytes(CLOUD + 1j), "expected real numbers"),
        ("a.npy", npy_bytes(np.zeros(7)), "array of shape (7,)"),
        ("a.npy", npy_bytes(np.zeros((2, 2, 3))), "array of shape (2, 2, 3)"),
        ("a.npy", npy_bytes(np.ones((9, 9), dtype=bool)), "a bool array"),
        ("a.npy", npy_bytes(BAD_CLOUD), "1 of 42 points with NaN or infinite"),
        ("a.txt", b"# nothing\n", "0 points"),
        ("a.txt", b"x y z\n1 2 3\n", "no readable table"),
        ("a.txt", b"1 2\n3 4\n", "no readable table"),
        ("a.txt", b"1 2 3\n4 5\n", "no readable table"),
        ("a.txt", b"\xff\xfe1 2 3", "no readable table"),
        ("a.xyz", b"1 2 inf\n1 2 3\n", "1 of 2 points with NaN or infinite"),
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
        ("a.ply", ply_with(("confidence", np.full(60, np.nan))), "confidences that are negative, NaN"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, name: str, content: bytes, text: str) -> None:
    assert text in refused_scan(saved(tmp_path / name, content))


@pytest.mark.parametrize(
    ("name", "content", "head"),
    [
        ("a.npz", npz_bytes(points=POINTS, normals=NORMALS, sensor=np.zeros(3)), 3000),
        ("a.ply", ply_with(("nx", POINTS[:, 0]), ("confidence", np.ones(60))), 200),
    ],
    ids=["npz", "ply"],
)
def test_damaged_files_give_points_or_one_line(tmp_path: Path, name: str, content: bytes, head: int) -> None:
    check_damaged_cloud(tmp_path / name, content, head=head)
