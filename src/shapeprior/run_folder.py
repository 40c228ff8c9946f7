"""A run's folder belongs to one run: the settings and the data that it was begun with."""

import json
from pathlib import Path

from shapeprior.errors import CheckpointError
from shapeprior.io.files import write_bytes
from shapeprior.models.checkpoint import RunConfig


def claim_run_folder(run: Path, config: RunConfig) -> None:
    """Begin a run in a new or empty folder, or go on with one; raises CheckpointError if it holds anything else, OutputError."""
    if (run / "config.json").exists():
        if RunConfig.read(run).to_json() != config.to_json():
            raise CheckpointError(
                f"{run}: holds a run with other settings or other data; expected the same to go on; "
                "choose another folder or delete it"
            )
    # What a killed first write left behind starts with a dot, and does not count.
    elif run.exists() and (not run.is_dir() or any(not entry.name.startswith(".") for entry in run.iterdir())):
        raise CheckpointError(f"{run}: is not empty and not a run; expected a new folder; choose another one")
    else:
        write_bytes(run / "config.json", (json.dumps(config.to_json(), indent=1) + "\n").encode())
