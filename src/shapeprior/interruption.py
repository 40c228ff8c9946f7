"""Ctrl-C that waits for the end of what is being done, if that end is near."""

import signal
import threading
import time
from types import FrameType, TracebackType

GRACE_SECONDS = 5.0
"""How long after Ctrl-C work may go on; the second Ctrl-C ends it at once."""


class Interruption:
    """While entered, the first Ctrl-C is noted; `asked` and `overdue` tell of it. Outside the main thread it does nothing."""

    def __init__(self) -> None:
        self._asked_at: float | None = None
        self._replaced = False

    @property
    def asked(self) -> bool:
        """Whether there was a Ctrl-C."""
        return self._asked_at is not None

    @property
    def overdue(self) -> bool:
        """Whether it was longer ago than what one waits for."""
        return self._asked_at is not None and time.monotonic() - self._asked_at > GRACE_SECONDS

    def __enter__(self) -> "Interruption":
        self._before = signal.getsignal(signal.SIGINT)
        # A shell starts what is to run in the background with Ctrl-C ignored; that must stay so.
        if threading.current_thread() is threading.main_thread() and self._before is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._note)
            self._replaced = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._replaced:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self._asked_at = time.monotonic()
