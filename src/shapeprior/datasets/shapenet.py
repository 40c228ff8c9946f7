"""ShapeNetCore (Chang et al. 2015) as it is distributed: a folder a category, named by synset, and one a model below it.

Its readme files: both versions have +y up; objects face +x in version 1 and −z in version 2, so that the two are not to be
mixed; sizes are normalised, so that no length unit is known.

What ShapeNetCore calls its categories: a number of WordNet 3.0, for which this page knows the word.
"""

import os
import re
from pathlib import Path
from typing import Literal

from shapeprior.datasets.mesh_source import MeshSource, name_below, shape_ids, subfolders
from shapeprior.errors import MeshError

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


SYNSETS = {
    "02691156": "airplane",
    "02747177": "trash_bin",
    "02773838": "bag",
    "02801938": "basket",
    "02808440": "bathtub",
    "02818832": "bed",
    "02828884": "bench",
    "02834778": "bicycle",
    "02843684": "birdhouse",
    "02858304": "boat",
    "02871439": "bookshelf",
    "02876657": "bottle",
    "02880940": "bowl",
    "02924116": "bus",
    "02933112": "cabinet",
    "02942699": "camera",
    "02946921": "can",
    "02954340": "cap",
    "02958343": "car",
    "02992529": "cellphone",
    "03001627": "chair",
    "03046257": "clock",
    "03085013": "keyboard",
    "03207941": "dishwasher",
    "03211117": "display",
    "03261776": "earphone",
    "03325088": "faucet",
    "03337140": "file_cabinet",
    "03467517": "guitar",
    "03513137": "helmet",
    "03593526": "jar",
    "03624134": "knife",
    "03636649": "lamp",
    "03642806": "laptop",
    "03691459": "loudspeaker",
    "03710193": "mailbox",
    "03759954": "microphone",
    "03761084": "microwave",
    "03790512": "motorbike",
    "03797390": "mug",
    "03928116": "piano",
    "03938244": "pillow",
    "03948459": "pistol",
    "03991062": "flowerpot",
    "04004475": "printer",
    "04074963": "remote",
    "04090263": "rifle",
    "04099429": "rocket",
    "04225987": "skateboard",
    "04256520": "sofa",
    "04330267": "stove",
    "04379243": "table",
    "04401088": "telephone",
    "04460130": "tower",
    "04468005": "train",
    "04530566": "watercraft",
    "04554684": "washer",
}
"""Synset to word: the 55 categories of version 2, and bicycle and boat, which only version 1 has."""


def is_synset(folder: str) -> bool:
    """Whether a folder is named as ShapeNet names a category: by eight digits, of this page or not."""
    return re.fullmatch("[0-9]{8}", folder) is not None


def category_name(folder: str) -> str:
    """The word for a synset of this page; any other name stays as it is.

    >>> category_name("03797390"), category_name("09999999"), category_name("teapots")
    ('mug', '09999999', 'teapots')
    """
    return SYNSETS.get(folder, folder)
