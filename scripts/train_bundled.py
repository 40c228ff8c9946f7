"""Make all bundled priors anew: generate the shapes, prepare them, train, and put the weights into the package.

    python scripts/train_bundled.py WORK

WORK is a folder for meshes, data sets and runs; whatever is finished there is not done again. Two families are made at a time,
on one core each, and the last one on two, its training in two processes. The commands that were run are recorded in each prior's
made_by.json.
"""

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FAMILIES = {"camera": 1320, "airplane": 1320, "mug": 1320, "can": 440, "bowl": 440}
"""Shapes of each, the slowest to prepare first; one in eleven is kept for tests. Of 1,200 instead of 400 shapes a prior
learns more in the same number of steps (docs/ablation.md)."""
VISITS = 48_000
"""How often training comes to a shape of a family, whichever it is: passes are so many that training takes all families as long."""
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
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "IGL_NUM_THREADS": "1"}
    count = FAMILIES[family]
    epochs = round(VISITS / (count * 10 / 11))
    commands = [
        f"shapeprior synthesize {family} --count {count} --out meshes/{family} --seed 0",
        f"shapeprior prepare meshes/{family} --out data/{family} --samples {SAMPLES} --test-share 0.0909 --seed 0 "
        f"--workers {cores}",
        f"shapeprior train data/{family} --out runs/{family} --seed 0 --epochs {epochs} "
        f"--encoder-steps {arguments.encoder_steps}",
    ]
    if cores > 1:
        # Two threads of one process are hardly faster than one; two processes are.
        commands[-1] = f"torchrun --nproc-per-node {cores} -m {commands[-1]}"
    with open(work / f"{family}.log", "a", encoding="utf-8") as log:
        for command in commands:
            if (
                command.startswith("shapeprior synthesize")
                and len(list((work / "meshes" / family).glob("*.ply"))) == count
            ):
                continue
            module = command.replace("torchrun ", "torch.distributed.run ", 1)
            words = [sys.executable, "-m", *module.split()]
            subprocess.run(words, cwd=work, env=environment, stdout=log, stderr=log, check=True)
        bundle = [sys.executable, str(Path(__file__).with_name("bundle_prior.py").resolve()), f"runs/{family}", family]
        subprocess.run(
            [*bundle, "--commands", *commands],
            cwd=work,
            env=environment,
            stdout=log,
            stderr=log,
            check=True,
        )
    return family, time.monotonic() - started


if __name__ == "__main__":
    main()
