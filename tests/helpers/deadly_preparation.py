"""Preparation that some files do not survive; a module of its own, since worker processes import it by name."""

import os

from helpers.worker_functions import grow, hang

from shapeprior.datasets.manifest import RefusedShape, ShapeRecord
from shapeprior.datasets.prepare_shape import PrepareJob, prepare_shape

LARGE_GIB = 0.5
"""How much memory a large file takes, besides what others do."""
TIGHT_MARK = "tight"
"""While this file is beside the folder of meshes, slow and large files take what they take until their process is
ended."""


def prepare_or_die(job: PrepareJob) -> ShapeRecord | RefusedShape:
    """Prepare a shape, but first do to the process what the file's name says; each try leaves a byte beside the
    file."""
    path = job.source.path
    tight = (path.parents[1] / TIGHT_MARK).exists()
    with open(path.with_suffix(".tries"), "ab") as file:
        file.write(b".")
    if path.stem == "crashing":
        os._exit(3)
    if path.stem == "slow" and tight:
        hang()
    if path.stem == "large":
        held = grow(LARGE_GIB)
        if tight:
            hang()
        del held
    return prepare_shape(job)
