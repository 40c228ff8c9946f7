"""The summary of a report: cards with the prior's means, and a table of all methods for each task and condition."""

from collections.abc import Iterable, Sequence
from html import escape

from shapeprior.evaluation import html_table
from shapeprior.evaluation.config import UPPER_BOUND_METHOD
from shapeprior.evaluation.report.document import (
    Definition,
    EvaluationDocument,
    SummaryCell,
    group_text,
    main_method,
)
from shapeprior.evaluation.report.svg import NUM_COLORS, number
from shapeprior.evaluation.summary import PARTS, outcomes_html

_PART_TITLES = {
    "all": "whole surface",
    "seen": "where the sensor saw the surface",
    "unseen": "where it did not",
}


def headline(document: EvaluationDocument) -> str:
    """Return cards with the prior's means under the first condition, beside the best of the other methods."""
    if not document.groups:
        return '<p class="lead">No result.</p>'
    task, condition = document.groups[0]
    main = main_method(document)
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
            if name == metric and method not in (main, UPPER_BOUND_METHOD) and cell.mean is not None
        ]
        best = _best(others, definition)
        versus = "" if best is None else f"best other: {number(best.mean)}, {best.method}"
        wins = best is not None and _is_better(mine.mean, best.mean, definition)
        cards.append(
            f'<li class="card{" wins" if wins else ""}" title="{escape(definition.text)}">'
            f'<span class="name">{escape(metric)} {definition.arrow}</span>'
            f'<strong>{number(mine.mean)}</strong><span class="interval">{_interval(mine)}</span>'
            f'<span class="versus">median {number(mine.median)}</span>'
            f'<span class="versus">{escape(versus)}</span></li>'
        )
    failed = sum(row.failure is not None for row in document.rows if row.method == main)
    total = sum(row.method == main for row in document.rows)
    return (
        f'<p class="lead">{escape(main)}, {escape(group_text(task, condition))}: means with their intervals, '
        f"failures scored worst and counted. {failed} of its {total} results under all conditions failed.</p>"
        f'<ul class="cards">{"".join(cards)}</ul>'
    )


def summary_tables(document: EvaluationDocument) -> str:
    """Return tables of methods by metrics for each task and condition, and for each part of the surface."""
    sections = []
    for index, (task, condition) in enumerate(document.groups):
        cells = [cell for cell in document.summary if (cell.task, cell.condition) == (task, condition)]
        tables = []
        for part in dict.fromkeys([*PARTS, *(cell.part for cell in cells)]):
            mine = [cell for cell in cells if cell.part == part and cell.mean is not None]
            if mine:
                tables.append(_method_table(document, mine, part))
        outcomes = [entry for entry in document.outcomes if (entry["task"], entry["condition"]) == (task, condition)]
        if outcomes:
            tables.append(outcomes_html(outcomes))
        if tables:
            sections.append(
                f"<details{'' if index else ' open'}><summary>{escape(group_text(task, condition))}</summary>"
                f"{''.join(tables)}</details>"
            )
    return "".join(sections) + _not_run(document)


def definitions_table(document: EvaluationDocument) -> str:
    """Return a table of the metrics' definitions."""
    titles = ("metric", "definition", "better", "unit", "score of a failure")
    rows = [
        [
            html_table.row_heading(escape(name)),
            html_table.cell(escape(definition.text)),
            html_table.cell({"higher": "higher", "lower": "lower", "one": "closer to 1"}[definition.better]),
            html_table.cell(escape(definition.unit)),
            html_table.cell(number(definition.worst), "class=n"),
        ]
        for name, definition in document.definitions.items()
    ]
    return html_table.table([html_table.cell(title, tag="th") for title in titles], rows)


def methods_list(document: EvaluationDocument) -> str:
    """Return a list of the methods with their descriptions."""
    items = [
        f"<dt>{escape(name)}</dt><dd>{escape(entry['text'])}"
        + (f" <em>Not run: {escape(entry['not_run'])}</em>" if entry["not_run"] else "")
        + "</dd>"
        for name, entry in document.raw["methods"].items()
    ]
    return f"<dl>{''.join(items)}</dl>"


def _method_table(document: EvaluationDocument, cells: Sequence[SummaryCell], part: str) -> str:
    metrics = [name for name in document.definitions if any(cell.metric == name for cell in cells)]
    methods = [name for name in document.methods if any(cell.method == name for cell in cells)]
    by_key = {(cell.method, cell.metric): cell for cell in cells}
    compared = {
        metric: [cell for cell in cells if cell.metric == metric and cell.method != UPPER_BOUND_METHOD]
        for metric in metrics
    }
    # With one method alone, there is no best one.
    best = {
        metric: _best(rivals, document.definitions[metric]) if len(rivals) > 1 else None
        for metric, rivals in compared.items()
    }
    head = [
        html_table.column_heading("method"),
        *(_metric_heading(name, document.definitions[name]) for name in metrics),
        html_table.column_heading("failures"),
    ]
    rows = []
    for name in methods:
        mine = [by_key[name, metric] for metric in metrics if (name, metric) in by_key]
        failures, count = max(cell.failures for cell in mine), max(cell.count for cell in mine)
        swatch = f'<span class="swatch s{document.methods.index(name) % NUM_COLORS}"></span>'
        rows.append(
            [
                html_table.row_heading(swatch + escape(name)),
                *(_mean_cell(by_key.get((name, metric)), best[metric]) for metric in metrics),
                html_table.number_cell(f"{failures} of {count}", kind="n failed" if failures else "n"),
            ]
        )
    return html_table.table(head, rows, caption=_PART_TITLES.get(part, part), kind="summary")


def _metric_heading(name: str, definition: Definition) -> str:
    return html_table.column_heading(f"{escape(name)} {definition.arrow}", f'title="{escape(definition.text)}"')


def _mean_cell(cell: SummaryCell | None, best: SummaryCell | None) -> str:
    if cell is None:
        return html_table.number_cell("–")
    is_best = best is not None and cell.mean == best.mean and cell.method != UPPER_BOUND_METHOD
    tie = not is_best and cell.method != UPPER_BOUND_METHOD and best is not None and _overlap(cell, best)
    mean = f"<b>{number(cell.mean)}</b>" if is_best else f"<span>{number(cell.mean)}</span>"
    kind = "best" if is_best else "tie" if tie else ""
    title = f"median {number(cell.median)}, p90 {number(cell.p90)}, {cell.count} results"
    if tie:
        title += "; its interval and the best's overlap"
    content = f"{mean}<small>{_interval(cell)}</small><small>median {number(cell.median)}</small>"
    return html_table.number_cell(content, f'title="{escape(title)}"', kind=f"n {kind}")


def _not_run(document: EvaluationDocument) -> str:
    items = [
        f"<li><b>{escape(name)}</b> ({escape(entry['text'])}): {escape(entry['not_run'])}</li>"
        for name, entry in document.raw["methods"].items()
        if entry["not_run"]
    ]
    return f'<div class="note"><p>Methods that were not run:</p><ul>{"".join(items)}</ul></div>' if items else ""


def _best(cells: Iterable[SummaryCell], definition: Definition) -> SummaryCell | None:
    found = [(definition.badness(cell.mean), cell) for cell in cells if cell.mean is not None]
    return min(found, key=lambda pair: pair[0])[1] if found else None


def _is_better(value: float, other: float | None, definition: Definition) -> bool:
    return other is not None and definition.badness(value) < definition.badness(other)


def _overlap(a: SummaryCell, b: SummaryCell) -> bool:
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return False
    return a.low <= b.high and b.low <= a.high


def _interval(cell: SummaryCell) -> str:
    return "" if cell.low is None or cell.high is None else f"{number(cell.low)} to {number(cell.high)}"
