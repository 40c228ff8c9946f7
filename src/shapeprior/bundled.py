"""What ships inside the package: small pretrained priors and the demo's scan."""

import os
from importlib.resources import files
from pathlib import Path


def bundled_folder() -> Path:
    """The package's data folder."""
    return Path(str(files("shapeprior"))) / "data"


def bundled_priors() -> list[str]:
    """Names of the priors that ship with the package."""
    return sorted(path.parent.name for path in (bundled_folder() / "priors").glob("*/config.json"))


def bundled_prior_path(name: str | os.PathLike[str]) -> Path | None:
    """Folder of a bundled prior, or None: a path that exists on disk is meant before a bundled name."""
    if Path(name).exists() or str(name) not in bundled_priors():
        return None
    return bundled_folder() / "priors" / str(name)
