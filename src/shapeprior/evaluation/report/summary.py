"""The head of a report: what was evaluated, the figures that matter most, and a table of all methods for each condition."""

from collections.abc import Iterable, Sequence
from html import escape

from shapeprior.evaluation.report.document import CEILING, PARTS, PRIOR, EvaluationDocument, SummaryCell, group_text
from shapeprior.evaluation.report.svg import number
from shapeprior.evaluation.summary import outcomes_html

_PART_TEXTS = {
    "all": "whole surface",
    "seen": "where the sensor saw the surface",
    "unseen": "where it did not",
}


def headline(document: EvaluationDocument) -> str:
    """Cards: the prior's mean on each metric under the first condition, beside the best of the other methods."""
    if not document.groups:
        return '<p class="lead">No result.</p>'
    task, condition = document.groups[0]
    main = PRIOR if PRIOR in document.methods else next(iter(document.methods), "")
    cells = {
        (cell.method, cell.metric): cell
        for cell in document.summary
        if (cell.task, cell.condition, cell.part) == (task, condition, "all")
    }
    cards = []
    for metric, definition in document.definitions.items():
        mine = cells.get((main, metric))
        if mine is None or mine.mean is None:
            continue
        others = [
            cell
            for (method, name), cell in cells.items()
            if name == metric and method not in (main, CEILING) and cell.mean is not None
        ]
        best = _best(others, definition.higher_is_better)
        versus = "" if best is None else f"best other: {number(best.mean)}, {best.method}"
        wins = best is not None and _is_better(mine.mean, best.mean, definition.higher_is_better)
        cards.append(
            f'<li class="card{" wins" if wins else ""}" title="{escape(definition.text)}">'
            f'<span class="name">{escape(metric)} {"↑" if definition.higher_is_better else "↓"}</span>'
            f'<strong>{number(mine.mean)}</strong><span class="interval">{_interval(mine)}</span>'
            f'<span class="versus">median {number(mine.median)}</span>'
            f'<span class="versus">{escape(versus)}</span></li>'
        )
    failed = sum(row.failure is not None for row in document.rows if row.method == main)
    total = sum(row.method == main for row in document.rows)
    return (
        f'<p class="lead">{escape(main)}, {escape(group_text(task, condition))}: means with their intervals, failures scored '
        f"worst and counted. {failed} of its {total} results under all conditions failed.</p>"
        f'<ul class="cards">{"".join(cards)}</ul>'
    )


def summary_tables(document: EvaluationDocument) -> str:
    """A table of methods by metrics for each task and condition, the whole surface first, then its seen and unseen parts."""
    sections = []
    for place, (task, condition) in enumerate(document.groups):
        cells = [cell for cell in document.summary if (cell.task, cell.condition) == (task, condition)]
        tables = []
        for part in dict.fromkeys([*PARTS, *(cell.part for cell in cells)]):
            mine = [cell for cell in cells if cell.part == part and cell.mean is not None]
            if mine:
                tables.append(_table(document, mine, part))
        told = [each for each in document.outcomes if (each["task"], each["condition"]) == (task, condition)]
        if told:
            tables.append(outcomes_html(told))
        if tables:
            sections.append(
                f"<details{'' if place else ' open'}><summary>{escape(group_text(task, condition))}</summary>"
                f"{''.join(tables)}</details>"
            )
    return "".join(sections) + _not_run(document)


def definitions_table(document: EvaluationDocument) -> str:
    """What each metric means."""
    rows = [
        f"<tr><th scope=row>{escape(name)}</th><td>{escape(definition.text)}</td>"
        f"<td>{'higher' if definition.higher_is_better else 'lower'}</td><td>{escape(definition.unit)}</td>"
        f"<td class=n>{number(definition.worst)}</td></tr>"
        for name, definition in document.definitions.items()
    ]
    return (
        '<div class="scroll"><table><thead><tr><th>metric</th><th>definition</th><th>better</th><th>unit</th>'
        f"<th>score of a failure</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def methods_list(document: EvaluationDocument) -> str:
    """What each method is."""
    items = [
        f"<dt>{escape(name)}</dt><dd>{escape(entry['text'])}"
        + (f" <em>Not run: {escape(entry['not_run'])}</em>" if entry["not_run"] else "")
        + "</dd>"
        for name, entry in document.raw["methods"].items()
    ]
    return f"<dl>{''.join(items)}</dl>"


def _table(document: EvaluationDocument, cells: Sequence[SummaryCell], part: str) -> str:
    metrics = [name for name in document.definitions if any(cell.metric == name for cell in cells)]
    methods = [name for name in document.methods if any(cell.method == name for cell in cells)]
    by_key = {(cell.method, cell.metric): cell for cell in cells}
    compared = {
        metric: [cell for cell in cells if cell.metric == metric and cell.method != CEILING] for metric in metrics
    }
    # One alone is not the best of anything.
    best = {
        metric: _best(some, document.definitions[metric].higher_is_better) if len(some) > 1 else None
        for metric, some in compared.items()
    }
    head = "".join(
        f'<th scope=col title="{escape(document.definitions[name].text)}">{escape(name)} '
        f"{'↑' if document.definitions[name].higher_is_better else '↓'}</th>"
        for name in metrics
    )
    body = []
    for name in methods:
        mine = [by_key[name, metric] for metric in metrics if (name, metric) in by_key]
        failures, count = max(cell.failures for cell in mine), max(cell.count for cell in mine)
        marks = f'<td class="n{" failed" if failures else ""}">{failures} of {count}</td>'
        row = "".join(_cell(by_key.get((name, metric)), best[metric]) for metric in metrics)
        swatch = f'<span class="swatch s{document.methods.index(name) % 8}"></span>'
        body.append(f"<tr><th scope=row>{swatch}{escape(name)}</th>{row}{marks}</tr>")
    caption = _PART_TEXTS.get(part, part)
    return (
        f'<div class="scroll"><table class="summary"><caption>{escape(caption)}</caption><thead><tr><th scope=col>method</th>'
        f"{head}<th scope=col>failures</th></tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _cell(cell: SummaryCell | None, best: SummaryCell | None) -> str:
    if cell is None:
        return '<td class="n">–</td>'
    is_best = best is not None and cell.mean == best.mean and cell.method != CEILING
    tie = not is_best and cell.method != CEILING and best is not None and _overlap(cell, best)
    mean = f"<b>{number(cell.mean)}</b>" if is_best else f"<span>{number(cell.mean)}</span>"
    kind = "best" if is_best else "tie" if tie else ""
    title = f"median {number(cell.median)}, p90 {number(cell.p90)}, {cell.count} results"
    if tie:
        title += "; its interval and the best's overlap"
    return (
        f'<td class="n {kind}" title="{escape(title)}">{mean}<small>{_interval(cell)}</small>'
        f"<small>median {number(cell.median)}</small></td>"
    )


def _not_run(document: EvaluationDocument) -> str:
    items = [
        f"<li><b>{escape(name)}</b> ({escape(entry['text'])}): {escape(entry['not_run'])}</li>"
        for name, entry in document.raw["methods"].items()
        if entry["not_run"]
    ]
    return f'<div class="note"><p>Methods that were not run:</p><ul>{"".join(items)}</ul></div>' if items else ""


def _best(cells: Iterable[SummaryCell], higher_is_better: bool) -> SummaryCell | None:
    found = [cell for cell in cells if cell.mean is not None]
    if not found:
        return None
    return (max if higher_is_better else min)(found, key=lambda cell: cell.mean or 0.0)


def _is_better(value: float, other: float | None, higher_is_better: bool) -> bool:
    return other is not None and (value > other if higher_is_better else value < other)


def _overlap(a: SummaryCell, b: SummaryCell) -> bool:
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return False
    return a.low <= b.high and b.low <= a.high


def _interval(cell: SummaryCell) -> str:
    return "" if cell.low is None or cell.high is None else f"{number(cell.low)} to {number(cell.high)}"
