"""Files that list shapes: read whole, as text or JSON, if they are of bounded size."""

import json
from pathlib import Path

from shapeprior.errors import DatasetError

MAX_BYTES = 256 << 20


def read_text(path: Path) -> str:
    """A file's text, without byte-order mark; raises DatasetError if it is missing, too large or not UTF-8."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DatasetError(f"{path}: {size >> 20} MiB; expected a list of at most {MAX_BYTES >> 20}; split it")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}; expected a readable list of meshes; check the name") from None
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8 at byte {error.start}; expected text; save the file as UTF-8") from None


def read_json(path: Path) -> object:
    """A file's JSON; raises DatasetError, with the line, if it is none."""
    try:
        return json.loads(read_text(path))
    # A RecursionError comes from brackets nested a thousand deep.
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise DatasetError(f"{path}: not JSON ({reason}); expected a list of meshes; mend the file") from None
