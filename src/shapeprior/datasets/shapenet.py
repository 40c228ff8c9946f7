"""ShapeNetCore (Chang et al. 2015) as it is distributed: folders of categories that hold folders of models.

Category folders are named by synset, the eight digits of a concept in WordNet 3.0. According to the readme files, +y is
up in both versions. Objects face +x in version 1 and −z in version 2, so the two should not be mixed. Sizes are
normalised, so the length unit is unknown.
"""

import os
import re
from pathlib import Path
from typing import Literal

from shapeprior.datasets.mesh_source import MeshSource, subfolders, with_unique_ids
from shapeprior.errors import MeshError

ShapeNetVersion = Literal["shapenet-v1", "shapenet-v2"]

MODEL_FILES: dict[ShapeNetVersion, str] = {"shapenet-v1": "model.obj", "shapenet-v2": "models/model_normalized.obj"}
"""Path of a model's mesh below the model's folder."""
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
"""Each category's word, by its synset: the 55 categories of version 2, and bicycle and boat, which only version 1
has."""


def shapenet_sources(root: Path, version: ShapeNetVersion) -> list[MeshSource]:
    """Return one source for each model, sorted; `root` is the whole tree or the folder of one category.

    Ids are ``<synset>/<model>``. Every model folder below a synset is a source even if its mesh is missing, which is so
    for some of the distributed models. Folders with other names count as categories if they hold meshes at the same
    place. Raises MeshError if there is no mesh at all.
    """
    models = [
        (category, model)
        for category in _category_folders(root)
        for model in subfolders(category)
        if is_synset(_folder_name(category)) or os.path.exists(model / MODEL_FILES[version])
    ]
    if not any(os.path.exists(model / MODEL_FILES[version]) for _, model in models):
        found = shapenet_version(root)
        raise MeshError(
            f"{root}: no <synset>/<model>/{MODEL_FILES[version]}; expected the tree of {version}; "
            + (f"it looks like {found}: choose that layout" if found else "name another folder or layout")
        )
    return with_unique_ids(
        [
            MeshSource.below(
                root,
                model / MODEL_FILES[version],
                shape_id=f"{_folder_name(category)}/{model.name}",
                category=category_name(_folder_name(category)),
                up="y",
            )
            for category, model in models
        ]
    )


def shapenet_version(root: Path) -> ShapeNetVersion | None:
    """Return the version of a tree, by the first mesh found below a synset's folder; None if there is none."""
    for category in _category_folders(root):
        for model in subfolders(category) if is_synset(_folder_name(category)) else ():
            for version in ("shapenet-v2", "shapenet-v1"):
                if os.path.exists(model / MODEL_FILES[version]):
                    return version
    return None


def is_synset(folder: str) -> bool:
    """Return whether a folder has the name of a synset, eight digits, whether the synset is known or not."""
    return re.fullmatch("[0-9]{8}", folder) is not None


def category_name(folder: str) -> str:
    """Return the word for a known synset, and any other name unchanged.

    >>> category_name("03797390"), category_name("09999999"), category_name("teapots")
    ('mug', '09999999', 'teapots')
    """
    return SYNSETS.get(folder, folder)


def _category_folders(root: Path) -> list[Path]:
    return [root] if is_synset(_folder_name(root)) else subfolders(root)


def _folder_name(folder: Path) -> str:
    """Return the folder's own name, also for '.'."""
    return folder.name or folder.absolute().name
