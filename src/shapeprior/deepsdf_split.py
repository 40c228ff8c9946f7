"""DeepSDF's split files: which instances of which classes make up a training or test set.

A split is JSON, ``{dataset: {class: [instance, ...]}}``, as in the released code's examples/splits (Park et al. 2019).
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from shapeprior.errors import DatasetError, MeshError
from shapeprior.io.files import read_json
from shapeprior.io.meshes import MESH_SUFFIXES
from shapeprior.mesh_folder import files_in, mesh_files, name_below
from shapeprior.mesh_source import MeshSource
from shapeprior.shape_ids import shape_ids
from shapeprior.shapenet import MODEL_FILES
from shapeprior.synsets import SYNSETS, category_name


@dataclass(frozen=True, kw_only=True)
class SplitEntry:
    """One instance of a split."""

    dataset: str
    """Name of the data source, such as ``ShapeNetV2``."""
    folder: str
    """Class, a folder's name: for ShapeNet the synset."""
    instance: str
    """The instance's folder or file name, without suffix."""
    split: Literal["train", "test"] | None
    """What the file's name says; None if nothing."""


def is_split(content: object) -> bool:
    """Whether JSON has the form of a split: names of instances, two objects deep."""
    return (
        isinstance(content, dict)
        and len(content) > 0
        and all(
            isinstance(classes, dict) and all(isinstance(names, list) for names in classes.values())
            for classes in content.values()
        )
    )


def read_split(path: Path) -> list[SplitEntry]:
    """The entries of a split file, or of all split files of a folder, sorted.

    The last of `train` and `test` that stands alone in a file's name (``sv2_chairs_train.json``) is the split of its
    entries. Raises DatasetError if a file has another form, a name leads out of its folder, an instance appears twice in a
    file, or in both splits.
    """
    files = files_in(path, ".json") if os.path.isdir(path) else [path]
    if not files:
        raise DatasetError(f"{path}: no split files; expected .json files in the folder; name another one")
    found: dict[tuple[str, str, str], tuple[SplitEntry, Path]] = {}
    for file in files:
        for entry in _read_file(file):
            key = (entry.dataset, entry.folder, entry.instance)
            if key in found and (found[key][1] == file or found[key][0].split != entry.split):
                raise DatasetError(
                    f"{file}: {'/'.join(key)} is also in {found[key][1].name if found[key][1] != file else 'it before'}; "
                    "expected each shape in one split, once; drop it from one"
                )
            found.setdefault(key, (entry, file))
    if not found:
        raise DatasetError(
            f"{path}: names no shapes; expected {{dataset: {{class: [instance, ...]}}}}; name another file"
        )
    return [entry for _, (entry, _) in sorted(found.items(), key=lambda item: item[0])]


def split_sources(split: Path, root: Path) -> list[MeshSource]:
    """The meshes of a split below `root`: one source an entry, whether its mesh is there or not.

    The mesh of an entry is ``<class>/<instance>/models/model_normalized.obj``, ``.../model.obj``, the only mesh below that
    folder, or ``<class>/<instance>.<suffix>``; `root` may hold a folder for each dataset above the classes.

    Raises what `read_split` does, and MeshError if no mesh is there at all, or several are and none has one of the names.
    """
    if not os.path.isdir(root):
        raise MeshError(f"{root}: not a folder; expected the meshes that {split} names; name their folder")
    return entry_sources(read_split(split), root, lambda entry: _find_mesh(root, entry), split)


def entry_sources(
    entries: Sequence[SplitEntry], root: Path, locate: Callable[[SplitEntry], Path], where: Path
) -> list[MeshSource]:
    """Sources of entries whose files `locate` tells; raises MeshError, naming `where` and `root`, if none exists.

    Ids are ``<class>/<instance>``, below the dataset's name if there are several. ShapeNet's classes have +y up.
    """
    paths = [locate(entry) for entry in entries]
    if not any(os.path.exists(path) for path in paths):
        raise MeshError(
            f"{where}: none of its {len(entries)} shapes is below {root}; expected files like {paths[0]}; "
            "name the folder that holds the classes"
        )
    several = len({entry.dataset for entry in entries}) > 1
    names = [f"{entry.folder}/{entry.instance}" for entry in entries]
    ids = shape_ids(
        [f"{entry.dataset}/{name}" if several else name for entry, name in zip(entries, names, strict=True)]
    )
    return [
        MeshSource(
            shape_id=shape_id,
            path=path,
            name=name_below(root, path),
            category=category_name(entry.folder),
            split=entry.split,
            up="y" if entry.folder in SYNSETS else None,
        )
        for entry, path, shape_id in zip(entries, paths, ids, strict=True)
    ]


def _read_file(path: Path) -> list[SplitEntry]:
    content = read_json(path)
    if not is_split(content):
        raise DatasetError(f"{path}: not a split; expected {{dataset: {{class: [instance, ...]}}}}; name another file")
    words = re.findall(r"(?:^|[._-])(train|test)(?=[._-]|$)", path.stem.lower())
    split = cast(Literal["train", "test"] | None, words[-1] if words else None)
    entries = []
    for dataset, classes in cast(dict[str, dict[str, list[object]]], content).items():
        for folder, instances in classes.items():
            for instance in instances:
                for name in (dataset, folder, instance):
                    if not isinstance(name, str) or not _is_below(name):
                        raise DatasetError(
                            f"{path}: name {str(name)[:80]!r} in {dataset[:80]!r}; expected names of folders; mend it"
                        )
                entries.append(SplitEntry(dataset=dataset, folder=folder, instance=str(instance), split=split))
    return entries


def _is_below(name: str) -> bool:
    """Whether a name is one of a file below a folder, neither hidden nor leading out of it."""
    return name.isprintable() and "\\" not in name and all(part and part[0] != "." for part in name.split("/"))


def _find_mesh(root: Path, entry: SplitEntry) -> Path:
    base = root / entry.dataset if os.path.isdir(root / entry.dataset) else root
    folder = base / entry.folder / entry.instance
    for version in ("shapenet-v2", "shapenet-v1"):
        if os.path.exists(folder / MODEL_FILES[version]):
            return folder / MODEL_FILES[version]
    beside = [folder.with_name(folder.name + suffix) for suffix in MESH_SUFFIXES]
    found = [path for path in beside if os.path.exists(path)]
    found += mesh_files(folder) if os.path.isdir(folder) else []
    if len(found) > 1:
        raise MeshError(
            f"{folder}: {len(found)} meshes, such as {found[0].name} and {found[1].name}; expected one; "
            "remove the others or use a list"
        )
    return found[0] if found else folder / MODEL_FILES["shapenet-v2"]
