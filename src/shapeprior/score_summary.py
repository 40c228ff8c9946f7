"""Many rows of an evaluation in few numbers: means with intervals, medians, and the bad tail; failures count in all."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from shapeprior.metric_definitions import METRIC_DEFINITIONS

RESAMPLES = 1000
"""Of the bootstrap (Efron 1979)."""
INTERVAL = (2.5, 97.5)
"""Percentiles of the resampled means that are reported as low and high."""
PARTS = {"all": "metrics", "seen": "seen", "unseen": "unseen"}
"""Parts of the true surface, and where a row has their metrics."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RowGroup:
    """What one method did in one task under one condition."""

    key: Mapping[str, Any]
    """`method`, `task` and `condition`."""
    rows: Sequence[Mapping[str, Any]]


def group_rows(rows: Iterable[Mapping[str, Any]]) -> list[RowGroup]:
    """Rows that are summarised together, in their order."""
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        key = (row["method"], row["task"], json.dumps(row["condition"], sort_keys=True))
        groups.setdefault(key, []).append(row)
    return [
        RowGroup(key={"method": method, "task": task, "condition": json.loads(condition)}, rows=members)
        for (method, task, condition), members in groups.items()
    ]


def summarize_rows(rows: Iterable[Mapping[str, Any]], *, seed: int) -> list[dict[str, Any]]:
    """One entry for each method, task, condition, part and metric, in the rows' order.

    A metric that is null in a row is one that its true shape does not have (no sharp edge, nothing unseen): it is left out of that
    entry, whatever the method. Failed rows have the worst scores, and count. `p90` is the 90th percentile on the bad side; `low`
    and `high` bound the mean with 95 % confidence by bootstrap over the shapes.
    """
    entries = []
    for group in group_rows(rows):
        for part, field in PARTS.items():
            for metric in METRIC_DEFINITIONS:
                found = [row for row in group.rows if row[field] is not None and row[field].get(metric) is not None]
                if found:
                    entries.append(
                        {
                            **group.key,
                            "part": part,
                            "metric": metric,
                            **_statistics([row[field][metric] for row in found], metric, seed),
                            "failures": sum(row["failure"] is not None for row in found),
                        }
                    )
    return entries


def find_summary(
    summary: Sequence[Mapping[str, Any]],
    metric: str,
    *,
    method: str = "shapeprior",
    task: str = "view",
    condition: Mapping[str, Any] | None = None,
    part: str = "all",
) -> Mapping[str, Any]:
    """The one entry of these; with no condition, the first. Raises KeyError if there is none."""
    for entry in summary:
        same = (entry["metric"], entry["method"], entry["task"], entry["part"]) == (metric, method, task, part)
        if same and (condition is None or entry["condition"] == condition):
            return entry
    raise KeyError(f"no {metric} of {method}, task {task}, {condition or 'any condition'}, part {part}")


def _statistics(values: Sequence[float], metric: str, seed: int) -> dict[str, float | int]:
    column = np.array(values, dtype=np.float64)
    means = _resampled_means(column, np.random.default_rng([seed, len(column)]))
    low, high = np.percentile(means, INTERVAL)
    bad = 90.0 if METRIC_DEFINITIONS[metric].better == "lower" else 10.0
    return {
        "mean": float(column.mean()),
        "median": float(np.median(column)),
        "p90": float(np.percentile(column, bad)),
        "low": float(low),
        "high": float(high),
        "count": len(column),
    }


def _resampled_means(column: Float[np.ndarray, "rows"], rng: np.random.Generator) -> Float[np.ndarray, "resamples"]:
    """Means of as many rows drawn with replacement, again and again; in pieces, so that memory stays bounded."""
    means = np.zeros(RESAMPLES)
    step = max(1, 1_000_000 // len(column))
    for start in range(0, RESAMPLES, step):
        picks = rng.integers(len(column), size=(min(step, RESAMPLES - start), len(column)))
        means[start : start + len(picks)] = column[picks].mean(axis=1)
    return means
