"""Data sets: shapes by id, split and category, samples by blocks of rows, and damaged files."""

import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import plain_reader
from helpers.small_dataset import (
    COUNT,
    PLACEMENT,
    SETTINGS,
    SURFACE_COUNT,
    WatchedStore,
    some_mesh,
    some_record,
    some_samples,
    write_dataset,
)

from shapeprior.datasets.dataset import Dataset
from shapeprior.datasets.manifest import write_manifest
from shapeprior.datasets.shape_files import mesh_name, samples_name, write_samples
from shapeprior.errors import DatasetError
from shapeprior.io.store import LocalStore, open_store
from shapeprior.sdf.sampling import SdfSamples

FORMATS_PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
IDS = ["a", "mugs/b-1.x_2", "c"]


@pytest.fixture(params=["folder", "file://", "memory://"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Dataset:
    """Return the data set of `small_dataset`, opened from each kind of place."""
    root = f"memory://{uuid.uuid4().hex}" if request.param == "memory://" else str(tmp_path)
    root = f"file://{root}" if request.param == "file://" else root
    written = write_dataset(open_store(root))
    found = Dataset.open(root)
    assert found == written
    assert found.root == root
    return found


@pytest.fixture
def local(tmp_path: Path) -> Dataset:
    return write_dataset(LocalStore(tmp_path))


def equal(found: SdfSamples, expected: SdfSamples, rows: list[int] | slice) -> bool:
    pairs = [(getattr(found, name), getattr(expected, name)[rows]) for name in ("points_unit", "sdf", "strategy")]
    return all(left.dtype == right.dtype and left.tobytes() == right.tobytes() for left, right in pairs)


def test_samples_meshes_and_placements_come_back(data: Dataset) -> None:
    for shape, dtype, seed in zip(data.shapes, ("float16", "float16", "float32"), range(3), strict=True):
        expected = some_samples(seed, dtype)
        samples = data.samples(shape.id)
        assert equal(samples, expected, slice(None))
        if shape.id == "c":
            assert samples.surface is None
        else:
            assert samples.surface is not None
            assert expected.surface is not None
            assert samples.surface.points_unit.tobytes() == expected.surface.points_unit.tobytes()
            assert samples.surface.normals_unit.tobytes() == expected.surface.normals_unit.tobytes()
        np.testing.assert_array_equal(data.mesh_unit(shape.id).vertices, some_mesh().vertices)
        np.testing.assert_array_equal(data.mesh_unit(shape.id).faces, some_mesh().faces)
        assert data.T_unit_world(shape.id).offset.tobytes() == PLACEMENT.offset.tobytes()


def test_paths_are_roots_too(local: Dataset) -> None:
    assert isinstance(local.store, LocalStore)
    assert Dataset.open(local.store.root) == Dataset.open(str(local.store.root)) == local


def test_a_place_without_a_data_set() -> None:
    with pytest.raises(DatasetError, match=r"^memory://nowhere: no manifest.json"):
        Dataset.open("memory://nowhere")


# Blocks of rows.


def test_blocks_are_rows_of_the_file(data: Dataset) -> None:
    for start, count in ((0, COUNT), (17, 60), (COUNT - 1, 1), (5, 0), (COUNT, 0)):
        found = data.sample_block("a", start=start, count=count)
        assert equal(found, some_samples(0), slice(start, start + count))
        assert found.surface is None
    for start, count in ((0, COUNT + 1), (COUNT, 1), (-1, 1), (5, -1)):
        with pytest.raises(DatasetError, match=r"rows .* to .*; expected some within 0 to 200"):
            data.sample_block("a", start=start, count=count)


def test_random_blocks_go_on_at_the_first_row(data: Dataset) -> None:
    whole = some_samples(0)
    places = {row.tobytes(): number for number, row in enumerate(whole.points_unit)}
    wrapped = 0
    for seed in range(12):
        found = data.random_block("a", 150, rng=np.random.default_rng(seed))
        start = places[found.points_unit[0].tobytes()]
        rows = [(start + step) % COUNT for step in range(150)]
        assert equal(found, whole, rows)
        assert found.surface is None
        wrapped += rows[-1] < start
    assert 0 < wrapped < 12
    assert equal(data.random_block("a", 0, rng=np.random.default_rng(0)), whole, [])


def test_every_row_is_drawn_equally_often(local: Dataset) -> None:
    rng = np.random.default_rng(1)
    places = {row.tobytes(): number for number, row in enumerate(some_samples(0).points_unit)}
    counts = np.zeros(COUNT)
    for _ in range(400):
        for row in local.random_block("a", 50, rng=rng).points_unit:
            counts[places[row.tobytes()]] += 1
    # Each row is drawn 100 times on average. The rows of a block come together: the deviation is that of 400 draws.
    assert abs(counts - 100).max() < 5 * np.sqrt(400 * 0.25 * 0.75)


def test_random_surface_blocks(data: Dataset) -> None:
    surface = some_samples(0).surface
    assert surface is not None
    for seed in range(5):
        found = data.random_surface_block("a", 20, rng=np.random.default_rng(seed))
        start = int(np.flatnonzero((surface.points_unit == found.points_unit[0]).all(axis=1))[0])
        rows = [(start + step) % SURFACE_COUNT for step in range(20)]
        np.testing.assert_array_equal(found.points_unit, surface.points_unit[rows])
        np.testing.assert_array_equal(found.normals_unit, surface.normals_unit[rows])


def test_blocks_larger_than_the_shape(data: Dataset) -> None:
    rng = np.random.default_rng(0)
    assert len(data.random_block("a", COUNT, rng=rng).sdf) == COUNT
    for ask, found in (
        (lambda: data.random_block("a", COUNT + 1, rng=rng), "200 samples; expected at least 201"),
        (lambda: data.random_surface_block("a", SURFACE_COUNT + 1, rng=rng), "30 surface points; expected at least 31"),
        (lambda: data.random_surface_block("c", 1, rng=rng), "0 surface points; expected at least 1"),
    ):
        with pytest.raises(DatasetError, match=found):
            ask()


@pytest.mark.parametrize("maps", [True, False])
def test_a_block_reads_its_rows_only(maps: bool, tmp_path: Path) -> None:
    count, block = 50_000, 100
    samples = SdfSamples(
        points_unit=np.ones((count, 3), np.float16), sdf=np.ones(count, np.float16), strategy=np.zeros(count, np.uint8)
    )
    store = LocalStore(tmp_path)
    shape = replace(some_record("a"), samples=count, samples_sha256=write_samples(store, "a", samples))
    write_manifest(store, settings={}, shapes=[shape], refused=[])
    watched = WatchedStore(store, maps=maps)
    data = replace(Dataset.open(tmp_path), store=watched)
    rows = block * (3 * 2 + 2 + 1)
    for read in (
        lambda: data.sample_block("a", start=30_000, count=block),
        lambda: data.random_block("a", block, rng=np.random.default_rng(0)),
    ):
        before = watched.total
        assert len(read().sdf) == block
        # The rows themselves and the header are read.
        assert rows < watched.total - before <= rows + 1024
    assert {name for name, _ in watched.reads} <= {samples_name("a")}
    before = watched.total
    data.samples("a")
    assert watched.total - before >= count * (3 * 2 + 2 + 1)


def test_opening_reads_the_manifest_only(local: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = WatchedStore(local.store)
    monkeypatch.setattr("shapeprior.datasets.dataset.open_store", lambda _: watched)
    data = Dataset.open("anywhere")
    assert data.shapes == local.shapes
    assert [name for name, _ in watched.reads] == ["manifest.json"]
    data.split("train"), data.categories, data.category("mug"), data.shape("a"), data.T_unit_world("a")
    assert len(watched.reads) == 1


# Choosing shapes.


def test_splits_keep_the_order(data: Dataset) -> None:
    assert [shape.id for shape in data.split("train")] == ["a", "c"]
    assert [shape.id for shape in data.split("test")] == ["mugs/b-1.x_2"]


def test_shapes_are_found_by_id(data: Dataset) -> None:
    assert [data.shape(shape_id) for shape_id in IDS] == list(data.shapes)


def test_categories_can_be_chosen(data: Dataset) -> None:
    assert data.categories == ("bowl", "mug")
    mugs = data.category("mug")
    assert [shape.id for shape in mugs.shapes] == IDS[:2]
    assert mugs.settings == data.settings
    assert mugs.categories == ("mug",)
    assert [shape.id for shape in mugs.split("test")] == ["mugs/b-1.x_2"]
    assert len(mugs.samples("a").sdf) == COUNT
    with pytest.raises(DatasetError, match="no shape 'c'"):
        mugs.samples("c")
    with pytest.raises(DatasetError, match="no category 'cup'; expected one of bowl, mug"):
        data.category("cup")


def test_shapes_without_a_category(local: Dataset) -> None:
    data = replace(local, shapes=(some_record("a"), some_record("b", category="mug")))
    assert data.categories == ("mug",)
    assert [shape.id for shape in data.category("").shapes] == ["a"]
    with pytest.raises(DatasetError, match="expected one of none"):
        replace(local, shapes=()).category("mug")


def test_unknown_shapes_are_refused(data: Dataset) -> None:
    rng = np.random.default_rng(0)
    for ask in (
        data.shape,
        data.samples,
        data.mesh_unit,
        data.T_unit_world,
        lambda shape_id: data.sample_block(shape_id, start=0, count=1),
        lambda shape_id: data.random_block(shape_id, 1, rng=rng),
        lambda shape_id: data.random_surface_block(shape_id, 1, rng=rng),
    ):
        for shape_id in ("nobody", "../a", "d"):
            with pytest.raises(DatasetError, match=f"no shape '{shape_id}'; expected one of the 3") as caught:
                ask(shape_id)
            assert data.root in str(caught.value)


def test_shapes_that_have_samples_only(local: Dataset) -> None:
    data = replace(local, shapes=(replace(local.shapes[0], mesh_sha256=None, T_unit_world=None),))
    assert len(data.samples("a").sdf) == COUNT
    with pytest.raises(DatasetError, match="shape a has samples only; expected a mesh"):
        data.mesh_unit("a")
    with pytest.raises(DatasetError, match="no placement of shape a"):
        data.T_unit_world("a")
    (local.store.root / mesh_name("a")).unlink()  # pyright: ignore[reportAttributeAccessIssue]
    assert data.verify() == []


@pytest.mark.parametrize("change", [{"scale": 0.0}, {"rotation": []}, {"offset": None}])
def test_broken_placements_are_refused(change: dict[str, object], local: Dataset) -> None:
    shape = replace(local.shapes[0], T_unit_world={**PLACEMENT.to_json(), **change})
    with pytest.raises(DatasetError, match="no placement of shape a"):
        replace(local, shapes=(shape,)).T_unit_world("a")


# Damaged files.


def test_a_whole_data_set_has_no_faults(data: Dataset) -> None:
    assert data.verify() == []


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(("damage", "found"), [(flip_a_bit, "SHA-256"), (cut, "SHA-256"), (Path.unlink, "missing")])
@pytest.mark.parametrize("name", [samples_name("c"), mesh_name("mugs/b-1.x_2")])
def test_damaged_files_are_named(damage: Callable[[Path], object], found: str, name: str, local: Dataset) -> None:
    assert isinstance(local.store, LocalStore)
    damage(local.store.root / name)
    damage(local.store.root / samples_name("a"))
    faults = local.verify()
    assert len(faults) == 2
    assert all(found in fault and "\n" not in fault for fault in faults)
    assert {fault.split(": ")[0] for fault in faults} == {
        local.store.describe(name),
        local.store.describe(samples_name("a")),
    }


def test_truncated_files_are_found_on_reading(data: Dataset) -> None:
    name = samples_name("a")
    data.store.write(name, data.store.read(name)[:-1])
    for read in (
        lambda: data.samples("a"),
        # The file has the rows that are asked for, but not its end.
        lambda: data.sample_block("a", start=0, count=1),
    ):
        with pytest.raises(DatasetError, match="safetensors") as caught:
            read()
        assert data.store.describe(name) in str(caught.value)


def test_samples_of_another_run_are_found_on_reading(local: Dataset) -> None:
    samples = some_samples(0, surface=False)
    fewer = {name: getattr(samples, name)[:7] for name in ("points_unit", "sdf", "strategy")}
    write_samples(local.store, "a", replace(samples, **fewer))
    with pytest.raises(DatasetError, match="7 samples; expected 200 by the manifest"):
        local.samples("a")


# docs/formats.md, and a reader that was written by that page alone.


def test_a_plain_reader_reads_the_same(local: Dataset) -> None:
    root = Path(local.root)
    manifest = plain_reader.read_manifest(root)
    assert manifest["settings"] == SETTINGS
    assert [row["id"] for row in manifest["shapes"]] == IDS
    assert [row["kind"] for row in manifest["refused"]] == ["refused"]
    for row in manifest["shapes"]:
        path, mesh_path = root / "samples" / f"{row['id']}.safetensors", root / "meshes" / f"{row['id']}.safetensors"
        assert (row["samples_sha256"], row["mesh_sha256"]) == (
            plain_reader.sha256(path),
            plain_reader.sha256(mesh_path),
        )
        block = local.sample_block(row["id"], start=50, count=20)
        for name in ("points_unit", "sdf", "strategy"):
            np.testing.assert_array_equal(plain_reader.read_rows(path, name, 50, 70), getattr(block, name))
        mesh = local.mesh_unit(row["id"])
        np.testing.assert_array_equal(
            plain_reader.read_rows(mesh_path, "vertices", 0, len(mesh.vertices)), mesh.vertices
        )
        np.testing.assert_array_equal(plain_reader.read_rows(mesh_path, "faces", 0, len(mesh.faces)), mesh.faces)
        record = json.loads((root / "records" / f"{row['id']}.json").read_text())
        assert record == {"shape": row}
    surface = local.samples("a").surface
    assert surface is not None
    path = root / "samples" / "a.safetensors"
    np.testing.assert_array_equal(plain_reader.read_rows(path, "surface_normals_unit", 3, 9), surface.normals_unit[3:9])


def test_the_example_of_the_page_is_true(tmp_path: Path) -> None:
    page = FORMATS_PAGE.read_text(encoding="utf-8")
    dump = [line for line in page.splitlines() if line[:4].endswith("0") and line[4:6] == "  " and len(line) > 50]
    content = b"".join(bytes.fromhex(line[6:53]) for line in dump)
    points = np.array([[0.5, 0.0, -0.25], [0.0, 1.0, 0.0]])
    sdf, strategy = np.array([-0.125, 0.03125]), np.array([0, 1], dtype=np.uint8)
    samples = SdfSamples(points_unit=points.astype(np.float16), sdf=sdf.astype(np.float16), strategy=strategy)
    write_samples(LocalStore(tmp_path), "a", samples)
    path = tmp_path / samples_name("a")
    assert path.read_bytes() == content
    assert f"has {len(content)} bytes" in page
    np.testing.assert_array_equal(plain_reader.read_rows(path, "points_unit", 1, 2), points[1:])
    np.testing.assert_array_equal(plain_reader.read_rows(path, "sdf", 0, 2), sdf)
    for number, line in enumerate(dump):
        row = content[16 * number : 16 * (number + 1)]
        assert line.startswith(f"{16 * number:04x}  ")
        assert line[55:] == "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)


def test_the_page_names_every_field() -> None:
    page = FORMATS_PAGE.read_text(encoding="utf-8")
    for name in (*vars(some_record("a")), "reason", "kind", "crashed", "timeout", "memory", *some_tensor_names()):
        assert f"`{name}`" in page, name


def test_the_page_numbers_the_strategies() -> None:
    from shapeprior.sdf.sampling import STRATEGIES

    page = FORMATS_PAGE.read_text(encoding="utf-8")
    assert ", ".join(f"{number} `{name}`" for number, name in enumerate(STRATEGIES)) in page


def test_the_sizes_of_the_page_are_true(tmp_path: Path) -> None:
    page = FORMATS_PAGE.read_text(encoding="utf-8")
    for dtype in ("float16", "float32"):
        points, sdf = np.zeros((10_000, 3), dtype), np.zeros(10_000, dtype)
        samples = SdfSamples(points_unit=points, sdf=sdf, strategy=np.zeros(10_000, np.uint8))
        write_samples(LocalStore(tmp_path), "a", samples)
        assert f"{(tmp_path / samples_name('a')).stat().st_size:,}" in page


def some_tensor_names() -> list[str]:
    return ["points_unit", "sdf", "strategy", "surface_points_unit", "surface_normals_unit", "vertices", "faces"]
