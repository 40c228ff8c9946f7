"""What can go wrong for a user, as one tree.

ShapePriorError          one line: the file, what was found, what was expected, what to do
├── MeshError            a mesh file that cannot be read, or a mesh without an inside
├── ScanError            a partial view that cannot be read or holds nothing to complete
├── DatasetError         a data set folder that is missing, broken or made with other settings
├── CheckpointError      a run folder or weights file that is missing, truncated or of another version
├── ConfigError          a setting outside its range, an unknown key or name
├── ReportError          an evaluation's folder that is missing or broken
├── OutputError          a place that cannot be written
├── CompletionError      the solver found no surface
└── UnexplainedError     the command line's: a scan was completed by a shape that does not explain it

The command line prints the message and exits with 1, or with 3 for the last of them; anything else that escapes is a defect
of this package.
"""


class ShapePriorError(Exception):
    """Base of every error that a user can cause and mend."""


class MeshError(ShapePriorError):
    """A mesh that cannot be read, cleaned or given an inside."""


class ScanError(ShapePriorError):
    """A partial view that cannot be read or holds nothing to complete."""


class DatasetError(ShapePriorError):
    """A data set folder that is missing, broken or was made with other settings."""


class CheckpointError(ShapePriorError):
    """A run folder or weights file that is missing, truncated or of another version."""


class ConfigError(ShapePriorError):
    """A setting outside its range, an unknown key or an unknown name."""


class ReportError(ShapePriorError):
    """An evaluation's folder that is missing, broken or of another version."""


class OutputError(ShapePriorError):
    """A file or folder that cannot be written."""


class CompletionError(ShapePriorError):
    """No surface came out of the solver."""


class UnexplainedError(ShapePriorError):
    """A scan was completed, and the result does not explain it."""
