"""Starting, watching and killing processes: by /proc, since no part of the package helps to count or to kill them.

Tests wait here for events (a file, a line, the end of a process), never for a time. `CEILING_SECONDS` is how long an
event may take on the busiest machine; only a hang takes longer.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

CEILING_SECONDS = 300.0
"""How long a test waits for an event before it calls it a hang."""


class WatchClock:
    """Stands for the module `time` where the package watches the time limit of jobs: the limit passes when a test says
    so."""

    def __init__(self, limit_passes: Callable[[], bool]) -> None:
        self.now = 0.0
        self._limit_passes = limit_passes
        self._passed = False
        self._watch = threading.local()

    def monotonic(self) -> float:
        """A time that stands still, except that it leaps past every limit once, when the condition holds."""
        # Each job is watched by a thread of its own, whose first question is when the job has begun.
        begun = hasattr(self._watch, "begun")
        self._watch.begun = True
        if begun and not self._passed and self._limit_passes():
            self._passed = True
            self.now += 1e9
        return self.now


def watch_by(monkeypatch: pytest.MonkeyPatch, limit_passes: Callable[[], bool]) -> WatchClock:
    """Let the time limit of the jobs that run pass when a condition holds, and at no other time."""
    clock = WatchClock(limit_passes)
    monkeypatch.setattr("shapeprior.parallel.worker.time", clock)
    return clock


def environment(**variables: str) -> dict[str, str]:
    """The environment of a Python program that imports the package that is tested, and `helpers`; with these variables
    set."""
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **variables}


def children() -> list[int]:
    """Process ids of this process's living children, the oldest first."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as file:
                state, parent, *rest = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(parent) == os.getpid() and state != "Z" and not _is_tracker(entry):
            found.append((int(rest[17]), int(entry)))
    return [pid for _, pid in sorted(found)]


def kill(pid: int) -> None:
    """End a process as the system does when memory is out."""
    os.kill(pid, signal.SIGKILL)


def wait_until(condition: Callable[[], bool], *, process: "subprocess.Popen[str] | None" = None) -> None:
    """Wait for something that other processes bring about; not beyond the end of the one that should, if it is
    given."""
    deadline = time.monotonic() + CEILING_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        # Once more after its end: it may have happened just before.
        assert process is None or process.poll() is None or condition(), f"the process ended with {process.returncode}"
        time.sleep(0.01)


def _is_tracker(pid: str) -> bool:
    """Whether it is the process that cleans up after multiprocessing, of which there is one, for as long as this one
    lives."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"resource_tracker" in file.read()
    except OSError:
        return False
