"""Errors that a user can cause and mend, as one tree, and the text of other libraries' errors on one line.

Each message is one line: the file, what was found, what was expected, and what to try next.

ShapePriorError
├── MeshError            a mesh file that cannot be read, or a mesh that has no inside
├── ScanError            a partial view that cannot be read, or that holds nothing to complete
├── DatasetError         a data set that is missing, broken, or made with other settings
├── CheckpointError      a run folder or weights file that is missing, truncated, or of another version
├── ConfigError          a setting outside its range, or an unknown key or name
├── ReportError          an evaluation's folder that is missing, broken, or of another version
├── OutputError          a place that cannot be written
├── CompletionError      the solver found no surface
└── UnexplainedError     a scan was completed by a shape that does not explain it

The command line prints the message and exits with code 1, or with code 3 for an UnexplainedError. Any other exception
that escapes is a defect of this package.
"""


class ShapePriorError(Exception):
    """Base class of every error that a user can cause and mend."""


class MeshError(ShapePriorError):
    """A mesh that cannot be read or cleaned, or that has no inside."""


class ScanError(ShapePriorError):
    """A partial view that cannot be read, or that holds nothing to complete."""


class DatasetError(ShapePriorError):
    """A data set that is missing, broken, or was made with other settings."""


class CheckpointError(ShapePriorError):
    """A run folder or weights file that is missing, truncated, or of another version."""


class ConfigError(ShapePriorError):
    """A setting outside its range, or an unknown key or name."""


class ReportError(ShapePriorError):
    """An evaluation's folder that is missing, broken, or of another version."""


class OutputError(ShapePriorError):
    """A file or folder that cannot be written."""


class CompletionError(ShapePriorError):
    """The solver found no surface."""


class UnexplainedError(ShapePriorError):
    """A scan was completed by a shape that does not explain it."""


MAX_ERROR_LENGTH = 200
"""Characters of another library's error that are repeated in a message."""


def error_text(error: BaseException) -> str:
    """Return another library's error as one line of bounded length, or the name of its class if it says nothing."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return one_line(text)[:MAX_ERROR_LENGTH] or type(error).__name__


def one_line(text: str) -> str:
    """Join the lines of a text, with one space between words."""
    return " ".join(text.split())
