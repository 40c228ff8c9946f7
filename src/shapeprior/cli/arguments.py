"""TODO arguments."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

UNSEEN_SEED = "Seed that the shapes are generated from; not 0, whose shapes the bundled priors were trained on."


Seed = Annotated[int, arg(help="Seed of every random choice; the same seed gives the same result.")]


Device = Annotated[str, arg(help="Where the work is done, as PyTorch names it: cpu, cuda, mps.")]


Files = tuple[Path, ...]


Up = Literal["auto", "x", "y", "z"]
