"""Print how large the files and folders of the package are, and fail where one breaks the rules of CONTRIBUTING.md.

    python scripts/house.py

Small files scatter a story, long ones hide it, and a folder with many modules is a list that nobody reads. `src` is
checked; `tests` and `benchmarks` are only counted.
"""

import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = range(4, 16)
"""How many modules a folder of the package may hold."""
LINES = range(40, 351)
"""How many lines a module of the package may have."""
NOT_MODULES = ("__init__.py", "__main__.py")
"""Files that do not count as modules and may be short."""
EXCEPTIONS = {
    "src/shapeprior": "everything has a folder but the errors and the settings, which all folders use",
    "src/shapeprior/evaluation/reproduction": "published figures, their measurement and their tables",
}
"""Folders and files that may break a rule, and why."""


def measure(top: Path) -> tuple[dict[Path, list[Path]], dict[Path, int]]:
    """Return the modules of each folder below `top`, and the number of lines of each file."""
    files = sorted(path for path in top.rglob("*.py") if "__pycache__" not in path.parts)
    folders: dict[Path, list[Path]] = {path.parent: [] for path in files}
    for path in files:
        if path.name not in NOT_MODULES:
            folders[path.parent].append(path)
    return folders, {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}


def describe(top: Path) -> None:
    """Print the distribution of lines, the extremes, and the modules of each folder."""
    folders, lines = measure(top)
    counts = sorted(lines.values())
    lower, median, upper = statistics.quantiles(counts, n=4)
    print(
        f"{top.relative_to(ROOT)}: {len(counts)} files, {sum(counts):,} lines; a file has {counts[0]} to {counts[-1]} "
        f"lines, quartiles {lower:.0f}, {median:.0f}, {upper:.0f}"
    )
    short = [path for path in lines if lines[path] < LINES.start and path.name not in NOT_MODULES]
    long = [path for path in lines if lines[path] >= LINES.stop]
    print(f"  {len(short)} files under {LINES.start} lines, {len(long)} over {LINES.stop - 1}")
    for folder, files in folders.items():
        mark = f"  <- more than {FILES.stop - 1}" if len(files) >= FILES.stop else ""
        print(f"  {len(files):4d}  {folder.relative_to(ROOT)}{mark}")


def broken_rules(top: Path) -> list[str]:
    """Return one line for each file or folder below `top` that breaks a rule."""
    folders, lines = measure(top)
    found = [
        (folder, f"{len(files)} modules; expected {FILES.start} to {FILES.stop - 1}")
        for folder, files in folders.items()
        if len(files) not in FILES
    ]
    found += [
        (path, f"{count} lines; expected {LINES.start} to {LINES.stop - 1}")
        for path, count in lines.items()
        if count >= LINES.stop or (count < LINES.start and path.name not in NOT_MODULES)
    ]
    names = [(path.relative_to(ROOT).as_posix(), text) for path, text in found]
    return [f"{name}: {text}" for name, text in names if name not in EXCEPTIONS]


def main() -> None:
    """Describe all code, then end with exit code 1 if the package breaks a rule."""
    for name in ("src/shapeprior", "tests", "benchmarks"):
        describe(ROOT / name)
    broken = broken_rules(ROOT / "src" / "shapeprior")
    for line in broken:
        print(f"broken rule: {line}", file=sys.stderr)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
