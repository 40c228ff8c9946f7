"""DeepSDF's split files: which instances of which classes make up a training or test set.

A split is JSON, ``{dataset: {class: [instance, ...]}}``, as in the released code's examples/splits (Park et al. 2019).

Samples that DeepSDF's own preprocessing made (Park et al. 2019, the released code), to train on without its meshes.

``SdfSamples/<dataset>/<class>/<instance>.npz`` holds rows (x, y, z, sdf), the outside ones in `pos`, the others in `neg`.
They lie in the unit frame: the released code normalises as `Similarity.to_unit_sphere` does (bounding-box centre of the
vertices that faces use, farthest of them at radius 1/1.03), and does not turn the mesh. Its distances are those to the
nearest of many rendered surface points, and so approximate.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
from jaxtyping import Float

from shapeprior.datasets.mesh_source import (
    MESH_LIST,
    MeshSource,
    files_in,
    mesh_files,
    name_below,
    shape_ids,
    subfolders,
)
from shapeprior.datasets.shapenet import MODEL_FILES, SYNSETS, category_name
from shapeprior.errors import ConfigError, DatasetError, MeshError
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.meshes import MESH_SUFFIXES
from shapeprior.io.npz import read_float_arrays
from shapeprior.sdf.sampling import SdfSamples


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
    content = MESH_LIST.read_json(path, object)
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


SAMPLES_FOLDER = "SdfSamples"
NORMALIZATION_FOLDER = "NormalizationParameters"
MAX_COORDINATE = 2.0
"""Samples lie in the cube [-1, 1]³ or near the surface in it; farther ones are of another frame."""


def find_deepsdf_samples(root: Path, *, split: Path | None = None) -> list[MeshSource]:
    """The samples below a DeepSDF data folder, sorted; with a split (a file, or a folder of them), those that it names.

    `root` holds SdfSamples, or is it. An entry of the split whose file is missing stays a source, to be refused by name.
    Raises MeshError if there are none, and what `read_split` does.
    """
    folder = root / SAMPLES_FOLDER if os.path.isdir(root / SAMPLES_FOLDER) else root
    entries = _all_entries(folder) if split is None else read_split(split)
    if not entries:
        raise MeshError(
            f"{root}: no {SAMPLES_FOLDER}/<dataset>/<class>/<instance>.npz; expected a data folder of DeepSDF; name another"
        )
    return entry_sources(
        entries,
        folder,
        lambda entry: folder / entry.dataset / entry.folder / f"{entry.instance}.npz",
        root if split is None else split,
    )


def read_deepsdf_samples(path: Path, *, max_samples: int, rng: np.random.Generator) -> SdfSamples:
    """A random `max_samples` of a file's samples in random order, or all if there are fewer; sdf negative inside.

    Rows with NaN or infinity are dropped, as DeepSDF drops NaN. Inside and outside keep their shares of the file.

    Raises MeshError if the file cannot be read, has no sample on one of the sides, has one on the wrong side, or lies in
    another frame; ConfigError if `max_samples` is not positive.
    """
    if max_samples < 1:
        raise ConfigError(f"max_samples = {max_samples}; expected at least 1")
    arrays = read_float_arrays(path, ("pos", "neg"))
    outside, inside = (_finite_rows(path, name, arrays[name]) for name in ("pos", "neg"))
    wrong = int(np.count_nonzero(outside[:, 3] < 0.0) + np.count_nonzero(inside[:, 3] > 0.0))
    if wrong:
        raise MeshError(
            f"{path}: {wrong} distances of the wrong sign; expected sdf above 0 in pos and below in neg; write it again"
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
    """``T_unit_world`` of a file of NormalizationParameters: ``p_unit = (p_world + offset) * scale``. Raises MeshError."""
    arrays = read_float_arrays(path, ("offset", "scale"))
    offset, scale = (np.ravel(arrays[name]).astype(np.float64) for name in ("offset", "scale"))
    if offset.shape != (3,) or scale.shape != (1,):
        raise MeshError(
            f"{path}: offset {arrays['offset'].shape}, scale {arrays['scale'].shape}; expected 3 and 1 numbers; write it again"
        )
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            return Similarity(scale=float(scale[0]), rotation=np.eye(3), offset=float(scale[0]) * offset)
    except ValueError as error:
        raise MeshError(f"{path}: {error}; expected DeepSDF's normalization; write it again") from None


def normalization_path(samples: Path) -> Path | None:
    """The file of NormalizationParameters that belongs to a file of samples; None if it is not there.

    The released code writes one only for shapes whose surface it sampled, too.
    """
    parts = list(samples.absolute().parts)
    if SAMPLES_FOLDER not in parts:
        return None
    parts[len(parts) - 1 - parts[::-1].index(SAMPLES_FOLDER)] = NORMALIZATION_FOLDER
    path = Path(*parts)
    return path if os.path.exists(path) else None


def _all_entries(folder: Path) -> list[SplitEntry]:
    return [
        SplitEntry(dataset=dataset.name, folder=category.name, instance=file.stem, split=None)
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
    """Refuse points out of bounds, and distances that no surface within the unit sphere has from its point."""
    if np.abs(rows[:, :3]).max() > MAX_COORDINATE:
        raise MeshError(
            f"{path}: a sample at {np.abs(rows[:, :3]).max():.3g} from the middle; expected the unit sphere and a little "
            "around it; normalise the shape"
        )
    excess = np.abs(rows[:, 3]) - np.linalg.norm(rows[:, :3], axis=1) - 1.0
    if excess.max() > 1e-3:
        raise MeshError(
            f"{path}: a distance of {rows[excess.argmax(), 3]:.3g}; expected those to a surface in the unit sphere; "
            "write the distances in the unit of the points"
        )
