"""The data set folder: what is written comes back, and what is broken or reaches outside is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_geometry import random_similarity, sphere
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch_file

from shapeprior.dataset import (
    FORMAT,
    VERSION,
    Dataset,
    RefusedShape,
    ShapeRecord,
    check_shape_id,
    mesh_path,
    samples_path,
    write_manifest,
    write_mesh_unit,
    write_samples,
)
from shapeprior.errors import DatasetError
from shapeprior.sampling import SdfSamples

MESH = sphere(radius=0.9, subdivisions=1)
PLACEMENT = random_similarity(np.random.default_rng(8), scale=0.3)


def some_samples() -> SdfSamples:
    rng = np.random.default_rng(0)
    return SdfSamples(
        points_unit=rng.standard_normal((20, 3)).astype(np.float32), sdf=rng.standard_normal(20).astype(np.float32)
    )


def record(shape_id: str, split: str = "train") -> ShapeRecord:
    return ShapeRecord(
        id=shape_id,
        source=f"{shape_id}.obj",
        source_sha256="ab" * 32,
        split=split,
        samples_sha256="cd" * 32,
        T_unit_world=PLACEMENT.to_json(),
        checks={"faces": 80, "skin_share": 1.0},
    )


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    data = Dataset(
        root=tmp_path,
        settings={"prepare": {"up": "y"}, "seed": 3},
        shapes=(record("a"), record("chairs/b-1.x_2", "test"), record("c")),
        refused=(RefusedShape(source="d.obj", reason="meshes/d.obj: the file is empty"),),
    )
    for shape in data.shapes:
        write_samples(tmp_path, shape.id, some_samples())
        write_mesh_unit(tmp_path, shape.id, MESH)
    write_manifest(data)
    return data


def edit(dataset: Dataset, change: Callable[[dict[str, Any]], object]) -> Path:
    """Change the manifest behind the package's back."""
    path = dataset.root / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    return path


def test_a_data_set_comes_back(dataset: Dataset) -> None:
    assert Dataset.open(dataset.root) == dataset
    assert Dataset.open(str(dataset.root)) == dataset


def test_samples_meshes_and_placements_come_back(dataset: Dataset) -> None:
    data = Dataset.open(dataset.root)
    for shape in data.shapes:
        samples = data.samples(shape.id)
        assert samples.points_unit.tobytes() == some_samples().points_unit.tobytes()
        assert samples.sdf.tobytes() == some_samples().sdf.tobytes()
        mesh = data.mesh_unit(shape.id)
        assert mesh.vertices.tobytes() == MESH.vertices.tobytes()
        assert mesh.faces.dtype == np.int64
        np.testing.assert_array_equal(mesh.faces, MESH.faces)
        assert data.T_unit_world(shape.id).offset.tobytes() == PLACEMENT.offset.tobytes()


def test_the_same_samples_are_the_same_bytes(dataset: Dataset) -> None:
    written = write_samples(dataset.root, "again", some_samples())
    assert written == samples_path(dataset.root, "a").read_bytes() == samples_path(dataset.root, "again").read_bytes()


def test_splits_keep_the_order(dataset: Dataset) -> None:
    assert [shape.id for shape in dataset.split("train")] == ["a", "c"]
    assert [shape.id for shape in dataset.split("test")] == ["chairs/b-1.x_2"]


@pytest.mark.parametrize("change", [{"scale": 0.0}, {"rotation": []}, {"offset": None}])
def test_broken_placements_are_refused(change: dict[str, object], dataset: Dataset) -> None:
    edit(dataset, lambda manifest: manifest["shapes"][0]["T_unit_world"].update(change))
    with pytest.raises(DatasetError, match="no placement of shape a"):
        Dataset.open(dataset.root).T_unit_world("a")


def test_unknown_shapes_are_refused(dataset: Dataset) -> None:
    for ask in (dataset.samples, dataset.mesh_unit, dataset.T_unit_world):
        with pytest.raises(DatasetError, match="nobody"):
            ask("nobody")


# Shape ids.

GOOD_IDS = ["a", "a/b", "A-1.b_2", "0", "_x", "a..b", "a/b/c/d", "x" * 200]
BAD_IDS = [
    "",
    "..",
    "../a",
    "a/../b",
    "/a",
    "a/",
    "a//b",
    ".a",
    "a/.b",
    "-a",
    "a b",
    "a\\b",
    "C:a",
    "a\n",
    "ä",
    "a\0",
    "~a",
]


@pytest.mark.parametrize("shape_id", GOOD_IDS)
def test_plain_ids_are_accepted(shape_id: str) -> None:
    assert check_shape_id(shape_id, where="x") == shape_id


@pytest.mark.parametrize("shape_id", BAD_IDS)
def test_ids_that_could_leave_the_folder_are_refused(shape_id: str, dataset: Dataset) -> None:
    path = edit(dataset, lambda manifest: manifest["shapes"][0].update(id=shape_id))
    with pytest.raises(DatasetError, match=r"shape id .* expected letters, digits") as caught:
        Dataset.open(dataset.root)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@given(shape_id=st.text(alphabet="a./\\-_\n ", max_size=12))
@settings(deadline=None)
def test_no_accepted_id_leaves_the_folder(shape_id: str) -> None:
    root = Path("/data/set")
    try:
        check_shape_id(shape_id, where="x")
    except DatasetError:
        return
    for path in (samples_path(root, shape_id), mesh_path(root, shape_id)):
        assert ".." not in path.parts
        assert path.parent.is_relative_to(root / path.relative_to(root).parts[0])


# Broken manifests.


def test_a_folder_without_a_manifest_is_unfinished(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DatasetError, match=r"no manifest\.json.*shapeprior prepare") as caught:
            Dataset.open(folder)
        assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"[]", b"3", b"null", b"{}", b'"text"'],
    ids=["empty", "cut", "not text", "nested", "list", "number", "null", "object", "string"],
)
def test_what_is_no_manifest_is_refused(data: bytes, dataset: Dataset) -> None:
    path = dataset.root / "manifest.json"
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="prepare the data set again") as caught:
        Dataset.open(dataset.root)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda m: m.update(version=VERSION + 1), r"\('shapeprior-dataset', 2\); expected \('shapeprior-dataset', 1\)"),
        (lambda m: m.update(format="other"), "'other'"),
        (lambda m: m.pop("version"), "version"),
        (lambda m: m.pop("settings"), "settings"),
        (lambda m: m.pop("shapes"), "shapes"),
        (lambda m: m.pop("refused"), "refused"),
        (lambda m: m.update(shapes=3), "not a manifest"),
        (lambda m: m.update(shapes=["a"]), "not a manifest"),
        (lambda m: m["shapes"][0].pop("split"), "split"),
        (lambda m: m["shapes"][0].update(extra=1), "extra"),
        (lambda m: m["shapes"][0].update(id=5), "id is 5"),
        (lambda m: m["shapes"][0].update(id=None), "id is None"),
        (
            lambda m: m["shapes"][0].update(split="validation"),
            "shape a is in split 'validation'; expected train or test",
        ),
        (lambda m: m["shapes"][0].update(checks=[]), "checks is"),
        (lambda m: m.update(settings=3), "not a manifest"),
        (lambda m: m.update(settings="no"), "not a manifest"),
        (lambda m: m["refused"][0].pop("reason"), "reason"),
    ],
)
def test_wrong_versions_and_missing_keys_are_refused(
    change: Callable[[dict[str, Any]], object], found: str, dataset: Dataset
) -> None:
    path = edit(dataset, change)
    with pytest.raises(DatasetError, match=found) as caught:
        Dataset.open(dataset.root)
    assert str(path) in str(caught.value)


def test_the_format_is_named_in_the_file(dataset: Dataset) -> None:
    manifest = json.loads((dataset.root / "manifest.json").read_text())
    assert (manifest["format"], manifest["version"]) == (FORMAT, VERSION) == ("shapeprior-dataset", 1)


# Broken tensors.


def without(*names: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        save_file({name: tensor for name, tensor in load_file(path).items() if name not in names}, path)

    return change


def replacing(name: str, convert: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        save_file({**load_file(path), name: np.ascontiguousarray(convert(load_file(path)[name]))}, path)

    return change


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def cut_in_the_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def promise_a_long_header(path: Path) -> None:
    path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:])


def as_bfloat16(path: Path) -> None:
    save_torch_file({name: torch.zeros(20, dtype=torch.bfloat16) for name in load_file(path)}, path)


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


FILES = [Path.unlink, cut, cut_in_the_header, empty, promise_a_long_header, as_bfloat16, folder_instead]


@pytest.mark.parametrize(
    "damage",
    [
        *FILES,
        without("sdf"),
        without("points_unit"),
        replacing("sdf", lambda t: t[:-1]),
        replacing("sdf", lambda t: t[:, None]),
        replacing("sdf", lambda t: t.astype(np.float64)),
        replacing("points_unit", lambda t: t[:, :2]),
        replacing("points_unit", lambda t: t.astype(np.int32)),
    ],
)
def test_broken_samples_are_refused(damage: Callable[[Path], None], dataset: Dataset) -> None:
    path = samples_path(dataset.root, "c")
    damage(path)
    with pytest.raises(DatasetError) as caught:
        Dataset.open(dataset.root).samples("c")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    Dataset.open(dataset.root).samples("a")


@pytest.mark.parametrize(
    "damage",
    [
        *FILES,
        without("faces"),
        replacing("faces", lambda t: t + 1),
        replacing("faces", lambda t: t - 1),
        replacing("faces", lambda t: t[:, :2]),
        replacing("vertices", lambda t: t[:-1]),
        replacing("vertices", lambda t: t.astype(np.float32)),
        replacing("vertices", lambda t: t.reshape(-1)),
    ],
)
def test_broken_meshes_are_refused(damage: Callable[[Path], None], dataset: Dataset) -> None:
    path = mesh_path(dataset.root, "c")
    damage(path)
    with pytest.raises(DatasetError) as caught:
        Dataset.open(dataset.root).mesh_unit("c")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_do_not_run_code(dataset: Dataset) -> None:
    # Nothing but the header's JSON and numbers: a pickle in their place is refused.
    samples_path(dataset.root, "a").write_bytes(b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.")
    with pytest.raises(DatasetError):
        Dataset.open(dataset.root).samples("a")


def test_a_manifest_is_replaced_whole(dataset: Dataset) -> None:
    fewer = replace(dataset, shapes=dataset.shapes[:1])
    write_manifest(fewer)
    assert Dataset.open(dataset.root) == fewer
    assert sorted(path.name for path in dataset.root.iterdir()) == ["manifest.json", "meshes", "samples"]
