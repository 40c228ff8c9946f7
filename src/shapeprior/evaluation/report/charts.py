"""The charts of a report: the distribution of each metric, its change with the conditions, and the course of the
training."""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from shapeprior.evaluation.report.document import (
    Definition,
    EvaluationDocument,
    Row,
    SummaryCell,
    condition_text,
    group_text,
)
from shapeprior.evaluation.report.svg import Frame, figure, legend, number, tick_text
from shapeprior.geometry.sampling import select_evenly

MAX_DOTS = 80
"""Dots in the strip of a method, at most. Of more results, evenly spaced ones of the sorted list are drawn."""
MAX_CURVE_POINTS = 320
"""Points along the curve of a distribution, at most."""
MAX_LOG_POINTS = 600
"""Points along a curve of the training log, at most."""
_STRIP_HEIGHT = 13.0
"""Height of a method's strip of dots, in pixels."""
_STRIP_MARGIN = 4.0
"""Pixels below the strips of all methods."""


def distribution_charts(document: EvaluationDocument) -> str:
    """Return one chart for each group of rows and each metric.

    The curves show the share of results that are at least as good as a value. Below them, each method has a strip with
    its results as dots.
    """
    sections = []
    for index, (task, condition) in enumerate(document.groups):
        rows = [row for row in document.rows if (row.task, row.condition) == (task, condition)]
        charts = [_distribution(document, rows, metric) for metric in document.definitions]
        if any(charts):
            methods = [name for name in document.methods if any(row.method == name for row in rows)]
            sections.append(
                f"<details{'' if index else ' open'}><summary>{escape(group_text(task, condition))}</summary>"
                f'{_legend(document, methods)}<div class="charts">{"".join(charts)}</div></details>'
            )
    return "".join(sections)


def condition_charts(document: EvaluationDocument) -> str:
    """Return charts of the means over the number of views and over the sensors."""
    sections = []
    for task in dict.fromkeys(task for task, _ in document.groups):
        conditions = document.conditions(task)
        for axis in dict.fromkeys(name for condition in conditions.values() for name in condition):
            rest: dict[str, list[dict[str, Any]]] = {}
            for condition in conditions.values():
                if axis in condition:
                    others = {name: value for name, value in condition.items() if name != axis}
                    rest.setdefault(condition_text(others), []).append(condition)
            for others, group in rest.items():
                values = list(dict.fromkeys(condition[axis] for condition in group))
                if len(values) > 1:
                    sections.append(_charts_over(document, task, axis, others, group))
    return "".join(sections)


def training_charts(training: Sequence[dict[str, Any]]) -> str:
    """Return charts of a training log: loss and objective over epochs and seconds, code length and rate over epochs."""
    charts = []
    for name, logarithmic in (("loss", True), ("objective", True), ("code_length", False), ("rate", False)):
        for axis in ("epoch", "seconds"):
            points = [
                (float(row[axis]), float(row[name]))
                for row in training
                if isinstance(row, dict) and _is_number(row.get(axis)) and _is_number(row.get(name))
            ]
            if len(points) < 2 or (axis == "seconds" and name not in ("loss", "objective")):
                continue
            points = select_evenly(points, MAX_LOG_POINTS)
            frame = Frame.of(
                [x for x, _ in points],
                [y for _, y in points],
                logarithmic=(False, logarithmic and min(y for _, y in points) > 0),
            )
            words = name.replace("_", " ")
            caption = f"{words} over {axis}: {number(points[-1][1])} at the end"
            svg = frame.svg(caption, frame.axes(axis, words), frame.line(points, 0, words))
            charts.append(figure(svg, caption))
    return f'<div class="charts">{"".join(charts)}</div>' if charts else ""


def _distribution(document: EvaluationDocument, rows: Sequence[Row], metric: str) -> str:
    definition = document.definitions[metric]
    # Failures count in the shares and have no dots: their worst scores would stretch the axis so far that nothing else
    # is seen.
    strips: dict[str, list[tuple[float, Row]]] = {}
    for row in rows:
        value = row.metrics.get(metric)
        if value is not None:
            strips.setdefault(row.method, [])
            if row.failure is None:
                strips[row.method].append((value, row))
    values = [value for strip in strips.values() for value, _ in strip]
    if not values:
        return ""
    logarithmic = min(values) > 0 and max(values) > 20 * min(values) and definition.better == "lower"
    below = _STRIP_HEIGHT * len(strips)
    frame = Frame.of(
        values, (0.0, 1.0), height=230.0 + below, below=below + _STRIP_MARGIN, logarithmic=(logarithmic, False)
    )
    totals = {name: sum(row.method == name and row.metrics.get(metric) is not None for row in rows) for name in strips}
    parts = [_axes_below_strips(frame, len(strips), f"{metric} ({definition.unit})")]
    for strip, name in enumerate(strips):
        series, results = document.methods.index(name), sorted(strips[name], key=lambda result: result[0])
        parts.append(_distribution_curve(frame, results, totals[name], series, definition, name))
        y = frame.y.start + _STRIP_HEIGHT * (strip + 1)
        parts += [
            frame.dot(value, y, series, f"{row.id}, {name}: {number(value)}", row=row.number)
            for value, row in select_evenly(results, MAX_DOTS)
        ]
    return figure(frame.svg(f"Distribution of {metric}", *parts), f"{metric}: {_direction(definition)}")


def _distribution_curve(
    frame: Frame, results: Sequence[tuple[float, Row]], total: int, series: int, definition: Definition, name: str
) -> str:
    """Return the curve of the share of all results, failures included, that are at least as good as a value."""
    ordered = [value for value, _ in results]
    if not ordered:
        return ""
    points: list[tuple[float, float]] = []
    if definition.better == "higher":
        points += [(frame.x.low, len(ordered) / total), (ordered[0], len(ordered) / total)]
        for rank, value in enumerate(ordered):
            points += [(value, (len(ordered) - rank) / total), (value, (len(ordered) - rank - 1) / total)]
    elif definition.better == "lower":
        points.append((ordered[0], 0.0))
        for rank, value in enumerate(ordered):
            points += [(value, rank / total), (value, (rank + 1) / total)]
        points.append((frame.x.high, len(ordered) / total))
    else:
        # As good as a value are those that are no farther from 1, on either side.
        away = np.sort([definition.badness(value) for value in ordered])
        places = np.unique([frame.x.low, *ordered, *(2.0 - value for value in ordered), frame.x.high])
        places = places[(places >= frame.x.low) & (places <= frame.x.high)]
        as_good = np.searchsorted(away, [definition.badness(place) + 1e-12 for place in places], side="right")
        points += zip(places.tolist(), (as_good / total).tolist(), strict=True)
    return frame.line(select_evenly(points, MAX_CURVE_POINTS), series, name)


def _axes_below_strips(frame: Frame, num_strips: int, label: str) -> str:
    """Return axes whose horizontal labels stand below the strips."""
    shift = _STRIP_HEIGHT * num_strips + _STRIP_MARGIN
    parts = [frame.axes("", "share at least as good", x_ticks=())]
    for value in frame.x.ticks():
        x = frame.x(value)
        bottom = frame.y.start + shift
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{frame.y.end}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{tick_text(value)}</text>')
    middle = 0.5 * (frame.x.start + frame.x.end)
    text = (
        f'<text class="label" x="{middle}" y="{frame.y.start + shift + 30}" text-anchor="middle">{escape(label)}</text>'
    )
    return "".join([*parts, text])


def _charts_over(
    document: EvaluationDocument, task: str, axis: str, others: str, conditions: Sequence[dict[str, Any]]
) -> str:
    numeric = all(_is_number(condition[axis]) for condition in conditions)
    ordered = sorted(conditions, key=lambda condition: condition[axis]) if numeric else list(conditions)
    places = {
        condition_text(condition): float(condition[axis]) if numeric else float(place)
        for place, condition in enumerate(ordered)
    }
    ticks = [(places[condition_text(condition)], str(condition[axis])) for condition in ordered]
    cells = [cell for cell in document.summary if cell.task == task and cell.condition in places and cell.part == "all"]
    charts = []
    for metric in document.definitions:
        mine = [cell for cell in cells if cell.metric == metric and cell.mean is not None]
        if mine:
            charts.append(_condition_chart(document, mine, places, ticks, axis, metric))
    methods = [name for name in document.methods if any(cell.method == name for cell in cells)]
    heading = group_text(task, others) + f", over {axis}"
    return (
        f"<details open><summary>{escape(heading)}</summary>{_legend(document, methods)}"
        f'<div class="charts">{"".join(charts)}</div></details>'
    )


def _condition_chart(
    document: EvaluationDocument,
    cells: Sequence[SummaryCell],
    places: dict[str, float],
    ticks: Sequence[tuple[float, str]],
    axis: str,
    metric: str,
) -> str:
    ends = [value for cell in cells for value in (cell.mean, cell.low, cell.high) if value is not None]
    span = max(places.values()) - min(places.values())
    margin = 0.06 * span
    frame = Frame.of([min(places.values()) - margin, max(places.values()) + margin], ends)
    parts = [frame.axes(axis, metric, x_ticks=ticks)]
    for name in document.methods:
        mine = sorted((cell for cell in cells if cell.method == name), key=lambda cell: places[cell.condition])
        series = document.methods.index(name)
        # The methods stand beside each other, so that their intervals do not overlap.
        offset = 0.012 * span * (series - 0.5 * (len(document.methods) - 1))
        points = [(places[cell.condition] + offset, cell.mean) for cell in mine if cell.mean is not None]
        if not points:
            continue
        parts.append(frame.line(points, series, name))
        for cell in mine:
            x = places[cell.condition] + offset
            if cell.low is not None and cell.high is not None:
                parts.append(frame.interval(x, cell.low, cell.high, series))
            if cell.mean is not None:
                parts.append(frame.dot(x, frame.y(cell.mean), series, f"{name}, {cell.condition}: {number(cell.mean)}"))
    definition = document.definitions[metric]
    caption = f"mean {metric} ({definition.unit}) with its interval: {_direction(definition)}"
    return figure(frame.svg(caption, *parts), caption)


def _legend(document: EvaluationDocument, methods: Sequence[str]) -> str:
    """Return a legend with the strokes that the methods have in all charts."""
    return legend([(place, name) for place, name in enumerate(document.methods) if name in methods])


def _direction(definition: Definition) -> str:
    return {"higher": "higher is better", "lower": "lower is better", "one": "closer to 1 is better"}[definition.better]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
