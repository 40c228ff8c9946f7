"""A terminal for the command line to write to, in a test's own process."""

import io
import sys

import pytest

from shapeprior.cli.console import console


class Terminal(io.StringIO):
    """A stream that says it is a terminal and keeps what is written to it."""

    def isatty(self) -> bool:
        return True


def use_terminal(monkeypatch: pytest.MonkeyPatch, *, width: int = 60) -> Terminal:
    """Replace both standard streams by one terminal with colours."""
    terminal = Terminal()
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (("TERM", "xterm-256color"), ("COLUMNS", str(width)), ("LINES", "40")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    console.cache_clear()
    return terminal
