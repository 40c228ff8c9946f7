"""The log of a training run: log.jsonl, one JSON object an epoch."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from shapeprior.errors import OutputError
from shapeprior.io.files import write_bytes


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """One line of the log."""

    epoch: int
    """Epochs finished."""
    epochs: int
    """Epochs in all."""
    loss: float
    """Mean |f − s| over the epoch's samples, both clamped (DeepSDF, equation 4), in unit-sphere radii, whatever is minimised."""
    objective: float
    """Mean of what is minimised, the prior on codes included."""
    code_length: float
    """Mean length of the codes."""
    rate: float
    """Share of the start's learning rate."""
    seconds: float
    """Seconds of training so far, those before an interruption included."""


class TrainLog:
    """The log of a run, a line longer after every epoch."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, report: EpochReport) -> None:
        """Add a line. Raises OutputError."""
        try:
            with open(self._path, "a", encoding="utf-8") as log:
                log.write(json.dumps(asdict(report)) + "\n")
        except OSError as error:
            raise OutputError(
                f"{self._path}: {error.strerror}; expected a file that can be written; free the disk, then start the same "
                "command again to go on from the last checkpoint"
            ) from None

    def trim(self, epoch: int) -> float:
        """Drop the lines of epochs after this one, and half lines; returns the seconds spent on the others."""
        try:
            text = self._path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return 0.0
        except OSError as error:
            raise OutputError(f"{self._path}: {error.strerror}; expected a run's log; remove it") from None
        kept, seconds = [], 0.0
        for line in text.splitlines():
            try:
                report = json.loads(line)
                if report["epoch"] > epoch:
                    continue
                seconds = float(report["seconds"])
            # A line that was cut when the disk was full or the process was killed.
            except (ValueError, TypeError, KeyError, RecursionError):
                continue
            kept.append(line)
        write_bytes(self._path, "".join(line + "\n" for line in kept).encode())
        return seconds
