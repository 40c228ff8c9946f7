"""Whether a place can take a data set: it is new, or holds one that was begun with the same settings."""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from shapeprior.errors import DatasetError, OutputError
from shapeprior.io.store import LocalStore, Store

SETTINGS = "settings.json"
_ABSENT = "nothing"


def claim(store: Store, settings: Mapping[str, Any], *, loose: frozenset[str]) -> dict[str, Any] | None:
    """The settings that a data set at `store` was begun with; None if the place is new.

    Settings named in `loose` (as ``prepare.min_confidence``) may differ. Raises DatasetError if another does, or if something
    else is there, and OutputError if the place is no folder.
    """
    if not store.exists(SETTINGS):
        others = _contents(store)
        if others:
            raise DatasetError(
                f"{store.describe('')}: holds '{others[0]}' and is not a data set; expected a new folder; choose another one"
            )
        return None
    place = store.describe(SETTINGS)
    try:
        found = json.loads(store.read(SETTINGS))
        if not isinstance(found, dict):
            raise ValueError(f"{type(found).__name__} in place of an object")
    except (ValueError, RecursionError) as error:
        raise DatasetError(
            f"{place}: cannot be read ({error}); expected the settings of a data set; choose another folder or delete this one"
        ) from None
    for name, before, asked in _differences(found, settings):
        if name not in loose:
            raise DatasetError(
                f"{store.describe('')}: was prepared with other settings: {name} = {before}, now {asked}; expected the same; "
                "choose another folder or the earlier setting"
            )
    return found


def write_settings(store: Store, settings: Mapping[str, Any]) -> None:
    """Write or replace the settings. Raises OutputError."""
    store.write(SETTINGS, (json.dumps(settings, indent=1, allow_nan=False) + "\n").encode())


def _contents(store: Store) -> list[str]:
    if not isinstance(store, LocalStore):
        return store.names("")
    if store.root.exists() and not store.root.is_dir():
        raise OutputError(f"{store.root}: is a file; expected a new folder; choose another output")
    # What a killed first write left behind starts with a dot, and does not count.
    names = os.listdir(store.root) if store.root.exists() else []
    return sorted(name for name in names if not name.startswith("."))


def _differences(found: object, asked: object, name: str = "") -> Iterator[tuple[str, str, str]]:
    """Names of settings that differ, as keys with dots, and what they are on either side."""
    if isinstance(found, dict) and isinstance(asked, dict):
        for key in sorted(found.keys() | asked.keys()):
            below = f"{name}.{key}" if name else key
            yield from _differences(found.get(key, _ABSENT), asked.get(key, _ABSENT), below)
    elif found != asked:
        yield name, str(found), str(asked)
