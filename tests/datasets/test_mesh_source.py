"""Sources of mesh files: everything in a folder is found once, ids are safe and unique, units and axes are known."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapeprior.datasets.mesh_source import (
    MeshSource,
    file_unit,
    file_up_axis,
    files_in,
    mesh_files,
    name_below,
    parse_unit,
    shape_ids,
    subfolders,
    with_unique_ids,
    without_suffix,
)
from shapeprior.errors import ConfigError, MeshError
from shapeprior.io.files import STORE_NAME
from shapeprior.io.meshes import MESH_SUFFIXES


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def names(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in mesh_files(root)]


def test_meshes_are_found_at_any_depth_sorted_and_in_capitals(tmp_path: Path) -> None:
    touch(
        tmp_path, "b.OBJ", "a.ply", "sub/deep/er/c.Glb", "sub/d.txt", "sub/e.gltf", "sub.off", "sub/f.stl", "g.obj.txt"
    )
    assert names(tmp_path) == ["a.ply", "b.OBJ", "sub.off", "sub/deep/er/c.Glb", "sub/f.stl"]


def test_hidden_files_and_junk_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.obj", "._a.obj", ".git/b.obj", "__MACOSX/a.obj", "x/__MACOSX/._a.obj", "x/.DS_Store", "x/y.obj")
    assert names(tmp_path) == ["a.obj", "x/y.obj"]
    assert [path.name for path in subfolders(tmp_path)] == ["x"]


def test_a_folder_named_like_a_mesh_is_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "mug.obj/mesh.ply")
    assert names(tmp_path) == ["mug.obj/mesh.ply"]
    assert files_in(tmp_path, ".obj") == []


def test_loops_end_and_real_names_win(tmp_path: Path) -> None:
    touch(tmp_path, "real/deep/m.obj", "z/n.obj")
    # The link sorts first, but the folder that it leads to is in the tree under its own name.
    (tmp_path / "a_link").symlink_to(tmp_path / "real", target_is_directory=True)
    (tmp_path / "real/deep/up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "z/self").symlink_to(tmp_path / "z", target_is_directory=True)
    assert names(tmp_path) == ["real/deep/m.obj", "z/n.obj"]


def test_many_folders_that_link_to_each_other_end(tmp_path: Path) -> None:
    # There are 12! = 479 million paths through them without a repetition.
    folders = [tmp_path / f"f{index:02}" for index in range(12)]
    for folder in folders:
        touch(folder, "m.obj")
        for other in folders:
            if other != folder:
                (folder / f"to_{other.name}").symlink_to(other, target_is_directory=True)
    assert names(tmp_path) == [f"f{index:02}/m.obj" for index in range(12)]


def test_links_out_of_the_folder_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/m.obj", "elsewhere/n.obj", "root/k.obj")
    (tmp_path / "root/folder").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "root/file.obj").symlink_to(tmp_path / "elsewhere/m.obj")
    (tmp_path / "root/gone.obj").symlink_to(tmp_path / "nowhere")
    (tmp_path / "root/round.obj").symlink_to(tmp_path / "root/round.obj")
    expected = ["file.obj", "folder/m.obj", "folder/n.obj", "gone.obj", "k.obj", "round.obj"]
    assert names(tmp_path / "root") == expected


def test_the_root_may_be_a_link(tmp_path: Path) -> None:
    touch(tmp_path, "real/m.obj")
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    assert names(tmp_path / "link") == ["m.obj"]


def test_no_folder_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "file.obj")
    for name in ("nowhere", "file.obj"):
        with pytest.raises(MeshError, match="not a folder; expected a folder of meshes") as caught:
            mesh_files(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may list everything")
def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "a.obj", "shut/b.obj")
    (tmp_path / "shut").chmod(0)
    try:
        with pytest.raises(MeshError, match="shut: cannot be listed"):
            mesh_files(tmp_path)
    finally:
        (tmp_path / "shut").chmod(0o700)


def test_names_can_be_printed() -> None:
    root = Path("root")
    assert name_below(root, root / "a b" / "é.obj") == "a b/é.obj"
    assert name_below(root, root / "a\nb\udce4.obj") == "a\\nb\\udce4.obj"


def test_ids_are_safe_and_unique() -> None:
    names = ["a b", "a", "a", "a_2", "a_b", "sub/.hid", "sub/-x", "ä/é.v1", "ä/日"]
    assert shape_ids(names) == ["a_b", "a", "a_2", "a_2_2", "a_b_2", "sub/_hid", "sub/_x", "_/_.v1", "_/_"]


def test_sources_below_a_folder_get_their_name_and_id_from_the_path() -> None:
    root = Path("meshes")
    sources = [
        MeshSource.below(root, root / "a b.obj"),
        MeshSource.below(root, root / "a_b.ply", category="mug", split="test", up="z"),
        MeshSource.below(root, root / "c.ply", shape_id="x/y z"),
    ]
    assert [source.name for source in sources] == ["a b.obj", "a_b.ply", "c.ply"]
    named = with_unique_ids(sources, taken=["x/y_z"])
    assert [source.shape_id for source in named] == ["a_b", "a_b_2", "x/y_z_2"]
    assert named[1] == MeshSource(
        shape_id="a_b_2", path=root / "a_b.ply", name="a_b.ply", category="mug", split="test", up="z"
    )


def test_ids_that_differ_in_case_count_as_the_same() -> None:
    assert shape_ids(["Mug", "mug", "x/MUG"], taken=["x/mug"]) == ["Mug", "mug_2", "x/MUG_2"]


def test_taken_ids_are_not_given_again() -> None:
    assert shape_ids(["a", "a", "b"], taken=["a", "a_2", "c"]) == ["a_3", "a_4", "b"]


def test_many_of_one_name() -> None:
    ids = shape_ids(["x"] * 20_000)
    assert (ids[0], ids[1], ids[-1]) == ("x", "x_2", "x_20000")


def test_only_the_last_suffix_goes() -> None:
    names = ["a.obj", "v1.0/a.b.obj", "v1.0/a", "a", "b/.obj"]
    assert [without_suffix(name) for name in names] == ["a", "v1.0/a.b", "v1.0/a", "a", "b/.obj"]


@given(st.lists(st.text(st.sampled_from("aA./-_ \\\n\0é:*"), max_size=8), max_size=12))
def test_any_name_becomes_one_that_cannot_leave_the_folder(names: list[str]) -> None:
    ids = shape_ids(names)
    assert all(STORE_NAME.fullmatch(shape_id) and ".." not in shape_id.split("/") for shape_id in ids)
    assert len({shape_id.lower() for shape_id in ids}) == len(names)


def test_long_names_fit_file_systems() -> None:
    first, second = shape_ids(["é" * 300 + "/" + "x" * 300, "é" * 301 + "/" + "x" * 301])
    assert first != second
    assert max(len(part) for part in (first + "/" + second).split("/")) <= 210


def test_units_are_metres() -> None:
    units = {"m": 1.0, "cm": 0.01, " MM ": 0.001, "in": 0.0254, "ft": 12 * 0.0254, "0.5": 0.5, 2: 2.0, 1e-3: 0.001}
    for text, metres in units.items():
        assert parse_unit(text) == pytest.approx(metres, rel=1e-15), text


def test_other_units_are_refused() -> None:
    for text in ("", "parsec", "0", "-1", "nan", "inf", "1e999", "1 m", "True", "mmm"):
        with pytest.raises(ConfigError, match="expected one of m, cm, mm, in, ft, or the metres in one unit") as caught:
            parse_unit(text)
        assert repr(text) in str(caught.value)


def test_only_glb_fixes_its_axis_and_unit() -> None:
    fixed = {suffix: (file_up_axis(f"a{suffix}"), file_unit(f"a{suffix}")) for suffix in MESH_SUFFIXES}
    assert fixed.pop(".glb") == ("y", 1.0)
    assert set(fixed.values()) == {(None, None)}
    assert (file_up_axis("A.GLB"), file_unit("A.GLB")) == ("y", 1.0)
