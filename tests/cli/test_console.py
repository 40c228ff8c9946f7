"""What the command line writes: plain text to a pipe, colours to a terminal, and nothing raw from a file to either."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.commands import run
from helpers.terminal import use_terminal
from rich.text import Text

import shapeprior
from shapeprior.cli.console import console, print_error, print_line, print_table, printable, show_log
from shapeprior.completion.registry import bundled_folder

EVIL = "bad\x1b[31m\r\n\x9b2J\u202e\udcff[red]name.ply"


@pytest.fixture(autouse=True)
def fresh_consoles() -> Iterator[None]:
    """No console of another test's stream is kept, and no level or handler of the logger is left."""
    logger = logging.getLogger("shapeprior")
    before = logger.level, list(logger.handlers)
    console.cache_clear()
    yield
    console.cache_clear()
    logger.setLevel(before[0])
    logger.handlers[:] = before[1]


def test_characters_that_a_terminal_could_obey_become_escapes() -> None:
    assert printable(EVIL) == r"bad\x1b[31m\r\n\x9b2J\u202e\udcff[red]name.ply"
    assert printable("Tasse 1 ½ (P→T) 茶碗.ply") == "Tasse 1 ½ (P→T) 茶碗.ply"


def test_a_pipe_gets_plain_lines_that_are_never_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    long = f"explained 52% {'word ' * 60}mesh.ply"
    print_line(long)
    print_line(EVIL)
    assert capsys.readouterr().out.splitlines() == [long, printable(EVIL)]


def test_a_pipe_gets_an_aligned_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("scan", "seen", "reason"), [("茶碗", "5%", ""), ("mug.ply", "100%", "x" * 200)], right=("seen",))
    assert capsys.readouterr().out.splitlines() == [
        "  scan     seen  reason",
        "  茶碗       5%",
        f"  mug.ply  100%  {'x' * 200}",
    ]


def test_a_terminal_gets_colours_and_a_table_of_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_terminal(monkeypatch, width=70)
    print_line("  explained: written to out/mug.ply")
    assert "\x1b[32mexplained\x1b[0m" in terminal.getvalue()
    assert "\x1b[36mout/mug.ply\x1b[0m" in terminal.getvalue()
    terminal = use_terminal(monkeypatch, width=70)
    monkeypatch.setenv("NO_COLOR", "1")
    console.cache_clear()
    print_table(("scan", "reason"), [(EVIL, "word " * 40)])
    lines = Text.from_ansi(terminal.getvalue()).plain.splitlines()
    assert len(lines) > 4
    assert max(map(len, lines)) <= 70
    assert printable(EVIL) in "".join(line[:34].strip() for line in lines)
    assert "\x1b[31m" not in terminal.getvalue()


def test_a_terminal_breaks_lines_between_words_and_never_in_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_terminal(monkeypatch, width=30)
    monkeypatch.setenv("NO_COLOR", "1")
    path = f"/{'folder/' * 10}mesh.ply"
    print_line(f"  the mesh of this scan is written to {path} now")
    assert terminal.getvalue() == f"  the mesh of this scan is\n    written to\n    {path}\n    now\n"


def test_an_error_is_one_message_and_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("a: none could be read:\n  [b]\x1b[2J: why\n  c: why")
    assert capsys.readouterr().err == "shapeprior: a: none could be read:\n  [b]\\x1b[2J: why\n  c: why\n"


def test_a_name_with_a_line_break_forges_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("a\nshapeprior: all is well.ply: found 0 points\n  b\nc")
    assert capsys.readouterr().err == "shapeprior: a\\nshapeprior: all is well.ply: found 0 points\n  b\\nc\n"


def test_warnings_of_the_library_are_shown_and_more_if_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = logging.getLogger("shapeprior.io")
    # pytest's own handler would keep the name, which cannot be sent between processes.
    monkeypatch.setattr(logging.getLogger("shapeprior"), "propagate", False)
    for asked, shown in ((None, ["warning"]), ("INFO", ["warning", "info"]), ("error", [])):
        monkeypatch.delenv("SHAPEPRIOR_LOG", raising=False)
        if asked:
            monkeypatch.setenv("SHAPEPRIOR_LOG", asked)
        show_log()
        log.warning("%s: tried again", EVIL)
        log.info("%s: tried again", EVIL)
        printed = capsys.readouterr()
        assert printed.err.splitlines() == [f"{level}: {printable(EVIL)}: tried again" for level in shown]
        assert not printed.out


def test_an_unknown_log_level_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SHAPEPRIOR_LOG", "loud")
    assert run(monkeypatch, "synthesize", "bowl", "--count", 1, "--out", "x") == 1
    message = "shapeprior: SHAPEPRIOR_LOG=loud; expected one of error, warning, info, debug\n"
    assert capsys.readouterr().err == message


def test_the_version_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"shapeprior {shapeprior.__version__}\n"


@pytest.mark.slow
def test_the_library_tells_what_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHAPEPRIOR_LOG", "info")
    for name in ("config.json", "checkpoint.safetensors"):
        (tmp_path / name).symlink_to(bundled_folder() / "priors" / "can" / name)
    assert run(monkeypatch, "nearest", tmp_path, "can_00000") == 0
    assert f"info: {tmp_path}: no encoder" in capsys.readouterr().err
