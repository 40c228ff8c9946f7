"""Running the command line within a test's own process; not a test file."""

import sys

import pytest

from shapeprior.cli.main import main


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run a command in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["shapeprior", *map(str, arguments)])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0
