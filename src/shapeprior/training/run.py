"""The folder of a training run: its start or resumption, its log, and Ctrl-C while it is trained.

log.jsonl holds one JSON object for each epoch.
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

GRACE_SECONDS = 5.0
"""Training may go on for this long after the first Ctrl-C, to finish its epoch."""


def begin_or_resume_run(run: Path, config: RunConfig) -> None:
    """Write config.json to a new or empty folder, or check that the folder holds a run with the same config.

    Raises CheckpointError if the folder holds anything else, and OutputError if it cannot be written.
    """
    if (run / "config.json").exists():
        if RunConfig.read(run).to_json() != config.to_json():
            raise CheckpointError(
                f"{run}: holds a run with other settings or other data; expected the same to go on; "
                "choose another folder or delete it"
            )
    # A first write that was killed leaves a file whose name starts with a dot; it does not count.
    elif run.exists() and (not run.is_dir() or any(not entry.name.startswith(".") for entry in run.iterdir())):
        raise CheckpointError(f"{run}: is not empty and not a run; expected a new folder; choose another one")
    else:
        write_bytes(run / "config.json", (json.dumps(config.to_json(), indent=1) + "\n").encode())


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """One line of the log."""

    epoch: int
    """Number of finished epochs."""
    epochs: int
    """Number of all epochs."""
    loss: float
    """Mean |f − s| over the epoch's samples, both clamped (DeepSDF, equation 4), in unit-sphere radii, whatever is
    minimised."""
    objective: float
    """Mean of the objective that is minimised, with the prior on codes."""
    code_length: float
    """Mean length of the codes."""
    rate: float
    """Learning rate as a share of that at the start."""
    seconds: float
    """Seconds of training so far, with those before interruptions."""


class TrainLog:
    """The log of a run, which gets one line after each epoch."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, report: EpochReport) -> None:
        """Add a line. Raises OutputError."""
        try:
            with open(self._path, "a", encoding="utf-8") as log:
                log.write(json.dumps(asdict(report)) + "\n")
        except OSError as error:
            raise OutputError(
                f"{self._path}: {error.strerror}; expected a file that can be written; free the disk, then start the "
                "same command again to go on from the last checkpoint"
            ) from None

    def trim(self, epoch: int) -> float:
        """Drop incomplete lines and those of epochs after `epoch`, and return the seconds of training up to there."""
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
            # The line was cut when the disk was full or the process was killed.
            except (ValueError, TypeError, KeyError, RecursionError):
                continue
            kept.append(line)
        write_bytes(self._path, "".join(line + "\n" for line in kept).encode())
        return seconds


class InterruptHandler:
    """Context that notes the first Ctrl-C, so that training can finish its epoch.

    The second Ctrl-C raises KeyboardInterrupt at once. The handler does nothing outside the main thread.
    """

    def __init__(self) -> None:
        self._requested_at: float | None = None
        self._installed = False

    @property
    def requested(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._requested_at is not None

    @property
    def grace_is_over(self) -> bool:
        """Whether Ctrl-C was pressed more than `GRACE_SECONDS` ago."""
        return self._requested_at is not None and time.monotonic() - self._requested_at > GRACE_SECONDS

    def __enter__(self) -> "InterruptHandler":
        self._before = signal.getsignal(signal.SIGINT)
        # A shell starts background jobs with Ctrl-C ignored, and that must stay so.
        if threading.current_thread() is threading.main_thread() and self._before is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._note)
            self._installed = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self._requested_at = time.monotonic()
