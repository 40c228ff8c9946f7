"""Folders of scans: each a mesh or a reason, in any order of interruption, by one process or several."""

import csv
import json
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial import KDTree

from shapeprior.cli.main import main
from shapeprior.completion.batch import complete_folder
from shapeprior.completion.registry import bundled_folder, load, prior_digest
from shapeprior.completion.result import Completion
from shapeprior.completion.scan_job import CompletionSettings, ScanRow
from shapeprior.errors import CheckpointError, ConfigError, OutputError, ScanError
from shapeprior.io.files import load_numpy, write_bytes
from shapeprior.io.meshes import load_mesh
from shapeprior.scans.observation import Observation
from shapeprior.scans.simulation import camera_around, render_depth

DEMO = bundled_folder() / "demo"


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A depth image with its own intrinsics and pose, points of a can, noise, and two files that are no scans."""
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "mug.png").write_bytes((DEMO / "depth.png").read_bytes())
    (folder / "mug.intrinsics.json").write_bytes((DEMO / "intrinsics.json").read_bytes())
    (folder / "mug.pose.json").write_bytes((DEMO / "pose.json").read_bytes())
    prior = load("mug")
    vertices = prior.extract(prior.codes[3], resolution=64).vertices
    np.save(folder / "half.npy", vertices[vertices[:, 2] > 0.0])
    np.save(folder / "noise.npy", np.random.default_rng(0).uniform(-1.0, 1.0, (500, 3)))
    (folder / "broken.ply").write_bytes(b"ply\nnothing")
    (folder / "notes.md").write_text("not a scan")
    return folder


def complete(scans: Path, out: Path, **changes: Any) -> dict[str, ScanRow]:
    """Complete a folder with a few cells; `changes` are arguments, or fields of the settings."""
    names = {field.name for field in fields(CompletionSettings)}
    settings = CompletionSettings(**{"resolution": 64, **{name: changes.pop(name) for name in names & changes.keys()}})
    rows = complete_folder(scans, out, **{"prior": "mug", "workers": 0, "settings": settings, **changes})
    return {row.scan: row for row in rows}


@pytest.mark.slow
def test_every_scan_is_a_mesh_or_a_reason(scans: Path, tmp_path: Path) -> None:
    rows = complete(scans, tmp_path / "out")
    assert list(rows) == ["broken.ply", "half.npy", "mug.png", "noise.npy"]
    assert rows["broken.ply"].status == "failed"
    assert "broken.ply" in rows["broken.ply"].reason
    assert not rows["broken.ply"].mesh
    assert rows["noise.npy"].status == "unexplained"
    assert rows["mug.png"].status in ("explained", "doubtful")
    for name in ("half.npy", "mug.png", "noise.npy"):
        mesh = load_mesh(tmp_path / "out" / rows[name].mesh)
        assert mesh.is_watertight
        assert len(mesh.faces) == rows[name].faces
    with open(tmp_path / "out/summary.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["scan"] for row in table] == list(rows)
    assert [row["status"] for row in table] == [row.status for row in rows.values()]
    assert not list((tmp_path / "out").glob("notes*"))


@pytest.mark.slow
def test_a_later_run_does_what_failed_or_has_changed(scans: Path, tmp_path: Path) -> None:
    out, done = tmp_path / "out", []
    first = complete(scans, out)

    def note(_done: int, _total: int, name: str) -> None:
        done.append(name)

    again = complete(scans, out, progress=note)
    assert done == ["broken.ply"]
    assert again == first
    np.save(scans / "noise.npy", np.random.default_rng(1).uniform(-1.0, 1.0, (500, 3)))
    (out / "half.ply").unlink()
    done.clear()
    complete(scans, out, progress=note)
    assert done == ["broken.ply", "half.npy", "noise.npy"]
    done.clear()
    complete(scans, out, progress=note, resolution=48)
    assert len(done) == 4


@pytest.mark.slow
def test_workers_write_what_one_process_writes(scans: Path, tmp_path: Path) -> None:
    complete(scans, tmp_path / "one")
    complete(scans, tmp_path / "two", workers=2)
    for name in ("half.ply", "mug.ply", "noise.ply"):
        one, two = (load_mesh(tmp_path / folder / name) for folder in ("one", "two"))
        # The number of threads may change a sum's last digit.
        assert len(one.faces) == pytest.approx(len(two.faces), rel=0.01)
        np.testing.assert_allclose(one.bounds, two.bounds, rtol=0.02, atol=0.01)


@pytest.mark.slow
def test_several_views_of_an_object_are_one_row(tmp_path: Path) -> None:
    prior = load("mug")
    mesh = prior.extract(prior.codes[3], resolution=64)
    folder = tmp_path / "scans" / "seen_twice"
    folder.mkdir(parents=True)
    for number, azimuth in enumerate((30.0, 200.0)):
        camera, pose = camera_around(azimuth_deg=azimuth, elevation_deg=30.0, resolution=96)
        np.save(folder / f"{number}.npy", render_depth(mesh, camera, pose))
        (folder / f"{number}.camera_pose.json").write_text(json.dumps({"matrix": pose.matrix().tolist()}))
        intrinsics = {name: getattr(camera, name) for name in ("fx", "fy", "cx", "cy")}
        (tmp_path / "scans" / "seen_twice.intrinsics.json").write_text(json.dumps(intrinsics))
    (tmp_path / "scans" / "seen_twice.pose.json").write_text(json.dumps({"matrix": np.eye(4).tolist()}))
    rows = complete(tmp_path / "scans", tmp_path / "scans" / "out")
    assert list(rows) == ["seen_twice"]
    row = rows["seen_twice"]
    assert row.status == "explained", row.reason
    assert row.residual is not None
    assert row.residual < 0.01
    found = load_mesh(tmp_path / "scans" / "out" / "seen_twice.ply")
    # Crumbs that the decoder leaves in space apart, it is that shape, in the world's frame.
    near = KDTree(mesh.vertices).query(found.vertices)[0]
    assert np.percentile(near, 95) < 0.05
    # Its results are no scans; a view that has changed is seen.
    assert complete(tmp_path / "scans", tmp_path / "scans" / "out") == rows
    (folder / "1.camera_pose.json").unlink()
    again = complete(tmp_path / "scans", tmp_path / "scans" / "out")["seen_twice"]
    assert again.status == "failed"
    assert "1.npy: found a depth image, one of 2 views, without its camera's pose" in again.reason
    assert str(tmp_path) not in again.reason


@pytest.mark.slow
def test_the_rows_say_what_they_depend_on(scans: Path, tmp_path: Path) -> None:
    complete(scans, tmp_path / "out")
    found = json.loads((tmp_path / "out/mug.json").read_text())
    assert found["result"]["prior"] == "mug"
    assert found["settings"]["prior"] == prior_digest(load("mug"))
    assert len(found["settings"]["views"][0]["scan"]) == len(found["settings"]["pose"]) == 64
    assert str(tmp_path) not in json.dumps(found)


@pytest.mark.slow
def test_a_prior_of_other_content_is_another_prior(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    prior = load("mug")
    np.save(tmp_path / "scans" / "half.npy", prior.extract(prior.codes[3], resolution=48).vertices)
    run, out, done = tmp_path / "run", tmp_path / "out", []

    def note(_done: int, _total: int, name: str) -> None:
        done.append(name)

    for name, expected in (("mug", 1), ("mug", 1), ("bowl", 2)):
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(bundled_folder() / "priors" / name, run)
        complete(tmp_path / "scans", out, prior=str(run), resolution=32, progress=note)
        assert len(done) == expected


@pytest.mark.slow
def test_no_prior_named_is_the_one_that_explains_each_scan(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    for name in ("mug", "airplane"):
        prior = load(name)
        np.save(tmp_path / "scans" / f"{name}.npy", prior.extract(prior.codes[3], resolution=48).vertices)
        placed = json.dumps({"matrix": np.eye(4).tolist()})
        (tmp_path / "scans" / f"{name}.pose.json").write_text(placed)
    rows = complete(tmp_path / "scans", tmp_path / "out", prior="auto", resolution=32)
    assert {row.scan: row.prior for row in rows.values()} == {"mug.npy": "mug", "airplane.npy": "airplane"}
    assert {row.status for row in rows.values()} <= {"explained", "doubtful"}


@pytest.mark.slow
def test_other_answers_are_written_if_asked_for(tmp_path: Path) -> None:
    """A mug whose handle is hidden: it may be in more places than one."""
    (tmp_path / "scans").mkdir()
    prior = load("mug")
    mesh = prior.extract(prior.codes[40], resolution=64)
    camera, pose = camera_around(azimuth_deg=270.0, elevation_deg=15.0, resolution=96)
    seen = Observation.from_depth(render_depth(mesh, camera, pose), camera, T_world_camera=pose)
    np.savez(tmp_path / "scans" / "back.npz", points=seen.points_world, sensor=pose.offset)
    rows = complete(tmp_path / "scans", tmp_path / "out", placement="upright", alternatives=True)
    count = rows["back.npz"].alternatives
    written = sorted(path.name for path in (tmp_path / "out").glob("*.other*.ply"))
    assert written == [f"back.other{number}.ply" for number in range(1, count + 1)]
    assert count >= 1
    # A scan that is done again takes them away with it.
    again = complete(tmp_path / "scans", tmp_path / "out", placement="upright")
    assert again["back.npz"].alternatives == count
    assert not list((tmp_path / "out").glob("*.other*.ply"))


def test_scans_are_not_overwritten(scans: Path) -> None:
    before = {path.name: path.read_bytes() for path in scans.iterdir()}
    with pytest.raises(ConfigError, match="the folder of scans, some of which would be overwritten"):
        complete(scans, scans / ".." / scans.name)
    assert {path.name: path.read_bytes() for path in scans.iterdir()} == before
    (scans / "views").mkdir()
    (scans / "views" / "a.npy").write_bytes((scans / "half.npy").read_bytes())
    with pytest.raises(ScanError, match=r"views: holds scans; expected another folder"):
        complete(scans, scans / "views")


@pytest.mark.slow
def test_results_among_the_scans_are_no_scans(scans: Path) -> None:
    first = complete(scans, scans / "one", resolution=32)
    second = complete(scans, scans / "two", resolution=48)
    assert list(second) == list(first)
    # Those of a run that was killed are not, either: their table is the first file.
    (scans / "three").mkdir()
    (scans / "three" / "summary.csv").write_bytes((scans / "one" / "summary.csv").read_bytes().splitlines()[0])
    (scans / "three" / "half.ply").write_bytes((scans / "one" / "half.ply").read_bytes())
    assert list(complete(scans, scans / "two", resolution=48)) == list(first)


@pytest.mark.slow
def test_a_scan_done_again_leaves_other_scans_alone(scans: Path, tmp_path: Path) -> None:
    (scans / "half.other_side.npy").write_bytes((scans / "half.npy").read_bytes())
    complete(scans, tmp_path / "out", resolution=32)
    np.save(scans / "half.npy", load_numpy(scans / "half.npy")[::2])
    complete(scans, tmp_path / "out", resolution=32)
    assert (tmp_path / "out" / "half.other_side.ply").exists()
    (scans / "half.other1.npy").write_bytes((scans / "half.npy").read_bytes())
    with pytest.raises(ScanError, match=r"half\.other1\.npy has the name of another answer to half\.npy"):
        complete(scans, tmp_path / "out", resolution=32)


@pytest.mark.slow
def test_a_run_that_is_interrupted_keeps_its_table_and_no_row_that_is_not_its_meshs(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete(scans, tmp_path / "out", resolution=32)
    table = (tmp_path / "out" / "summary.csv").read_text().splitlines()

    def interrupted(path: Path, data: bytes) -> None:
        if path.name == "mug.json":
            raise KeyboardInterrupt
        write_bytes(path, data)

    monkeypatch.setattr("shapeprior.io.files.write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        complete(scans, tmp_path / "out", resolution=24)
    monkeypatch.undo()
    # Done before: the scans before it, by name.
    left = (tmp_path / "out" / "summary.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in left] == [line.split(",")[0] for line in table[:3]]
    rows = complete(scans, tmp_path / "out", resolution=32)
    for row in rows.values():
        if row.mesh:
            assert len(load_mesh(tmp_path / "out" / row.mesh).faces) == row.faces


def test_what_is_read_is_not_overwritten_by_a_result(scans: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    pose = tmp_path / "out" / "half.json"
    pose.write_text(json.dumps({"matrix": np.eye(4).tolist()}))
    before = pose.read_bytes()
    with pytest.raises(ConfigError, match=r"half\.json: is read, and would be overwritten by a result"):
        complete(scans, tmp_path / "out", pose=pose)
    assert pose.read_bytes() == before


@pytest.mark.slow
def test_a_mesh_does_not_outlive_its_scan(scans: Path, tmp_path: Path) -> None:
    complete(scans, tmp_path / "out", resolution=32)
    (scans / "noise.npy").write_bytes(b"broken")
    rows = complete(scans, tmp_path / "out", resolution=32)
    assert rows["noise.npy"].status == "failed"
    assert not (tmp_path / "out" / "noise.ply").exists()
    assert (tmp_path / "out" / "half.ply").exists()


@pytest.mark.slow
def test_a_row_that_cannot_be_read_is_made_again(scans: Path, tmp_path: Path) -> None:
    for name in ("mug.png", "noise.npy", "broken.ply"):
        (scans / name).unlink()
    first = complete(scans, tmp_path / "out", resolution=32)["half.npy"]
    for text in ("{}", "[]", '{"result": 3}', "nonsense"):
        (tmp_path / "out" / "half.json").write_text(text)
        again = complete(scans, tmp_path / "out", resolution=32)["half.npy"]
        assert replace(again, seconds=0.0) == replace(first, seconds=0.0)


@pytest.mark.slow
def test_points_that_lie_apart_are_counted(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    prior = load("mug")
    vertices = prior.extract(prior.codes[3], resolution=64).vertices[::4]
    far = np.random.default_rng(0).uniform(-40.0, 40.0, (len(vertices), 3))
    np.save(tmp_path / "scans" / "a.npy", np.concatenate([vertices, far]))
    (tmp_path / "scans" / "a.pose.json").write_text(json.dumps({"matrix": np.eye(4).tolist()}))
    row = complete(tmp_path / "scans", tmp_path / "out", resolution=32)["a.npy"]
    assert row.left_out == pytest.approx(0.5, abs=0.03)
    assert row.status == "doubtful"
    assert "of the scan's points lie apart" in row.reason


def test_what_cannot_work_is_said_at_once(scans: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such"):
        complete(scans, tmp_path / "out", prior="unicorn")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="a file; expected a folder"):
        complete(scans, tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ScanError, match="no scan in it"):
        complete(tmp_path / "empty", tmp_path / "out")
    np.save(scans / "mug.npy", np.zeros((4, 3)))
    with pytest.raises(ScanError, match=r"mug\.npy and mug\.png would both become mug\.ply"):
        complete(scans, tmp_path / "out")


@pytest.mark.slow
def test_the_command_prints_the_table_and_fails_if_a_scan_did(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["shapeprior", "complete", str(scans), "--prior", "mug", "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", [*command, "--resolution", "48", "--workers", "0"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    printed = capsys.readouterr()
    assert "4 scans: " in printed.out
    assert "1 failed" in printed.out
    assert "1 of 4 scans failed" in printed.err


@pytest.mark.slow
def test_a_folder_with_an_unexplained_scan_exits_with_3(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (scans / "broken.ply").unlink()
    command = ["shapeprior", "complete", str(scans), "--prior", "mug", "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", [*command, "--resolution", "32", "--workers", "0"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 3
    assert "no shape of prior mug explains 1 of 3 scans, such as noise.npy" in capsys.readouterr().err


def test_a_scan_is_not_overwritten(
    scans: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (scans / "half.ply").write_bytes((scans / "half.npy").read_bytes())
    for name in ("half.ply", "mug.pose.json"):
        command = ["shapeprior", "complete", str(scans / "half.ply"), "--prior", "mug"]
        command += ["--pose", str(scans / "mug.pose.json"), "--out", str(scans / ".." / scans.name / name)]
        before = (scans / name).read_bytes()
        monkeypatch.setattr("sys.argv", command)
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 1
        assert "is read, and would be overwritten by a result; expected another place" in capsys.readouterr().err
        assert (scans / name).read_bytes() == before


@pytest.mark.slow
def test_a_single_scan_that_no_shape_explains_exits_with_3(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["shapeprior", "complete", str(scans / "noise.npy"), "--prior", "mug", "--out", str(tmp_path / "n.ply")]
    monkeypatch.setattr("sys.argv", [*command, "--resolution", "48"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 3
    assert "no shape of prior mug explains it" in capsys.readouterr().err
    assert (tmp_path / "n.ply").exists()


def test_a_mesh_that_cannot_be_written_ends_the_run(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(completion: Completion, path: Path) -> Path:
        raise OutputError(f"{path}: cannot be written (No space left on device)")

    monkeypatch.setattr(Completion, "save", full)
    with pytest.raises(OutputError, match="No space left"):
        complete(scans, tmp_path / "out", resolution=32)
    assert (tmp_path / "out" / "summary.csv").is_file()


def test_a_name_that_is_not_utf8_costs_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    try:
        (folder / "x\udcff.npy").write_bytes(b"no array")
    except OSError:
        pytest.skip("this file system has no such names")
    np.save(folder / "few.npy", np.random.default_rng(0).normal(size=(60, 3)))
    rows = complete(folder, tmp_path / "out", resolution=16)
    assert rows["x\udcff.npy"].status == "failed"
    table = (tmp_path / "out" / "summary.csv").read_text(encoding="utf-8")
    assert "few.npy," in table
    assert "x\\udcff.npy,failed," in table
