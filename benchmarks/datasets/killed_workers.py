"""Preparation while its worker processes are killed: every file must end as it does undisturbed, byte for byte.

    python -m benchmarks.datasets.killed_workers --count 1000 --every 50 --workers 3
    python -m benchmarks.datasets.killed_workers --meshes MESHES

Without --meshes, small closed meshes are generated, and every hundredth file is broken. The same collection is prepared
twice, once undisturbed and once while the oldest worker process gets SIGKILL after every so many files. Processes are
found in /proc (so this needs Linux), without help from the package. The oldest one is killed because a process that was
just started may be at the second attempt at a shape, and a shape that costs two processes counts as crashed.
"""

import argparse
import hashlib
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from shapeprior.datasets.dataset import Dataset
from shapeprior.datasets.prepare import Progress, prepare_dataset
from shapeprior.datasets.prepare_mesh import PrepareConfig
from shapeprior.datasets.procedural import synthesize_family
from shapeprior.parallel.system import peak_memory_gib
from shapeprior.sdf.sampling import SamplingConfig

FAMILIES = ("can", "bowl", "mug")


def main() -> None:
    """Prepare twice, compare, and exit with 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meshes", type=Path, help="a folder of meshes, or any collection; generated if not given")
    parser.add_argument("--count", type=int, default=60, help="how many meshes to generate")
    parser.add_argument("--every", type=int, default=10, help="files from one kill to the next")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--samples", type=int, default=10_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        meshes = arguments.meshes or generate(Path(folder) / "meshes", arguments.count)
        config = PrepareConfig(sampling=SamplingConfig.deepsdf(arguments.samples))
        killed: list[int] = []
        trees = {}
        for name, progress in (("undisturbed", None), ("disturbed", kill_oldest_worker(arguments.every, killed))):
            started = time.monotonic()
            out = Path(folder) / name
            data = prepare_dataset(meshes, out, config=config, seed=0, workers=arguments.workers, progress=progress)
            print_line(name, data, time.monotonic() - started)
            trees[name] = hashes(out)
    differences = sorted(path for path, _ in trees["undisturbed"].items() ^ trees["disturbed"].items())
    print(f"{len(killed)} processes killed; a worker took at most {peak_memory_gib() or 0.0:.2f} GiB")
    print(f"{len(trees['undisturbed'])} files, {len(set(differences))} of them differ", *sorted(set(differences))[:5])
    sys.exit(bool(differences) or not killed)


def generate(folder: Path, count: int) -> Path:
    """Generate meshes of three families, and break every hundredth."""
    for number, family in enumerate(FAMILIES):
        share = count // len(FAMILIES) + (number < count % len(FAMILIES))
        synthesize_family(family, count=share, out=folder / family, seed=number)
    for path in sorted(folder.rglob("*.ply"))[::100]:
        path.write_bytes(path.read_bytes()[:200])
    return folder


def kill_oldest_worker(every: int, killed: list[int]) -> Progress:
    """Return a progress callback that kills the oldest worker process after every so many files, and records its id."""

    def progress(done: int, _total: int, _source: str) -> None:
        if done % every == 0 and (living := children()):
            os.kill(living[0], signal.SIGKILL)
            killed.append(living[0])

    return progress


def children() -> list[int]:
    """Return the ids of living processes that this one has started, the oldest first."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as file:
                state, parent, *rest = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(parent) == os.getpid() and state != "Z":
            found.append((int(rest[17]), int(entry)))
    return [pid for _, pid in sorted(found)]


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def print_line(name: str, data: Dataset, seconds: float) -> None:
    """Print the outcome of a run."""
    files = len(data.shapes) + len(data.refused)
    kinds = {
        kind: sum(shape.kind == kind for shape in data.refused) for kind in ("refused", "crashed", "timeout", "memory")
    }
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    print(
        f"{name:12s} {len(data.shapes)} shapes, {counted or 'none refused'}, {seconds:.1f} s, "
        f"{files / seconds:.2f} files/s"
    )


if __name__ == "__main__":
    main()
