"""DeepSDF's split files: every name becomes a source, found or not."""

import json
from pathlib import Path

import pytest

from shapeprior.datasets.deepsdf_format import is_split, read_split, split_sources
from shapeprior.errors import DatasetError, MeshError
from shapeprior.io.meshes import load_mesh

CHAIR, LAMP = "03001627", "03636649"


def write_split(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("sv2_chairs_train.json", "train"),
        ("sv2_chairs_test.json", "test"),
        ("vec_test_train.json", "train"),
        ("test.json", "test"),
        ("Chairs-Train.json", "train"),
        ("chairs_test_small.json", "test"),
        ("chairs.json", None),
        ("training_contest.json", None),
    ],
)
def test_the_name_of_the_file_tells_the_split(tmp_path: Path, name: str, split: str | None) -> None:
    (entry,) = read_split(write_split(tmp_path / name, {"ShapeNetV2": {CHAIR: ["a"]}}))
    assert (entry.dataset, entry.folder, entry.instance, entry.split) == ("ShapeNetV2", CHAIR, "a", split)


def test_a_split_is_told_from_other_json() -> None:
    assert is_split({"ShapeNetV2": {CHAIR: ["a"]}, "Other": {}})
    for content in ([], {}, {"meshes": []}, {"meshes": [{"path": "a"}]}, {"a": {"b": "c"}}, "x", None):
        assert not is_split(content)


def test_each_name_is_a_source_in_the_split(tmp_path: Path) -> None:
    root = tmp_path / "meshes"
    touch(root, f"{CHAIR}/a/models/model_normalized.obj", f"{CHAIR}/a/models/other.obj", f"{CHAIR}/b/model.obj")
    touch(root, "vases/c/deep/mesh.ply", "vases/d.glb", f"{CHAIR}/unlisted/model.obj")
    split = write_split(tmp_path / "x_test.json", {"S": {CHAIR: ["b", "a", "gone"], "vases": ["c", "d"]}})
    sources = split_sources(split, root)
    assert [source.shape_id for source in sources] == [
        f"{CHAIR}/a",
        f"{CHAIR}/b",
        f"{CHAIR}/gone",
        "vases/c",
        "vases/d",
    ]
    assert [source.name for source in sources] == [
        f"{CHAIR}/a/models/model_normalized.obj",
        f"{CHAIR}/b/model.obj",
        f"{CHAIR}/gone/models/model_normalized.obj",
        "vases/c/deep/mesh.ply",
        "vases/d.glb",
    ]
    assert [source.path for source in sources] == [root / source.name for source in sources]
    assert [source.category for source in sources] == ["chair"] * 3 + ["vases"] * 2
    assert [source.up for source in sources] == ["y"] * 3 + [None] * 2
    assert {source.split for source in sources} == {"test"}
    with pytest.raises(MeshError, match=r"gone.models.model_normalized\.obj: No such file"):
        load_mesh(sources[2].path)


def test_several_datasets(tmp_path: Path) -> None:
    touch(tmp_path, f"One/{CHAIR}/a/model.obj", f"Two/{CHAIR}/a/model.obj")
    split = write_split(tmp_path / "s.json", {"One": {CHAIR: ["a"]}, "Two": {CHAIR: ["a"]}})
    sources = split_sources(split, tmp_path)
    assert [source.shape_id for source in sources] == [f"One/{CHAIR}/a", f"Two/{CHAIR}/a"]
    assert all(source.path.exists() for source in sources)


def test_a_folder_of_splits(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{CHAIR}/{name}/model.obj" for name in "abc"))
    write_split(tmp_path / "splits/all_train.json", {"S": {CHAIR: ["a", "b"]}})
    write_split(tmp_path / "splits/few_train.json", {"S": {CHAIR: ["b"]}})
    write_split(tmp_path / "splits/all_test.json", {"S": {CHAIR: ["c"]}})
    sources = split_sources(tmp_path / "splits", tmp_path)
    assert [(source.shape_id[-1], source.split) for source in sources] == [
        ("a", "train"),
        ("b", "train"),
        ("c", "test"),
    ]
    write_split(tmp_path / "splits/few_test.json", {"S": {CHAIR: ["a"]}})
    with pytest.raises(DatasetError, match=f"S/{CHAIR}/a is also in .*; expected each shape in one split"):
        read_split(tmp_path / "splits")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "not a split"),
        ({"S": {CHAIR: "abc"}}, "not a split"),
        ({"S": {}}, "names no shapes"),
        ({"S": {CHAIR: ["a", "a"]}}, "a is also in it before"),
        ({"S": {CHAIR: [17]}}, "name '17'"),
        ({"S": {CHAIR: ["../../x"]}}, r"name '\.\./\.\./x'"),
        ({"S": {CHAIR: ["/etc"]}}, "name '/etc'"),
        ({"S": {CHAIR: ["a\\b"]}}, "name"),
        ({"S": {CHAIR: [""]}}, "name ''"),
        ({"S": {CHAIR: [".a"]}}, "name '.a'"),
        ({"S": {CHAIR: ["a\n"]}}, "name"),
        ({"S": {CHAIR: ["\ud800"]}}, "name"),
        ({"S": {"..": ["a"]}}, r"name '\.\.'"),
        ({"..": {"a": ["a"]}}, r"name '\.\.'"),
    ],
)
def test_faults_are_told(tmp_path: Path, content: object, message: str) -> None:
    path = write_split(tmp_path / "split.json", content)
    with pytest.raises(DatasetError, match=message) as caught:
        read_split(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_nothing_to_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="No such file"):
        read_split(tmp_path / "none.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no split files"):
        read_split(tmp_path / "empty")


def test_meshes_that_are_not_there_at_all_are_told(tmp_path: Path) -> None:
    split = write_split(tmp_path / "split.json", {"S": {CHAIR: ["a", "x" * 300]}})
    with pytest.raises(MeshError, match=r"none of its 2 shapes is below .*; expected files like") as caught:
        split_sources(split, tmp_path)
    assert str(tmp_path / CHAIR / "a") in str(caught.value)
    with pytest.raises(MeshError, match="nowhere: not a folder; expected the meshes that"):
        split_sources(split, tmp_path / "nowhere")


def test_a_choice_of_meshes_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "vases/a/one.obj", "vases/a/two.ply")
    split = write_split(tmp_path / "split.json", {"S": {"vases": ["a"]}})
    with pytest.raises(MeshError, match=r"2 meshes, such as one\.obj and two\.ply; expected one"):
        split_sources(split, tmp_path)
