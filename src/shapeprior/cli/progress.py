"""How far a command is: a bar on a terminal; elsewhere a line on standard error now and then.

Both go to standard error, so that results can be piped. `rich` draws the bar and is imported when one is shown.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from shapeprior.cli.console import console, interactive, print_note, printable

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

SECONDS_BETWEEN_LINES = 30.0
"""Time between two lines where there is no terminal. A command that takes less prints none."""
REFRESHES_PER_SECOND = 5
"""How often the bar is drawn anew. Drawing takes time from the work on the same core."""
MAX_NOTE = 36
"""Characters of the note beside the bar."""


class Progress:
    """The progress of one command, counted in a unit such as files or epochs."""

    def __init__(
        self, activity: str, unit: str, *, total: int | None = None, bar: "RichProgress | None" = None
    ) -> None:
        self._bar = bar
        self._task = None if bar is None else bar.add_task("", total=None, figures="", note="")
        self.begin(activity, unit, total=total)

    def begin(self, activity: str, unit: str, *, total: int | None = None) -> None:
        """Start a stage, and count from zero."""
        self.activity, self.unit, self.total = activity, unit, total
        self.completed = 0
        """Units done, those of earlier runs included."""
        self.done = 0
        """Units done by this run."""
        self._started = self._last_line = time.monotonic()
        self.seconds = 0.0
        """Seconds from the start of the stage to the last unit."""
        self._show("")

    def update(self, completed: int, total: int, note: str = "") -> None:
        """Show how many units are done, and a word about the last of them."""
        if self.done == 0:
            # Units that an earlier run did must not count for the rate.
            self.completed = completed - 1
        self.done += completed - self.completed
        self.completed, self.total = completed, total
        self.seconds = time.monotonic() - self._started
        self._show(note)

    def advance(self, note: str = "") -> None:
        """Show that one more unit is done, where `begin` stated how many there are."""
        self.update(self.completed + 1, self.total or self.completed + 1, note)

    def _show(self, note: str) -> None:
        if self._bar is not None and self._task is not None:
            short = note if len(note) <= MAX_NOTE else note[: MAX_NOTE - 1] + "…"
            self._bar.update(
                self._task, description=self.activity, completed=self.completed, total=self.total,
                figures=self._figures(), note=printable(short),
            )  # fmt: skip
        elif time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            print_note(f"{self.activity}: {self._figures()}" + (f", {note}" if note else ""))

    def _figures(self) -> str:
        """The count, the rate and the time left, in words."""
        if self.total is None:
            return ""
        text = f"{self.completed:,}/{self.total:,} {self.unit}"
        if self.done == 0 or self.seconds == 0.0:
            return text
        rate = self.done / self.seconds
        text += f", {rate:,.1f} a second" if rate >= 1 else f", {1 / rate:,.1f} s each"
        left = (self.total - self.completed) / rate
        return text + (f", {duration(left)} left" if self.total > self.completed else "")


@contextmanager
def show_progress(activity: str, unit: str, *, total: int | None = None) -> Iterator[Progress]:
    """Show the progress of what is done in this context; the bar is gone when it ends."""
    if not interactive(error=True):
        yield Progress(activity, unit, total=total)
        return
    from rich.progress import BarColumn, SpinnerColumn, TextColumn
    from rich.progress import Progress as RichProgress

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", style="bold", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[figures]}", markup=False),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
    )
    with RichProgress(
        *columns, console=console(error=True), transient=True, refresh_per_second=REFRESHES_PER_SECOND
    ) as bar:
        yield Progress(activity, unit, total=total, bar=bar)


def duration(seconds: float) -> str:
    """Return a time in words: seconds below a minute, then minutes and seconds, then hours as well."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d} h" if hours else f"{minutes}:{rest:02d} min"
