"""The commands and their arguments. Scripts and papers rely on them, so that none may change by accident."""

import re
import sys

import pytest

from shapeprior.cli.main import COMMANDS, main

COMMAND_LINE = {
    "demo": {"--out"},
    "synthesize": {"{can,mug,bowl,camera,airplane}", "--count", "--out", "--seed"},
    "prepare": {
        "PATH",
        "--out",
        "--layout",
        "--root",
        "--category",
        "--samples",
        "--up",
        "--unit",
        "--variants",
        "--test-share",
        "--min-confidence",
        "--workers",
        "--cluster",
        "--timeout",
        "--memory",
        "--seed",
    },
    "inspect": {"PATH", "--out", "--up"},
    "train": {
        "PATH",
        "--out",
        "--preset",
        "--epochs",
        "--encoder-steps",
        "--seed",
        "--device",
        "--compile",
        "--license",
    },
    "train-encoder": {"PATH", "--data", "--steps", "--seed", "--device"},
    "complete": {
        "PATH",
        "--prior",
        "--out",
        "--intrinsics",
        "--mask",
        "--camera-pose",
        "--sensor",
        "--pose",
        "--placement",
        "--edges",
        "--resolution",
        "--code-only",
        "--alternatives",
        "--workers",
        "--seed",
        "--device",
    },
    "evaluate": {
        "STR",
        "--data",
        "--out",
        "--tasks",
        "--split",
        "--views",
        "--sensors",
        "--placement",
        "--baselines",
        "--against",
        "--max-shapes",
        "--resolution",
        "--meshes",
        "--pictures",
        "--workers",
        "--cluster",
        "--timeout",
        "--memory",
        "--seed",
    },
    "encode": {
        "STR",
        "PATH",
        "--out",
        "--mesh",
        "--refine",
        "--up",
        "--steps",
        "--resolution",
        "--seed",
        "--device",
    },
    "nearest": {
        "STR",
        "--count",
        "--data",
        "--intrinsics",
        "--mask",
        "--camera-pose",
        "--sensor",
        "--pose",
        "--up",
        "--seed",
    },
    "interpolate": {"STR", "--out", "--steps", "--path", "--up", "--resolution", "--seed"},
    "sample": {"STR", "--out", "--count", "--resolution", "--seed"},
    "original": {"--out", "--count", "--seed"},
}
"""The arguments of each command, positional ones by their placeholder."""


def help_of(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sys, "argv", ["shapeprior", *arguments, "--help"])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    return capsys.readouterr().out


def test_the_commands_are_these(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(COMMANDS) == list(COMMAND_LINE)
    usage = help_of([], monkeypatch, capsys)
    assert "{" + ",".join(COMMAND_LINE) + "}" in usage
    for command in COMMAND_LINE:
        assert re.search(rf"^\W+{command}\s+\w", usage, flags=re.MULTILINE)


@pytest.mark.parametrize("command", COMMAND_LINE)
def test_the_arguments_are_these(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = help_of([command], monkeypatch, capsys)
    # One row an argument: a flag, or a positional's placeholder, at the left of its box.
    rows = set(re.findall(r"^[│| ] (--[a-z][a-z-]*|[A-Z]+|\{[a-z,]+\})(?=[ ,])", text, flags=re.MULTILINE))
    assert rows == COMMAND_LINE[command]
