"""Progress of a command: a bar on a terminal, now and then a line elsewhere."""

from collections.abc import Iterator

import pytest
from helpers.terminal import use_terminal

from shapeprior.cli import progress as module
from shapeprior.cli.console import console
from shapeprior.cli.progress import duration, show_progress


class Clock:
    """Stands for the module `time`; moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def fresh_consoles() -> Iterator[None]:
    console.cache_clear()
    yield
    console.cache_clear()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_a_pipe_gets_a_line_now_and_then(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress("Preparing", "files") as progress:
        for number in range(1, 8):
            clock.now += 10.0
            progress.update(number, 7, f"mesh_{number}\x1b.ply")
    assert (progress.done, progress.seconds) == (7, 70.0)
    printed = capsys.readouterr()
    assert not printed.out
    assert printed.err.splitlines() == [
        r"Preparing: 3/7 files, 10.0 s each, 40 s left, mesh_3\x1b.ply",
        r"Preparing: 6/7 files, 10.0 s each, 10 s left, mesh_6\x1b.ply",
    ]


def test_work_of_an_earlier_run_does_not_count_for_the_rate(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress("Training", "epochs") as progress:
        clock.now += 40.0
        progress.update(81, 90)
        progress.begin("Training the encoder", "steps", total=1000)
        for _ in range(200):
            clock.now += 0.25
            progress.advance("loss 0.1")
    assert (progress.done, progress.completed) == (200, 200)
    assert capsys.readouterr().err.splitlines() == [
        "Training: 81/90 epochs, 40.0 s each, 6:00 min left",
        "Training the encoder: 120/1,000 steps, 4.0 a second, 3:40 min left, loss 0.1",
    ]


def test_a_terminal_gets_a_bar_that_goes_when_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_terminal(monkeypatch, width=120)
    with show_progress("Completing", "scans") as progress:
        progress.update(3, 5, "[red]evil\x1b[2J{name}" + "x" * 100)
        assert progress._bar is not None
        progress._bar.refresh()
        shown = terminal.getvalue()
        assert "Completing" in shown
        assert "3/5 scans" in shown
        assert r"[red]evil\x1b[2J{name}" in shown
    # The last thing written takes the bar away: up a line, and clear it.
    assert terminal.getvalue().endswith("\x1b[1A\x1b[2K")


def test_a_time_is_said_in_words() -> None:
    said = {0.44: "0.4 s", 9.97: "10 s", 59.6: "1:00 min", 3599.7: "1:00:00 h", 7322.0: "2:02:02 h"}
    assert {seconds: duration(seconds) for seconds in said} == said
