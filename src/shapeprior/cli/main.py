"""The command line: each command is one function over the same calls that the Python API has.

Nothing heavy is imported until a command runs, so that `--help` answers at once.
"""

import os
import sys
from typing import NoReturn

import tyro

from shapeprior.cli.complete import complete
from shapeprior.cli.console import print_error
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


def main() -> None:
    """Entry point of the `shapeprior` command. Exit codes: 0 done, 1 a fault of the input, 2 wrong usage, 3 a scan that no shape
    explains, 130 interrupted."""
    # Threads that wait for work must not spin: on a machine that others use too, spinning made completion seven times slower.
    # OpenMP reads this when torch is first imported, which no command has done yet.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="shapeprior",
            description="Learn what a category of objects looks like; complete one partial view into a closed mesh.",
        )
    except ShapePriorError as error:
        print_error(f"shapeprior: {error}")
        _leave(3 if isinstance(error, UnexplainedError) else 1)
    except KeyboardInterrupt:
        print_error("shapeprior: interrupted; start the same command again to go on")
        _leave(130)


def _leave(code: int) -> NoReturn:
    """End with an exit code."""
    if os.environ.get("WORLD_SIZE", "1") != "1":
        # A process group that has lost a member may abort while the interpreter is taken down, and with it the exit code.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
