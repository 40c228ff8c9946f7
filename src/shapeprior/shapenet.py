"""ShapeNetCore (Chang et al. 2015) as it is distributed: a folder a category, named by synset, and one a model below it.

Its readme files: both versions have +y up; objects face +x in version 1 and −z in version 2, so that the two are not to be
mixed; sizes are normalised, so that no length unit is known.
"""

import os
from pathlib import Path
from typing import Literal

from shapeprior.errors import MeshError
from shapeprior.mesh_folder import name_below, subfolders
from shapeprior.mesh_source import MeshSource
from shapeprior.shape_ids import shape_ids
from shapeprior.synsets import category_name, is_synset

ShapeNetVersion = Literal["shapenet-v1", "shapenet-v2"]

MODEL_FILES: dict[ShapeNetVersion, str] = {"shapenet-v1": "model.obj", "shapenet-v2": "models/model_normalized.obj"}
"""Where the mesh of a model lies below the model's folder."""


def shapenet_version(root: Path) -> ShapeNetVersion | None:
    """Which version a tree is, by the first mesh found below a synset's folder; None if there is none."""
    for category in _categories(root):
        for model in subfolders(category) if is_synset(_folder_name(category)) else ():
            for version in ("shapenet-v2", "shapenet-v1"):
                if os.path.exists(model / MODEL_FILES[version]):
                    return version
    return None


def shapenet_sources(root: Path, version: ShapeNetVersion) -> list[MeshSource]:
    """One source a model, sorted; `root` is the whole tree or one category's folder.

    Ids are ``<synset>/<model>``. Every model's folder below a synset is a source, whether its mesh is there or not: some
    of the distributed ones lack it. Folders with other names count as categories where they hold meshes at the same place.
    Raises MeshError if no mesh is there at all.
    """
    models = [
        (category, model)
        for category in _categories(root)
        for model in subfolders(category)
        if is_synset(_folder_name(category)) or os.path.exists(model / MODEL_FILES[version])
    ]
    if not any(os.path.exists(model / MODEL_FILES[version]) for _, model in models):
        found = shapenet_version(root)
        raise MeshError(
            f"{root}: no <synset>/<model>/{MODEL_FILES[version]}; expected the tree of {version}; "
            + (f"it looks like {found}: choose that layout" if found else "name another folder or layout")
        )
    ids = shape_ids([f"{_folder_name(category)}/{model.name}" for category, model in models])
    return [
        MeshSource(
            shape_id=shape_id,
            path=model / MODEL_FILES[version],
            name=name_below(root, model / MODEL_FILES[version]),
            category=category_name(_folder_name(category)),
            up="y",
        )
        for shape_id, (category, model) in zip(ids, models, strict=True)
    ]


def _categories(root: Path) -> list[Path]:
    return [root] if is_synset(_folder_name(root)) else subfolders(root)


def _folder_name(folder: Path) -> str:
    """The folder's own name, also if it is called '.'."""
    return folder.name or folder.absolute().name
