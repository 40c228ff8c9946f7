"""The pictures of a report, each on a card with its figures.

A picture shows the partial view, the completion, the truth, and the distances between the two as colours.
"""

import base64
import io
from collections.abc import Collection, Mapping
from html import escape

import numpy as np
from jaxtyping import Float

from shapeprior.evaluation.config import PRIOR_METHOD
from shapeprior.evaluation.report.document import EvaluationDocument, Row, group_text
from shapeprior.evaluation.report.scenes import MAX_ERROR, Scene, error_colors
from shapeprior.evaluation.report.svg import number
from shapeprior.geometry.proximity import FaceTree
from shapeprior.visualization.pictures import Panel, comparison_picture
from shapeprior.visualization.render import Paint, View

_WEBP_QUALITY = 88
"""Quality of the pictures, 0 to 100."""
_LEGEND_STEPS = 32
"""Pieces of the legend's colour bar."""


def scene_picture(scene: Scene, *, width: int) -> str | None:
    """Return all panels of a scene side by side, as a data URL; None if there is nothing to show."""
    panels = scene_panels(scene)
    if not panels:
        return None
    points = np.concatenate([part for panel in panels for part in _extent(panel)])
    # Points far away, from wrong depths, must not shrink the object to a dot.
    view = View(width=width, height=width).fitted(np.clip(points, -1.5, 1.5))
    buffer = io.BytesIO()
    comparison_picture(panels, view=view).save(buffer, format="WEBP", quality=_WEBP_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def scene_panels(scene: Scene) -> list[Panel]:
    """Return the panels: partial view, completion, truth, and the last two coloured by their distance to each other."""
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


def gallery(document: EvaluationDocument, pictures: Mapping[int, str], *, wanted: int, models: Collection[int]) -> str:
    """Return the cards, the worst result first, and a note about the results that have none.

    Args:
        document: The evaluation.
        pictures: Data URLs by row number.
        wanted: Number of rows that were selected for pictures.
        models: Numbers of the rows that have 3D.
    """
    rows = sorted((document.rows[place] for place in pictures), key=document.error_key, reverse=True)
    num_prior_rows = sum(row.method == PRIOR_METHOD for row in document.rows)
    note = f"{len(rows)} of {num_prior_rows} results of the prior have pictures and 3D"
    if len(rows) < num_prior_rows:
        note += ": of each condition the worst, and as many spread evenly over the others; the table has all"
    if len(rows) < wanted:
        note += f" ({wanted - len(rows)} more were chosen, and have no file to show or would make the page too large)"
    others = sum(document.rows[place].method != PRIOR_METHOD for place in models)
    note += f". {others} results of other methods on the same views can be seen in 3D." if others else "."
    return (
        f'<p>{note}</p><div class="gallery">{"".join(_card(document, row, pictures[row.number]) for row in rows)}</div>'
    )


def error_legend() -> str:
    """Return a colour bar that explains the colours of distances."""
    pieces = []
    for step in range(_LEGEND_STEPS):
        red, green, blue = (
            round(255 * value) for value in error_colors(np.array([MAX_ERROR * (step + 0.5) / _LEGEND_STEPS]))[0]
        )
        pieces.append(f'<rect x="{10 * step}" y="0" width="10.5" height="12" fill="rgb({red},{green},{blue})"/>')
    ticks = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        anchor = "start" if share == 0.0 else "end" if share == 1.0 else "middle"
        text = ("≥ " if share == 1.0 else "") + f"{share * MAX_ERROR:g}"
        ticks.append(f'<text class="tick" x="{320 * share:g}" y="26" text-anchor="{anchor}">{text}</text>')
    return (
        '<figure class="errors"><svg viewBox="-2 0 324 30" width="324" height="30" role="img" '
        f'aria-label="Colours of distances, 0 to {MAX_ERROR:g} radii">{"".join(pieces)}{"".join(ticks)}</svg>'
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
        f'<img id="picture-{row.number}" src="{picture}" loading="lazy" alt="partial view, completion, truth and '
        f'distances of {escape(row.id)}"></button></article>'
    )
