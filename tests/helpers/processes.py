"""Which processes this one has started, by /proc: no part of the package helps to count or to kill them."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def environment(**variables: str) -> dict[str, str]:
    """The environment of a Python program that imports the package that is tested, and `helpers`; with these variables set."""
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


def wait_until(condition: Callable[[], bool], *, seconds: float = 30.0) -> None:
    """Wait for something that other processes bring about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def _is_tracker(pid: str) -> bool:
    """Whether it is the process that cleans up after multiprocessing, of which there is one, for as long as this one lives."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"resource_tracker" in file.read()
    except OSError:
        return False
