"""Inspection of one mesh: the figures of its preparation, and a picture of the mesh beside slices of its field.

`inspect_mesh` is the entry point. `slice_field` and `draw_slice` draw a signed distance field on planes through a
shape.
"""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from shapeprior.datasets.mesh_source import file_up_axis
from shapeprior.datasets.prepare_mesh import PreparedMesh, UpSetting, prepare_mesh
from shapeprior.geometry.mesh import TriangleMesh, connected_labels, face_edges, row_keys
from shapeprior.geometry.transforms import UNIT_SPHERE_BUFFER
from shapeprior.io.meshes import load_mesh
from shapeprior.sdf.signed_distance import SHEET_HALF_THICKNESS, SignedDistance
from shapeprior.visualization.pictures import INK, PAPER, Panel, comparison_picture
from shapeprior.visualization.render import View

PANEL = 420
"""Width and height of each slice, in pixels."""

Plane = Literal["front", "side", "top"]
"""A plane through a shape, named by the side from which it is looked at."""

_AXES: dict[Plane, tuple[int, int, int]] = {"front": (0, 1, 2), "side": (2, 1, 0), "top": (0, 2, 1)}
"""For each plane, the axes that run to the right, up and through it."""
_INSIDE_COLOR, _OUTSIDE_COLOR = np.array([0.16, 0.38, 0.68]), np.array([0.93, 0.66, 0.33])
_PALE_COLOR = np.array([0.97, 0.96, 0.94])
_SURFACE_COLOR = np.array([0.10, 0.11, 0.14])
_CONTOUR_STEP = 0.05
"""Distance between two contour lines, in unit-sphere radii."""


@dataclass(frozen=True, eq=False)
class MeshInspection:
    """The result of preparing one mesh, in figures and as a picture."""

    figures: dict[str, int | float | str]
    """Counts, shares by area and the confidence of the signs, by name."""
    picture: Image.Image
    """The cleaned mesh, and its field on three planes through the mesh's middle."""


def inspect_mesh(path: str | os.PathLike[str], *, up: UpSetting = "auto") -> MeshInspection:
    """Prepare the mesh of a file, and draw the mesh and its field.

    `up` is as in `shapeprior.datasets.prepare_mesh.PrepareConfig`. Raises MeshError, naming the file, if the mesh
    cannot be prepared.
    """
    path = Path(path)
    axis = (file_up_axis(path) or "y") if up == "auto" else up
    prepared = prepare_mesh(load_mesh(path), name=str(path), up=axis, sheet_half_thickness=SHEET_HALF_THICKNESS)
    return MeshInspection(figures=_figures(prepared), picture=_picture(prepared, title=path.name))


def count_holes(mesh: TriangleMesh) -> int:
    """Count the connected rims of edges with one face: 0 on a closed mesh, 1 on a cup drawn as one sheet."""
    edges = face_edges(mesh.faces)
    _, first, counts = np.unique(row_keys(edges), return_index=True, return_counts=True)
    rim = edges[first[counts == 1]]
    vertices, ends = np.unique(rim, return_inverse=True)
    return int(connected_labels(ends.reshape(-1, 2), len(vertices)).max(initial=-1)) + 1


def _figures(prepared: PreparedMesh) -> dict[str, int | float | str]:
    mesh, size = prepared.mesh_unit, 2.0 / prepared.T_unit_world.scale / UNIT_SPHERE_BUFFER
    return {
        **asdict(prepared.clean_report),
        "parts": int(mesh.part_labels.max()) + 1,
        "holes": count_holes(mesh),
        "closed": "yes" if mesh.is_watertight else "no",
        "diameter": size,
        **asdict(prepared.distance.report),
    }


def _picture(prepared: PreparedMesh, *, title: str) -> Image.Image:
    middle = prepared.mesh_unit.bounds.mean(axis=0)
    view = View(width=PANEL, height=PANEL).fitted(prepared.mesh_unit.vertices[np.unique(prepared.mesh_unit.faces)])
    mesh = comparison_picture([Panel(title=title, mesh=prepared.mesh_unit)], view=view)
    strip = mesh.height - view.height
    sheet = Image.new("RGB", (4 * PANEL, strip + PANEL), PAPER)
    sheet.paste(mesh, (0, (PANEL - view.height) // 2))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(PANEL // 22)
    planes: list[tuple[Plane, int]] = [("front", 2), ("side", 0), ("top", 1)]
    for column, (plane, axis) in enumerate(planes, start=1):
        sdf, _ = slice_field(prepared.distance, plane, at=float(middle[axis]), size=PANEL)
        sheet.paste(Image.fromarray(draw_slice(sdf)), (column * PANEL, strip))
        draw.text(((column + 0.5) * PANEL, 0.5 * strip), f"{plane} slice", fill=INK, font=font, anchor="mm")
    return sheet


def slice_field(
    distance: SignedDistance, plane: Plane, *, at: float, size: int
) -> tuple[Float[np.ndarray, "size size"], Float[np.ndarray, "size size 3"]]:
    """Evaluate the signed distance on a square grid over [-1, 1]² of a plane, top row first.

    Args:
        distance: The field.
        plane: Direction of the plane.
        at: Position of the plane along its normal, in the unit frame.
        size: Points of the grid along each side.

    Returns:
        The distances, and the points of the grid.
    """
    right, up, through = _AXES[plane]
    axis = (np.arange(size) + 0.5) * (2.0 / size) - 1.0
    points = np.full((size, size, 3), at)
    points[..., right] = axis[None, :]
    points[..., up] = -axis[:, None]
    points[..., through] = at
    return distance(points.reshape(-1, 3)).reshape(size, size), points


def draw_slice(sdf: Float[np.ndarray, "size size"]) -> UInt8[np.ndarray, "size size 3"]:
    """Colour a slice: blue inside, orange outside, paler away from the dark surface, with contour lines."""
    depth = np.clip(np.abs(sdf) / 0.6, 0.0, 1.0)[..., None] ** 0.7
    full = np.where((sdf < 0.0)[..., None], _INSIDE_COLOR, _OUTSIDE_COLOR)
    color = full + (0.15 + 0.75 * depth) * np.where((sdf < 0.0)[..., None], 0.6, 1.0) * (_PALE_COLOR - full)
    pixel = 2.0 / len(sdf)
    line = np.abs((sdf + 0.5 * _CONTOUR_STEP) % _CONTOUR_STEP - 0.5 * _CONTOUR_STEP) < 0.5 * pixel
    color = np.where(line[..., None], 0.88 * color, color)
    near = np.clip(1.6 - np.abs(sdf)[..., None] / pixel, 0.0, 1.0)
    return np.round(255.0 * (near * _SURFACE_COLOR + (1.0 - near) * color)).astype(np.uint8)
