"""The file formats of DeepSDF's released code (Park et al. 2019): split files, samples and normalisation parameters.

A split file says which instances of which classes make up a training or test set, as in the released code's
examples/splits: ``{dataset: {class: [instance, ...]}}``, in JSON.

Samples that DeepSDF's own preprocessing made can be trained on without the meshes.
``SdfSamples/<dataset>/<class>/<instance>.npz`` holds rows (x, y, z, sdf): points outside in array `pos`, the others in
`neg`. They lie in the unit frame: the released code normalises as `Similarity.to_unit_sphere` does (bounding-box centre
of the vertices that faces use, farthest of them at radius 1/1.03) and does not rotate the mesh. Its distances are those
to the nearest of many rendered surface points, so they are approximate.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Float

from shapeprior.datasets.mesh_source import (
    MESH_LIST,
    MeshSource,
    Split,
    files_in,
    mesh_files,
    subfolders,
    with_unique_ids,
)
from shapeprior.datasets.shapenet import MODEL_FILES, SYNSETS, category_name
from shapeprior.errors import ConfigError, DatasetError, MeshError
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.meshes import MESH_SUFFIXES
from shapeprior.io.npz import read_float_arrays
from shapeprior.sdf.sampling import SdfSamples

SAMPLES_FOLDER = "SdfSamples"
NORMALIZATION_FOLDER = "NormalizationParameters"
MAX_COORDINATE = 2.0
"""Samples lie in the cube [-1, 1]³ or near the surface in it. Larger coordinates belong to another frame."""


@dataclass(frozen=True, kw_only=True)
class SplitEntry:
    """One instance of a split."""

    dataset: str
    """Name of the data source, such as ``ShapeNetV2``."""
    class_name: str
    """Class, which is a folder's name: for ShapeNet the synset."""
    instance: str
    """Name of the instance's folder or file, without suffix."""
    split: Split | None
    """Split that the name of the split file states; None if it states none."""


def is_split(content: object) -> bool:
    """Return whether parsed JSON has the form of a split: lists of instances, two objects deep."""
    return (
        isinstance(content, dict)
        and len(content) > 0
        and all(
            isinstance(classes, dict) and all(isinstance(names, list) for names in classes.values())
            for classes in content.values()
        )
    )


def read_split(path: Path) -> list[SplitEntry]:
    """Return the entries of a split file, or of all split files of a folder, sorted.

    The last `train` or `test` that is a word of its own in a file's name (``sv2_chairs_train.json``) is the split of
    its entries. Raises DatasetError if a file has another form, if a name leads out of its folder, or if an instance
    appears twice in a file or in both splits.
    """
    files = files_in(path, ".json") if os.path.isdir(path) else [path]
    if not files:
        raise DatasetError(f"{path}: no split files; expected .json files in the folder; name another one")
    found: dict[tuple[str, str, str], tuple[SplitEntry, Path]] = {}
    for file in files:
        for entry in _read_split_file(file):
            key = (entry.dataset, entry.class_name, entry.instance)
            if key in found:
                earlier, earlier_file = found[key]
                if earlier_file == file:
                    raise DatasetError(
                        f"{file}: names {'/'.join(key)} twice; expected each shape once; drop one of the two"
                    )
                if earlier.split != entry.split:
                    raise DatasetError(
                        f"{file}: {'/'.join(key)} is also in {earlier_file.name}; expected each shape in one split; "
                        "drop it from one of the files"
                    )
            found.setdefault(key, (entry, file))
    if not found:
        raise DatasetError(
            f"{path}: names no shapes; expected {{dataset: {{class: [instance, ...]}}}}; name another file"
        )
    return [entry for _, (entry, _) in sorted(found.items(), key=lambda item: item[0])]


def split_sources(split: Path, root: Path) -> list[MeshSource]:
    """Return the meshes of a split below `root`: one source for each entry, even if its mesh is missing.

    The mesh of an entry is ``<class>/<instance>/models/model_normalized.obj``, ``.../model.obj``, the only mesh below
    that folder, or ``<class>/<instance>.<suffix>``. `root` may hold a folder for each dataset above the classes.

    Raises the errors of `read_split`, and MeshError if there is no mesh at all, or if an entry has several meshes and
    none of them has one of these names.
    """
    if not os.path.isdir(root):
        raise MeshError(f"{root}: not a folder; expected the folder of the meshes that {split} names; name it")
    return entry_sources(read_split(split), root, lambda entry: _find_mesh(root, entry), split)


def entry_sources(
    entries: Sequence[SplitEntry], root: Path, locate: Callable[[SplitEntry], Path], where: Path
) -> list[MeshSource]:
    """Return the sources of entries; `locate` tells the path of an entry's file.

    Ids are ``<class>/<instance>``, below the dataset's name if there are several datasets. ShapeNet's classes have +y
    up. Raises MeshError, naming `where` and `root`, if none of the files exists.
    """
    paths = [locate(entry) for entry in entries]
    if not any(os.path.exists(path) for path in paths):
        raise MeshError(
            f"{where}: none of its {len(entries)} shapes is below {root}; expected files like {paths[0]}; "
            "name the folder that holds the classes"
        )
    several_datasets = len({entry.dataset for entry in entries}) > 1
    return with_unique_ids(
        [
            MeshSource.below(
                root,
                path,
                shape_id=f"{entry.dataset}/{entry.class_name}/{entry.instance}"
                if several_datasets
                else f"{entry.class_name}/{entry.instance}",
                category=category_name(entry.class_name),
                split=entry.split,
                up="y" if entry.class_name in SYNSETS else None,
            )
            for entry, path in zip(entries, paths, strict=True)
        ]
    )


def _read_split_file(path: Path) -> list[SplitEntry]:
    content = MESH_LIST.read_json(path, object)
    if not is_split(content):
        raise DatasetError(f"{path}: not a split; expected {{dataset: {{class: [instance, ...]}}}}; name another file")
    words = re.findall(r"(?:^|[._-])(train|test)(?=[._-]|$)", path.stem.lower())
    split = cast(Split | None, words[-1] if words else None)
    entries = []
    for dataset, classes in cast(dict[str, dict[str, list[object]]], content).items():
        for class_name, instances in classes.items():
            for instance in instances:
                for name in (dataset, class_name, instance):
                    if not isinstance(name, str) or not _stays_in_folder(name):
                        raise DatasetError(
                            f"{path}: name {str(name)[:80]!r} in {dataset[:80]!r}; "
                            "expected the name of a file or folder below it; correct it"
                        )
                entries.append(SplitEntry(dataset=dataset, class_name=class_name, instance=str(instance), split=split))
    return entries


def _stays_in_folder(name: str) -> bool:
    """Return whether a relative path is printable, has no hidden parts and does not lead out of its folder."""
    return name.isprintable() and "\\" not in name and all(part and part[0] != "." for part in name.split("/"))


def _find_mesh(root: Path, entry: SplitEntry) -> Path:
    """Return the path of an entry's mesh, or the path where it is expected if there is none."""
    base = root / entry.dataset if os.path.isdir(root / entry.dataset) else root
    folder = base / entry.class_name / entry.instance
    for version in ("shapenet-v2", "shapenet-v1"):
        if os.path.exists(folder / MODEL_FILES[version]):
            return folder / MODEL_FILES[version]
    beside = [folder.with_name(folder.name + suffix) for suffix in MESH_SUFFIXES]
    found = [path for path in beside if os.path.exists(path)]
    found += mesh_files(folder) if os.path.isdir(folder) else []
    if len(found) > 1:
        raise MeshError(
            f"{folder}: {len(found)} meshes, such as {found[0].name} and {found[1].name}; expected one; "
            "remove the others, or name the meshes in a list"
        )
    return found[0] if found else folder / MODEL_FILES["shapenet-v2"]


def find_deepsdf_samples(root: Path, *, split: Path | None = None) -> list[MeshSource]:
    """Return the samples below a DeepSDF data folder, sorted; with a split (a file or a folder), those that it names.

    `root` is the folder SdfSamples or holds it. An entry of the split whose file is missing stays a source, so that
    reading it reports it by name. Raises the errors of `read_split`, and MeshError if there are no samples.
    """
    folder = root / SAMPLES_FOLDER if os.path.isdir(root / SAMPLES_FOLDER) else root
    entries = _entries_of_folder(folder) if split is None else read_split(split)
    if not entries:
        raise MeshError(
            f"{root}: no {SAMPLES_FOLDER}/<dataset>/<class>/<instance>.npz; expected a data folder of DeepSDF; "
            "name another one"
        )
    return entry_sources(
        entries,
        folder,
        lambda entry: folder / entry.dataset / entry.class_name / f"{entry.instance}.npz",
        root if split is None else split,
    )


def read_deepsdf_samples(path: Path, *, max_samples: int, rng: np.random.Generator) -> SdfSamples:
    """Return at most `max_samples` of a file's samples, chosen at random and in random order; sdf is negative inside.

    Rows with NaN or infinity are dropped, as DeepSDF drops NaN. Inside and outside keep their shares of the file, up to
    chance.

    Raises MeshError if the file cannot be read, if a side has no samples, if a sample is on the wrong side, or if the
    file is in another frame; ConfigError if `max_samples` is not positive.
    """
    if max_samples < 1:
        raise ConfigError(f"max_samples = {max_samples}; expected at least 1")
    arrays = read_float_arrays(path, ("pos", "neg"))
    outside, inside = (_finite_rows(path, name, arrays[name]) for name in ("pos", "neg"))
    num_wrong = int(np.count_nonzero(outside[:, 3] < 0.0) + np.count_nonzero(inside[:, 3] > 0.0))
    if num_wrong:
        raise MeshError(
            f"{path}: {num_wrong} distances of the wrong sign; expected sdf above 0 in pos and below in neg; "
            "write it again"
        )
    rows = np.concatenate([outside, inside])
    _refuse_other_frame(path, rows)
    chosen = rows[rng.permutation(len(rows))[:max_samples]]
    return SdfSamples(
        points_unit=np.ascontiguousarray(chosen[:, :3]),
        sdf=np.ascontiguousarray(chosen[:, 3]),
        strategy=np.zeros(len(chosen), dtype=np.uint8),
        surface=None,
    )


def read_deepsdf_normalization(path: Path) -> Similarity:
    """Return ``T_unit_world`` of a normalisation file: ``p_unit = (p_world + offset) * scale``. Raises MeshError."""
    arrays = read_float_arrays(path, ("offset", "scale"))
    offset, scale = (np.ravel(arrays[name]).astype(np.float64) for name in ("offset", "scale"))
    if offset.shape != (3,) or scale.shape != (1,):
        raise MeshError(
            f"{path}: offset {arrays['offset'].shape}, scale {arrays['scale'].shape}; expected 3 and 1 numbers; "
            "write it again"
        )
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            return Similarity(scale=float(scale[0]), rotation=np.eye(3), offset=float(scale[0]) * offset)
    except ValueError as error:
        raise MeshError(f"{path}: {error}; expected DeepSDF's normalization; write it again") from None


def normalization_path(samples: Path) -> Path | None:
    """Return the normalisation file that belongs to a file of samples; None if there is none.

    The released code writes one only for shapes whose surface it sampled as well.
    """
    parts = list(samples.absolute().parts)
    if SAMPLES_FOLDER not in parts:
        return None
    parts[len(parts) - 1 - parts[::-1].index(SAMPLES_FOLDER)] = NORMALIZATION_FOLDER
    path = Path(*parts)
    return path if os.path.exists(path) else None


def _entries_of_folder(folder: Path) -> list[SplitEntry]:
    return [
        SplitEntry(dataset=dataset.name, class_name=category.name, instance=file.stem, split=None)
        for dataset in subfolders(folder)
        for category in subfolders(dataset)
        for file in files_in(category, ".npz")
    ]


def _finite_rows(path: Path, name: str, array: Float[np.ndarray, "..."]) -> Float[np.ndarray, "rows 4"]:
    if array.ndim != 2 or array.shape[1] != 4:
        raise MeshError(f"{path}: array '{name}' of shape {array.shape}; expected (samples, 4); write it again")
    with np.errstate(over="ignore"):
        rows = array.astype(np.float32)
    rows = rows[np.isfinite(rows).all(axis=1)]
    if len(rows) == 0:
        side = "outside" if name == "pos" else "inside"
        raise MeshError(f"{path}: no samples {side}; expected some on each side of the surface; drop the file")
    return rows


def _refuse_other_frame(path: Path, rows: Float[np.ndarray, "rows 4"]) -> None:
    """Raise MeshError for points out of bounds, and for distances that no surface in the unit sphere can have."""
    if np.abs(rows[:, :3]).max() > MAX_COORDINATE:
        raise MeshError(
            f"{path}: a sample with a coordinate of {np.abs(rows[:, :3]).max():.3g}; "
            "expected points in the unit sphere or a little outside it; normalise the shape"
        )
    excess = np.abs(rows[:, 3]) - np.linalg.norm(rows[:, :3], axis=1) - 1.0
    if excess.max() > 1e-3:
        raise MeshError(
            f"{path}: a distance of {rows[excess.argmax(), 3]:.3g}; "
            "expected distances to a surface in the unit sphere; "
            "write the distances in the unit of the points"
        )
