"""What an evaluation's rows say besides metrics: time an object, what the prior claims, and whether it found the placement."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from shapeprior.score_summary import group_rows

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
