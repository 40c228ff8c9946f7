"""One mesh file that is to become a shape: where it lies and what its collection says of it.

Length units and up axes: what users call them, and what a mesh format says of them.

Names of shapes, made of names of files: safe in any folder, unique, and still recognisable.

What lies in a folder of meshes, at any depth, whatever its links do.
"""

import math
import os
import re
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shapeprior.errors import ConfigError, DatasetError, MeshError
from shapeprior.io.files import MAX_LIST_BYTES, FileSpec
from shapeprior.io.meshes import MESH_SUFFIXES

UpAxis = Literal["x", "y", "z"]
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
    """Name of the shape, unique in the data set; the path below the data set's folders."""
    path: Path
    """Where the file is."""
    name: str
    """Path below the collection's folder, as recorded and printed."""
    category: str = ""
    """Category that the collection states, as a readable word (``mug``, not ``03797390``); empty if it states none."""
    split: Literal["train", "test"] | None = None
    """Split that the collection states; None leaves it to the settings."""
    up: UpAxis | None = None
    """Up axis that the collection states; None leaves it to the settings."""
    unit: float | None = None
    """Metres in one unit of the file, if the collection states it."""
    variant: int = 0
    """0 for the mesh as it is; others are stretched copies of it (`shapeprior.datasets.splits`)."""


UNITS = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "in": 0.0254, "ft": 0.3048}
"""Metres in one unit, by its name."""


def parse_unit(value: str | float | int) -> float:
    """Metres in one unit, from the unit's name or from the number itself; raises ConfigError.

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
    """Up axis that the format of a file fixes; None for OBJ, PLY, STL and OFF, which fix none.

    glTF 2.0, section 3.4: +y is up. The file itself is not read.
    """
    return "y" if Path(path).suffix.lower() == ".glb" else None


def file_unit(path: str | os.PathLike[str]) -> float | None:
    """Metres in one unit that the format of a file fixes; None for OBJ, PLY, STL and OFF, which fix none.

    glTF 2.0, section 3.4: all lengths are metres. The file itself is not read.
    """
    return 1.0 if Path(path).suffix.lower() == ".glb" else None


MAX_PART = 200
"""Characters of a part between slashes; file systems end at 255 bytes, some of which suffixes need."""


def shape_ids(names: Sequence[str], *, taken: Collection[str] = ()) -> list[str]:
    """One id for each name, in order: the name in letters, digits, '.', '_' and '-' between slashes.

    Names are relative, with slashes, without suffix. The later of two that would share an id gets a number; ids that
    differ in case only would share a file on some systems, so they count as the same. `taken` are ids that are in use.

    >>> shape_ids(["mugs/a b", "mugs/a_b", "../.hidden"])
    ['mugs/a_b', 'mugs/a_b_2', '_./_hidden']
    """
    used = {shape_id.lower() for shape_id in taken}
    numbers: dict[str, int] = {}
    ids = []
    for name in names:
        stem = "/".join(_safe_part(part) for part in name.split("/"))
        candidate, number = stem, numbers.get(stem.lower(), 2)
        while candidate.lower() in used:
            candidate, number = f"{stem}_{number}", number + 1
        numbers[stem.lower()] = number
        used.add(candidate.lower())
        ids.append(candidate)
    return ids


def without_suffix(name: str) -> str:
    """A file's name below its collection, without the last suffix.

    >>> without_suffix("v1.0/mug.v2.obj")
    'v1.0/mug.v2'
    """
    folder, slash, file = name.rpartition("/")
    return folder + slash + (file.rpartition(".")[0] or file)


def _safe_part(part: str) -> str:
    return re.sub(r"^[.-]", "_", re.sub(r"[^A-Za-z0-9._-]", "_", part[:MAX_PART])) or "_"


JUNK_FOLDERS = {"__MACOSX"}
"""Folders that archive programs add, full of files named as the meshes are."""


def mesh_files(folder: Path) -> list[Path]:
    """Every file below a folder whose suffix is a mesh's, sorted by name; hidden files and junk are left out.

    Linked folders are followed, after the real ones and each folder once, so that loops end. A link that leads nowhere
    is listed like a file: whoever opens it finds out. Raises MeshError if the folder or one below it cannot be listed.
    """
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    folders, links = deque([folder]), deque[Path]()
    while folders or links:
        current = folders.popleft() if folders else links.popleft()
        entries = _entries(current)
        identity = current.stat()
        if (identity.st_dev, identity.st_ino) in seen:
            continue
        seen.add((identity.st_dev, identity.st_ino))
        for path in entries:
            if os.path.isdir(path):
                (links if path.is_symlink() else folders).append(path)
            elif path.suffix.lower() in MESH_SUFFIXES:
                found.append(path)
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def subfolders(folder: Path) -> list[Path]:
    """The folders right below a folder, sorted, linked ones too; raises MeshError if it cannot be listed."""
    return [path for path in _entries(folder) if os.path.isdir(path)]


def files_in(folder: Path, suffix: str) -> list[Path]:
    """The files right below a folder that end in a suffix, sorted; raises MeshError if it cannot be listed."""
    return [path for path in _entries(folder) if path.suffix.lower() == suffix and not os.path.isdir(path)]


def name_below(folder: Path, path: Path) -> str:
    """A path below a folder as text with slashes; characters that cannot be printed are escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in path.relative_to(folder).as_posix()
    )


def _entries(folder: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        if not folder.is_dir():
            raise MeshError(f"{folder}: not a folder; expected a folder of meshes; name one") from None
        raise MeshError(
            f"{folder}: cannot be listed ({error.strerror}); expected a readable folder; check its access rights"
        ) from None
    return [folder / name for name in names if not name.startswith(".") and name not in JUNK_FOLDERS]
