"""Preparation that some files do not survive; a module of its own, since worker processes import it by name."""

import os
import time

from shapeprior.datasets.manifest import RefusedShape, ShapeRecord
from shapeprior.datasets.prepare_shape import PrepareJob, prepare_shape

SLOW_SECONDS = 3.5
"""How long a slow file takes."""
LARGE_GIB = 0.5
"""How much memory a large file takes, besides what others do."""


def prepare_or_die(job: PrepareJob) -> ShapeRecord | RefusedShape:
    """Prepare a shape, but first do to the process what the file's name says; each try leaves a byte beside the file."""
    with open(job.source.path.with_suffix(".tries"), "ab") as file:
        file.write(b".")
    if job.source.path.stem == "crashing":
        os._exit(3)
    if job.source.path.stem == "slow":
        time.sleep(SLOW_SECONDS)
    if job.source.path.stem == "large":
        held = [b"x" * (1 << 24) for _ in range(int(LARGE_GIB * 64))]
        # Long enough to be seen.
        time.sleep(0.5)
        del held
    return prepare_shape(job)
