"""Pictures of several panels: meshes and points side by side under their titles, saved as PNG files.

`comparison_picture` draws one row of panels, `contact_sheet` several.
"""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from shapeprior.errors import OutputError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.io.files import write_bytes
from shapeprior.scans.observation import Observation
from shapeprior.visualization.render import (
    BACKGROUND,
    MESH_COLOR,
    POINT_COLOR,
    Color,
    Paint,
    View,
    render_mesh,
    render_points,
)

MAX_PICTURED_POINTS = 2500
"""Points of a partial view in a picture, at most."""
PAPER = tuple(round(255 * channel) for channel in BACKGROUND)
"""Colour of a picture's empty space, in bytes."""
INK = (45, 48, 56)
"""Colour of titles, in bytes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """One picture of a row: a mesh, points, or points on a mesh, in the unit frame."""

    title: str = ""
    """Title above the picture."""
    mesh: TriangleMesh | None = None
    """Mesh to draw, shaded."""
    points: Float[np.ndarray, "points 3"] | None = None
    """Points to draw, as small balls."""
    mesh_color: Color | Paint = MESH_COLOR
    """Colour of the mesh, or of each place on it; sRGB, 0 to 1."""
    point_color: Color | None = POINT_COLOR
    """Colour of the points; sRGB, 0 to 1. None colours them by depth."""
    point_radius: float = 0.010
    """Radius of the balls, in unit-sphere radii."""

    def __post_init__(self) -> None:
        if self.mesh is None and self.points is None:
            raise ValueError(f"the panel '{self.title}' shows nothing; expected a mesh, points or both")


def completion_panels(view: Observation, completed: TriangleMesh, true: TriangleMesh | None) -> list[Panel]:
    """Return the panels of a partial view, its completion and, if it is known, the true shape; all share one frame."""
    points = view.subsampled(MAX_PICTURED_POINTS, seed=0).points_world
    panels = [Panel(title="partial view", points=points), Panel(title="completion", mesh=completed)]
    if true is not None:
        panels.append(Panel(title="truth", mesh=true))
    return panels


def comparison_picture(panels: Sequence[Panel], *, view: View | None = None) -> Image.Image:
    """Draw panels side by side, seen by one camera so that they line up; see `contact_sheet`."""
    return contact_sheet([panels], view=view)


def contact_sheet(rows: Sequence[Sequence[Panel]], *, view: View | None = None) -> Image.Image:
    """Draw rows of panels with their titles.

    Without a `view`, each row gets the default view, fitted to all of its panels and with the ground under them. With a
    `view`, all panels are drawn as seen by it. Raises ValueError if there is no panel or nothing to see.
    """
    if not rows or not all(rows):
        raise ValueError("a picture needs at least one row, and each row at least one panel")
    pictures = [_row(panels, view) for panels in rows]
    width, height = max(picture.width for picture in pictures), sum(picture.height for picture in pictures)
    sheet = Image.new("RGB", (width, height), PAPER)
    top = 0
    for picture in pictures:
        sheet.paste(picture, (0, top))
        top += picture.height
    return sheet


def save_picture(path: str | os.PathLike[str], image: Image.Image) -> Path:
    """Write a PNG file atomically; raises OutputError if the path cannot be written or does not end in .png."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise OutputError(f"{path}: suffix '{path.suffix}'; expected .png; name the picture so")
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    write_bytes(path, buffer.getvalue())
    return path


def _row(panels: Sequence[Panel], view: View | None) -> Image.Image:
    if view is None:
        extent = np.concatenate([_extent(panel) for panel in panels])
        if len(extent) == 0:
            raise ValueError("a row of panels without any face or point; expected something to see, or a given view")
        view = View().fitted(extent)
    size = max(view.width // 22, 8)
    strip = round(2.2 * size) if any(panel.title for panel in panels) else 0
    row = Image.new("RGB", (view.width * len(panels), view.height + strip), PAPER)
    draw = ImageDraw.Draw(row)
    for column, panel in enumerate(panels):
        row.paste(Image.fromarray(_draw(panel, view)), (column * view.width, strip))
        if panel.title:
            title, font = _fit_title(panel.title, size, 0.94 * view.width)
            middle = (column + 0.5) * view.width
            draw.text((middle, 0.62 * strip), title, fill=INK, font=font, anchor="mm")
    return row


def _draw(panel: Panel, view: View) -> np.ndarray:
    if panel.mesh is None:
        assert panel.points is not None
        return render_points(panel.points, view=view, color=panel.point_color, radius=panel.point_radius)
    return render_mesh(
        panel.mesh,
        view=view,
        color=panel.mesh_color,
        points=panel.points,
        point_color=panel.point_color,
        point_radius=panel.point_radius,
    )


def _extent(panel: Panel) -> Float[np.ndarray, "points 3"]:
    parts = [] if panel.mesh is None else [panel.mesh.vertices[np.unique(panel.mesh.faces)]]
    return np.concatenate(parts if panel.points is None else [*parts, panel.points])


def _fit_title(title: str, size: int, width: float) -> tuple[str, ImageFont.FreeTypeFont | ImageFont.ImageFont]:
    """Return the title and a font in which it fits the width; a title too long for the smallest font is cut off."""
    font = ImageFont.load_default(size)
    while size > 8 and font.getlength(title) > width:
        size -= 1
        font = ImageFont.load_default(size)
    shown, kept = title, len(title)
    while kept > 0 and font.getlength(shown) > width:
        kept -= 1
        shown = title[:kept] + "..."
    return shown, font
