"""Names of shapes, made of names of files: safe in any folder, unique, and still recognisable."""

import re
from collections.abc import Collection, Sequence

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
