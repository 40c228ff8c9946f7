"""The commands on the latent space: what they write and print, on bundled priors and a small data set."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import run
from helpers.ellipsoids import ellipsoid_prior, ellipsoid_view
from PIL import Image

from shapeprior.cli import latent_shapes
from shapeprior.cli.latent_shapes import find_code, holds_mesh, surface_distances, write_shapes
from shapeprior.completion.registry import load
from shapeprior.datasets.dataset import Dataset
from shapeprior.errors import CompletionError, ConfigError, ScanError
from shapeprior.evaluation.point_metrics import chamfer_l1
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.meshes import load_mesh, save_mesh
from shapeprior.scans.folder import ViewFiles, read_placed_scan


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent_shapes, "PANEL", 48)


@pytest.mark.slow
def test_interpolate_writes_the_meshes_of_both_ends_and_a_strip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prior = load("can")
    ids = prior.config.shape_ids
    arguments = ("interpolate", "can", ids[0], ids[1], "--out", tmp_path, "--steps", 3, "--resolution", 32)
    assert run(monkeypatch, *arguments) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("between.png", "between_00.ply", "between_01.ply", "between_02.ply")
    ]
    for name, row in (("between_00.ply", 0), ("between_02.ply", 1)):
        found, expected = load_mesh(tmp_path / name), prior.extract(prior.codes[row], resolution=32)
        np.testing.assert_array_equal(found.faces, expected.faces)
        np.testing.assert_allclose(found.vertices, expected.vertices, atol=1e-6)
    with Image.open(tmp_path / "between.png") as picture:
        assert picture.width == 3 * 48
    assert "between.png" in capsys.readouterr().out


@pytest.mark.slow
def test_sample_is_seeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        arguments = ("sample", "can", "--count", 1, "--out", tmp_path / folder, "--resolution", 32, "--seed", seed)
        assert run(monkeypatch, *arguments) == 0
    names = ["sample.png", "sample_00.ply"]
    first, again, other = ([(tmp_path / folder / name).read_bytes() for name in names] for folder in "abc")
    assert first == again
    assert all(left != right for left, right in zip(first, other, strict=True))
    assert all(load_mesh(tmp_path / "a" / name).is_watertight for name in names[1:])
    assert capsys.readouterr().out.count("  can_") == 3


@pytest.mark.slow
def test_encode_then_nearest_then_interpolate_from_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prior = load("can")
    unit = prior.extract(prior.codes[3], resolution=64)
    world = TriangleMesh(vertices=0.1 * unit.vertices + [4.0, 5.0, 6.0], faces=unit.faces)
    mesh, code, decoded = save_mesh(tmp_path / "can.obj", world), tmp_path / "can.npz", tmp_path / "decoded.ply"
    fast = ("--steps", 100, "--resolution", 64)
    assert run(monkeypatch, "encode", "can", mesh, "--out", code, "--mesh", decoded, *fast) == 0
    assert prior.config.shape_ids[3] in capsys.readouterr().out
    # The mesh lies where the file's does.
    np.testing.assert_allclose(load_mesh(decoded).bounds, world.bounds, atol=0.012)
    assert run(monkeypatch, "nearest", "can", code, "--count", 3) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[0] == prior.config.shape_ids[3]
    distances = [float(line.split()[1]) for line in lines[1:4]]
    assert distances == sorted(distances)
    out = tmp_path / "between"
    assert (
        run(monkeypatch, "interpolate", "can", code, "can_00000", "--out", out, "--steps", 2, "--resolution", 32) == 0
    )
    assert len(list(out.glob("*.ply"))) == 2


@pytest.mark.slow
def test_bad_input_ends_in_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    save_mesh("triangle.ply", TriangleMesh(vertices=np.eye(3), faces=np.array([[0, 1, 2]])))
    np.savez("other.npz", other=np.zeros(3))
    np.savez("short.npz", code=np.zeros(3))
    np.savez("nan.npz", code=np.full(64, np.nan))
    np.save("empty.npy", np.zeros((0, 3)))
    cases: list[tuple[object, ...]] = [
        ("interpolate", "can", "can_00000", "no_such_id", "--out", "x"),
        ("interpolate", "can", "can_00000", "can_00001", "--out", "x", "--steps", 1),
        ("sample", "can", "--out", "x", "--count", 0),
        ("sample", "lab/can", "--out", "x"),
        ("encode", "can", "triangle.ply", "--out", "x.npz"),
        ("encode", "can", "missing.ply", "--out", "x.npz"),
        ("encode", "can", "empty.npy", "--out", "x.npz"),
        ("nearest", "can", "other.npz"),
        ("nearest", "can", "short.npz"),
        ("nearest", "can", "nan.npz"),
        ("nearest", "can", "empty.npy"),
        ("nearest", "can", "triangle.ply"),
        ("nearest", "can", "can_00000", "--count", 0),
        ("nearest", "can", "can_00000", "--data", "missing"),
    ]
    before = sorted(path.name for path in tmp_path.iterdir())
    for case in cases:
        assert run(monkeypatch, *case) == 1, case
        message = [line for line in capsys.readouterr().err.splitlines() if line.startswith("shapeprior:")]
        assert len(message) == 1, case
        assert "expected" in message[0], message
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_file_is_meant_before_an_id_and_a_scan_needs_a_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prior = ellipsoid_prior()
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(find_code(prior, "ellipsoid_3").code, prior.codes[3])
    Path("ellipsoid_3").write_text("")
    view = ellipsoid_view(np.array([0.4, -0.9]))
    found = find_code(prior, "ellipsoid_3", read_view=lambda _: (view, Similarity.identity()))
    np.testing.assert_allclose(found.code, [0.4, -0.9], atol=0.06)
    assert found.mesh_unit is None
    with pytest.raises(ConfigError, match="none of the 25 training shapes"):
        find_code(prior, "ellipsoid_99")


@pytest.mark.parametrize("faces", [0, 1])
def test_a_ply_file_is_a_mesh_if_it_has_faces(tmp_path: Path, faces: int) -> None:
    path = tmp_path / "a.ply"
    path.write_bytes(
        b"ply\r\nformat ascii 1.0\r\nelement vertex 3\r\nelement  face %d\r\nend_header\r\nelement face 9" % faces
    )
    assert holds_mesh(path) == bool(faces)
    assert holds_mesh(tmp_path / "a.OBJ")
    assert not holds_mesh(tmp_path / "a.xyz")
    assert latent_shapes.HEADER_BYTES < 1 << 20


def test_a_pose_places_a_scan_and_a_depth_image_needs_one(tmp_path: Path) -> None:
    np.save(tmp_path / "points.npy", np.random.default_rng(0).uniform(1, 2, (30, 3)))
    matrix = np.diag([2.0, 2.0, 2.0, 1.0])
    matrix[:3, 3] = [1.0, 2.0, 3.0]
    (tmp_path / "pose.json").write_text(json.dumps({"matrix": matrix.tolist()}))
    points = [ViewFiles(scan=tmp_path / "points.npy")]
    view, placed = read_placed_scan(points, pose=tmp_path / "pose.json", sensor=(0.0, 0.0, 5.0))
    assert placed is not None
    np.testing.assert_allclose(placed.matrix(), np.linalg.inv(matrix))
    assert len(view.points_world) == 30
    assert read_placed_scan(points, pose=None, sensor=None)[1] is None
    with pytest.raises(ScanError, match="--pose"):
        read_placed_scan([ViewFiles(scan=tmp_path / "d.png", intrinsics=tmp_path / "i.json")], sensor=None, pose=None)


def test_surface_distances_are_chamfer_distances_to_the_stored_meshes(tiny_data: Dataset) -> None:
    ids = [shape.id for shape in tiny_data.shapes]
    found = surface_distances(tiny_data.mesh_unit(ids[0]), tiny_data, ids, seed=0, points=4000)
    assert int(np.argmin(found)) == 0
    assert found[0] < 0.03  # Half the spacing of 4000 points, twice.
    rng = np.random.default_rng(5)
    directions = rng.standard_normal((2, 3000, 3))
    balls = directions / np.linalg.norm(directions, axis=2, keepdims=True) / 1.03
    ball = surface_distances(tiny_data.mesh_unit("ball_small"), tiny_data, ["ball_large"], seed=0, points=3000)
    assert ball[0] == pytest.approx(chamfer_l1(balls[0], balls[1]), rel=0.1)


def test_a_code_without_a_surface_is_named(tmp_path: Path) -> None:
    from helpers.ellipsoids import PositiveDecoder

    prior = ellipsoid_prior(PositiveDecoder())
    with pytest.raises(CompletionError, match="sample 0 of 2"):
        write_shapes(
            prior, prior.codes[:2], tmp_path / "new", name="sample", titles=["a", "b"], columns=4, resolution=32
        )
    assert not (tmp_path / "new").exists()
