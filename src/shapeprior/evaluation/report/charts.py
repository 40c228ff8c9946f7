"""The charts of a report: how a metric is distributed, how it changes with the conditions, and how training went."""

from collections.abc import Sequence
from html import escape
from typing import Any

from shapeprior.evaluation.report.document import EvaluationDocument, Row, SummaryCell, condition_text, group_text
from shapeprior.evaluation.report.svg import Frame, figure, legend, number, tick_text

MAX_DOTS = 80
"""Dots in the strip of a method; of more results, so many evenly spaced ones of their order are drawn."""
MAX_STEPS = 160
"""Points along the curve of a distribution."""
_LANE = 13.0
"""Pixels of a method's strip."""


def distribution_charts(document: EvaluationDocument) -> str:
    """For each group of rows and each metric: the share of results up to a value, and under it every result as a dot."""
    sections = []
    for place, (task, condition) in enumerate(document.groups):
        rows = [row for row in document.rows if (row.task, row.condition) == (task, condition)]
        charts = [_distribution(document, rows, metric) for metric in document.definitions]
        if any(charts):
            methods = [name for name in document.methods if any(row.method == name for row in rows)]
            sections.append(
                f"<details{'' if place else ' open'}><summary>{escape(group_text(task, condition))}</summary>"
                f'{_legend(document, methods)}<div class="charts">{"".join(charts)}</div></details>'
            )
    return "".join(sections)


def condition_charts(document: EvaluationDocument) -> str:
    """Means over the number of views for each sensor, and over the sensors for each number of views."""
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
                    sections.append(_curves(document, task, axis, others, group))
    return "".join(sections)


def training_charts(training: Sequence[dict[str, Any]]) -> str:
    """Loss, objective, code length and rate of a run's log over epochs and seconds."""
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
            points = _thinned(points, 600)
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
    # Failures score the worst, which may lie so far off that nothing else could be told apart: they are counted instead.
    lanes: dict[str, list[tuple[float, Row]]] = {}
    for row in rows:
        value = row.metrics.get(metric)
        if value is not None:
            lanes.setdefault(row.method, [])
            if row.failure is None:
                lanes[row.method].append((value, row))
    values = [value for lane in lanes.values() for value, _ in lane]
    if not values:
        return ""
    spread = min(values) > 0 and max(values) > 20 * min(values) and not definition.higher_is_better
    height = 230.0 + _LANE * len(lanes)
    frame = Frame.of(values, (0.0, 1.0), height=height, below=_LANE * len(lanes) + 4.0, logarithmic=(spread, False))
    totals = {name: sum(row.method == name and row.metrics.get(metric) is not None for row in rows) for name in lanes}
    parts = [_below(frame, len(lanes), f"{metric} ({definition.unit})")]
    for lane, name in enumerate(lanes):
        series, results = document.methods.index(name), sorted(lanes[name], key=lambda result: result[0])
        parts.append(_curve(frame, results, totals[name], series, definition.higher_is_better, name))
        y = frame.y.start + _LANE * (lane + 1)
        parts += [
            frame.dot(value, y, series, f"{row.id}, {name}: {number(value)}", row=row.number)
            for value, row in _thinned(results, MAX_DOTS)
        ]
    return figure(
        frame.svg(f"Distribution of {metric}", *parts), f"{metric}: {_direction(definition.higher_is_better)}"
    )


def _curve(
    frame: Frame, results: Sequence[tuple[float, Row]], total: int, series: int, higher_is_better: bool, name: str
) -> str:
    """Share of all results, failures included, that are at least as good as a value."""
    ordered = [value for value, _ in results]
    if not ordered:
        return ""
    points: list[tuple[float, float]] = []
    if higher_is_better:
        points.append((ordered[0], len(ordered) / total))
        for rank, value in enumerate(ordered):
            points += [(value, (len(ordered) - rank) / total), (value, (len(ordered) - rank - 1) / total)]
    else:
        points.append((ordered[0], 0.0))
        for rank, value in enumerate(ordered):
            points += [(value, rank / total), (value, (rank + 1) / total)]
        points.append((frame.x.high, len(ordered) / total))
    if higher_is_better:
        points.insert(0, (frame.x.low, len(ordered) / total))
    return frame.line(_thinned(points, 2 * MAX_STEPS), series, name)


def _below(frame: Frame, lanes: int, label: str) -> str:
    """Axes whose horizontal labels stand below the strips."""
    shift = _LANE * lanes + 4.0
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


def _curves(
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
        # Beside each other, so that intervals do not hide each other.
        aside = 0.012 * span * (series - 0.5 * (len(document.methods) - 1))
        points = [(places[cell.condition] + aside, cell.mean) for cell in mine if cell.mean is not None]
        if not points:
            continue
        parts.append(frame.line(points, series, name))
        for cell in mine:
            x = places[cell.condition] + aside
            if cell.low is not None and cell.high is not None:
                parts.append(frame.interval(x, cell.low, cell.high, series))
            if cell.mean is not None:
                parts.append(frame.dot(x, frame.y(cell.mean), series, f"{name}, {cell.condition}: {number(cell.mean)}"))
    definition = document.definitions[metric]
    caption = f"mean {metric} ({definition.unit}) with its interval: {_direction(definition.higher_is_better)}"
    return figure(frame.svg(caption, *parts), caption)


def _legend(document: EvaluationDocument, methods: Sequence[str]) -> str:
    """A legend whose strokes are those of the methods' places among all."""
    return legend([(place, name) for place, name in enumerate(document.methods) if name in methods])


def _direction(higher_is_better: bool) -> str:
    return "higher is better" if higher_is_better else "lower is better"


def _thinned(items: Sequence[Any], count: int) -> list[Any]:
    """At most `count` items, evenly spaced, the first and the last included."""
    if len(items) <= count:
        return list(items)
    return [items[round(step * (len(items) - 1) / (count - 1))] for step in range(count)]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
