"""Statistics of an evaluation's rows.

`summarize_rows` gives mean, interval, median and bad tail of every metric. `summarize_outcomes` gives the other
results: time, the prior's verdicts, and whether it found the placement. Failed rows count in both.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from jaxtyping import Float

from shapeprior.evaluation import html_table
from shapeprior.evaluation.config import PRIOR_METHOD
from shapeprior.evaluation.metrics import METRIC_DEFINITIONS
from shapeprior.io import markdown

NUM_RESAMPLES = 1000
"""Resamples of the bootstrap (Efron 1979, "Bootstrap methods: another look at the jackknife")."""
INTERVAL = (2.5, 97.5)
"""Percentiles of the resampled means that are reported as low and high."""
PARTS = {"all": "metrics", "seen": "seen", "unseen": "unseen"}
"""The field of a row with the metrics of each part of the true surface."""
MAX_TURN_ERROR_DEG = 10.0
"""An estimated turn is right within this angle, in degrees."""
MAX_SCALE_ERROR = 0.05
"""An estimated scale is right within this share of the true one."""
OUTCOME_TITLES = {
    "count": "shapes",
    "seconds_median": "seconds, median",
    "seconds_p90": "seconds, p90",
    "explained": "called explained",
    "turn_right": "turn within 10°",
    "scale_right": "scale within 5 %",
    "placed_right": "both",
    "wrong_explained": "wrong placements called explained",
}
"""The title of each outcome in tables."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RowGroup:
    """The rows of one method, task and condition."""

    key: Mapping[str, Any]
    """`method`, `task` and `condition`."""
    rows: Sequence[Mapping[str, Any]]


def group_rows(rows: Iterable[Mapping[str, Any]]) -> list[RowGroup]:
    """Group rows by method, task and condition, in the order in which these occur."""
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        key = (row["method"], row["task"], json.dumps(row["condition"], sort_keys=True))
        groups.setdefault(key, []).append(row)
    return [
        RowGroup(key={"method": method, "task": task, "condition": json.loads(condition)}, rows=members)
        for (method, task, condition), members in groups.items()
    ]


def summarize_rows(rows: Iterable[Mapping[str, Any]], *, seed: int) -> list[dict[str, Any]]:
    """Return one entry for each method, task, condition, part and metric, in the order of the rows.

    A metric is null in a row if its true shape does not have it (no sharp edge, nothing unseen). Such rows are left out
    of the metric's entry, whatever the method. Failed rows have the worst scores and count. `p90` is the 90th
    percentile on the bad side. `low` and `high` bound the mean with 95 % confidence, by bootstrap over the shapes.
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
    method: str = PRIOR_METHOD,
    task: str = "view",
    condition: Mapping[str, Any] | None = None,
    part: str = "all",
) -> Mapping[str, Any]:
    """Return the matching entry, the first one if no condition is given. Raises KeyError if there is none."""
    for entry in summary:
        same = (entry["metric"], entry["method"], entry["task"], entry["part"]) == (metric, method, task, part)
        if same and (condition is None or entry["condition"] == condition):
            return entry
    raise KeyError(f"no {metric} of {method}, task {task}, {condition or 'any condition'}, part {part}")


def _statistics(values: Sequence[float], metric: str, seed: int) -> dict[str, float | int]:
    column = np.array(values, dtype=np.float64)
    means = _resampled_means(column, np.random.default_rng([seed, len(column)]))
    low, high = np.percentile(means, INTERVAL)
    # Where 1 is best, the bad values lie on both sides, and there is nothing to interpolate between.
    definition = METRIC_DEFINITIONS[metric]
    ordered = sorted(values, key=definition.badness)
    bad_tail = {
        "lower": np.percentile(column, 90.0),
        "higher": np.percentile(column, 10.0),
        "one": ordered[math.ceil(0.9 * (len(ordered) - 1))],
    }[definition.better]
    return {
        "mean": float(column.mean()),
        "median": float(np.median(column)),
        "p90": float(bad_tail),
        "low": float(low),
        "high": float(high),
        "count": len(column),
    }


def _resampled_means(column: Float[np.ndarray, "rows"], rng: np.random.Generator) -> Float[np.ndarray, "resamples"]:
    """Return the means of resamples drawn with replacement, computed in pieces, so that memory stays bounded."""
    means = np.zeros(NUM_RESAMPLES)
    step = max(1, 1_000_000 // len(column))
    for start in range(0, NUM_RESAMPLES, step):
        picks = rng.integers(len(column), size=(min(step, NUM_RESAMPLES - start), len(column)))
        means[start : start + len(picks)] = column[picks].mean(axis=1)
    return means


def summarize_outcomes(rows: Iterable[Mapping[str, Any]], *, placement_known: bool) -> list[dict[str, Any]]:
    """Return one entry for each method, task and condition, in the order of the rows.

    Shares are of all rows: a failed row is not explained, and its placement is wrong. `placed_right` and its parts are
    null if placements were given or the method estimates none. `wrong_explained` is a share of the wrong placements,
    null if there are none. Turns of symmetric shapes have no right answer and count all the same. Seconds are the
    method's own, to the mesh in the unit frame.
    """
    return [{**group.key, **_outcome(group.rows, placement_known)} for group in group_rows(rows)]


def _outcome(rows: Sequence[Mapping[str, Any]], placement_known: bool) -> dict[str, Any]:
    seconds = [row["seconds"] for row in rows if row["seconds"] is not None]
    judged = any(row["verdict"] is not None for row in rows)
    explained = [row["verdict"] == "explained" for row in rows]
    outcome: dict[str, Any] = {
        "count": len(rows),
        "seconds_median": float(np.median(seconds)) if seconds else None,
        "seconds_p90": float(np.percentile(seconds, 90)) if seconds else None,
        "explained": float(np.mean(explained)) if judged else None,
        **dict.fromkeys(("turn_right", "scale_right", "placed_right", "wrong_explained")),
    }
    if judged and not placement_known:
        places = [row["placement"] for row in rows]
        turn = [place is not None and place["turn_deg"] < MAX_TURN_ERROR_DEG for place in places]
        scale = [place is not None and abs(place["scale"] - 1.0) < MAX_SCALE_ERROR for place in places]
        right = [turn_right and scale_right for turn_right, scale_right in zip(turn, scale, strict=True)]
        wrong = [claimed for claimed, placed in zip(explained, right, strict=True) if not placed]
        outcome |= {"turn_right": float(np.mean(turn)), "scale_right": float(np.mean(scale))}
        outcome |= {"placed_right": float(np.mean(right)), "wrong_explained": float(np.mean(wrong)) if wrong else None}
    return outcome


def outcomes_markdown(outcomes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the outcomes of one task and condition as the lines of a Markdown table."""
    names = _known_outcomes(outcomes)
    rows = [[entry["method"], *(_outcome_text(name, entry[name]) for name in names)] for entry in outcomes]
    return markdown.table(["method", *(OUTCOME_TITLES[name] for name in names)], rows, align="l" + "r" * len(names))


def outcomes_html(outcomes: Sequence[Mapping[str, Any]]) -> str:
    """Return the outcomes of one task and condition as an HTML table."""
    names = _known_outcomes(outcomes)
    rows = [
        [
            html_table.row_heading(escape(entry["method"])),
            *(html_table.number_cell(escape(_outcome_text(name, entry[name]))) for name in names),
        ]
        for entry in outcomes
    ]
    head = [html_table.column_heading(escape(title)) for title in ("method", *(OUTCOME_TITLES[n] for n in names))]
    return html_table.table(head, rows, caption="time, verdicts and placement", kind="summary")


def _known_outcomes(outcomes: Sequence[Mapping[str, Any]]) -> list[str]:
    return [name for name in OUTCOME_TITLES if any(entry[name] is not None for entry in outcomes)]


def _outcome_text(name: str, value: float | int | None) -> str:
    if value is None:
        return "–"
    if name == "count":
        return str(value)
    return f"{value:.2f}" if name.startswith("seconds") else f"{100.0 * value:.0f} %"
