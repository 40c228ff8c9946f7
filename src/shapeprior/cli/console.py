"""What the commands print: progress with the time left, tables, refusals."""

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from pathlib import Path

    from tqdm import tqdm

    from shapeprior.completion.scan_job import ScanRow
    from shapeprior.datasets.dataset import Dataset
    from shapeprior.datasets.manifest import RefusedShape
    from shapeprior.evaluation.metrics import Metrics
    from shapeprior.training.train import EpochReport
    from shapeprior.training.train_encoder import EncoderReport

MAX_REFUSALS = 20
"""Refusals of one kind that are listed one by one."""
REFUSALS = {
    "refused": "refused, and not tried again until the file changes",
    "crashed": "crashed, and tried again by the same command",
    "timeout": "took too long, and are tried again by the same command",
    "memory": "took too much memory, and are tried again by the same command",
}
"""What is said of each kind of refusal."""


def print_line(text: str) -> None:
    """One line of the result."""
    sys.stdout.write(text + "\n")


def print_error(text: str) -> None:
    """One line about what went wrong, on standard error."""
    sys.stderr.write(text + "\n")


def print_table(metrics: "Metrics") -> None:
    """Metrics with unit and definition."""
    from shapeprior.evaluation.metrics import METRIC_DEFINITIONS

    for name, definition in METRIC_DEFINITIONS.items():
        value = getattr(metrics, name)
        text = "-" if value is None else f"{value:.4f}"
        print_line(f"  {name:20s}{text:>9s}  {definition.unit:22s} {definition.text}")
    print_samples()


def print_samples() -> None:
    """The sample counts that stand behind every metric."""
    from shapeprior.evaluation.metrics import MetricsConfig

    counts = MetricsConfig()
    print_line(
        f"  P, T: {counts.surface_points:,} points each, uniform by area, on prediction and truth; "
        f"volumes on {counts.volume_points:,} points"
    )


def print_prepared(data: "Dataset", *, progress: "PrepareProgress", left_over: Sequence[str]) -> None:
    """What became of a collection: counts, time, and every refusal by its cause."""
    from shapeprior.parallel.system import peak_memory_gib

    print_line(
        f"{len(data.shapes)} shapes ({len(data.split('train'))} train, {len(data.split('test'))} test), "
        f"{len(data.refused)} refused, in {data.root}"
    )
    if data.categories:
        sizes = {name: sum(shape.category == name for shape in data.shapes) for name in data.categories}
        print_line(f"  categories: {', '.join(f'{name} {size}' for name, size in sizes.items())}")
    if progress.done:
        rate, memory = progress.done / progress.seconds, peak_memory_gib()
        used = f"; a worker took at most {memory:.2f} GiB" if memory else ""
        print_line(f"  {progress.done} files in {progress.seconds:.1f} s, {rate:.2f} a second{used}")
    if left_over:
        print_line(
            f"  {len(left_over)} shapes of earlier runs are left out, since their files are gone from the collection: "
            f"{', '.join(left_over[:3])}{', ...' if len(left_over) > 3 else ''}"
        )
    for kind, heading in REFUSALS.items():
        _print_refused([shape for shape in data.refused if shape.kind == kind], heading, data)


def _print_refused(refused: "Sequence[RefusedShape]", heading: str, data: "Dataset") -> None:
    """Refusals of one kind, those of one cause together; of many, one example of each cause."""
    causes: dict[str, list[str]] = {}
    for shape in refused:
        # The same cause has the same words, but for the file's name and for numbers.
        cause = re.sub(r"[-+]?\d[\d.,e+-]*%?", "#", shape.reason.removeprefix(f"{shape.source}: "))
        causes.setdefault(cause, []).append(shape.reason)
    if refused:
        print_line(f"{len(refused)} {heading}:")
    for reasons in sorted(causes.values(), key=len, reverse=True):
        if len(refused) <= MAX_REFUSALS:
            for reason in reasons:
                print_line(f"  {reason}")
        else:
            print_line(f"  {len(reasons)} as  {reasons[0]}")
    if len(refused) > MAX_REFUSALS:
        print_line(f"  each with its reason: 'refused' in {data.store.describe('manifest.json')}")


def print_summary(document: "Mapping[str, Any]") -> None:
    """Mean and interval of the main metrics, by task, condition and method, failures included."""
    names = ("chamfer_l1", "fscore_1", "iou")
    seen: list[str] = []
    for entry in document["summary"]:
        if entry["metric"] != "chamfer_l1" or entry["part"] != "all":
            continue
        if _place(entry) not in seen:
            seen.append(_place(entry))
    failures = sum(row["failure"] is not None for row in document["rows"])
    print_line(f"{len(document['rows'])} rows, {failures} failures (scored worst and included)")
    for place in seen:
        print_line(f"{place:26s}" + "".join(f"{name:>30s}" for name in names))
        _print_methods(document, place, names)
        _print_outcome(document, place)
    for name, method in document["methods"].items():
        if method["not_run"]:
            print_line(f"  {name}: {method['not_run']}")


def _place(entry: "Mapping[str, Any]") -> str:
    """Task and condition in a few words."""
    return " ".join(str(word) for word in (entry["task"], *entry["condition"].values()))


def _print_methods(document: "Mapping[str, Any]", place: str, names: Sequence[str]) -> None:
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for entry in document["summary"]:
        if _place(entry) == place and entry["part"] == "all":
            found.setdefault(entry["method"], {})[entry["metric"]] = entry
    for method, entries in found.items():
        cells = (
            f"{entries[name]['mean']:.4f} ({entries[name]['low']:.4f} to {entries[name]['high']:.4f})" for name in names
        )
        print_line(f"  {method:24s}" + "".join(f"{cell:>30s}" for cell in cells))


def _print_outcome(document: "Mapping[str, Any]", place: str) -> None:
    """The prior's time, and how often it found a placement that it had to find."""
    from shapeprior.evaluation.config import PRIOR_METHOD

    for entry in document["outcomes"]:
        if _place(entry) != place or entry["method"] != PRIOR_METHOD or entry["seconds_median"] is None:
            continue
        text = f"  {entry['seconds_median']:.2f} s a shape (median)"
        if entry["placed_right"] is not None:
            text += (
                f"; turn within 10 degrees {entry['turn_right']:.0%}, scale within 5 % {entry['scale_right']:.0%}, "
                f"both {entry['placed_right']:.0%}"
            )
        print_line(text)


class PrepareProgress:
    """How far preparation is, as a bar with rate and time left; counts files."""

    def __init__(self, bar: "tqdm[NoReturn]") -> None:
        self.bar = bar
        self.done = 0
        """Files done now, and not by an earlier run."""
        self.seconds = 0.0
        """Time since the start."""

    def update(self, done: int, total: int, _source: str) -> None:
        """Show a file as done."""
        if self.done == 0:
            # What an earlier run did must not count for the rate.
            self.bar.initial = self.bar.n = done - 1
        self.done += 1
        self.bar.total = total
        self.bar.update(1)
        self.seconds = self.bar.format_dict["elapsed"]


def print_figures(figures: "Mapping[str, int | float | str]") -> None:
    """Named figures, one a line."""
    for name, value in figures.items():
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        print_line(f"  {name.replace('_', ' '):20s}{text:>12s}")


@contextmanager
def prepare_progress() -> Iterator[PrepareProgress]:
    """A bar with rate and time left; counts files."""
    from tqdm import tqdm

    with tqdm(unit="file", dynamic_ncols=True, delay=0.5) as bar:
        yield PrepareProgress(bar)


@contextmanager
def complete_progress() -> Iterator[PrepareProgress]:
    """A bar with rate and time left; counts scans."""
    from tqdm import tqdm

    with tqdm(unit="scan", dynamic_ncols=True, delay=0.5) as bar:
        yield PrepareProgress(bar)


def print_completed(rows: "Sequence[ScanRow]", out: "Path") -> None:
    """A line a scan, those that want attention with their reason, and how many there are of each kind."""
    width = max(len(row.scan) for row in rows)
    for row in rows:
        figures = "" if row.residual is None else f"  residual {row.residual:<9.3g} seen {row.seen:4.0%}"
        print_line(f"  {row.scan:{width}s}  {row.status:11s}{figures}")
        if row.reason:
            print_line(f"    {row.reason}")
    kinds = {
        kind: sum(row.status == kind for row in rows) for kind in ("explained", "doubtful", "unexplained", "failed")
    }
    print_line(
        f"{len(rows)} scans: {', '.join(f'{count} {kind}' for kind, count in kinds.items() if count)}; table {out / 'summary.csv'}"
    )


@contextmanager
def train_progress() -> "Iterator[Callable[[EpochReport], None]]":
    """A bar with rate, time left and the loss; counts epochs."""
    from tqdm import tqdm

    with tqdm(unit="epoch", dynamic_ncols=True) as bar:

        def update(report: "EpochReport") -> None:
            bar.total = report.epochs
            if bar.n == 0:
                # A resumed run has not done its first epochs now; they must not count for the rate.
                bar.initial = report.epoch - 1
                bar.n = report.epoch - 1
            bar.set_postfix_str(f"loss {report.loss:.5f}", refresh=False)
            bar.update(1)

        yield update


@contextmanager
def count_progress(unit: str, *, total: int) -> "Iterator[Callable[[str], None]]":
    """A bar with rate and time left; counts what is done, and names the last."""
    from tqdm import tqdm

    with tqdm(unit=unit, total=total, dynamic_ncols=True) as bar:

        def update(name: str) -> None:
            bar.set_postfix_str(name, refresh=False)
            bar.update(1)

        yield update


@contextmanager
def encoder_progress() -> "Iterator[Callable[[EncoderReport], None]]":
    """A bar with rate, time left and the loss; counts shapes that are rendered, then steps."""
    from tqdm import tqdm

    with tqdm(unit="shape", dynamic_ncols=True) as bar:

        def update(report: "EncoderReport") -> None:
            if report.stage == "training" and bar.unit != "step":
                bar.unit = "step"
                bar.reset()
            bar.total = report.total
            bar.set_description(report.stage, refresh=False)
            if report.loss is not None:
                bar.set_postfix_str(f"loss {report.loss:.3f}", refresh=False)
            bar.update(report.done - bar.n)

        yield update


@contextmanager
def evaluate_progress() -> Iterator[PrepareProgress]:
    """A bar with rate and time left; counts rows."""
    from tqdm import tqdm

    with tqdm(unit="row", dynamic_ncols=True, delay=0.5) as bar:
        yield PrepareProgress(bar)
