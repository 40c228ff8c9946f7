"""Length units and up axes: what users call them, and what a mesh format says of them."""

import math
import os
from pathlib import Path

from shapeprior.errors import ConfigError
from shapeprior.mesh_source import UpAxis

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
