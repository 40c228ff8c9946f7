"""The pictures of a report: what was seen, what was made of it, the truth, and where the two differ."""

import base64
import io

import numpy as np
from jaxtyping import Float

from shapeprior.error_colors import error_colors
from shapeprior.geometry.proximity import FaceTree
from shapeprior.report_scenes import Scene
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
