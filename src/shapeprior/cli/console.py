"""Writing to the terminal: lines, tables, errors and log messages. Nothing else in the package writes to a standard
stream.

A terminal gets colours and tables that fit its width. A pipe or a file gets plain text that is never wrapped. Both get
only printable characters: file names and reasons come from untrusted files. `rich` is imported when something is
printed.
"""

import logging
import os
import re
import sys
from collections.abc import Collection, Sequence
from functools import cache
from typing import TYPE_CHECKING

from shapeprior.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.highlighter import Highlighter
    from rich.text import Text

LOG_VARIABLE = "SHAPEPRIOR_LOG"
"""Environment variable that chooses which log messages are shown: one of `LOG_LEVELS`."""
LOG_LEVELS = ("error", "warning", "info", "debug")
STYLES = {
    "explained": "green",
    "doubtful": "yellow",
    "unexplained": "red",
    "failed": "red",
    "refused": "red",
    "path": "cyan",
    "figure": "bold",
}
"""Colours of verdicts, of files that were written, and of figures with a unit."""
_WRITTEN = r"(?:ply|obj|stl|glb|png|html|md|csv|jsonl|json|npz|safetensors)"
HIGHLIGHTS = (
    r"(?<![\w-])(?P<explained>explained)\b",
    r"(?<![\w-])(?P<doubtful>doubtful)\b",
    r"(?<![\w-])(?P<unexplained>unexplained)\b",
    r"(?<![\w-])(?P<failed>failed)\b",
    r"(?<![\w-])(?P<refused>refused)\b",
    rf"(?P<path>[^\s,;:()']+\.{_WRITTEN})(?![\w.])",
    r"(?<![\w.,-])(?P<figure>\d[\d,]*(?:\.\d+)?(?:%| s\b))",
)
"""Patterns that `STYLES` are given to, by the name of their group."""


def printable(text: str) -> str:
    """Return the text with every character that a terminal could obey, or cannot show, as an escape such as
    ``\\x1b``."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def print_line(text: str = "") -> None:
    """Print one line of a result."""
    _print(_styled(text), error=False)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = ()) -> None:
    """Print rows under their column names; the columns in `right` are aligned right."""
    if not interactive(error=False):
        _print_plain_table(columns, rows, right)
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for name in columns:
        table.add_column(
            _styled(name), justify="right" if name in right else "left", no_wrap=name in right, overflow="fold"
        )
    for row in rows:
        table.add_row(*map(_styled, row))
    console(error=False).print(table)


def print_error(message: str) -> None:
    """Print an error on standard error. Lines of a message that are indented stay; other line breaks are escaped.

    A file name with a line break could otherwise forge a line of output.
    """
    from rich.text import Text

    lines = "\n".join(printable(line) for line in re.split(r"\n(?=  )", message))
    _print(Text.assemble(("shapeprior:", "bold red"), " ", lines), error=True)


def print_note(text: str) -> None:
    """Print one line on standard error that is no error, such as how far a command is."""
    _print(_styled(text), error=True)


def interactive(*, error: bool) -> bool:
    """Whether standard error, or else standard output, is a terminal that can move its cursor."""
    stream = sys.stderr if error else sys.stdout
    return stream.isatty() and console(error=error).is_interactive


@cache
def console(*, error: bool) -> "Console":
    """Return the writer to standard error, or else to standard output."""
    from rich.console import Console
    from rich.theme import Theme

    return Console(stderr=error, highlight=False, markup=False, emoji=False, theme=Theme(STYLES))


def _print(text: "Text", *, error: bool) -> None:
    writer = console(error=error)
    lines = text.split("\n")
    for line in lines:
        writer.print(_wrapped(line, writer.width) if interactive(error=error) else line, soft_wrap=True)


def _wrapped(text: "Text", width: int) -> "Text":
    """Break a line between words; the rest is indented. `rich` would break long paths as well, which then cannot be
    copied."""
    from rich.cells import cell_len
    from rich.text import Text

    indent = " " * (len(text.plain) - len(text.plain.lstrip()) + 2)
    breaks, column = [], 0
    for word in re.finditer(r"\s*\S+", text.plain):
        if column and column + cell_len(word[0]) > width:
            breaks.append(word.start() + 1)
            column = len(indent) - 1
        column += cell_len(word[0])
    lines = text.divide(breaks)
    for line in lines:
        line.rstrip()
    return Text("\n" + indent).join(lines)


def _styled(text: str) -> "Text":
    from rich.text import Text

    return _highlighter()(Text(printable(text)))


@cache
def _highlighter() -> "Highlighter":
    from rich.highlighter import RegexHighlighter

    class ResultHighlighter(RegexHighlighter):
        """Marks what a user looks for in a result."""

        highlights = HIGHLIGHTS  # pyright: ignore[reportAssignmentType]

    return ResultHighlighter()


def _print_plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str]) -> None:
    from rich.cells import cell_len

    lines = [[printable(cell) for cell in row] for row in (columns, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = []
        for name, cell, width in zip(columns, line, widths, strict=True):
            padding = " " * (width - cell_len(cell))
            cells.append(padding + cell if name in right else cell + padding)
        print_line(f"  {'  '.join(cells)}".rstrip())


class _LogHandler(logging.Handler):
    """Shows the library's log messages on standard error."""

    STYLES = ((logging.ERROR, "bold red"), (logging.WARNING, "yellow"), (logging.INFO, "cyan"), (0, "dim"))

    def emit(self, record: logging.LogRecord) -> None:
        from rich.text import Text

        style = next(style for level, style in self.STYLES if record.levelno >= level)
        label = (f"{record.levelname.lower()}:", style)
        _print(Text.assemble(label, " ", printable(record.getMessage())), error=True)


def show_log() -> None:
    """Show warnings of the library on standard error, or what SHAPEPRIOR_LOG asks for.

    Raises ConfigError if that names no level.
    """
    level = os.environ.get(LOG_VARIABLE, "warning").lower()
    if level not in LOG_LEVELS:
        raise ConfigError(f"{LOG_VARIABLE}={level}; expected one of {', '.join(LOG_LEVELS)}")
    logger = logging.getLogger("shapeprior")
    logger.setLevel(level.upper())
    if not any(isinstance(handler, _LogHandler) for handler in logger.handlers):
        logger.addHandler(_LogHandler())
