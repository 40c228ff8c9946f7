"""Preparation by processes of which some die: the files that caused it are refused, and nothing else is lost."""

from pathlib import Path

import pytest
from helpers import deadly_preparation
from helpers.deadly_preparation import LARGE_GIB, TIGHT_MARK
from helpers.plain_geometry import box, sphere, torus
from helpers.processes import children, needs_proc, watch_by

from shapeprior.datasets.dataset import Dataset
from shapeprior.datasets.manifest import RefusedShape, ShapeRecord, read_shape_records
from shapeprior.datasets.prepare import prepare_dataset
from shapeprior.datasets.prepare_mesh import PrepareConfig
from shapeprior.io.meshes import save_mesh
from shapeprior.io.store import open_store
from shapeprior.parallel.worker import WorkerLimits
from shapeprior.sdf.sampling import SamplingConfig

pytestmark = [pytest.mark.slow, needs_proc]

CONFIG = PrepareConfig(sampling=SamplingConfig.deepsdf(300), test_share=0.4)
TIGHT = WorkerLimits(timeout=1800.0, memory=LARGE_GIB)
WIDE = WorkerLimits(timeout=3600.0, memory=10 * LARGE_GIB)
SHAPES = {
    "ball": sphere(radius=3.0, subdivisions=1),
    "box": box(extents=(1.0, 2.0, 3.0)),
    "crashing": box(extents=(1.0, 1.0, 2.0)),
    "large": sphere(radius=0.5, subdivisions=1),
    "plate": box(extents=(1.0, 1.0, 0.05)),
    "ring": torus(major=0.7, minor=0.2, sections=12),
    "slow": torus(major=0.7, minor=0.1, sections=12),
    "tower": box(extents=(1.0, 5.0, 1.0)),
}
"""All of these meshes are good; `deadly_preparation` makes some of them end their process."""
HEALTHY = sorted(SHAPES.keys() - {"crashing", "large", "slow"})


@pytest.fixture
def meshes(tmp_path: Path) -> Path:
    """Return a folder with the shapes above and a broken file."""
    for name, mesh in SHAPES.items():
        save_mesh(tmp_path / "meshes" / f"{name}.ply", mesh)
    (tmp_path / "meshes" / "broken.ply").write_bytes(b"not a mesh")
    return tmp_path / "meshes"


def prepare(
    meshes: Path, out: Path, *, workers: int, limits: WorkerLimits = WIDE, done: list[str] | None = None
) -> tuple[Dataset, list[str]]:
    """Return the data set, and the sorted names of the files that this run has done; `done` gets them as they are
    done."""
    done = [] if done is None else done
    data = prepare_dataset(
        meshes,
        out,
        config=CONFIG,
        seed=5,
        workers=workers,
        limits=limits,
        progress=lambda _done, _total, source: done.append(source.removesuffix(".ply")),
    )
    assert not children()
    return data, sorted(done)


def tries(meshes: Path) -> dict[str, int]:
    """Return how often each file has been tried, by all runs."""
    return {path.stem: path.stat().st_size for path in meshes.glob("*.tries")}


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_that_cost_their_process_are_refused_by_cause_and_tried_again(
    meshes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The expected result, made without worker processes.
    prepare(meshes, tmp_path / "calm", workers=0)
    calm, out = contents(tmp_path / "calm"), tmp_path / "out"

    with monkeypatch.context() as deadly:
        deadly.setattr("shapeprior.datasets.prepare.prepare_shape", deadly_preparation.prepare_or_die)
        # The slow one is ended when all others are done.
        mark, done = meshes.parent / TIGHT_MARK, []
        mark.touch()
        watch_by(deadly, lambda: len(done) == len(SHAPES))
        data, done = prepare(meshes, out, workers=2, limits=TIGHT, done=done)
        mark.unlink()
        assert done == sorted([*SHAPES, "broken"])
        assert {refusal.id: refusal.kind for refusal in data.refused} == {
            "broken": "refused",
            "crashing": "crashed",
            "large": "memory",
            "slow": "timeout",
        }
        reasons = {refusal.id: refusal.reason for refusal in data.refused}
        assert reasons["crashing"].startswith("crashing.ply: the process ended with exit status 3, twice; expected")
        assert reasons["large"].startswith("large.ply: took more than 0.5 GiB of memory, twice; expected")
        assert reasons["slow"].startswith("slow.ply: took more than 1800 seconds; expected")
        assert all(
            hint in reasons[name]
            for name, hint in {"large": "--memory", "slow": "--timeout", "crashing": "drop"}.items()
        )
        # A lost file is tried once more in another process, except after a timeout, which would cost as much again.
        assert tries(meshes) == {**dict.fromkeys([*HEALTHY, "broken", "slow"], 1), "crashing": 2, "large": 2}
        # The others are what they would be without these.
        assert [shape.id for shape in data.shapes] == HEALTHY
        found = contents(out)
        for name in HEALTHY:
            for file in (f"samples/{name}.safetensors", f"meshes/{name}.safetensors", f"records/{name}.json"):
                assert found[file] == calm[file]
        assert found["records/broken.json"] == calm["records/broken.json"]
        # A lost file has a record and no partly written files.
        records = read_shape_records(open_store(out))
        assert all(isinstance(records[name], RefusedShape) for name in ("crashing", "large", "slow"))
        assert found.keys() == {name for name in calm if "records/" in name or Path(name).stem not in reasons}

        # With more time and memory, a second run tries only the lost files, not the finished or broken ones.
        data, done = prepare(meshes, out, workers=2, limits=WIDE)
        assert done == ["crashing", "large", "slow"]
        assert {refusal.id: refusal.kind for refusal in data.refused} == {"broken": "refused", "crashing": "crashed"}
        assert tries(meshes) == {**dict.fromkeys([*HEALTHY, "broken"], 1), "crashing": 4, "large": 3, "slow": 2}

    # With libraries that survive these files.
    data, done = prepare(meshes, out, workers=0)
    assert done == ["crashing"]
    assert all(isinstance(record, ShapeRecord) for record in data.shapes)
    assert contents(out) == calm
    assert prepare(meshes, out, workers=0) == (data, [])
