"""Facts about this machine, its libraries and its memory, and the setting that keeps freed memory with the process."""

import ctypes
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("torch", "numpy", "scipy", "libigl", "embreex", "trimesh", "open3d")
"""Libraries whose version can change a measured figure."""


def machine() -> dict[str, str | int | float | None]:
    """Return the processor, the number of cores and the memory; None where the system does not tell."""
    return {"processor": processor(), "cores": os.cpu_count(), "memory_gib": _memory_gib()}


def machine_text() -> str:
    """Return the processor and the number of cores that this process may use, in words and without the machine's
    name."""
    cores = usable_cores()
    return f"{' '.join(processor().split())}, {cores} {'core' if cores == 1 else 'cores'}"


def versions() -> dict[str, str | None]:
    """Return the versions of Python, of this package and of `LIBRARIES`; None for what is not installed."""
    return {"shapeprior": _version("shapeprior"), "python": platform.python_version()} | {
        name: _version(name) for name in LIBRARIES
    }


def processor() -> str:
    """Return the processor's name, as far as the system tells."""
    try:
        # Only Linux has this file.
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return (names[0] if names else "") or platform.processor() or platform.machine() or "unknown processor"


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


KEPT_BYTES = 1 << 30
"""Bytes of freed memory that stay with the process."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Numbers of the two parameters in glibc's malloc.h."""


def tune_malloc() -> None:
    """Let the C library keep freed memory for as long as the process lives. Does nothing except on Linux with glibc.

    Every training step on the CPU frees its activations. By default they go back to the system, which then has to clear
    every page anew in the next step: a tenth to a fifth of the time of a step. The setting is one of the whole process,
    so the command `train` makes it and the library does not.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        # Setting either one turns off the library's own guess of both, so both are set.
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)


def peak_memory_gib() -> float | None:
    """Return the peak memory of the largest ended child process, in GiB; None if the system does not record it."""
    try:
        import resource
    except ImportError:
        return None
    # The system counts in KiB, but macOS in bytes.
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
