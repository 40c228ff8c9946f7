"""One mesh file that is to become a shape: where it lies and what its collection says of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

UpAxis = Literal["x", "y", "z"]


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
    """0 for the mesh as it is; others are stretched copies of it (`shapeprior.variants`)."""
