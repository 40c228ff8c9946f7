"""Results that outlive a run: a JSON file each, which a later run reads if nothing that it depends on has changed.

Evaluation and the completion of a folder keep a row for every job, so that a run that was ended goes on where it
stopped. Data sets keep records of another kind (`shapeprior.datasets.manifest`): those survive a change of some of
their settings, are corrected in place when a source moves, and may lie at a URL.
"""

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shapeprior.io.files import write_bytes


@dataclass(frozen=True, kw_only=True)
class ResultRow:
    """The file of one result, and all that the result depends on."""

    path: Path
    """The JSON file: an object of two entries, the dependencies and the result."""
    dependencies: object
    """Everything that the result depends on, or a digest of it, as a value that JSON can hold."""
    dependencies_name: str = "settings"
    """Key of the dependencies in the file."""
    result_name: str = "result"
    """Key of the result in the file."""

    def read(self) -> dict[str, Any] | None:
        """Return the result of an earlier run, or None.

        None stands for no file, a damaged file, and a result of other dependencies.

        The result may hold anything, since the file may have been edited: check the entries that you use.
        """
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            dependencies, result = found[self.dependencies_name], found[self.result_name]
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None
        # Compared as JSON has them: a tuple has become a list, and so on.
        same = dependencies == json.loads(json.dumps(self.dependencies))
        return result if same and isinstance(result, dict) else None

    def write(self, result: Mapping[str, object]) -> None:
        """Write the result with its dependencies, atomically. Raises OutputError."""
        document = {self.dependencies_name: self.dependencies, self.result_name: result}
        write_bytes(self.path, (json.dumps(document, indent=1) + "\n").encode())

    def discard(self, files: Iterable[Path] = ()) -> None:
        """Remove the row, then the files that belong to it; what cannot be removed stays.

        In this order, since files without a row are made again, but a row is believed.
        """
        for path in (self.path, *files):
            with contextlib.suppress(OSError):
                path.unlink()
