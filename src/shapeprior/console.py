"""What the commands print: progress with the time left, tables, refusals."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shapeprior.dataset import Dataset
    from shapeprior.evaluate import EvaluatedShape
    from shapeprior.metrics import Metrics
    from shapeprior.train import EpochReport


def say(text: str) -> None:
    """One line of the result."""
    sys.stdout.write(text + "\n")


def complain(text: str) -> None:
    """One line about what went wrong, on standard error."""
    sys.stderr.write(text + "\n")


def say_table(metrics: "Metrics") -> None:
    """Metrics with unit and definition."""
    from shapeprior.metrics import METRIC_DEFINITIONS

    for name, definition in METRIC_DEFINITIONS.items():
        say(f"  {name:20s}{getattr(metrics, name):9.4f}  {definition.unit:22s} {definition.definition}")
    say_samples()


def say_samples() -> None:
    """The sample counts that stand behind every metric."""
    from shapeprior.metrics import MetricsConfig

    counts = MetricsConfig()
    say(
        f"  P, T: {counts.surface_points:,} points each, uniform by area, on prediction and truth; "
        f"volumes on {counts.volume_points:,} points"
    )


def say_refusals(data: "Dataset") -> None:
    """Every file that was refused, with its reason."""
    for refusal in data.refused:
        say(f"refused  {refusal.reason}")


def say_summary(rows: "Sequence[EvaluatedShape]") -> None:
    """Mean and median of each metric, failures included."""
    from shapeprior.metrics import METRIC_DEFINITIONS, summarize

    summary = summarize([row.metrics for row in rows])
    failures = sum(row.failure is not None for row in rows)
    say(f"{len(rows)} shapes, {failures} failures (scored worst and included)")
    say(f"  {'':20s}{'mean':>9s}{'median':>9s}")
    for name, definition in METRIC_DEFINITIONS.items():
        mean, median = getattr(summary.mean, name), getattr(summary.median, name)
        say(f"  {name:20s}{mean:9.4f}{median:9.4f}  {definition.unit:22s} {definition.definition}")
    say_samples()


@contextmanager
def prepare_progress() -> Iterator[Callable[[int, int, str], None]]:
    """A bar with rate and time left; counts shapes."""
    from tqdm import tqdm

    with tqdm(unit="shape", dynamic_ncols=True) as bar:

        def update(done: int, total: int, _source: str) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield update


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
def evaluate_progress() -> "Iterator[Callable[[EvaluatedShape, int, int], None]]":
    """A bar with rate and time left; counts shapes."""
    from tqdm import tqdm

    with tqdm(unit="shape", dynamic_ncols=True) as bar:

        def update(row: "EvaluatedShape", done: int, total: int) -> None:
            bar.total = total
            bar.set_postfix_str(f"{row.id} F@2% {row.metrics.fscore_2:.3f}", refresh=False)
            bar.update(done - bar.n)

        yield update
