"""From the path of a mesh file to a `MeshSource`: the file, the id of its shape, and what its collection says of it.

All layouts of collections take the same way. They list paths (`mesh_files`, `subfolders`, `files_in`), make a source of
each (`MeshSource.below`), and give all of them safe and unique ids at once (`with_unique_ids`).
"""

import math
import os
import re
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from shapeprior.errors import ConfigError, DatasetError, MeshError
from shapeprior.io.files import MAX_LIST_BYTES, FileSpec
from shapeprior.io.meshes import MESH_SUFFIXES

UpAxis = Literal["x", "y", "z"]
Split = Literal["train", "test"]

UNITS = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "in": 0.0254, "ft": 0.3048}
"""Metres in one unit, by its name."""
MAX_ID_PART_LENGTH = 200
"""Characters of an id between two slashes. File systems allow 255 bytes, and numbers and suffixes need some of them."""
JUNK_FOLDERS = {"__MACOSX"}
"""Folders that archive programs add. Their files are named like the meshes but hold something else."""

MESH_LIST = FileSpec(
    error=DatasetError,
    expected="a list of meshes",
    advice="check the name, or mend the file",
    max_bytes=MAX_LIST_BYTES,
    advice_if_large="split it",
)
"""A CSV or JSON file that names meshes."""


@dataclass(frozen=True, kw_only=True)
class MeshSource:
    """One mesh file of a collection."""

    shape_id: str
    """Name of the shape, unique in the data set: the path of its files below the data set's folders, without suffix."""
    path: Path
    """Where the file is."""
    name: str
    """Path below the collection's folder, as it is recorded and printed."""
    category: str = ""
    """Category that the collection states, as a readable word (``mug``, not ``03797390``); empty if it states none."""
    split: Split | None = None
    """Split that the collection states; None leaves it to the settings."""
    up: UpAxis | None = None
    """Up axis that the collection states; None leaves it to the settings."""
    unit: float | None = None
    """Metres in one unit of the file, if the collection states it."""
    variant: int = 0
    """0 for the mesh as it is; 1 and more are stretched copies of it (`shapeprior.datasets.splits`)."""

    @classmethod
    def below(
        cls,
        folder: Path,
        path: Path,
        *,
        shape_id: str | None = None,
        category: str = "",
        split: Split | None = None,
        up: UpAxis | None = None,
    ) -> "MeshSource":
        """Return the source of a file below a collection's folder.

        `shape_id` is the id that the shape would like to have, by default the file's path below the folder without
        suffix. `with_unique_ids` turns such wishes into ids.
        """
        name = name_below(folder, path)
        wanted_id = without_suffix(name) if shape_id is None else shape_id
        return cls(shape_id=wanted_id, path=path, name=name, category=category, split=split, up=up)


def with_unique_ids(sources: Sequence[MeshSource], *, taken: Collection[str] = ()) -> list[MeshSource]:
    """Return the sources, in order, each with a safe id that no other source and none of `taken` has.

    `shape_ids` makes these ids of the ones that the sources would like to have.
    """
    ids = shape_ids([source.shape_id for source in sources], taken=taken)
    return [replace(source, shape_id=shape_id) for source, shape_id in zip(sources, ids, strict=True)]


def shape_ids(names: Sequence[str], *, taken: Collection[str] = ()) -> list[str]:
    """Return one id for each name, in order: the name in letters, digits, '.', '_' and '-' between slashes.

    Names are relative paths with slashes and without suffix. If two names would share an id, the later one gets a
    number. Ids that differ only in case count as the same, since they would share a file on some systems. `taken` are
    ids that are in use already.

    >>> shape_ids(["mugs/a b", "mugs/a_b", "../.hidden"])
    ['mugs/a_b', 'mugs/a_b_2', '_./_hidden']
    """
    used = {shape_id.lower() for shape_id in taken}
    next_numbers: dict[str, int] = {}
    ids = []
    for name in names:
        stem = "/".join(_safe_part(part) for part in name.split("/"))
        candidate, number = stem, next_numbers.get(stem.lower(), 2)
        while candidate.lower() in used:
            candidate, number = f"{stem}_{number}", number + 1
        next_numbers[stem.lower()] = number
        used.add(candidate.lower())
        ids.append(candidate)
    return ids


def _safe_part(part: str) -> str:
    return re.sub(r"^[.-]", "_", re.sub(r"[^A-Za-z0-9._-]", "_", part[:MAX_ID_PART_LENGTH])) or "_"


def name_below(folder: Path, path: Path) -> str:
    """Return the path below a folder as text with slashes, with characters that cannot be printed escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in path.relative_to(folder).as_posix()
    )


def without_suffix(name: str) -> str:
    """Return a file's name below its collection without the last suffix.

    >>> without_suffix("v1.0/mug.v2.obj")
    'v1.0/mug.v2'
    """
    folder, slash, file = name.rpartition("/")
    return folder + slash + (file.rpartition(".")[0] or file)


def mesh_files(folder: Path) -> list[Path]:
    """Return every mesh file below a folder, at any depth, sorted by name; hidden files and junk are left out.

    Linked folders are followed after the real ones, and each folder once, so that loops end. A link that leads nowhere
    is listed like a file, so that opening it reports the fault. Raises MeshError if a folder cannot be listed.
    """
    found: list[Path] = []
    visited: set[tuple[int, int]] = set()
    folders, links = deque([folder]), deque[Path]()
    while folders or links:
        current = folders.popleft() if folders else links.popleft()
        entries = _visible_entries(current)
        identity = current.stat()
        if (identity.st_dev, identity.st_ino) in visited:
            continue
        visited.add((identity.st_dev, identity.st_ino))
        for path in entries:
            if os.path.isdir(path):
                (links if path.is_symlink() else folders).append(path)
            elif path.suffix.lower() in MESH_SUFFIXES:
                found.append(path)
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def subfolders(folder: Path) -> list[Path]:
    """Return the folders directly below a folder, sorted, linked ones included.

    Raises MeshError if it cannot be listed.
    """
    return [path for path in _visible_entries(folder) if os.path.isdir(path)]


def files_in(folder: Path, suffix: str) -> list[Path]:
    """Return the files directly below a folder with a suffix, sorted; raises MeshError if it cannot be listed."""
    return [path for path in _visible_entries(folder) if path.suffix.lower() == suffix and not os.path.isdir(path)]


def _visible_entries(folder: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        if not folder.is_dir():
            raise MeshError(f"{folder}: not a folder; expected a folder of meshes; name one") from None
        raise MeshError(
            f"{folder}: cannot be listed ({error.strerror}); expected a readable folder; check its access rights"
        ) from None
    return [folder / name for name in names if not name.startswith(".") and name not in JUNK_FOLDERS]


def parse_unit(value: str | float | int) -> float:
    """Return the metres in one unit, given the unit's name or that number itself; raises ConfigError.

    >>> parse_unit("mm"), parse_unit("0.0254")
    (0.001, 0.0254)
    """
    text = str(value).strip().lower()
    if text in UNITS:
        return UNITS[text]
    try:
        metres = float(text)
    except ValueError:
        metres = math.nan
    if not (math.isfinite(metres) and metres > 0.0):
        raise ConfigError(f"unit {str(value)!r}; expected one of {', '.join(UNITS)}, or the metres in one unit")
    return metres


def file_up_axis(path: str | os.PathLike[str]) -> UpAxis | None:
    """Return the up axis that a file's format fixes, judged by its suffix; None for OBJ, PLY, STL and OFF.

    In glTF 2.0 (section 3.4) +y is up.
    """
    return "y" if _is_gltf(path) else None


def file_unit(path: str | os.PathLike[str]) -> float | None:
    """Return the metres in one unit that a file's format fixes, judged by its suffix; None for OBJ, PLY, STL and OFF.

    In glTF 2.0 (section 3.4) all lengths are in metres.
    """
    return 1.0 if _is_gltf(path) else None


def _is_gltf(path: str | os.PathLike[str]) -> bool:
    return Path(path).suffix.lower() == ".glb"
