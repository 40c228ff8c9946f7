"""Find the meshes of a collection, however it is laid out: plain folders, categories, lists, ShapeNet, DeepSDF."""

import difflib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from shapeprior.datasets.deepsdf_format import SAMPLES_FOLDER, find_deepsdf_samples, is_split, split_sources
from shapeprior.datasets.mesh_list import read_mesh_list
from shapeprior.datasets.mesh_source import (
    MESH_LIST,
    MeshSource,
    files_in,
    mesh_files,
    subfolders,
    with_unique_ids,
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
"""Ways in which a collection may be laid out; `find_sources` describes each."""


def find_sources(
    meshes: str | os.PathLike[str],
    *,
    layout: Layout = "auto",
    root: Path | None = None,
    categories: Sequence[str] = (),
) -> list[MeshSource]:
    """Return every mesh of a collection, sorted by name; the same collection always gives the same list.

    Args:
        meshes: A folder, or a file that lists meshes.
        layout: ``folder``: every mesh file below a folder.
            ``categories``: the same, and the first folder names the category, as a word or a synset.
            ``shapenet-v1``, ``shapenet-v2``: ShapeNetCore as distributed.
            ``list``: a CSV or JSON file (see `read_mesh_list`).
            ``deepsdf-split``: a split file of DeepSDF, or a folder of them, with the meshes below `root`.
            ``deepsdf-samples``: a data folder of DeepSDF; or a split, with the data folder as `root`.
            ``auto``: whichever of these fits what is found.
        root: The folder of the files that a list or split names; for a list, its own folder by default.
        categories: Keep only the shapes of these categories, given as words or synsets.

    Raises:
        MeshError: There are no meshes, or it is unclear which are meant.
        DatasetError: A list or split cannot be read.
        ConfigError: The layout or a category is unknown, or `root` does not fit the layout.
    """
    meshes = Path(meshes)
    if layout not in get_args(Layout):
        raise ConfigError(f"layout = {layout!r}; expected one of {', '.join(get_args(Layout))}")
    if layout == "auto":
        layout = _detect_layout(meshes, root, with_categories=bool(categories))
    _check_root(meshes, layout, root)
    found = sorted(_sources(meshes, layout, root), key=lambda source: (source.name, source.shape_id))
    return _select_categories(found, meshes, layout, categories) if categories else found


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
    sources = [MeshSource.below(folder, path) for path in paths]
    if with_categories:
        sources = [replace(source, category=_category_of_first_folder(source.name)) for source in sources]
    return with_unique_ids(sources)


def _category_of_first_folder(name: str) -> str:
    return category_name(name.split("/")[0]) if "/" in name else ""


def _detect_layout(meshes: Path, root: Path | None, *, with_categories: bool) -> Layout:
    if meshes.is_file():
        return _detect_file_layout(meshes, root)
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
                f"name the layout: {version} to leave it out, categories to include it"
            )
    if version is not None:
        return version
    return "categories" if with_categories or SYNSETS.keys() & set(folders) else "folder"


def _detect_file_layout(path: Path, root: Path | None) -> Layout:
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return "list"
    if suffix == ".json":
        if not is_split(MESH_LIST.read_json(path, object)):
            return "list"
        return "deepsdf-samples" if root is not None and (root / SAMPLES_FOLDER).is_dir() else "deepsdf-split"
    raise MeshError(f"{path}: not a folder; expected a folder of meshes, or a list in .csv or .json; check the path")


def _check_root(meshes: Path, layout: Layout, root: Path | None) -> None:
    if layout == "deepsdf-split" and root is None:
        raise ConfigError(
            f"{meshes}: a split without root; expected the folder of the meshes that it names; give that folder as root"
        )
    if layout == "deepsdf-samples" and root is None and meshes.is_file():
        raise ConfigError(
            f"{meshes}: a split without root; expected the data folder of its samples; give that folder as root"
        )
    if root is not None and layout not in ("list", "deepsdf-split", "deepsdf-samples"):
        raise ConfigError(
            f"root = {str(root)!r} with layout {layout}; expected it with lists and splits only; leave it out"
        )


def _select_categories(
    found: list[MeshSource], meshes: Path, layout: Layout, categories: Sequence[str]
) -> list[MeshSource]:
    stated = {_normalized(source.category): source.category for source in found if source.category}
    if not stated:
        raise DatasetError(
            f"{meshes}: layout {layout} states no categories; expected some to choose from; choose layout categories"
        )
    wanted = set()
    for category in categories:
        key = _normalized(category_name(category.strip()))
        if key not in stated:
            similar = difflib.get_close_matches(key, stated, n=1)
            hint = f"did you mean '{stated[similar[0]]}'?" if similar else "name one of them"
            raise ConfigError(
                f"{meshes}: no category '{category}'; expected one of {', '.join(sorted(stated.values()))}; {hint}"
            )
        wanted.add(key)
    return [source for source in found if _normalized(source.category) in wanted]


def _normalized(category: str) -> str:
    """Return a category as it is compared: 'Trash bin' equals 'trash_bin'."""
    return "_".join(category.lower().replace("-", " ").replace("_", " ").split())
