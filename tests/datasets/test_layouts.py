"""Layouts of collections: detected, listed completely, and filtered by category."""

import json
from pathlib import Path
from typing import Literal

import pytest

from shapeprior.datasets.layouts import find_sources
from shapeprior.datasets.mesh_source import MeshSource
from shapeprior.errors import ConfigError, DatasetError, MeshError

MUG, CHAIR, BIN = "03797390", "03001627", "02747177"


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def ids(sources: list[MeshSource]) -> list[str]:
    return [source.shape_id for source in sources]


def test_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "b.obj", "a b.ply", "mugs/c.GLB", "mugs/c.obj", "mugs/notes.txt", "__MACOSX/._b.obj")
    sources = find_sources(tmp_path)
    assert sources == find_sources(str(tmp_path), layout="folder")
    assert ids(sources) == ["a_b", "b", "mugs/c", "mugs/c_2"]
    assert [source.name for source in sources] == ["a b.ply", "b.obj", "mugs/c.GLB", "mugs/c.obj"]
    assert [source.path for source in sources] == [tmp_path / source.name for source in sources]
    assert {(source.category, source.split, source.up, source.unit) for source in sources} == {("", None, None, None)}


def test_categories(tmp_path: Path) -> None:
    touch(tmp_path, "mug/a.obj", "mug/deep/b.obj", f"{CHAIR}/c.off", "09999999/d.off", "loose.obj")
    sources = find_sources(tmp_path, layout="categories")
    assert {source.shape_id: source.category for source in sources} == {
        f"{CHAIR}/c": "chair",
        "09999999/d": "09999999",
        "loose": "",
        "mug/a": "mug",
        "mug/deep/b": "mug",
    }
    # Apart from the categories, the sources are the same.
    assert ids(sources) == ids(find_sources(tmp_path, layout="folder"))
    # A folder named by a known synset is enough to detect the layout.
    assert find_sources(tmp_path) == sources


@pytest.mark.parametrize(
    ("version", "file"), [("shapenet-v1", "model.obj"), ("shapenet-v2", "models/model_normalized.obj")]
)
def test_shapenet_is_recognised(tmp_path: Path, version: Literal["shapenet-v1", "shapenet-v2"], file: str) -> None:
    touch(tmp_path, *(f"{name}/{file}" for name in (f"{MUG}/a", f"{CHAIR}/b", "01111111/c")), f"{MUG}/a/images/t.obj")
    touch(tmp_path, "taxonomy.json", ".git/x.obj")
    sources = find_sources(tmp_path)
    assert ids(sources) == ["01111111/c", f"{CHAIR}/b", f"{MUG}/a"]
    assert [source.category for source in sources] == ["01111111", "chair", "mug"]
    assert sources == find_sources(tmp_path, layout=version)
    assert ids(find_sources(tmp_path / MUG)) == [f"{MUG}/a"]


@pytest.mark.parametrize("extra", ["extra/d.obj", "d.obj"])
def test_more_than_shapenet_is_not_dropped_in_silence(tmp_path: Path, extra: str) -> None:
    touch(tmp_path, f"{MUG}/a/model.obj", extra)
    with pytest.raises(MeshError, match=r"the tree of shapenet-v1, but also '(extra|d\.obj)'; .* name the layout"):
        find_sources(tmp_path)
    assert ids(find_sources(tmp_path, layout="shapenet-v1")) == [f"{MUG}/a"]
    assert len(find_sources(tmp_path, layout="categories")) == 2


def test_a_folder_of_dates_is_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "20240101/a.obj")
    assert find_sources(tmp_path)[0].category == ""


def test_lists(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,category\nb.obj,mug\na.obj,chair\n")
    (tmp_path / "list.json").write_text(json.dumps([{"path": "a.obj", "category": "chair"}, {"path": "b.obj"}]))
    sources = find_sources(tmp_path / "list.csv")
    assert [(source.shape_id, source.category) for source in sources] == [("a", "chair"), ("b", "mug")]
    assert ids(find_sources(tmp_path / "list.json")) == ["a", "b"]
    elsewhere = find_sources(tmp_path / "list.csv", root=Path("/data"))
    assert [source.path for source in elsewhere] == [Path("/data/a.obj"), Path("/data/b.obj")]
    (tmp_path / "list.txt").write_text("path\na.obj\n")
    assert ids(find_sources(tmp_path / "list.txt", layout="list")) == ["a"]


def test_splits_of_deepsdf(tmp_path: Path) -> None:
    touch(tmp_path, f"meshes/{MUG}/a/model.obj", f"data/SdfSamples/S/{MUG}/a.npz", f"data/SdfSamples/S/{MUG}/b.npz")
    split = tmp_path / "mugs_train.json"
    split.write_text(json.dumps({"S": {MUG: ["a"]}}))
    (mesh,) = find_sources(split, root=tmp_path / "meshes")
    assert (mesh.path.suffix, mesh.split, mesh.category) == (".obj", "train", "mug")
    (samples,) = find_sources(split, root=tmp_path / "data")
    assert (samples.path.suffix, samples.split, samples.shape_id) == (".npz", "train", mesh.shape_id)
    assert ids(find_sources(tmp_path / "data")) == [f"{MUG}/a", f"{MUG}/b"]
    for layout in ("auto", "deepsdf-split", "deepsdf-samples"):
        with pytest.raises(ConfigError, match="a split without root"):
            find_sources(split, layout=layout)  # pyright: ignore[reportArgumentType]


def test_categories_are_chosen_by_word_or_synset(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}/m/model.obj" for name in (MUG, CHAIR, BIN, "09999999")))
    assert ids(find_sources(tmp_path, categories=["mug"])) == [f"{MUG}/m"]
    assert ids(find_sources(tmp_path, categories=[CHAIR, "Mug "])) == [f"{CHAIR}/m", f"{MUG}/m"]
    assert ids(find_sources(tmp_path, categories=["trash bin"])) == [f"{BIN}/m"]
    assert ids(find_sources(tmp_path, categories=["09999999"])) == ["09999999/m"]
    assert len(find_sources(tmp_path)) == 4
    with pytest.raises(
        ConfigError, match=r"no category 'chairs'; expected one of 09999999, chair, mug, trash_bin; .* 'chair'"
    ):
        find_sources(tmp_path, categories=["mug", "chairs"])


def test_categories_of_plain_folders(tmp_path: Path) -> None:
    touch(tmp_path, "mug/a.obj", "Mug/b.obj", "jug/c.obj")
    assert ids(find_sources(tmp_path, categories=["mug"])) == ["Mug/b", "mug/a"]
    with pytest.raises(DatasetError, match="layout folder states no categories"):
        find_sources(tmp_path, layout="folder", categories=["mug"])


def test_nothing_to_prepare_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    touch(tmp_path, "file.obj")
    for name, message in (("empty", "no meshes"), ("nowhere", "not a folder"), ("file.obj", "not a folder")):
        for layout in ("auto", "folder", "categories"):
            with pytest.raises(MeshError, match=message) as caught:
                find_sources(tmp_path / name, layout=layout)  # pyright: ignore[reportArgumentType]
            assert str(caught.value).startswith(str(tmp_path / name))


def test_a_root_needs_a_list(tmp_path: Path) -> None:
    touch(tmp_path, "a.obj")
    with pytest.raises(ConfigError, match="with layout folder; expected it with lists and splits only"):
        find_sources(tmp_path, root=tmp_path)


def test_the_same_collection_gives_the_same_list(tmp_path: Path) -> None:
    names = [f"{folder}/{name}.obj" for folder in ("b", "a b", "a_b", "A_B") for name in "zyx"]
    touch(tmp_path / "one", *names)
    touch(tmp_path / "two", *names[::-1])
    one, two = ids(find_sources(tmp_path / "one")), ids(find_sources(tmp_path / "two"))
    assert one == two
    assert len({shape_id.lower() for shape_id in one}) == len(names)
