"""What lies in a folder of meshes, at any depth, whatever its links do."""

import os
from collections import deque
from pathlib import Path

from shapeprior.errors import MeshError
from shapeprior.io.meshes import MESH_SUFFIXES

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
