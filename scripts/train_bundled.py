"""Make all bundled priors anew: generate the shapes, prepare them, train, and put the weights into the package.

    python scripts/train_bundled.py WORK

WORK is a folder for meshes, data sets and runs; whatever is finished there is not done again, but for encoders. Two families are
made at a time, on one core each, and the last one on two, its training in two processes. The commands that were run are recorded
in each prior's made_by.json.
"""

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a family is learnt."""

    shapes: int
    """One in eleven is kept for tests."""
    passes: int
    """Over the training shapes."""


FAMILIES = {
    "mug": Plan(shapes=1320, passes=60),
    "airplane": Plan(shapes=1320, passes=40),
    "camera": Plan(shapes=1320, passes=40),
    "can": Plan(shapes=660, passes=60),
    "bowl": Plan(shapes=660, passes=60),
}
"""The longest first. Of more shapes a prior learns more in the same number of steps, and thin parts, as handles are, want more
passes over them; round shapes do with half as many (docs/ablation.md)."""
SAMPLES = "near=16000,uniform=1000,edges=3000"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=FAMILIES)
    parser.add_argument("--encoder-steps", type=int, default=2000)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    *together, last = arguments.families
    with ThreadPoolExecutor(2) as pool:
        made = pool.map(lambda name: make(name, arguments, cores=1), together)
        for family, seconds in made:
            print(f"{family}: {seconds:.0f} s", flush=True)
    family, seconds = make(last, arguments, cores=2)
    print(f"{family}: {seconds:.0f} s, on both cores")
    print(f"all: {time.monotonic() - started:.0f} s")


def make(family: str, arguments: argparse.Namespace, *, cores: int) -> tuple[str, float]:
    """One family; returns its name and the seconds it took."""
    work, started = arguments.work, time.monotonic()
    plan = FAMILIES[family]
    trained = f"data/{family} --out runs/{family} --seed 0 --epochs {plan.passes}"
    commands = [
        f"shapeprior synthesize {family} --count {plan.shapes} --out meshes/{family} --seed 0",
        f"shapeprior prepare meshes/{family} --out data/{family} --samples {SAMPLES} --test-share 0.0909 --seed 0 "
        f"--workers {cores}",
    ]
    if cores == 1:
        commands += [f"shapeprior train {trained} --encoder-steps {arguments.encoder_steps}"]
    else:
        # Two threads of one process are no faster than one when a decoder is trained; two processes are, a little.
        commands += [f"torchrun --nproc-per-node {cores} -m shapeprior train {trained} --encoder-steps 0"]
        if arguments.encoder_steps:
            commands += [f"shapeprior train-encoder runs/{family} --seed 0 --steps {arguments.encoder_steps}"]
    with open(work / f"{family}.log", "a", encoding="utf-8") as log:
        for command in commands:
            if (
                command.startswith("shapeprior synthesize")
                and len(list((work / "meshes" / family).glob("*.ply"))) == plan.shapes
            ):
                continue
            module = command.replace("torchrun ", "torch.distributed.run ", 1)
            words = [sys.executable, "-m", *module.split()]
            threads = str(cores if command.startswith("shapeprior train-encoder") else 1)
            environment = {**os.environ, "OMP_NUM_THREADS": threads, "IGL_NUM_THREADS": "1"}
            subprocess.run(words, cwd=work, env=environment, stdout=log, stderr=log, check=True)
        if not arguments.encoder_steps:
            # One of an earlier call may lie there, and no command of this one made it.
            (work / "runs" / family / "encoder.safetensors").unlink(missing_ok=True)
        bundle = [sys.executable, str(Path(__file__).with_name("bundle_prior.py").resolve()), f"runs/{family}", family]
        subprocess.run(
            [*bundle, "--commands", *commands],
            cwd=work,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
            check=True,
        )
    return family, time.monotonic() - started


if __name__ == "__main__":
    main()
