"""What a worker process does, and how it speaks with the process that started it: values over its standard streams."""

import os
import signal
import struct
import sys
import traceback
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import IO, Any, Literal

IDLE_SECONDS = 600.0
"""A process without a job for so long ends itself: whoever started it may be gone."""
ORPHAN_SECONDS = 30.0
"""How much longer than the time limit a process works on if nobody is left to end it."""
_SIZE = struct.Struct("<Q")


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A job that ended with its process and not with a result."""

    kind: Literal["crashed", "timeout", "memory"]
    """Whether the process died, was too slow or too large."""
    reason: str
    """What happened, in words that can stand after the job's name and a colon."""


def serve() -> None:
    """Take a function, then jobs, and send back what becomes of each, until there are no more."""
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # Whatever libraries print must not get between the answers.
    os.dup2(2, 1)
    try:
        function, timeout = receive(source)
        send(sink, None)
        while True:
            _end_after(IDLE_SECONDS)
            job = receive(source)
            _end_after(timeout + ORPHAN_SECONDS)
            _answer(sink, function, job)
    except (EOFError, BrokenPipeError):
        # Whoever started this process wants no more, or is gone.
        return
    except Exception as error:
        # A function or a job that this interpreter cannot import.
        send(sink, ("raised", error))


def send(pipe: IO[bytes] | None, value: object) -> None:
    """Write a value; raises OSError if nobody reads."""
    assert pipe is not None
    data = ForkingPickler.dumps(value)
    pipe.write(_SIZE.pack(len(data)))
    pipe.write(data)
    pipe.flush()


def receive(pipe: IO[bytes] | None) -> Any:
    """The next value; raises EOFError if the other side is gone, or dies on the way."""
    assert pipe is not None
    header = pipe.read(_SIZE.size)
    if len(header) < _SIZE.size:
        raise EOFError
    (size,) = _SIZE.unpack(header)
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return ForkingPickler.loads(data)  # pyright: ignore[reportAttributeAccessIssue]  (a static method, untyped)


def _answer(sink: IO[bytes], function: Any, job: Any) -> None:
    try:
        answer = "result", function(job)
    except MemoryError:
        answer = "result", Lost(kind="memory", reason="needed more memory than there was")
    except Exception as error:
        error.add_note(f"in a worker process:\n{traceback.format_exc()}")
        answer = "raised", error
    try:
        send(sink, answer)
    except BrokenPipeError:
        raise
    except Exception as error:
        send(sink, ("raised", RuntimeError(f"{answer[1]!r} cannot be sent between processes ({error})")))


def _end_after(seconds: float) -> None:
    """Let the system end this process unless it is called again before; native code cannot put that off."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)
