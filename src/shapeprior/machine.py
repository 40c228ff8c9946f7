"""The machine and the libraries that figures were made with."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("torch", "numpy", "scipy", "libigl", "embreex", "trimesh", "open3d")
"""Those that can change a figure."""


def machine() -> dict[str, str | int | float | None]:
    """Processor, cores and memory; None where the system does not say."""
    return {"processor": processor(), "cores": os.cpu_count(), "memory_gib": _memory_gib()}


def versions() -> dict[str, str | None]:
    """Versions of Python, of this package and of `LIBRARIES`; None for what is not installed."""
    return {"shapeprior": _version("shapeprior"), "python": platform.python_version()} | {
        name: _version(name) for name in LIBRARIES
    }


def processor() -> str:
    """The processor's name, as far as the system says."""
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
