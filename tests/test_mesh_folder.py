"""Walks through folders of meshes: everything is found once, junk is not, and links do not hang."""

import os
from pathlib import Path

import pytest

from shapeprior.datasets.mesh_source import files_in, mesh_files, name_below, subfolders
from shapeprior.errors import MeshError


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
    # The link sorts first, but the folder that it leads to has a name of its own.
    (tmp_path / "a_link").symlink_to(tmp_path / "real", target_is_directory=True)
    (tmp_path / "real/deep/up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "z/self").symlink_to(tmp_path / "z", target_is_directory=True)
    assert names(tmp_path) == ["real/deep/m.obj", "z/n.obj"]


def test_many_folders_that_link_to_each_other_end(tmp_path: Path) -> None:
    # Every path through them without a repetition would be 12! = 479 million.
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
