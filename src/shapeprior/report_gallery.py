"""The pictures of a report, a card for each result that has one."""

from collections.abc import Collection, Mapping
from html import escape

import numpy as np

from shapeprior.error_colors import ERROR_LIMIT, error_colors
from shapeprior.report_document import PRIOR, EvaluationDocument, Row, group_text
from shapeprior.report_svg import number

_STEPS = 32
"""Pieces of the legend's colour bar."""


def gallery(document: EvaluationDocument, pictures: Mapping[int, str], *, wanted: int, models: Collection[int]) -> str:
    """Cards, the worst first, and what is left out."""
    rows = sorted((document.rows[place] for place in pictures), key=document.badness, reverse=True)
    mine = sum(row.method == PRIOR for row in document.rows)
    note = f"{len(rows)} of {mine} results of the prior have pictures and 3D"
    if len(rows) < mine:
        note += ": of each condition the worst, and as many spread evenly over the others; the table has all"
    if len(rows) < wanted:
        note += f" ({wanted - len(rows)} more were chosen, and have no file to show or would make the page too large)"
    others = sum(document.rows[place].method != PRIOR for place in models)
    note += f". {others} results of other methods on the same views can be seen in 3D." if others else "."
    return (
        f'<p>{note}</p><div class="gallery">{"".join(_card(document, row, pictures[row.number]) for row in rows)}</div>'
    )


def error_legend() -> str:
    """What the colours of distances mean."""
    pieces = []
    for step in range(_STEPS):
        red, green, blue = (
            round(255 * value) for value in error_colors(np.array([ERROR_LIMIT * (step + 0.5) / _STEPS]))[0]
        )
        pieces.append(f'<rect x="{10 * step}" y="0" width="10.5" height="12" fill="rgb({red},{green},{blue})"/>')
    ticks = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        anchor = "start" if share == 0.0 else "end" if share == 1.0 else "middle"
        text = ("≥ " if share == 1.0 else "") + f"{share * ERROR_LIMIT:g}"
        ticks.append(f'<text class="tick" x="{320 * share:g}" y="26" text-anchor="{anchor}">{text}</text>')
    return (
        '<figure class="errors"><svg viewBox="-2 0 324 30" width="324" height="30" role="img" '
        f'aria-label="Colours of distances, 0 to {ERROR_LIMIT:g} radii">{"".join(pieces)}{"".join(ticks)}</svg>'
        "<figcaption>distance to the other surface, in radii of the unit sphere"
        "</figcaption></figure>"
    )


def _card(document: EvaluationDocument, row: Row, picture: str) -> str:
    main = document.main_metric
    failed = row.failure is not None
    words = [group_text(row.task, row.condition), f"{main} {number(row.metrics.get(main))}"]
    if row.verdict:
        words.append(row.verdict)
    failure = f'<p class="failure">Failed: {escape(row.failure or "")}</p>' if failed else ""
    return (
        f'<article class="shape{" failed" if failed else ""}"><h3>{escape(row.id)}</h3>'
        f"<p>{escape(' · '.join(words))}</p>{failure}"
        f'<button type="button" class="open" data-row="{row.number}" aria-label="Open {escape(row.id)} in 3D">'
        f'<img id="picture-{row.number}" src="{picture}" loading="lazy" alt="partial view, completion, truth and distances '
        f'of {escape(row.id)}"></button></article>'
    )
