"""A run's folder belongs to one run: the settings and the data that it was begun with.

The log of a training run: log.jsonl, one JSON object an epoch.

Ctrl-C that waits for the end of what is being done, if that end is near.
"""

import json
import signal
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType, TracebackType

from shapeprior.errors import CheckpointError, OutputError
from shapeprior.io.files import write_bytes
from shapeprior.models.checkpoint import RunConfig


def begin_or_resume_run(run: Path, config: RunConfig) -> None:
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


GRACE_SECONDS = 5.0
"""How long after Ctrl-C work may go on; the second Ctrl-C ends it at once."""


class Interruption:
    """While entered, the first Ctrl-C is noted; `asked` and `overdue` tell of it. Outside the main thread it does nothing."""

    def __init__(self) -> None:
        self._asked_at: float | None = None
        self._replaced = False

    @property
    def asked(self) -> bool:
        """Whether there was a Ctrl-C."""
        return self._asked_at is not None

    @property
    def overdue(self) -> bool:
        """Whether it was longer ago than what one waits for."""
        return self._asked_at is not None and time.monotonic() - self._asked_at > GRACE_SECONDS

    def __enter__(self) -> "Interruption":
        self._before = signal.getsignal(signal.SIGINT)
        # A shell starts what is to run in the background with Ctrl-C ignored; that must stay so.
        if threading.current_thread() is threading.main_thread() and self._before is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._note)
            self._replaced = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._replaced:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self._asked_at = time.monotonic()
