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

HANG_SECONDS = 3600.0
"""How long a job that hangs would take, if nobody ended it."""


def act(job: str) -> str:
    """Do what a job's first word says, to the process if need be; else return the job with the process's id."""
    verb, _, rest = job.partition(" ")
    if verb == "exit":
        os._exit(int(rest))
    if verb == "signal":
        os.kill(os.getpid(), signal.Signals[rest])
    if verb == "kill":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60.0)
    if verb == "once":
        _die_the_first_time(Path(rest))
    if verb == "hang":
        # The file tells that the job has begun; it ends with its process.
        Path(rest).touch()
        time.sleep(HANG_SECONDS)
    if verb == "sleep":
        time.sleep(float(rest))
    if verb == "grow":
        _grow(float(rest))
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


def _die_the_first_time(mark: Path) -> None:
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def _grow(gib: float) -> None:
    """Take memory and use it, a bit at a time."""
    held = []
    for _ in range(int(gib * 64)):
        held.append(b"x" * (1 << 24))
        time.sleep(0.01)


def prepare_or_die(job: "PrepareJob") -> "ShapeRecord | RefusedShape":
    """Prepare a shape, but end the process for files that say so in their name."""
    from shapeprior.datasets.prepare_shape import prepare_shape

    if "deadly" in job.source.name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "slow" in job.source.name:
        time.sleep(60.0)
    return prepare_shape(job)
