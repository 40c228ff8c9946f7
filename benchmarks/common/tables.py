"""Tables of the benchmarks, as markdown on standard output, and the machine that they were made on."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from shapeprior.io.markdown import table
from shapeprior.parallel.system import processor

LIBRARIES = ("numpy", "scipy", "libigl", "embreex", "trimesh", "point-cloud-utils")


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1) -> None:
    """The first columns are words, the others are numbers. A table without rows is left out."""
    if not rows:
        return
    lines = table(header, rows, align="l" * words + "r" * (len(header) - words))
    print(f"\n### {title}\n", *lines, "", sep="\n", flush=True)


def print_machine() -> None:
    """Cores, processor, and versions of what is measured."""
    found = []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    print(
        f"{os.cpu_count()} cores of {processor()}; Python {platform.python_version()}, {', '.join(found)}.", flush=True
    )
