"""Make all bundled priors again: generate the shapes, prepare them, train, and put the weights into the package.

    python scripts/train_bundled.py WORK                                  # two cores, as for the bundled priors
    python scripts/train_bundled.py WORK --device cuda --at-once 5        # a GPU, and a core or more for each family

WORK is a folder for meshes, data sets and runs. Finished work in it is not done again, except for encoders. Two stages
of different families run at a time, on one core each: with batches of so few shapes, two threads or processes of one
family are hardly faster than one. If there are more cores than stages, preparation takes a share of them. The commands
are recorded in each prior's made_by.json.
"""

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from shapeprior.parallel.system import usable_cores


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Size of a family's data set and length of its training."""

    shapes: int
    """Number of shapes, of which one in eleven is kept for tests."""
    passes: int
    """Passes over the training shapes."""
    preset: str = "triplane-64"
    samples: str = "near=9000,uniform=1000,edges=3000,walls=7000,surface=2000"


FAMILIES = {
    "mug": Plan(shapes=1320, passes=60),
    "airplane": Plan(shapes=1320, passes=45, preset="triplane-64-sheets", samples="near=16000,uniform=1000,edges=3000"),
    "camera": Plan(shapes=1320, passes=45),
    "bowl": Plan(shapes=660, passes=60),
    "can": Plan(shapes=660, passes=60),
}
"""The families, the longest first. With more shapes, a prior learns more in the same number of steps. Handles need more
passes; round shapes do with half as many shapes; airplanes have a recipe for sheets (docs/ablation.md)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=FAMILIES)
    parser.add_argument("--encoder-steps", type=int, default=2000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--at-once", type=int, default=2)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    left = {name: stages(name, arguments) for name in arguments.families}
    running: dict[Future[float], tuple[str, str]] = {}
    with ThreadPoolExecutor(arguments.at_once) as pool:
        while running or any(left.values()):
            idle = [name for name in left if left[name] and name not in {family for family, _ in running.values()}]
            # Families with most stages left go first, so that none is left alone with all of its stages at the end.
            for name in sorted(idle, key=lambda name: -len(left[name]))[: arguments.at_once - len(running)]:
                stage = left[name].pop(0)
                running[pool.submit(run_stage, name, stage, arguments)] = (name, stage)
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                name, stage = running.pop(future)
                print(f"{name}: {' '.join(stage.split()[:2])}: {future.result():.0f} s", flush=True)
    print(f"all: {time.monotonic() - started:.0f} s")


def stages(family: str, arguments: argparse.Namespace) -> list[str]:
    """Return the commands that make a family's prior, in order."""
    plan = FAMILIES[family]
    workers = max(usable_cores() // arguments.at_once, 1)
    device = "" if arguments.device == "cpu" else f" --device {arguments.device}"
    commands = [
        f"shapeprior synthesize {family} --count {plan.shapes} --out meshes/{family} --seed 0",
        f"shapeprior prepare meshes/{family} --out data/{family} --samples {plan.samples} --test-share 0.0909 --seed 0 "
        f"--workers {workers}",
        f"shapeprior train data/{family} --out runs/{family} --preset {plan.preset} --seed 0 --epochs {plan.passes} "
        f"--encoder-steps 0{device}",
    ]
    if arguments.encoder_steps:
        steps = f"--steps {arguments.encoder_steps}{device}"
        commands.append(f"shapeprior train-encoder runs/{family} --data data/{family} --seed 0 {steps}")
    return commands


def run_stage(family: str, stage: str, arguments: argparse.Namespace) -> float:
    """Run one command, and bundle the prior after the last one. Returns the seconds that it took."""
    work, started, commands = arguments.work, time.monotonic(), stages(family, arguments)
    finished = len(list((work / "meshes" / family).glob("*.ply"))) == FAMILIES[family].shapes
    with open(work / f"{family}.log", "a", encoding="utf-8") as log:

        def run(words: list[str]) -> None:
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "IGL_NUM_THREADS": "1"}
            subprocess.run([sys.executable, *words], cwd=work, env=environment, stdout=log, stderr=log, check=True)

        if not (finished and stage == commands[0]):
            run(["-m", *stage.split()])
        if stage == commands[-1]:
            if not arguments.encoder_steps:
                # An encoder of an earlier call may be there, which none of these commands made.
                (work / "runs" / family / "encoder.safetensors").unlink(missing_ok=True)
            bundle = str(Path(__file__).with_name("bundle_prior.py").resolve())
            run([bundle, f"runs/{family}", family, "--commands", *commands])
    return time.monotonic() - started


if __name__ == "__main__":
    main()
