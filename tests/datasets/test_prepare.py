"""Preparation of a folder of meshes: every file is accounted for, the bytes are the same every time, and it resumes."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.plain_geometry import box, from_trimesh, join, keep, sphere, sphere_sdf, to_trimesh, torus
from helpers.processes import kill, wait_until

import shapeprior.datasets.prepare_shape
from shapeprior.datasets.dataset import Dataset
from shapeprior.datasets.manifest import ShapeRecord
from shapeprior.datasets.mesh_source import MeshSource
from shapeprior.datasets.prepare import orphaned_ids, prepare_dataset
from shapeprior.datasets.prepare_mesh import PrepareConfig, prepare_mesh
from shapeprior.datasets.prepare_shape import PrepareJob, prepare_shape
from shapeprior.datasets.shape_files import SampleFile
from shapeprior.datasets.splits import assign_splits
from shapeprior.errors import ConfigError, DatasetError, MeshError, OutputError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.io.files import file_sha256
from shapeprior.io.meshes import load_mesh, save_mesh
from shapeprior.io.store import open_store
from shapeprior.sdf.sampling import SamplingConfig
from shapeprior.sdf.strategies import DepthRays, StrategySettings

CONFIG = PrepareConfig(sampling=SamplingConfig.deepsdf(200), test_share=0.4)
SHAPES = {
    "ball.ply": sphere(radius=3.0, center=(7.0, 0.0, 0.0), subdivisions=1),
    "box.stl": box(extents=(1.0, 2.0, 3.0)),
    "rings/ring.obj": torus(major=0.7, minor=0.2, sections=12),
    "rings/two.glb": join(box(), sphere(radius=0.5, center=(0.6, 0.0, 0.0), subdivisions=1)),
    "rings/deep/plate.ply": box(extents=(1.0, 1.0, 0.05)),
}


def samples_path(out: Path, shape_id: str) -> Path:
    return out / "samples" / f"{shape_id}.safetensors"


def mesh_path(out: Path, shape_id: str) -> Path:
    return out / "meshes" / f"{shape_id}.safetensors"


def write_meshes(folder: Path, shapes: dict[str, TriangleMesh] = SHAPES) -> Path:
    for name, mesh in shapes.items():
        save_mesh(folder / name, mesh)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, except the temporary ones that a killed process leaves behind."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


class RecordedProgress:
    """A progress callback that records its calls."""

    def __init__(self, *, stop_after: int | None = None) -> None:
        self.calls: list[tuple[int, int, str]] = []
        self.stop_after = stop_after

    def __call__(self, done: int, total: int, source: str) -> None:
        self.calls.append((done, total, source))
        if len(self.calls) == self.stop_after:
            raise KeyboardInterrupt

    @property
    def sources(self) -> list[str]:
        return [source for _, _, source in self.calls]


def prepare(
    meshes: Path, out: Path, *, seed: int = 5, stop_after: int | None = None
) -> tuple[Dataset, RecordedProgress]:
    seen = RecordedProgress(stop_after=stop_after)
    return prepare_dataset(meshes, out, config=CONFIG, seed=seed, workers=0, progress=seen), seen


# One mesh.


@pytest.mark.parametrize("up", ["x", "y", "z"])
def test_a_mesh_is_brought_upright_into_the_unit_sphere(up: str) -> None:
    mesh = box(extents=(1.0, 2.0, 3.0), center=(5.0, 6.0, 7.0))
    prepared = prepare_mesh(mesh, name="a.obj", up=up, sheet_half_thickness=0.01)  # pyright: ignore[reportArgumentType]
    unit = prepared.mesh_unit
    assert np.linalg.norm(unit.vertices, axis=1).max() == pytest.approx(1 / 1.03, rel=1e-6)
    extents = np.ptp(unit.bounds, axis=0)
    expected = {"x": [2.0, 1.0, 3.0], "y": [1.0, 2.0, 3.0], "z": [1.0, 3.0, 2.0]}[up]
    np.testing.assert_allclose(extents / extents.min(), expected, rtol=1e-6)
    np.testing.assert_allclose(prepared.T_unit_world.apply(mesh.vertices), unit.vertices, atol=1e-7)
    # The axis that was up in the file is +y now.
    up_world = np.eye(3)["xyz".index(up)]
    np.testing.assert_allclose(prepared.T_unit_world.apply_vectors(up_world), [0.0, 1.0, 0.0], atol=1e-15)
    assert unit.volume > 0


def test_too_few_faces_are_refused() -> None:
    mesh = box()
    for faces in (1, 2, 3):
        few = TriangleMesh(vertices=mesh.vertices, faces=mesh.faces[:faces])
        with pytest.raises(MeshError, match=rf"^a\.obj: {faces} distinct faces; expected at least 4"):
            prepare_mesh(few, name="a.obj", up="y", sheet_half_thickness=0.01)


def test_a_shapes_record_says_what_was_done(tmp_path: Path) -> None:
    meshes = write_meshes(tmp_path / "meshes")
    source = MeshSource(shape_id="ball", path=meshes / "ball.ply", name="ball.ply", category="toy", unit=0.01)
    out = tmp_path / "out"
    job = PrepareJob(store=open_store(out), source=source, split="train", config=CONFIG, seed=1)
    record = prepare_shape(job)
    assert isinstance(record, ShapeRecord)
    assert (record.id, record.source, record.split) == ("ball", "ball.ply", "train")
    assert record.source_sha256 == hashlib.sha256((meshes / "ball.ply").read_bytes()).hexdigest()
    assert record.samples_sha256 == hashlib.sha256(samples_path(out, "ball").read_bytes()).hexdigest()
    assert record.checks["faces"] == record.checks["source_faces"] == 80
    assert record.checks["skin_share"] == 1.0
    assert record.mesh_sha256 == hashlib.sha256(mesh_path(out, "ball").read_bytes()).hexdigest()
    assert (record.category, record.unit, record.up, record.samples) == ("toy", 0.01, "y", 200)
    assert record.confidence == 1.0
    json.dumps(record.checks)


def test_settings_out_of_range_are_refused() -> None:
    changes: list[tuple[str, object]] = [
        ("up", "w"),
        *[("test_share", value) for value in (-0.1, 1.5, float("nan"))],
        *[("sheet_half_thickness", value) for value in (-0.01, 0.5, float("nan"))],
    ]
    for name, value in changes:
        with pytest.raises((ConfigError, TypeError), match=name):
            PrepareConfig(**{name: value})  # pyright: ignore[reportArgumentType]


# A folder.


def test_a_folder_becomes_a_data_set(tmp_path: Path) -> None:
    meshes = write_meshes(tmp_path / "meshes")
    data, seen = prepare(meshes, tmp_path / "out")
    assert Dataset.open(tmp_path / "out") == data
    assert [shape.source for shape in data.shapes] == sorted(SHAPES)
    assert [shape.id for shape in data.shapes] == ["ball", "box", "rings/deep/plate", "rings/ring", "rings/two"]
    assert data.refused == ()
    assert [call[:2] for call in seen.calls] == [(done, 5) for done in range(1, 6)]
    assert len(data.split("test")) == 2
    assert len(data.split("train")) == 3
    for shape in data.shapes:
        samples, mesh = data.samples(shape.id), data.mesh_unit(shape.id)
        assert len(samples.sdf) == 200
        assert (samples.sdf < 0).any()
        assert (samples.sdf > 0).any()
        back = data.T_unit_world(shape.id).inverse().apply(mesh.vertices)
        np.testing.assert_allclose(
            [back.min(axis=0), back.max(axis=0)], load_mesh(meshes / shape.source).bounds, atol=1e-5
        )


def test_the_samples_of_a_ball_are_those_of_a_ball(tmp_path: Path) -> None:
    fine = {"ball.ply": sphere(radius=20.0, center=(1.0, 2.0, 3.0), subdivisions=3)}
    data, _ = prepare(write_meshes(tmp_path / "meshes", fine), tmp_path / "out")
    samples = data.samples("ball")
    exact = sphere_sdf(samples.points_unit.astype(np.float64), radius=1 / 1.03)
    np.testing.assert_allclose(samples.sdf, exact, atol=0.006)


def test_every_broken_file_is_listed_with_its_reason(tmp_path: Path) -> None:
    meshes = write_meshes(tmp_path / "meshes")
    broken = {
        "bad/empty.obj": b"",
        "bad/points.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\n",
        "bad/cut.ply": (meshes / "ball.ply").read_bytes()[:-100],
        "bad/noise.glb": b"\x93\x11" * 99,
        "bad/one.off": b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n",
        "bad/nan.obj": b"v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
        "bad/flat.obj": b"v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n",
        "a.ply": b"not a mesh",
    }
    (meshes / "bad").mkdir()
    for name, data in broken.items():
        (meshes / name).write_bytes(data)
    (meshes / "notes.txt").write_text("no mesh, and no refusal either")
    data, seen = prepare(meshes, tmp_path / "out")
    assert [refusal.source for refusal in data.refused] == sorted(broken)
    assert [shape.source for shape in data.shapes] == sorted(SHAPES)
    assert sorted(seen.sources) == sorted([*broken, *SHAPES])
    for refusal in data.refused:
        assert refusal.reason.startswith(refusal.source)
        assert "expected" in refusal.reason
        assert "\n" not in refusal.reason
    assert Dataset.open(tmp_path / "out").refused == data.refused
    assert "bad" not in {path.name for path in (tmp_path / "out" / "samples").iterdir()}


def test_nothing_but_broken_files_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "meshes").mkdir()
    (tmp_path / "meshes" / "a.obj").write_bytes(b"")
    (tmp_path / "meshes" / "b.obj").write_bytes(b"v 0 0 0\n")
    with pytest.raises(MeshError, match="none of 2 files could be prepared") as caught:
        prepare(tmp_path / "meshes", tmp_path / "out")
    assert "a.obj: an empty file" in str(caught.value)
    assert "b.obj: 1 points and no faces" in str(caught.value)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_folders_without_meshes_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "empty" / "below.obj").mkdir(parents=True)
    (tmp_path / "empty" / "notes.txt").write_text("x")
    (tmp_path / "file.obj").write_bytes(b"x")
    for folder, found in (("empty", "no meshes"), ("nowhere", "not a folder"), ("file.obj", "not a folder")):
        with pytest.raises(MeshError, match=found) as caught:
            prepare(tmp_path / folder, tmp_path / "out")
        assert str(tmp_path / folder) in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(tmp_path: Path) -> None:
    meshes = write_meshes(tmp_path / "meshes")
    for name, seed in (("first", 5), ("second", 5), ("other", 6)):
        prepare(meshes, tmp_path / name, seed=seed)
    first, second, other = (contents(tmp_path / name) for name in ("first", "second", "other"))
    assert first == second
    assert all(first[name] != other[name] for name in first if name.startswith("samples/"))
    assert all(first[name] == other[name] for name in first if name.startswith("meshes/"))


def test_a_shape_does_not_depend_on_the_others(tmp_path: Path) -> None:
    all_meshes = write_meshes(tmp_path / "all")
    one_mesh = write_meshes(tmp_path / "one", {"rings/ring.obj": SHAPES["rings/ring.obj"]})
    prepare(all_meshes, tmp_path / "out_all")
    prepare(one_mesh, tmp_path / "out_one")
    for path in (samples_path, mesh_path):
        assert (
            path(tmp_path / "out_all", "rings/ring").read_bytes()
            == path(tmp_path / "out_one", "rings/ring").read_bytes()
        )


def test_a_refusal_does_not_move_the_others_to_another_split(tmp_path: Path) -> None:
    before, _ = prepare(write_meshes(tmp_path / "good"), tmp_path / "out_good")
    meshes = write_meshes(tmp_path / "bad")
    (meshes / "box.stl").write_bytes(b"broken")
    after, _ = prepare(meshes, tmp_path / "out_bad")
    splits = {shape.id: shape.split for shape in before.shapes if shape.id != "box"}
    assert {shape.id: shape.split for shape in after.shapes} == splits


def test_the_split_is_a_matter_of_names_and_seed() -> None:
    names = [f"mug{number}.obj" for number in range(100)]

    def test_split(sources: list[str], seed: int) -> set[str]:
        listed = [MeshSource(shape_id=name, path=Path(name), name=name) for name in sources]
        splits = assign_splits(listed, {}, test_share=0.4, seed=seed)
        return {name for name, split in splits.items() if split == "test"}

    assert len(test_split(names, 0)) == 40
    assert test_split(names, 0) == test_split(names[::-1], 0)
    # Two independent choices of 40 from 100 share 16 on average.
    assert len(test_split(names, 0) & test_split(names, 1)) < 30
    # Ten more shapes take some places in the test split and move few of the others.
    more = names + [f"cup{number}.obj" for number in range(10)]
    assert len(test_split(names, 0) - test_split(more, 0)) <= 10


@pytest.mark.slow
def test_two_workers_write_the_bytes_of_one(tmp_path: Path) -> None:
    meshes = write_meshes(tmp_path / "meshes")
    (meshes / "broken.obj").write_bytes(b"")
    results = [
        prepare_dataset(meshes, tmp_path / f"out{workers}", config=CONFIG, seed=5, workers=workers)
        for workers in (0, 2)
    ]
    assert contents(tmp_path / "out0") == contents(tmp_path / "out2")
    assert results[0].shapes == results[1].shapes
    assert results[0].refused == results[1].refused


# Resuming.


def drop_record(out: Path) -> None:
    (out / "records" / "box.json").unlink()


def cut_samples(out: Path) -> None:
    path = samples_path(out, "box")
    path.write_bytes(path.read_bytes()[:-9])


def change_samples(out: Path) -> None:
    path = samples_path(out, "box")
    path.write_bytes(path.read_bytes()[:-1] + b"\x42")


def drop_samples(out: Path) -> None:
    samples_path(out, "box").unlink()


def drop_mesh(out: Path) -> None:
    mesh_path(out, "box").unlink()


def break_record(out: Path) -> None:
    (out / "records" / "box.json").write_bytes(b'{"id": ')


def empty_record(out: Path) -> None:
    (out / "records" / "box.json").write_bytes(b"[]")


@pytest.mark.parametrize(
    "damage", [drop_record, cut_samples, change_samples, drop_samples, drop_mesh, break_record, empty_record]
)
def test_only_what_is_missing_is_done_again(damage: Callable[[Path], None], tmp_path: Path) -> None:
    meshes, out = write_meshes(tmp_path / "meshes"), tmp_path / "out"
    data, _ = prepare(meshes, out)
    whole = contents(out)
    (out / "manifest.json").unlink()
    damage(out)
    again, seen = prepare(meshes, out)
    assert seen.calls == [(5, 5, "box.stl")]
    assert again == data
    assert contents(out) == whole


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    meshes, out = write_meshes(tmp_path / "meshes"), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        prepare(meshes, out, stop_after=2)
    with pytest.raises(DatasetError, match=r"no manifest\.json"):
        Dataset.open(out)
    kept = {path: path.stat().st_mtime_ns for path in (out / "samples").rglob("*.safetensors")}
    assert len(kept) == 2
    _, seen = prepare(meshes, out)
    assert [call[:2] for call in seen.calls] == [(3, 5), (4, 5), (5, 5)]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    prepare(meshes, tmp_path / "at once")
    assert contents(out) == contents(tmp_path / "at once")


def test_a_finished_run_does_nothing_again_until_a_refused_file_changes(tmp_path: Path) -> None:
    meshes, out = write_meshes(tmp_path / "meshes"), tmp_path / "out"
    (meshes / "late.obj").write_bytes(b"")
    data, _ = prepare(meshes, out)
    whole = contents(out)
    again, seen = prepare(meshes, out)
    assert seen.sources == []
    assert again == data
    assert contents(out) == whole
    save_mesh(meshes / "late.obj", SHAPES["ball.ply"])
    mended, seen = prepare(meshes, out)
    assert seen.sources == ["late.obj"]
    assert [refusal.source for refusal in mended.refused] == []
    assert len(mended.shapes) == 6


def test_new_meshes_are_added_and_nobody_moves_to_another_split(tmp_path: Path) -> None:
    meshes, out = write_meshes(tmp_path / "meshes"), tmp_path / "out"
    before, _ = prepare(meshes, out)
    more = {f"more{number}.ply": box(extents=(1.0, 1.0, 1.0 + number)) for number in range(5)}
    write_meshes(meshes, more)
    after, seen = prepare(meshes, out)
    assert seen.sources == sorted(more)
    splits = {shape.id: shape.split for shape in after.shapes}
    assert {shape.id: splits[shape.id] for shape in before.shapes} == {s.id: s.split for s in before.shapes}
    assert len(after.split("test")) == 4
    (meshes / "box.stl").unlink()
    fewer, _ = prepare(meshes, out)
    assert [shape.id for shape in fewer.shapes] == [shape.id for shape in after.shapes if shape.id != "box"]
    assert orphaned_ids(fewer) == ["box"]


def test_a_shape_without_the_wanted_confidence_is_refused_with_its_remedy(tmp_path: Path) -> None:
    # The sign tests disagree on this ball: two holes of nearly half its width let one ray in ten out.
    ball = sphere(radius=0.9, subdivisions=4)
    holed = keep(ball, np.abs(ball.corners.mean(axis=1)[:, 2]) < 0.8)
    meshes = write_meshes(tmp_path / "meshes", {"ball.ply": ball, "holed.ply": holed})
    strict = PrepareConfig(sampling=CONFIG.sampling, min_confidence=1.0, min_inside_share=0.0)
    data = prepare_dataset(meshes, tmp_path / "out", config=strict, seed=0, workers=0)
    assert [shape.id for shape in data.shapes] == ["ball"]
    assert "--min-confidence" in data.refused[0].reason
    lax = PrepareConfig(sampling=CONFIG.sampling, min_confidence=0.0, min_inside_share=0.0)
    assert len(prepare_dataset(meshes, tmp_path / "out", config=lax, seed=0, workers=0).shapes) == 2


@pytest.mark.parametrize(
    ("free_share", "most", "accepted"),
    # Samples on rays that stop before the plate are never inside; those behind its surface are hardly ever outside.
    [(1.0, 0.25, True), (0.0, 0.75, False)],
    ids=["more outside", "more inside"],
)
def test_whether_there_is_an_inside_does_not_depend_on_samples_along_rays(
    free_share: float, most: float, accepted: bool, tmp_path: Path
) -> None:
    plate = write_meshes(tmp_path / "meshes", {"plate.ply": box(extents=(1.0, 0.04, 1.0))}) / "plate.ply"
    settings = StrategySettings(rays=DepthRays(free_share=free_share))
    shares, outcomes = [], []
    for name, rays in (("near", 0), ("many rays", 6000)):
        store = open_store(tmp_path / name)
        sampling = SamplingConfig(near=1000, uniform=0, rays=rays, dtype="float32", settings=settings)
        lax, strict = (PrepareConfig(sampling=sampling, min_inside_share=share) for share in (0.0, most))
        source = MeshSource(shape_id="plate", path=plate, name="plate.ply")
        record = prepare_shape(PrepareJob(store=store, source=source, split="train", config=lax, seed=1))
        assert isinstance(record, ShapeRecord)
        shares.append(record.checks["inside_share"])
        sdf = SampleFile(store, "plate").samples([(0, 1000 + rays)]).sdf
        outcome = prepare_shape(PrepareJob(store=store, source=source, split="train", config=strict, seed=1))
        outcomes.append(isinstance(outcome, ShapeRecord))
        # The share by all samples near the surface.
        all_say = np.mean(sdf[np.abs(sdf) < 0.05] < 0.0)
    # In both cases the same 1000 samples decide.
    assert shares[0] == shares[1]
    assert outcomes == [accepted, accepted]
    assert (all_say >= most) != accepted


def test_without_samples_by_area_all_near_the_surface_tell_whether_there_is_an_inside(tmp_path: Path) -> None:
    meshes = write_meshes(tmp_path / "meshes", {"ball.ply": SHAPES["ball.ply"]})
    sampling = SamplingConfig(near=0, uniform=500, rays=500, dtype="float32")
    data = prepare_dataset(meshes, tmp_path / "out", config=PrepareConfig(sampling=sampling), seed=1, workers=0)
    sdf = data.samples("ball").sdf
    assert data.shape("ball").checks["inside_share"] == np.mean(sdf[np.abs(sdf) < 0.05] < 0.0)
    assert data.shape("ball").checks["inside_share"] != np.mean(sdf < 0.0)


def test_a_changed_source_is_prepared_again(tmp_path: Path) -> None:
    meshes, out = write_meshes(tmp_path / "meshes"), tmp_path / "out"
    before, _ = prepare(meshes, out)
    save_mesh(meshes / "box.stl", box(extents=(3.0, 1.0, 1.0)))
    after, seen = prepare(meshes, out)
    assert seen.sources == ["box.stl"]
    changed = [new.id for old, new in zip(before.shapes, after.shapes, strict=True) if old != new]
    assert changed == ["box"]
    assert file_sha256(meshes / "box.stl") == after.shapes[1].source_sha256


@pytest.mark.parametrize(
    ("config", "seed"),
    [
        (CONFIG, 6),
        (PrepareConfig(sampling=SamplingConfig.deepsdf(201), test_share=0.4), 5),
        (PrepareConfig(sampling=CONFIG.sampling, test_share=0.4, up="z"), 5),
    ],
    ids=["seed", "count", "up"],
)
def test_other_settings_are_refused(config: PrepareConfig, seed: int, tmp_path: Path) -> None:
    meshes, out = write_meshes(tmp_path / "meshes", {"ball.ply": SHAPES["ball.ply"]}), tmp_path / "out"
    prepare(meshes, out)
    whole = contents(out)
    with pytest.raises(DatasetError, match="prepared with other settings") as caught:
        prepare_dataset(meshes, out, config=config, seed=seed, workers=0)
    assert str(out) in str(caught.value)
    assert contents(out) == whole


def test_broken_settings_are_refused(tmp_path: Path) -> None:
    meshes, out = write_meshes(tmp_path / "meshes", {"ball.ply": SHAPES["ball.ply"]}), tmp_path / "out"
    prepare(meshes, out)
    (out / "settings.json").write_bytes(b"{")
    with pytest.raises(DatasetError, match=r"settings\.json: not JSON"):
        prepare(meshes, out)


def test_outputs_that_are_taken_are_refused(tmp_path: Path) -> None:
    meshes = write_meshes(tmp_path / "meshes", {"ball.ply": SHAPES["ball.ply"]})
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years of work")
    with pytest.raises(DatasetError, match="is not a data set"):
        prepare(meshes, tmp_path / "full")
    assert contents(tmp_path / "full") == {"thesis.tex": b"years of work"}
    for taken in (tmp_path / "full" / "thesis.tex", tmp_path / "full" / "thesis.tex" / "below"):
        with pytest.raises(OutputError, match=r"thesis\.tex"):
            prepare(meshes, taken)
    (tmp_path / "new").mkdir()
    assert len(prepare(meshes, tmp_path / "new")[0].shapes) == 1


@pytest.mark.parametrize(("seed", "workers", "found"), [(-1, 1, "seed = -1"), (0, -2, "workers = -2")])
def test_senseless_numbers_are_refused(seed: int, workers: int, found: str, tmp_path: Path) -> None:
    meshes = write_meshes(tmp_path / "meshes", {"ball.ply": SHAPES["ball.ply"]})
    with pytest.raises(ConfigError, match=found):
        prepare_dataset(meshes, tmp_path / "out", config=CONFIG, seed=seed, workers=workers)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    meshes = write_meshes(
        tmp_path / "meshes", {f"ball{number}.ply": sphere(radius=1.0 + number) for number in range(12)}
    )
    program = (
        "import sys; from pathlib import Path; from shapeprior.datasets.prepare import prepare_dataset\n"
        "from shapeprior.datasets.prepare_mesh import PrepareConfig\n"
        "from shapeprior.sdf.sampling import SamplingConfig\n"
        "config = PrepareConfig(sampling=SamplingConfig.deepsdf(20_000))\n"
        "def hold(done, total, name):\n"  # Before the last file, should the signal be late.
        "    if done == total - 1: sys.stdin.read()\n"
        "prepare_dataset(sys.argv[1], sys.argv[2], config=config, seed=1, workers=0, progress=hold)\n"
    )
    command = [sys.executable, "-c", program, str(meshes), str(tmp_path / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as process:
        wait_until(lambda: len(list((tmp_path / "out" / "records").glob("*.json"))) >= 2, process=process)
        kill(process.pid)
    done = len(list((tmp_path / "out" / "records").glob("*.json")))
    assert 2 <= done < 12
    assert not (tmp_path / "out" / "manifest.json").exists()
    config = PrepareConfig(sampling=SamplingConfig.deepsdf(20_000))
    seen = RecordedProgress()
    prepare_dataset(meshes, tmp_path / "out", config=config, seed=1, workers=2, progress=seen)
    assert len(seen.calls) == 12 - done
    prepare_dataset(meshes, tmp_path / "at once", config=config, seed=1, workers=0)
    assert contents(tmp_path / "out") == contents(tmp_path / "at once")


def test_what_is_prepared_is_what_trimesh_reads(tmp_path: Path) -> None:
    meshes = write_meshes(tmp_path / "meshes", {"rings/two.glb": SHAPES["rings/two.glb"]})
    data, _ = prepare(meshes, tmp_path / "out")
    back = data.T_unit_world("rings/two").inverse().apply(data.mesh_unit("rings/two").vertices)
    solid = to_trimesh(TriangleMesh(vertices=back, faces=data.mesh_unit("rings/two").faces))
    assert from_trimesh(solid).volume == pytest.approx(SHAPES["rings/two.glb"].volume, rel=1e-5)


def test_a_fault_of_ours_costs_one_shape_and_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meshes = write_meshes(tmp_path / "meshes")
    honest = shapeprior.datasets.prepare_mesh.prepare_mesh

    def faulty(mesh_world: TriangleMesh, *, name: str, **rest: object) -> object:
        if "ring.obj" in name:
            raise RecursionError("maximum recursion depth exceeded")
        return honest(mesh_world, name=name, **rest)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr("shapeprior.datasets.prepare_shape.prepare_mesh", faulty)
    data, _ = prepare(meshes, tmp_path / "out")
    (refused,) = data.refused
    assert (refused.id, refused.kind) == ("rings/ring", "crashed")
    assert refused.reason.startswith("rings/ring.obj: RecursionError: maximum recursion depth exceeded; expected no")
    monkeypatch.undo()
    again, seen = prepare(meshes, tmp_path / "out")
    assert not again.refused
    assert seen.sources == ["rings/ring.obj"]
