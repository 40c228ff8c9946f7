"""Where the meshes of a collection lie, and what its folders and lists say of them."""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from shapeprior.datasets.deepsdf_format import SAMPLES_FOLDER, find_deepsdf_samples, is_split, split_sources
from shapeprior.datasets.mesh_list import read_mesh_list
from shapeprior.datasets.mesh_source import (
    MESH_LIST,
    MeshSource,
    files_in,
    mesh_files,
    name_below,
    shape_ids,
    subfolders,
    without_suffix,
)
from shapeprior.datasets.shapenet import SYNSETS, category_name, is_synset, shapenet_sources, shapenet_version
from shapeprior.errors import ConfigError, DatasetError, MeshError
from shapeprior.io.meshes import MESH_SUFFIXES

Layout = Literal[
    "auto",
    "folder",
    "categories",
    "shapenet-v1",
    "shapenet-v2",
    "list",
    "deepsdf-split",
    "deepsdf-samples",
]
"""How a collection is laid out; the docstring of `find_sources` says what each is."""


def find_sources(
    meshes: str | os.PathLike[str],
    *,
    layout: Layout = "auto",
    root: Path | None = None,
    categories: Sequence[str] = (),
) -> list[MeshSource]:
    """Every shape of a collection, sorted by name; the same collection gives the same list, and no shape is left out.

    Args:
        meshes: A folder, or a file that lists shapes.
        layout: ``folder``: every mesh file below a folder. ``categories``: the same, the first folder names the category
            (as a word or a synset). ``shapenet-v1``, ``shapenet-v2``: ShapeNetCore as distributed. ``list``: a CSV or JSON
            file (see `read_mesh_list`). ``deepsdf-split``: a split file of DeepSDF, or a folder of them, for the meshes
            below `root`. ``deepsdf-samples``: a data folder of DeepSDF; or a split, for the data folder `root`.
            ``auto``: by what is there.
        root: Where the files that a list or split names are; for a list, its own folder by default.
        categories: Only shapes of these, by word or synset.

    Raises:
        MeshError: There are no meshes, or it is not clear which are meant.
        DatasetError: A list or split cannot be read.
        ConfigError: The layout or a category is unknown, or `root` does not fit the layout.
    """
    meshes = Path(meshes)
    if layout not in get_args(Layout):
        raise ConfigError(f"layout = {layout!r}; expected one of {', '.join(get_args(Layout))}")
    if layout == "auto":
        layout = _recognise(meshes, root, with_categories=bool(categories))
    _check_root(meshes, layout, root)
    found = sorted(_sources(meshes, layout, root), key=lambda source: (source.name, source.shape_id))
    return _of_categories(found, meshes, layout, categories) if categories else found


def _sources(meshes: Path, layout: Layout, root: Path | None) -> list[MeshSource]:
    if layout in ("shapenet-v1", "shapenet-v2"):
        return shapenet_sources(meshes, layout)
    if layout == "list":
        return read_mesh_list(meshes, root=root)
    if layout == "deepsdf-split":
        assert root is not None
        return split_sources(meshes, root)
    if layout == "deepsdf-samples":
        return find_deepsdf_samples(root or meshes, split=meshes if root else None)
    return _folder_sources(meshes, with_categories=layout == "categories")


def _folder_sources(folder: Path, *, with_categories: bool) -> list[MeshSource]:
    paths = mesh_files(folder)
    if not paths:
        raise MeshError(f"{folder}: no meshes; expected files with {' '.join(MESH_SUFFIXES)}; name another folder")
    names = [name_below(folder, path) for path in paths]
    return [
        MeshSource(
            shape_id=shape_id,
            path=path,
            name=name,
            category=category_name(name.split("/")[0]) if with_categories and "/" in name else "",
        )
        for path, name, shape_id in zip(paths, names, shape_ids([without_suffix(name) for name in names]), strict=True)
    ]


def _recognise(meshes: Path, root: Path | None, *, with_categories: bool) -> Layout:
    if meshes.is_file():
        return _recognise_file(meshes, root)
    if (meshes / SAMPLES_FOLDER).is_dir():
        return "deepsdf-samples"
    folders = [folder.name for folder in subfolders(meshes)]
    version = shapenet_version(meshes)
    if version is not None and not is_synset(meshes.absolute().name):
        others = [name for name in folders if not is_synset(name)]
        others += [file.name for suffix in MESH_SUFFIXES for file in files_in(meshes, suffix)]
        if others:
            raise MeshError(
                f"{meshes}: the tree of {version}, but also '{others[0]}'; expected synsets only; "
                f"name the layout: {version} or categories"
            )
    if version is not None:
        return version
    return "categories" if with_categories or SYNSETS.keys() & set(folders) else "folder"


def _recognise_file(path: Path, root: Path | None) -> Layout:
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return "list"
    if suffix == ".json":
        if not is_split(MESH_LIST.read_json(path, object)):
            return "list"
        return "deepsdf-samples" if root is not None and (root / SAMPLES_FOLDER).is_dir() else "deepsdf-split"
    raise MeshError(f"{path}: not a folder; expected a folder of meshes, or a list in .csv or .json; name one")


def _check_root(meshes: Path, layout: Layout, root: Path | None) -> None:
    if layout == "deepsdf-split" and root is None:
        raise ConfigError(f"{meshes}: a split without root; expected the folder of the meshes that it names; give it")
    if layout == "deepsdf-samples" and root is None and meshes.is_file():
        raise ConfigError(f"{meshes}: a split without root; expected the data folder of its samples; give it")
    if root is not None and layout not in ("list", "deepsdf-split", "deepsdf-samples"):
        raise ConfigError(
            f"root = {str(root)!r} with layout {layout}; expected it with lists and splits only; leave it"
        )


def _of_categories(
    found: list[MeshSource], meshes: Path, layout: Layout, categories: Sequence[str]
) -> list[MeshSource]:
    there = {_plain(source.category): source.category for source in found if source.category}
    if not there:
        raise DatasetError(f"{meshes}: layout {layout} states no categories; expected some; choose layout categories")
    wanted = set()
    for category in categories:
        plain = _plain(category_name(category.strip()))
        if plain not in there:
            near = difflib.get_close_matches(plain, there, n=1)
            hint = f"did you mean '{there[near[0]]}'?" if near else "name one of them"
            raise ConfigError(
                f"{meshes}: no category '{category}'; expected one of {', '.join(sorted(there.values()))}; {hint}"
            )
        wanted.add(plain)
    return [source for source in found if _plain(source.category) in wanted]


def _plain(category: str) -> str:
    """A category as it is compared: 'Trash bin' is 'trash_bin'."""
    return "_".join(category.lower().replace("-", " ").replace("_", " ").split())
