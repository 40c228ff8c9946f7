"""The commands as a user types them: what they write, what they print, how they end."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import run
from scipy.spatial import KDTree

from shapeprior.completion.registry import bundled_folder, bundled_priors
from shapeprior.datasets.dataset import Dataset
from shapeprior.io.meshes import load_mesh
from shapeprior.scans.placement import read_pose
from shapeprior.scans.read import read_scan

DEMO = bundled_folder() / "demo"


def test_bundled_priors_are_the_five_families_and_fit_the_size_limit() -> None:
    assert bundled_priors() == ["airplane", "bowl", "camera", "can", "mug"]
    weights = list((bundled_folder() / "priors").glob("*/checkpoint.safetensors"))
    assert sum(path.stat().st_size for path in weights) < 15e6
    for path in weights:
        made_by = json.loads((path.parent / "made_by.json").read_text())
        trained = rf"(torchrun --nproc-per-node \d+ -m )?shapeprior train data/{path.parent.name} "
        assert any(re.match(trained, command) for command in made_by["commands"])


@pytest.mark.slow
def test_demo_writes_a_closed_mesh_and_a_picture_and_prints_the_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "demo", "--out", tmp_path) == 0
    mesh = load_mesh(tmp_path / "completion.ply")
    assert mesh.is_watertight
    # The mesh is in the camera's frame, in metres: a mug of some centimetres, 45 cm before the camera.
    assert 0.3 < mesh.vertices[:, 2].mean() < 0.6
    assert 0.05 < float(np.ptp(mesh.vertices, axis=0).max()) < 0.3
    assert (tmp_path / "completion.png").stat().st_size > 10_000
    printed = capsys.readouterr().out
    values = {
        line.split()[0]: float(line.split()[1])
        for line in printed.splitlines()
        if line.startswith("  ") and line.split()[0] not in ("metric", "P,") and line.split()[1] != "-"
    }
    # Far below what was measured, far above what a wrong pose or an untrained prior reaches.
    assert values["iou"] > 0.5
    assert values["fscore_2"] > 0.9
    assert str(tmp_path / "completion.png") in printed


@pytest.mark.slow
def test_the_path_from_generated_meshes_to_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    meshes, data, prior, report = (tmp_path / name for name in ("meshes", "data", "prior", "report"))
    assert run(monkeypatch, "synthesize", "bowl", "--count", 5, "--out", meshes) == 0
    (meshes / "broken.obj").write_text("v 0 0 0\n")
    assert run(monkeypatch, "prepare", meshes, "--out", data, "--samples", 2000, "--workers", 1) == 0
    assert "broken.obj" in capsys.readouterr().out
    assert len(Dataset.open(data).shapes) == 5
    assert (
        run(monkeypatch, "train", data, "--out", prior, "--preset", "triplane-64", "--epochs", 2, "--encoder-steps", 3)
        == 0
    )
    assert len((prior / "log.jsonl").read_text().splitlines()) == 2
    options = ("--baselines", "mean", "upper", "--resolution", 48, "--workers", 1, "--no-meshes")
    assert run(monkeypatch, "evaluate", prior, "--data", data, "--out", report, *options) == 0
    printed = capsys.readouterr().out
    document = json.loads((report / "metrics.json").read_text())
    shapes = {shape.id for shape in Dataset.open(data).split("test")}
    for method in ("shapeprior", "mean shape", "upper bound"):
        assert method in printed
        assert shapes == {row["id"] for row in document["rows"] if row["task"] == "view" and row["method"] == method}
    assert {row["task"] for row in document["rows"]} == {"codes", "full", "view"}
    assert [entry["epoch"] for entry in document["training"]] == [1, 2]
    assert "broken.obj" in (report / "report.md").read_text()


def test_every_bad_input_ends_in_one_line_and_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty_folder").mkdir()
    np.save("empty.npy", np.zeros((0, 3)))
    np.save("nan.npy", np.full((5, 3), np.nan))
    np.save("behind.npy", np.full((240, 320), -1.0))
    np.save("depth.npy", np.ones((240, 320)))
    (tmp_path / "truncated").mkdir()
    for name in ("config.json", "checkpoint.safetensors"):
        data = (bundled_folder() / "priors" / "mug" / name).read_bytes()
        (tmp_path / "truncated" / name).write_bytes(data if name == "config.json" else data[:1000])
    camera, pose = DEMO / "intrinsics.json", DEMO / "pose.json"
    placed = ("--intrinsics", camera, "--pose", pose)
    cases: list[tuple[object, ...]] = [
        ("prepare", "empty_folder", "--out", "data"),
        ("prepare", "missing", "--out", "data"),
        ("train", "empty_folder", "--out", "prior"),
        ("complete", "empty.npy", "--prior", "mug", "--out", "mesh.ply"),
        ("complete", "nan.npy", "--prior", "mug", "--out", "mesh.ply"),
        ("complete", "behind.npy", "--prior", "mug", "--out", "mesh.ply", *placed),
        ("complete", "depth.npy", "--prior", "mug", "--out", "mesh.ply"),
        ("complete", "depth.npy", "--prior", "mug", "--out", "mesh.ply", "--intrinsics", camera),
        ("complete", "depth.npy", "depth.npy", "--prior", "mug", "--out", "mesh.ply", *placed),
        ("complete", "depth.npy", "depth.npy", "--prior", "mug", "--out", "mesh.ply", "--camera-pose", pose),
        ("complete", "--prior", "mug", "--out", "mesh.ply"),
        ("complete", "depth.npy", "--prior", "nothing", "--out", "mesh.ply", *placed),
        ("complete", "depth.npy", "--prior", "truncated", "--out", "mesh.ply", *placed),
        ("complete", "depth.npy", "--prior", "empty.npy", "--out", "mesh.ply", *placed),
        ("evaluate", "mug", "--data", "missing", "--out", "report"),
        ("train", "missing", "--out", "prior", "--preset", "deepsdf-999"),
    ]
    before = sorted(path.name for path in tmp_path.iterdir())
    for case in cases:
        assert run(monkeypatch, *case) == 1, case
        message = [line for line in capsys.readouterr().err.splitlines() if line.startswith("shapeprior:")]
        assert len(message) == 1, case
        assert "expected" in message[0], message
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.slow
def test_two_views_complete_one_object_in_the_world_of_their_cameras(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The demo's image twice: once as it is, once as points in the camera's frame.
    T_camera_unit = read_pose(DEMO / "pose.json")
    view = read_scan(DEMO / "depth.png", intrinsics=DEMO / "intrinsics.json")
    monkeypatch.chdir(tmp_path)
    np.save("points.npy", view.points_world)
    Path("camera.json").write_text(json.dumps({"matrix": T_camera_unit.inverse().matrix().tolist()}))
    options = ("--camera-pose", "camera.json", "camera.json", "--intrinsics", DEMO / "intrinsics.json")
    code = run(
        monkeypatch, "complete", DEMO / "depth.png", "points.npy", "--prior", "mug", "--out", "mug.ply", *options,
        "--resolution", 64,
    )  # fmt: skip
    assert code == 0, capsys.readouterr().err
    vertices = load_mesh(tmp_path / "mug.ply").vertices
    near = KDTree(vertices).query(T_camera_unit.inverse().apply(view.points_world))[0]
    assert np.percentile(near, 90) < 0.05


@pytest.mark.slow
def test_the_readmes_python_example_runs_on_a_point_cloud_in_metres(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    T_unit_camera = read_pose(DEMO / "pose.json").inverse()
    points = T_unit_camera.apply(read_scan(DEMO / "depth.png", intrinsics=DEMO / "intrinsics.json").points_world)
    sensor = T_unit_camera.offset
    # Upright, as the example wants it, and in metres: a tenth of the unit frame.
    np.savetxt(tmp_path / "scan.xyz", 0.1 * points)
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    example = readme.split("```python\n")[1].split("```")[0].replace("scan.ply", "scan.xyz")
    example = example.replace("(0.0, 0.3, 1.0)", str(tuple(float(value) for value in 0.1 * sensor)))
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    printed = capsys.readouterr().out.split()
    assert printed[0] == "True"
    assert printed[1] == "explained"
    mesh = load_mesh(tmp_path / "mug.ply")
    assert 0.1 < float(np.ptp(mesh.vertices, axis=0).max()) < 0.4


def test_wrong_usage_ends_with_exit_code_2(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "complete") == 2
    assert run(monkeypatch, "synthesize", "teapot", "--count", 1, "--out", "x") == 2


def test_an_output_that_cannot_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("here")
    assert run(monkeypatch, "synthesize", "bowl", "--count", 1, "--out", tmp_path / "file" / "meshes") == 1
    assert str(tmp_path / "file") in capsys.readouterr().err
