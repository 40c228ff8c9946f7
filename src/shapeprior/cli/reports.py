"""What the commands say about their results: metrics, data sets, evaluations and folders of completed scans."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from shapeprior.cli.console import print_line, print_table

if TYPE_CHECKING:
    from pathlib import Path

    from shapeprior.cli.progress import Progress
    from shapeprior.completion.scan_job import ScanRow
    from shapeprior.datasets.dataset import Dataset
    from shapeprior.datasets.manifest import RefusedShape
    from shapeprior.evaluation.metrics import Metrics

MAX_LISTED_REFUSALS = 20
"""Up to this many refusals of one kind are listed one by one. More are grouped by cause."""
REFUSAL_HEADINGS = {
    "refused": "refused; they are tried again when their files change",
    "crashed": "crashed; the same command tries them again",
    "timeout": "took too long; the same command tries them again",
    "memory": "took too much memory; the same command tries them again",
}
"""Heading of each kind of refusal, after their number."""
SUMMARY_METRICS = ("chamfer_l1", "fscore_1", "iou")
"""Metrics that the summary of an evaluation shows; its report has all of them."""


def print_figures(figures: "Mapping[str, int | float | str]") -> None:
    """Print named figures, one a line."""
    width = max(map(len, figures))
    for name, value in figures.items():
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        print_line(f"  {name.replace('_', ' '):{width}s}  {text:>12s}")


def print_metrics(metrics: "Metrics") -> None:
    """Print all metrics with their units and definitions."""
    from shapeprior.evaluation.metrics import METRIC_DEFINITIONS, MetricsConfig

    rows = []
    for name, definition in METRIC_DEFINITIONS.items():
        value = getattr(metrics, name)
        rows.append((name, "-" if value is None else f"{value:.4f}", definition.unit, definition.text))
    print_table(("metric", "value", "unit", "definition"), rows, right=("value",))
    counts = MetricsConfig()
    print_line(
        f"  P, T: {counts.surface_points:,} points on prediction and truth, uniform by area; "
        f"volumes: {counts.volume_points:,} points"
    )


def print_prepared(data: "Dataset", *, progress: "Progress", left_over: Sequence[str]) -> None:
    """Print what became of a collection: counts, speed, and every refusal by its cause."""
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
        used = f"; a worker used at most {memory:.2f} GiB" if memory else ""
        print_line(f"  {progress.done} files in {progress.seconds:.1f} s, {rate:.2f} a second{used}")
    if left_over:
        print_line(
            f"  {len(left_over)} shapes of earlier runs are left out, because the collection no longer has their "
            f"files: {', '.join(left_over[:3])}{', ...' if len(left_over) > 3 else ''}"
        )
    for kind, heading in REFUSAL_HEADINGS.items():
        _print_refused([shape for shape in data.refused if shape.kind == kind], heading, data)


def _print_refused(refused: "Sequence[RefusedShape]", heading: str, data: "Dataset") -> None:
    """Print the refusals of one kind, grouped by cause; if they are many, one example of each cause."""
    causes: dict[str, list[str]] = {}
    for shape in refused:
        # Reasons of one cause differ only by the file's name and by numbers.
        cause = re.sub(r"[-+]?\d[\d.,e+-]*%?", "#", shape.reason.removeprefix(f"{shape.source}: "))
        causes.setdefault(cause, []).append(shape.reason)
    if refused:
        print_line(f"{len(refused)} {heading}:")
    for reasons in sorted(causes.values(), key=len, reverse=True):
        if len(refused) <= MAX_LISTED_REFUSALS:
            for reason in reasons:
                print_line(f"  {reason}")
        else:
            print_line(f"  {len(reasons)} like  {reasons[0]}")
    if len(refused) > MAX_LISTED_REFUSALS:
        print_line(f"  all of them, with their reasons: 'refused' in {data.store.describe('manifest.json')}")


def print_summary(document: "Mapping[str, Any]") -> None:
    """Print mean and interval of the main metrics by task, condition and method; failures are included."""
    failures = sum(row["failure"] is not None for row in document["rows"])
    print_line(f"{len(document['rows'])} rows, {failures} failures (scored worst and included)")
    entries = [entry for entry in document["summary"] if entry["part"] == "all"]
    for setting in dict.fromkeys(_setting(entry) for entry in entries if entry["metric"] == SUMMARY_METRICS[0]):
        by_method: dict[str, dict[str, Mapping[str, Any]]] = {}
        for entry in entries:
            if _setting(entry) == setting:
                by_method.setdefault(entry["method"], {})[entry["metric"]] = entry
        print_line(f"{setting} (mean and interval)")
        rows = [(method, *(_interval(found[name]) for name in SUMMARY_METRICS)) for method, found in by_method.items()]
        print_table(("method", *SUMMARY_METRICS), rows, right=SUMMARY_METRICS)
        _print_outcome(document, setting)
    for name, method in document["methods"].items():
        if method["not_run"]:
            print_line(f"  {name}: {method['not_run']}")


def _setting(entry: "Mapping[str, Any]") -> str:
    """Return the task and its condition in a few words."""
    return " ".join(str(word) for word in (entry["task"], *entry["condition"].values()))


def _interval(entry: "Mapping[str, Any]") -> str:
    return f"{entry['mean']:.4f} ({entry['low']:.4f} to {entry['high']:.4f})"


def _print_outcome(document: "Mapping[str, Any]", setting: str) -> None:
    """Print the prior's time, and how often it found the right placement where it had to find one."""
    from shapeprior.evaluation.config import PRIOR_METHOD

    for entry in document["outcomes"]:
        if _setting(entry) != setting or entry["method"] != PRIOR_METHOD or entry["seconds_median"] is None:
            continue
        text = f"  {entry['seconds_median']:.2f} s a shape (median)"
        if entry["placed_right"] is not None:
            text += (
                f"; turn within 10 degrees {entry['turn_right']:.0%}, scale within 5 % {entry['scale_right']:.0%}, "
                f"both {entry['placed_right']:.0%}"
            )
        print_line(text)


def print_completed(rows: "Sequence[ScanRow]", out: "Path") -> None:
    """Print a row for each scan of a folder, with the reason of those that want attention, and the count of each
    verdict."""
    cells = [
        (
            row.scan,
            row.status,
            "-" if row.residual is None else f"{row.residual:.3g}",
            "-" if row.residual is None else f"{row.seen:.0%}",
            row.reason,
        )
        for row in rows
    ]
    print_table(("scan", "verdict", "residual", "seen", "reason"), cells, right=("residual", "seen"))
    counts = {
        kind: sum(row.status == kind for row in rows) for kind in ("explained", "doubtful", "unexplained", "failed")
    }
    listed = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    print_line(f"{len(rows)} scans: {listed}; table {out / 'summary.csv'}")
