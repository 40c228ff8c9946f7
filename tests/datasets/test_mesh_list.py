"""Lists of meshes: CSV and JSON give the same sources, and faults are reported with their line."""

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapeprior.datasets.mesh_list import read_mesh_list
from shapeprior.datasets.mesh_source import MeshSource
from shapeprior.errors import DatasetError
from shapeprior.io.files import STORE_NAME

ROWS = [
    {"path": "mugs/b.obj", "id": "mug/one", "category": "mug", "split": "test", "up": "Z", "unit": "mm"},
    {"path": "mugs/a b.glb", "unit": "0.5"},
    {"path": "x, y.ply", "category": "odd thing", "split": "train", "up": "y"},
]


def write_csv(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_every_column_arrives(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "list.csv",
        "id, path,category,split,up,unit\nmug/one,mugs/b.obj,mug,test,Z,mm\n\n,mugs/a b.glb,,,,0.5\n"
        ',"x, y.ply",odd thing,train,y,\n',
    )
    assert read_mesh_list(path) == [
        MeshSource(shape_id="mugs/a_b", path=tmp_path / "mugs/a b.glb", name="mugs/a b.glb", unit=0.5),
        MeshSource(
            shape_id="mug/one",
            path=tmp_path / "mugs/b.obj",
            name="mugs/b.obj",
            category="mug",
            split="test",
            up="z",
            unit=0.001,
        ),
        MeshSource(
            shape_id="x__y",
            path=tmp_path / "x, y.ply",
            name="x, y.ply",
            category="odd thing",
            split="train",
            up="y",
        ),
    ]


def test_json_says_the_same(tmp_path: Path) -> None:
    with open(tmp_path / "list.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["path", "id", "category", "split", "up", "unit"])
        writer.writeheader()
        writer.writerows(ROWS)
    (tmp_path / "list.json").write_text(json.dumps(ROWS))
    numbers = [{**ROWS[0], "unit": 0.001}, {**ROWS[1], "unit": 0.5, "id": None}, {**ROWS[2], "unit": ""}]
    (tmp_path / "object.json").write_text(json.dumps({"meshes": numbers}))
    expected = read_mesh_list(tmp_path / "list.csv")
    assert len(expected) == 3
    assert read_mesh_list(tmp_path / "list.json") == expected
    assert read_mesh_list(tmp_path / "object.json") == expected


def test_the_order_of_the_rows_does_not_matter(tmp_path: Path) -> None:
    for name, rows in (("a.json", ROWS), ("b.json", ROWS[::-1])):
        (tmp_path / name).write_text(json.dumps(rows))
    assert read_mesh_list(tmp_path / "a.json") == read_mesh_list(tmp_path / "b.json")


def test_paths_may_lead_anywhere_but_ids_may_not(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "list.csv", f"path\n../up/a.obj\n{tmp_path}/abs/a.obj\n./up/../up/a.obj\n")
    outside, absolute, below = sorted(read_mesh_list(path), key=lambda source: source.name)
    assert (outside.path, outside.shape_id) == (tmp_path / "../up/a.obj", "up/a")
    assert absolute.path == tmp_path / "abs/a.obj"
    assert absolute.shape_id.endswith("abs/a")
    assert STORE_NAME.fullmatch(absolute.shape_id)
    assert below.shape_id == "up/up/a"


def test_another_root(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "list.csv", "path\na.obj\n")
    assert [source.path for source in read_mesh_list(path, root=Path("/data"))] == [Path("/data/a.obj")]


def test_made_ids_give_way_to_given_ones(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "list.csv", "path,id\na.obj,\na.ply,\nz.obj,a\n")
    assert [source.shape_id for source in read_mesh_list(path)] == ["a_2", "a_3", "a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty file; expected a list of meshes"),
        ("\n", "line 1: no column 'path'"),
        ("file,up\na.obj,y\n", "line 1: unknown column 'file'; expected path, id, category, split, up, unit"),
        ("path,catgory\n", "line 1: unknown column 'catgory'; .* did you mean 'category'"),
        ("path;up\na.obj;y\n", "line 1: unknown column 'path;up'; .* commas"),
        ("path,path\n", "line 1: a column appears twice"),
        ("up\ny\n", "line 1: no column 'path'"),
        ("path\n\n", "no meshes; expected at least one row"),
        ("path,up\na.obj,y\nb.obj\n", "line 3: 1 values; expected 2"),
        ("path\na,b.obj\n", "line 2: 2 values; expected 1"),
        ("path,up\na.obj,y\n  ,z\n", "line 3: no path"),
        ("path,up\na.obj,w\n", "line 2: up 'w'; expected x, y or z"),
        ("path,split\na.obj,val\n", "line 2: split 'val'; expected train or test"),
        ("path,unit\na.obj,m\nb.obj,furlong\n", "line 3: unit 'furlong'; expected one of m, cm, mm"),
        ("path,unit\na.obj,-1\n", "line 2: unit '-1'"),
        ("path,id\na.obj,../x\n", r"line 2: id '\.\./x'; expected letters"),
        ("path,id\na.obj,/x\n", "line 2: id '/x'"),
        ("path,id\na.obj,é\n", "line 2: id 'é'"),
        ("path,id\na.obj,x\n\nb.obj,X\n", "line 4: id 'X' is also that of line 2"),
        ("path\na.obj\nb.obj\n./c/../a.obj\n", "path '.*a.obj' is also that of line"),
        ('path\n"a.obj\n', "not CSV"),
        ('path\n"a"b.obj\n', "line 2: not CSV"),
        ('path\n"a\nb.obj"\n', "line 3: path .* printable"),
        ("path\na\0.obj\n", "line 2: path .* printable"),
        ("path\n" + "a" * 200_000 + "\n", "line 2: not CSV"),
    ],
)
def test_faults_are_told_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    path = write_csv(tmp_path / "list.csv", text)
    with pytest.raises(DatasetError, match=message) as caught:
        read_mesh_list(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"mesh": []}, "dict at the top; expected a list"),
        ("a.obj", "str at the top"),
        ([], "no meshes"),
        ({"meshes": []}, "no meshes"),
        ([{"path": "a.obj"}, "b.obj"], "entry 2: str; expected an object"),
        ([{"file": "a.obj"}], "entry 1: unknown column 'file'"),
        ([{"id": "a"}], "entry 1: no column 'path'"),
        ([{"path": ["a.obj"]}], "entry 1: path is a list"),
        ([{"path": "a.obj", "unit": True}], "entry 1: unit is a bool"),
        ([{"path": "a.obj", "unit": {}}], "entry 1: unit is a dict"),
        ([{"path": "a.obj", "unit": float("nan")}], "entry 1: unit 'nan'"),
        ([{"path": "\ud800.obj"}], "entry 1: path .* printable"),
        ([{"path": None}], "entry 1: no path"),
        ([{"path": "a.obj", "id": "x"}, {"path": "b.obj", "id": "x"}], "entry 2: id 'x' is also that of entry 1"),
    ],
)
def test_faults_of_json_are_told_with_their_entry(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "list.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=message) as caught:
        read_mesh_list(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@given(text=st.text(st.sampled_from('path,id\n\r".é\0/;'), max_size=40))
def test_any_text_is_a_list_or_a_clear_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "list.csv"
    path.write_text("path,id\n" + text, encoding="utf-8", newline="")
    try:
        sources = read_mesh_list(path)
    except DatasetError:
        return
    assert all(STORE_NAME.fullmatch(source.shape_id) for source in sources)
    assert len({source.shape_id for source in sources}) == len(sources)
