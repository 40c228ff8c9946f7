"""The entry point of the command line, and the table of its commands.

Nothing heavy is imported until a command runs, so that `--help` answers at once.
"""

import inspect as inspection
import os
import re
import sys
from typing import NoReturn

import tyro

import shapeprior
from shapeprior.cli.complete import complete
from shapeprior.cli.console import print_error, print_line, show_log
from shapeprior.cli.demo import demo
from shapeprior.cli.evaluate import evaluate, original
from shapeprior.cli.latent import encode, interpolate, nearest, sample
from shapeprior.cli.prepare import inspect, prepare, synthesize
from shapeprior.cli.train import train, train_encoder
from shapeprior.errors import ShapePriorError, UnexplainedError

COMMANDS = {
    "demo": demo,
    "synthesize": synthesize,
    "prepare": prepare,
    "inspect": inspect,
    "train": train,
    "train-encoder": train_encoder,
    "complete": complete,
    "evaluate": evaluate,
    "encode": encode,
    "nearest": nearest,
    "interpolate": interpolate,
    "sample": sample,
    "original": original,
}
DESCRIPTION = """Learn what a category of objects looks like from a folder of meshes, and complete one partial view into
a closed mesh. Start with `shapeprior demo`. `shapeprior COMMAND --help` explains a command; `shapeprior --version`
prints the version."""


def main() -> None:
    """Run the `shapeprior` command.

    Exit codes: 0 done, 1 an error that the user can mend, 2 wrong usage, 3 a scan that no shape of the prior explains,
    130 interrupted.
    """
    # Threads that wait for work must not spin: on a machine that others use too, spinning made completion seven times
    # slower. OpenMP reads this when torch is first imported, which no command has done yet.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):
        # An encoding without our mathematical symbols must not end a command.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue]
    if sys.argv[1:] == ["--version"]:
        print_line(f"shapeprior {shapeprior.__version__}")
        return
    for command in COMMANDS.values():
        # tyro would show the line breaks of a docstring within an argument's help.
        command.__doc__ = re.sub(r"\n {8,}(?=\S)", " ", inspection.cleandoc(command.__doc__ or ""))
    try:
        show_log()
        tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="shapeprior", description=" ".join(DESCRIPTION.split()))
    except ShapePriorError as error:
        print_error(str(error))
        _exit(3 if isinstance(error, UnexplainedError) else 1)
    except KeyboardInterrupt:
        print_error("interrupted; start the same command again to go on")
        _exit(130)


def _exit(code: int) -> NoReturn:
    if os.environ.get("WORLD_SIZE", "1") != "1":
        # A process group that has lost a member may abort while the interpreter shuts down, and the exit code would be
        # lost.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
