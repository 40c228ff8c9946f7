"""One worker process for benchmarks: what kills it, or takes too long, becomes a result instead of the end of the
run."""

import multiprocessing
import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


def use_one_core() -> None:
    """Make all libraries of this process and of those that it starts share one core. To be called before they are
    imported."""
    for name in ("IGL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


class Isolated:
    """Calls functions in a fresh interpreter, which lives until a call kills it or overruns its time."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._process: Any = None

    def __call__(
        self, function: Callable[..., dict[str, Any]], *arguments: Any, limit_s: float = 900.0
    ) -> dict[str, Any]:
        """The function's result, or ``{"failure": reason}``: an exception, the death of the process, or too long a
        time."""
        if self._process is None:
            self._start()
        process: Any = self._process
        self._connection.send((function, arguments))
        try:
            if self._connection.poll(limit_s):
                return self._connection.recv()
            failure = f"took more than {limit_s:.0f} s"
        except EOFError:
            process.join()
            failure = f"the process died with code {process.exitcode}"
        self.close()
        return {"failure": failure}

    def close(self) -> None:
        """End the worker; the next call starts another."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._process = None

    def _start(self) -> None:
        self._connection, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()


def _serve(connection: Connection) -> None:
    while True:
        try:
            function, arguments = connection.recv()
        except EOFError:
            return
        try:
            result = function(*arguments)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            result = {"failure": f"{type(error).__name__}: {error} ({os.path.basename(place.filename)}:{place.lineno})"}
        connection.send(result)
