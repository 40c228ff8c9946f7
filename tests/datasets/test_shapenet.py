"""ShapeNetCore: each model of a tree is one source, textures are not, and synsets become words."""

import re
from pathlib import Path

import pytest

from shapeprior.datasets.shapenet import (
    MODEL_FILES,
    SYNSETS,
    ShapeNetVersion,
    category_name,
    is_synset,
    shapenet_sources,
    shapenet_version,
)
from shapeprior.errors import MeshError
from shapeprior.io.meshes import load_mesh

MUG, CHAIR, UNKNOWN = "03797390", "03001627", "09999999"


def make_tree(root: Path, version: ShapeNetVersion, models: dict[str, list[str]]) -> Path:
    """Make a tree as distributed, with the other files that lie beside the meshes."""
    for category, names in models.items():
        for name in names:
            model = root / category / name
            files = {
                "shapenet-v1": ["model.obj", "model.mtl", "images/texture.obj", "images/a.jpg"],
                "shapenet-v2": [
                    "models/model_normalized.obj",
                    "models/model_normalized.mtl",
                    "models/model_normalized.solid.binvox",
                    "models/other.obj",
                    "images/texture.ply",
                ],
            }[version]
            for file in files:
                (model / file).parent.mkdir(parents=True, exist_ok=True)
                (model / file).write_text("v 0 0 0\n")
    (root / "taxonomy.json").write_text("[]")
    return root


@pytest.mark.parametrize("version", ["shapenet-v1", "shapenet-v2"])
def test_each_model_is_one_source(tmp_path: Path, version: ShapeNetVersion) -> None:
    make_tree(tmp_path, version, {MUG: ["b2", "a1"], UNKNOWN: ["c3"], CHAIR: ["d4"]})
    assert shapenet_version(tmp_path) == version
    sources = shapenet_sources(tmp_path, version)
    assert [source.shape_id for source in sources] == [f"{CHAIR}/d4", f"{MUG}/a1", f"{MUG}/b2", f"{UNKNOWN}/c3"]
    assert [source.category for source in sources] == ["chair", "mug", "mug", UNKNOWN]
    assert {(source.up, source.unit, source.split) for source in sources} == {("y", None, None)}
    for source in sources:
        assert source.path == tmp_path / source.shape_id / MODEL_FILES[version]
        assert source.path.is_file()
        assert source.name == f"{source.shape_id}/{MODEL_FILES[version]}"


def test_a_model_without_its_mesh_is_still_a_source(tmp_path: Path) -> None:
    make_tree(tmp_path, "shapenet-v2", {MUG: ["a", "b"]})
    (tmp_path / MUG / "a" / MODEL_FILES["shapenet-v2"]).unlink()
    first, second = shapenet_sources(tmp_path, "shapenet-v2")
    assert (first.shape_id, second.shape_id) == (f"{MUG}/a", f"{MUG}/b")
    assert shapenet_version(tmp_path) == "shapenet-v2"
    with pytest.raises(MeshError, match=r"model_normalized\.obj: No such file"):
        load_mesh(first.path)


def test_one_category_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tree(tmp_path, "shapenet-v2", {MUG: ["a"], CHAIR: ["b"]})
    assert shapenet_version(tmp_path / MUG) == "shapenet-v2"
    (source,) = shapenet_sources(tmp_path / MUG, "shapenet-v2")
    assert (source.shape_id, source.category, source.name) == (f"{MUG}/a", "mug", "a/models/model_normalized.obj")
    monkeypatch.chdir(tmp_path / MUG)
    (here,) = shapenet_sources(Path("."), "shapenet-v2")
    assert (here.shape_id, here.category) == (f"{MUG}/a", "mug")


def test_renamed_categories_count_where_they_hold_meshes(tmp_path: Path) -> None:
    make_tree(tmp_path, "shapenet-v2", {"my mugs": ["a"], MUG: ["b"]})
    (tmp_path / "licences" / "text").mkdir(parents=True)
    sources = shapenet_sources(tmp_path, "shapenet-v2")
    assert [(source.shape_id, source.category) for source in sources] == [(f"{MUG}/b", "mug"), ("my_mugs/a", "my mugs")]


def test_the_wrong_version_is_told(tmp_path: Path) -> None:
    make_tree(tmp_path, "shapenet-v1", {MUG: ["a"]})
    with pytest.raises(MeshError, match="looks like shapenet-v1: choose that layout"):
        shapenet_sources(tmp_path, "shapenet-v2")


def test_no_tree_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "mugs").mkdir()
    assert shapenet_version(tmp_path) is None
    with pytest.raises(MeshError, match=r"no <synset>/<model>/model\.obj; .* name another folder or layout"):
        shapenet_sources(tmp_path, "shapenet-v1")
    with pytest.raises(MeshError, match="not a folder"):
        shapenet_sources(tmp_path / "nowhere", "shapenet-v1")


def test_the_table_is_that_of_both_versions() -> None:
    # The technical report counts 55 categories; version 1 has two folders more.
    assert len(SYNSETS) == 55 + 2
    assert list(SYNSETS) == sorted(SYNSETS)
    assert len(set(SYNSETS.values())) == len(SYNSETS)
    assert all(is_synset(synset) and re.fullmatch("[a-z]+(_[a-z]+)?", word) for synset, word in SYNSETS.items())


def test_well_known_synsets() -> None:
    # The categories of DeepSDF's splits and of Choy et al. 2016 ("3D-R2N2"), which most papers use.
    known = {
        "02691156": "airplane",
        "02828884": "bench",
        "02933112": "cabinet",
        "02958343": "car",
        "03001627": "chair",
        "03211117": "display",
        "03636649": "lamp",
        "03691459": "loudspeaker",
        "04090263": "rifle",
        "04256520": "sofa",
        "04379243": "table",
        "04401088": "telephone",
        "04530566": "watercraft",
        "03797390": "mug",
    }
    assert {synset: category_name(synset) for synset in known} == known


def test_what_is_no_known_synset_keeps_its_name() -> None:
    assert category_name("01234567") == "01234567"
    assert is_synset("01234567")
    for name in ("1234567", "012345678", "0123456a", "mug", "", "\u0661" * 8):
        assert not is_synset(name)
        assert category_name(name) == name
