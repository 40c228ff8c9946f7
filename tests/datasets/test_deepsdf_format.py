"""DeepSDF's files: samples are read unchanged or refused, and every name in a split becomes a source."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.plain_geometry import sphere_sdf

from shapeprior.datasets.deepsdf_format import (
    find_deepsdf_samples,
    is_split,
    normalization_path,
    read_deepsdf_normalization,
    read_deepsdf_samples,
    read_split,
    split_sources,
)
from shapeprior.errors import ConfigError, DatasetError, MeshError
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.meshes import load_mesh

CHAIR, LAMP = "03001627", "03636649"
RADIUS = 0.6


def ball_rows(count: int, *, seed: int = 0) -> np.ndarray:
    """Return rows (x, y, z, sdf) of a ball of radius 0.6, in the cube that DeepSDF samples."""
    points = np.random.default_rng(seed).uniform(-1.0, 1.0, (count, 3)).astype(np.float32)
    sdf = sphere_sdf(points.astype(np.float64), radius=RADIUS).astype(np.float32)
    return np.column_stack([points, sdf])


def write_samples(path: Path, rows: np.ndarray, **others: np.ndarray) -> Path:
    """Write rows as the released code does: distances above zero in one array, the rest in the other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    outside = rows[:, 3] > 0
    np.savez(path, **{"pos": rows[outside], "neg": rows[~outside], **others})  # pyright: ignore[reportArgumentType]
    return path


def in_order(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort(rows.T)]


def read_rows(path: Path, *, max_samples: int = 10**6, seed: int = 0) -> np.ndarray:
    samples = read_deepsdf_samples(path, max_samples=max_samples, rng=np.random.default_rng(seed))
    assert samples.points_unit.dtype == samples.sdf.dtype == np.float32
    assert samples.surface is None
    assert samples.strategy.tolist() == [0] * len(samples.sdf)
    return np.column_stack([samples.points_unit, samples.sdf])


def test_all_samples_come_back_shuffled(tmp_path: Path) -> None:
    rows = ball_rows(3000)
    read = read_rows(write_samples(tmp_path / "a.npz", rows))
    np.testing.assert_array_equal(in_order(read), in_order(rows))
    # Every block holds the same shares of both sides: about a ninth is inside.
    share = np.mean(rows[:, 3] <= 0)
    for block in np.split(read, 3):
        assert np.mean(block[:, 3] <= 0) == pytest.approx(share, abs=4 * np.sqrt(share / 1000))


def test_a_part_is_a_random_one_of_the_seed(tmp_path: Path) -> None:
    rows = ball_rows(3000)
    path = write_samples(tmp_path / "a.npz", rows)
    first, again, other = (read_rows(path, max_samples=500, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(np.unique(first, axis=0)) == 500
    assert {row.tobytes() for row in first} <= {row.tobytes() for row in rows}


def test_rows_with_nan_are_dropped(tmp_path: Path) -> None:
    rows = ball_rows(400)
    bad = np.full((6, 4), 0.5, dtype=np.float64)
    bad[[0, 1, 2, 3, 4, 5], [3, 3, 0, 1, 2, 3]] = [np.nan, np.inf, np.nan, -np.inf, 1e300, -np.inf]
    outside = rows[:, 3] > 0
    path = tmp_path / "a.npz"
    np.savez(path, pos=np.concatenate([bad, rows[outside]]), neg=np.concatenate([rows[~outside], bad]))
    np.testing.assert_array_equal(in_order(read_rows(path)), in_order(rows))


def test_double_precision_is_rounded(tmp_path: Path) -> None:
    rows = ball_rows(100).astype(np.float64) * (1 + 1e-12)
    read = read_rows(write_samples(tmp_path / "a.npz", rows))
    np.testing.assert_array_equal(in_order(read), in_order(rows.astype(np.float32)))


INSIDE = np.array([[0.0, 0.0, 0.0, -0.5]], np.float32)
OUTSIDE = np.array([[0.0, 0.0, 0.9, 0.3]], np.float32)


@pytest.mark.parametrize(
    ("pos", "neg", "message"),
    [
        (OUTSIDE, np.zeros((0, 4), np.float32), "no samples inside"),
        (np.zeros((0, 4), np.float32), INSIDE, "no samples outside"),
        (OUTSIDE * np.nan, INSIDE, "no samples outside"),
        (INSIDE, OUTSIDE, "2 distances of the wrong sign"),
        (np.concatenate([OUTSIDE, INSIDE]), INSIDE, "1 distances of the wrong sign"),
        (OUTSIDE[:, :3], INSIDE, r"array 'pos' of shape \(1, 3\); expected \(samples, 4\)"),
        (OUTSIDE, INSIDE[0], r"array 'neg' of shape \(4,\)"),
        (OUTSIDE.astype(np.int64), INSIDE, "array 'pos' is int64"),
        (OUTSIDE * 100, INSIDE, "a sample with a coordinate of 90"),
        (OUTSIDE * [1, 1, 1, 10], INSIDE, "a distance of 3; expected distances to a surface in the unit sphere"),
        (np.array([[{}] * 4]), INSIDE, "array 'pos' is object"),
    ],
)
def test_other_samples_are_refused(tmp_path: Path, pos: np.ndarray, neg: np.ndarray, message: str) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, pos=pos, neg=neg)
    with pytest.raises(MeshError, match=message) as caught:
        read_rows(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", pos=OUTSIDE)
    with pytest.raises(MeshError, match="no array 'neg'"):
        read_rows(tmp_path / "a.npz")
    with pytest.raises(MeshError, match="No such file"):
        read_rows(tmp_path / "none.npz")
    with pytest.raises(ConfigError, match="max_samples = 0"):
        read_rows(tmp_path / "a.npz", max_samples=0)


# Where the samples lie.


def test_samples_are_found_without_a_split(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for name in (f"S/{CHAIR}/b", f"S/{CHAIR}/a", "S/vases/c.v1"):
        write_samples(root / "SdfSamples" / f"{name}.npz", ball_rows(9))
    (root / "SdfSamples" / "S" / CHAIR / "notes.txt").write_text("")
    sources = find_deepsdf_samples(root)
    assert [source.shape_id for source in sources] == [f"{CHAIR}/a", f"{CHAIR}/b", "vases/c.v1"]
    assert [source.category for source in sources] == ["chair", "chair", "vases"]
    assert [source.up for source in sources] == ["y", "y", None]
    assert [source.split for source in sources] == [None] * 3
    assert [source.path for source in sources] == [root / "SdfSamples" / source.name for source in sources]
    assert all(source.path.is_file() for source in sources)
    assert find_deepsdf_samples(root / "SdfSamples") == sources


def test_samples_of_a_split_are_found_or_named(tmp_path: Path) -> None:
    for name in "abc":
        write_samples(tmp_path / "SdfSamples" / "S" / LAMP / f"{name}.npz", ball_rows(9))
    split = tmp_path / "lamps_test.json"
    split.write_text(json.dumps({"S": {LAMP: ["c", "gone", "a"]}}))
    sources = find_deepsdf_samples(tmp_path, split=split)
    assert [source.shape_id for source in sources] == [f"{LAMP}/a", f"{LAMP}/c", f"{LAMP}/gone"]
    assert {source.split for source in sources} == {"test"}
    with pytest.raises(MeshError, match=r"gone\.npz: No such file"):
        read_rows(sources[2].path)


def test_no_samples_are_told(tmp_path: Path) -> None:
    with pytest.raises(MeshError, match=r"no SdfSamples/<dataset>/<class>/<instance>\.npz; expected a data folder"):
        find_deepsdf_samples(tmp_path)
    with pytest.raises(MeshError, match="nowhere: not a folder"):
        find_deepsdf_samples(tmp_path / "nowhere")
    (tmp_path / "split.json").write_text(json.dumps({"S": {LAMP: ["a"]}}))
    with pytest.raises(MeshError, match="none of its 1 shapes is below"):
        find_deepsdf_samples(tmp_path, split=tmp_path / "split.json")


# The frame.


def test_the_normalization_is_ours(tmp_path: Path) -> None:
    vertices = np.random.default_rng(5).normal((3.0, -7.0, 0.5), (0.2, 1.0, 3.0), (50, 3))
    # As in Utils.cpp of the released code: minus the box's centre, then over 1.03 times the largest distance.
    center = (vertices.max(axis=0) + vertices.min(axis=0)) / 2
    scale = 1 / (1.03 * np.sqrt(((vertices - center) ** 2).sum(axis=1)).max())
    for name, offset in (("row.npz", -center[None]), ("flat.npz", -center)):
        np.savez(tmp_path / name, offset=offset.astype(np.float32), scale=np.array([scale], np.float32))
        T_unit_world = read_deepsdf_normalization(tmp_path / name)
        points = T_unit_world.apply(vertices)
        np.testing.assert_allclose(points, (vertices - center) * scale, atol=1e-6)
        np.testing.assert_allclose(points, Similarity.to_unit_sphere(vertices).apply(vertices), atol=1e-6)
        np.testing.assert_allclose(T_unit_world.inverse().apply(points), vertices, atol=1e-5)


@pytest.mark.parametrize(
    ("offset", "scale", "message"),
    [
        (np.zeros(3), np.array([0.0]), "positive, finite scale"),
        (np.zeros(3), np.array([-1.0]), "positive, finite scale"),
        (np.zeros(3), np.array([np.nan]), "positive, finite scale"),
        (np.array([0.0, np.inf, 0.0]), np.ones(1), "finite offset"),
        (np.full(3, 1e300), np.full(1, 1e300), "finite offset"),
        (np.zeros(2), np.ones(1), r"offset \(2,\), scale \(1,\); expected 3 and 1 numbers"),
        (np.zeros(3), np.ones(3), "expected 3 and 1 numbers"),
    ],
)
def test_other_normalizations_are_refused(tmp_path: Path, offset: np.ndarray, scale: np.ndarray, message: str) -> None:
    path = tmp_path / "n.npz"
    np.savez(path, offset=offset, scale=scale)
    with pytest.raises(MeshError, match=message) as caught:
        read_deepsdf_normalization(path)
    assert str(caught.value).startswith(str(path))


def test_the_normalization_lies_beside_the_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = tmp_path / "SdfSamples/old/SdfSamples/S/c/a.npz"
    expected = tmp_path / "SdfSamples/old/NormalizationParameters/S/c/a.npz"
    assert normalization_path(samples) is None
    expected.parent.mkdir(parents=True)
    np.savez(expected, offset=np.zeros(3), scale=np.ones(1))
    assert normalization_path(samples) == expected
    assert normalization_path(tmp_path / "other/a.npz") is None
    samples.parent.mkdir(parents=True)
    monkeypatch.chdir(samples.parents[2])
    assert normalization_path(Path("S/c/a.npz")) == expected


CHAIR, LAMP = "03001627", "03636649"


def write_split(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_the_name_of_the_file_tells_the_split(tmp_path: Path) -> None:
    for name, split in (
        ("sv2_chairs_train.json", "train"),
        ("sv2_chairs_test.json", "test"),
        ("vec_test_train.json", "train"),
        ("test.json", "test"),
        ("Chairs-Train.json", "train"),
        ("chairs_test_small.json", "test"),
        ("chairs.json", None),
        ("training_contest.json", None),
    ):
        (entry,) = read_split(write_split(tmp_path / name, {"ShapeNetV2": {CHAIR: ["a"]}}))
        found = (entry.dataset, entry.class_name, entry.instance, entry.split)
        assert found == ("ShapeNetV2", CHAIR, "a", split), name


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
        ({"S": {CHAIR: ["a", "a"]}}, "names S/.*/a twice"),
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
    with pytest.raises(MeshError, match="nowhere: not a folder; expected the folder of the meshes that"):
        split_sources(split, tmp_path / "nowhere")


def test_a_choice_of_meshes_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "vases/a/one.obj", "vases/a/two.ply")
    split = write_split(tmp_path / "split.json", {"S": {"vases": ["a"]}})
    with pytest.raises(MeshError, match=r"2 meshes, such as one\.obj and two\.ply; expected one"):
        split_sources(split, tmp_path)
