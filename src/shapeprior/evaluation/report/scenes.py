"""The surfaces of a report: read, thinned to what a page can hold, compared, and packed for the viewer.

A packed surface is what JSON can hold: corners as 16-bit steps of the box around them, faces as 16- or 32-bit indices,
distances as bytes; all little-endian and in base64.

Distances as colours: pale blue where surfaces agree, through amber to dark red where they are far apart.

Lightness falls all the way, so that the order can be seen in grey and with any kind of colour vision.
"""

import base64
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from shapeprior.errors import MeshError, ScanError
from shapeprior.evaluation.report.document import EvaluationDocument, ReportConfig, Row
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.proximity import FaceTree
from shapeprior.geometry.simplification import decimate, subdivide
from shapeprior.io.meshes import load_mesh
from shapeprior.io.point_files import read_cloud

PICTURE_FACES = 12_000
"""Faces of surfaces in pictures: at their size, more are not seen."""
_LONGEST_EDGE = 0.08
"""Longer edges are halved, in unit-sphere radii, so that vertices can say where a surface is missing."""
_STEPS = 65_535


@dataclass(frozen=True, eq=False)
class Surface:
    """A surface of the report."""

    tree: FaceTree
    """Of all its faces: distances are exact."""
    for_pictures: TriangleMesh
    for_viewer: TriangleMesh


@dataclass(frozen=True, eq=False)
class Scene:
    """What one row can show; None for what it lacks or what cannot be read."""

    completion: Surface | None
    truth: Surface | None
    points: Float[np.ndarray, "points 3"] | None


@dataclass(eq=False)
class SceneReader:
    """Reads the scenes of rows; what rows share is read once."""

    document: EvaluationDocument
    config: ReportConfig
    faults: list[str] = field(default_factory=list)
    """What could not be read, with the reason."""
    _truths: dict[str, Surface | None] = field(default_factory=dict)

    def read(self, row: Row) -> Scene:
        """The surfaces and the points of a row."""
        return Scene(self._surface(row.mesh), self._truth(row.truth), self._points(row.observation))

    def _truth(self, name: str | None) -> Surface | None:
        if name is not None and name not in self._truths:
            # Rows are the worst first, so shapes come back in any order; a few are kept.
            if len(self._truths) >= 64:
                self._truths.pop(next(iter(self._truths)))
            self._truths[name] = self._surface(name)
        return self._truths.get(name) if name is not None else None

    def _surface(self, name: str | None) -> Surface | None:
        path = None if name is None else self.document.path(name)
        if path is None:
            self._note_missing(name)
            return None
        try:
            mesh = load_mesh(path)
        except MeshError as error:
            self.faults.append(str(error))
            return None
        middle = decimate(mesh, PICTURE_FACES)
        faces = self.config.faces
        small = subdivide(decimate(middle, max(4, faces // 2)), max_edge=_LONGEST_EDGE, max_faces=faces)
        return Surface(tree=FaceTree(mesh), for_pictures=middle, for_viewer=small)

    def _points(self, name: str | None) -> Float[np.ndarray, "points 3"] | None:
        path = None if name is None else self.document.path(name)
        if path is None:
            self._note_missing(name)
            return None
        try:
            points = read_cloud(path).points
        except ScanError as error:
            self.faults.append(str(error))
            return None
        count = min(self.config.points, len(points))
        return points[np.sort(np.random.default_rng(0).choice(len(points), size=count, replace=False))]

    def _note_missing(self, name: str | None) -> None:
        if name is not None:
            self.faults.append(f"{name}: no such file in {self.document.folder}; expected what the evaluation wrote")


def pack_surface(mesh: TriangleMesh) -> dict[str, Any]:
    """A surface as the viewer reads it."""
    low, steps, size = _quantised(mesh.vertices)
    wide = len(mesh.vertices) > _STEPS
    faces = mesh.faces.astype("<u4" if wide else "<u2")
    return {"low": low, "size": size, "vertices": steps, "faces": _text(faces), "wide": wide}


def pack_points(points: Float[np.ndarray, "points 3"]) -> dict[str, Any]:
    """Points as the viewer reads them."""
    low, steps, size = _quantised(points)
    return {"low": low, "size": size, "vertices": steps}


def pack_distances(distances: Float[np.ndarray, "vertices"]) -> str:
    """Distances as bytes: 255 is the limit of the colours and beyond."""
    return _text(np.round(255.0 * np.clip(distances / ERROR_LIMIT, 0.0, 1.0)).astype(np.uint8))


def _quantised(points: Float[np.ndarray, "points 3"]) -> tuple[list[float], str, float]:
    low = points.min(axis=0)
    size = max(float((points.max(axis=0) - low).max()), 1e-9)
    steps = np.round((points - low) / size * _STEPS).astype("<u2")
    return [round(float(value), 6) for value in low], _text(steps), round(size, 6)


def _text(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


ERROR_LIMIT = 0.08
"""Distances from this on, in unit-sphere radii, all have the last colour."""
STOPS = ((0.0, (0.83, 0.89, 0.95)), (0.25, (0.98, 0.86, 0.50)), (0.5, (0.95, 0.60, 0.22)), (1.0, (0.45, 0.03, 0.20)))
"""Share of the limit, and the colour there, sRGB in 0 to 1."""


def error_colors(distances: Float[np.ndarray, "points"]) -> Float[np.ndarray, "points 3"]:
    """The sRGB colour of each distance, in unit-sphere radii."""
    share = np.clip(distances / ERROR_LIMIT, 0.0, 1.0)
    places, colors = [place for place, _ in STOPS], np.array([color for _, color in STOPS])
    return np.stack([np.interp(share, places, colors[:, channel]) for channel in range(3)], axis=1)
