"""Many rows of an evaluation in few numbers: means with intervals, medians, and the bad tail; failures count in all.

What an evaluation's rows say besides metrics: time an object, what the prior claims, and whether it found the placement.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from jaxtyping import Float

from shapeprior.evaluation.metrics import METRIC_DEFINITIONS

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


RIGHT_TURN_DEG = 10.0
"""A turn is right within so many degrees."""
RIGHT_SCALE = 0.05
"""A scale is right within this share."""
COLUMNS = {
    "count": "shapes",
    "seconds_median": "seconds, median",
    "seconds_p90": "seconds, p90",
    "explained": "called explained",
    "turn_right": "turn within 10°",
    "scale_right": "scale within 5 %",
    "placed_right": "both",
    "wrong_explained": "wrong placements called explained",
}
"""What is told of each method, and what it is called."""


def summarize_outcomes(rows: Iterable[Mapping[str, Any]], *, placement_known: bool) -> list[dict[str, Any]]:
    """One entry for each method, task and condition, in the rows' order.

    Shares are of all rows: a failed one is not explained, and its placement is wrong. `placed_right` and its parts are null where
    placements were given or a method finds none; `wrong_explained` is a share of the wrong placements, null if there are none.
    Turns of symmetric shapes have no right answer and count all the same. Seconds are the method's own, to the unit frame's mesh.
    """
    return [{**group.key, **_outcome(group.rows, placement_known)} for group in group_rows(rows)]


def outcomes_markdown(outcomes: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table of one task and condition as Markdown."""
    names = _shown(outcomes)
    lines = ["| method | " + " | ".join(COLUMNS[name] for name in names) + " |", "| --- |" + " ---: |" * len(names)]
    for entry in outcomes:
        lines.append(f"| {entry['method']} | " + " | ".join(_text(name, entry[name]) for name in names) + " |")
    return lines


def outcomes_html(outcomes: Sequence[Mapping[str, Any]]) -> str:
    """The same as HTML."""
    names = _shown(outcomes)
    head = "".join(f"<th scope=col>{escape(COLUMNS[name])}</th>" for name in names)
    body = "".join(
        f"<tr><th scope=row>{escape(entry['method'])}</th>"
        + "".join(f'<td class="n">{escape(_text(name, entry[name]))}</td>' for name in names)
        + "</tr>"
        for entry in outcomes
    )
    return (
        '<div class="scroll"><table class="summary"><caption>time, verdicts and placement</caption><thead><tr>'
        f"<th scope=col>method</th>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _outcome(rows: Sequence[Mapping[str, Any]], placement_known: bool) -> dict[str, Any]:
    seconds = [row["seconds"] for row in rows if row["seconds"] is not None]
    judged = any(row["verdict"] is not None for row in rows)
    explained = [row["verdict"] == "explained" for row in rows]
    found: dict[str, Any] = {
        "count": len(rows),
        "seconds_median": float(np.median(seconds)) if seconds else None,
        "seconds_p90": float(np.percentile(seconds, 90)) if seconds else None,
        "explained": float(np.mean(explained)) if judged else None,
        **dict.fromkeys(("turn_right", "scale_right", "placed_right", "wrong_explained")),
    }
    if judged and not placement_known:
        places = [row["placement"] for row in rows]
        turn = [place is not None and place["turn_deg"] < RIGHT_TURN_DEG for place in places]
        scale = [place is not None and abs(place["scale"] - 1.0) < RIGHT_SCALE for place in places]
        right = [turned and sized for turned, sized in zip(turn, scale, strict=True)]
        wrong = [claimed for claimed, placed in zip(explained, right, strict=True) if not placed]
        found |= {"turn_right": float(np.mean(turn)), "scale_right": float(np.mean(scale))}
        found |= {"placed_right": float(np.mean(right)), "wrong_explained": float(np.mean(wrong)) if wrong else None}
    return found


def _shown(outcomes: Sequence[Mapping[str, Any]]) -> list[str]:
    return [name for name in COLUMNS if any(entry[name] is not None for entry in outcomes)]


def _text(name: str, value: float | int | None) -> str:
    if value is None:
        return "–"
    if name == "count":
        return str(value)
    return f"{value:.2f}" if name.startswith("seconds") else f"{100.0 * value:.0f} %"
