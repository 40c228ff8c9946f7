"""The pictures of a report: what was seen, what was made of it, the truth, and where the two differ.

The pictures of a report, a card for each result that has one.
"""

import base64
import io
from collections.abc import Collection, Mapping
from html import escape

import numpy as np
from jaxtyping import Float

from shapeprior.evaluation.report.document import PRIOR, EvaluationDocument, Row, group_text
from shapeprior.evaluation.report.scenes import ERROR_LIMIT, Scene, error_colors
from shapeprior.evaluation.report.svg import number
from shapeprior.geometry.proximity import FaceTree
from shapeprior.visualization.pictures import Panel, comparison_picture
from shapeprior.visualization.render import Paint, View

_QUALITY = 88
"""Of WebP."""


def scene_picture(scene: Scene, *, width: int) -> str | None:
    """All panels of a scene side by side, as a data URL; None if there is nothing to see."""
    panels = scene_panels(scene)
    if not panels:
        return None
    seen = np.concatenate([part for panel in panels for part in _extent(panel)])
    # Points far away (a spray of wrong depths) must not shrink the object to a dot.
    view = View(width=width, height=width).fitted(np.clip(seen, -1.5, 1.5))
    buffer = io.BytesIO()
    comparison_picture(panels, view=view).save(buffer, format="WEBP", quality=_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def scene_panels(scene: Scene) -> list[Panel]:
    """Partial view, completion, truth; completion and truth, each coloured by its distance to the other."""
    panels = []
    if scene.points is not None:
        panels.append(Panel(title="partial view", points=scene.points, point_radius=0.014))
    if scene.completion is not None:
        panels.append(Panel(title="completion", mesh=scene.completion.for_pictures))
    if scene.truth is not None:
        panels.append(Panel(title="truth", mesh=scene.truth.for_pictures))
    if scene.completion is not None and scene.truth is not None:
        wrong, missing = _distance_paint(scene.truth.tree), _distance_paint(scene.completion.tree)
        panels.append(
            Panel(title="completion: distance to truth", mesh=scene.completion.for_pictures, mesh_color=wrong)
        )
        panels.append(Panel(title="truth: distance to completion", mesh=scene.truth.for_pictures, mesh_color=missing))
    return panels


def _distance_paint(other: FaceTree) -> Paint:
    def paint(points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        return error_colors(other.distance(points))

    return paint


def _extent(panel: Panel) -> list[Float[np.ndarray, "points 3"]]:
    return [part for part in (panel.points, None if panel.mesh is None else panel.mesh.vertices) if part is not None]


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
