"""What the tests let worker processes do; in a light module of its own, since each worker imports it."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shapeprior.datasets.manifest import RefusedShape, ShapeRecord
    from shapeprior.datasets.prepare_shape import PrepareJob

POLL_SECONDS = 0.01


def act(job: str) -> str:
    """Do what a job's first word says, to the process if need be; else return the job with the process's id."""
    verb, _, rest = job.partition(" ")
    if verb == "exit":
        os._exit(int(rest))
    if verb == "signal":
        os.kill(os.getpid(), signal.Signals[rest])
    if verb == "kill":
        parent = os.getppid()
        os.kill(parent, signal.SIGKILL)
        _wait_while_child_of(parent)
    if verb == "once":
        _die_the_first_time(Path(rest))
    if verb == "hang":
        # The file tells that the job has begun, and whose child does it.
        Path(rest).write_text(str(os.getppid()))
        hang()
    if verb == "meet":
        _meet(Path(rest))
    if verb == "sleep":
        time.sleep(float(rest))
    if verb == "grow":
        grow(float(rest))
    if verb == "hold":
        held = grow(float(rest))
        hang()
        del held
    if verb == "promise":
        bytearray(1 << 50)
    if verb == "raise":
        raise OSError(28, rest)
    if verb == "print":
        os.write(1, rest.encode())
        sys.stdout.write(rest)
        sys.stdout.flush()
    if verb == "environment":
        return os.environ.get(rest, "")
    return f"{job} by {os.getpid()}"


def secret(_job: str) -> object:
    """Something that cannot be sent to another process."""
    return lambda: None


def hang() -> None:
    """Do nothing until this process is ended, or whoever started it is gone."""
    _wait_while_child_of(os.getppid())


def grow(gib: float) -> list[bytes]:
    """Take memory and use it, a bit at a time."""
    return [b"x" * (1 << 24) for _ in range(int(gib * 64))]


def prepare_or_hang(job: "PrepareJob") -> "ShapeRecord | RefusedShape":
    """Prepare a shape; do nothing for ever for files that say so in their name."""
    from shapeprior.datasets.prepare_shape import prepare_shape

    if "held" in job.source.name:
        hang()
    return prepare_shape(job)


def let_limits_pass_by(folder: str) -> None:
    """In a process that starts workers: let the time limit pass for jobs that a file in the folder says to hang
    here."""
    from helpers.processes import WatchClock

    from shapeprior.parallel import worker

    def hangs_here() -> bool:
        return any(path.read_text() == str(os.getpid()) for path in Path(folder).iterdir())

    setattr(worker, "time", WatchClock(hangs_here))  # noqa: B010  (a module is expected, type checkers say)


def let_limits_pass_by_time() -> None:
    """Undo `let_limits_pass_by`."""
    from shapeprior.parallel import worker

    worker.time = time


def _wait_while_child_of(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)


def _die_the_first_time(mark: Path) -> None:
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def _meet(folder: Path) -> None:
    """Wait until as many processes are here as the folder's name says."""
    (folder / str(os.getpid())).touch()
    while len(list(folder.iterdir())) < int(folder.name):
        time.sleep(POLL_SECONDS)
