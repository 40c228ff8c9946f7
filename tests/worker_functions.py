"""What the tests let worker processes do; in a light module of its own, since each worker imports it."""

import os

from shapeprior.dataset import RefusedShape
from shapeprior.prepare_shape import PrepareJob


def refuse_or_die(job: PrepareJob) -> RefusedShape:
    """End the whole process, as a crash in native code does, for sources that say so; else return at once."""
    if "deadly" in job.source:
        os._exit(3)
    return RefusedShape(source=job.source, reason=f"seen by process {os.getpid()}")


def refuse_or_fail(job: PrepareJob) -> RefusedShape:
    """Raise what no mesh can cause, for sources that say so."""
    if "disk full" in job.source:
        raise OSError(28, "No space left on device")
    return RefusedShape(source=job.source, reason="seen")
