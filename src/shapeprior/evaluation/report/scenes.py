"""The surfaces of a report: read, simplified to a size that a page can hold, coloured by their errors, and packed for
the viewer.

A packed surface is JSON. Its vertices are 16-bit steps of the box around them, its faces 16- or 32-bit indices, and
distances are bytes, all little-endian and in base64.

The colours of distances go from pale blue, where surfaces agree, through amber to dark red. Their lightness falls all
the way, so that the order can be seen in grey and with any kind of colour vision.
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
"""Faces of surfaces in pictures, at most; at the size of the pictures, more would not be visible."""
MAX_EDGE_LENGTH = 0.08
"""Longer edges, in unit-sphere radii, are halved, so that the colours of vertices can tell where a surface is
missing."""
MAX_ERROR = 0.08
"""Distances from this on, in unit-sphere radii, all have the last colour."""
ERROR_COLORS = (
    (0.0, (0.83, 0.89, 0.95)),
    (0.25, (0.98, 0.86, 0.50)),
    (0.5, (0.95, 0.60, 0.22)),
    (1.0, (0.45, 0.03, 0.20)),
)
"""Shares of `MAX_ERROR` and the colours there, as sRGB from 0 to 1."""
MAX_CACHED_TRUTHS = 64
"""True surfaces that a reader keeps, at most."""
_MAX_STEP = 65_535
"""The largest 16-bit number."""


@dataclass(frozen=True, eq=False)
class Surface:
    """A surface at the three sizes that a report needs."""

    tree: FaceTree
    """All faces of the mesh, so that distances to it are exact."""
    for_pictures: TriangleMesh
    for_viewer: TriangleMesh


@dataclass(frozen=True, eq=False)
class Scene:
    """The surfaces and points of a row; None for those that it lacks or that cannot be read."""

    completion: Surface | None
    truth: Surface | None
    points: Float[np.ndarray, "points 3"] | None


@dataclass(eq=False)
class SceneReader:
    """Reads the scenes of rows, and keeps the true surfaces that rows share."""

    document: EvaluationDocument
    config: ReportConfig
    faults: list[str] = field(default_factory=list)
    """Files that could not be read, with the reasons."""
    _truths: dict[str, Surface | None] = field(default_factory=dict)

    def read(self, row: Row) -> Scene:
        """Read the surfaces and the points of a row."""
        return Scene(self._surface(row.mesh), self._truth(row.truth), self._points(row.observation))

    def _truth(self, name: str | None) -> Surface | None:
        if name is not None and name not in self._truths:
            # Rows come with the worst first, so the rows of a shape do not follow each other.
            if len(self._truths) >= MAX_CACHED_TRUTHS:
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
        small = subdivide(decimate(middle, max(4, faces // 2)), max_edge=MAX_EDGE_LENGTH, max_faces=faces)
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
    """Return a surface as the viewer reads it."""
    low, steps, size = _quantize(mesh.vertices)
    wide = len(mesh.vertices) > _MAX_STEP
    faces = mesh.faces.astype("<u4" if wide else "<u2")
    return {"low": low, "size": size, "vertices": steps, "faces": _base64(faces), "wide": wide}


def pack_points(points: Float[np.ndarray, "points 3"]) -> dict[str, Any]:
    """Return points as the viewer reads them."""
    low, steps, size = _quantize(points)
    return {"low": low, "size": size, "vertices": steps}


def pack_distances(distances: Float[np.ndarray, "vertices"]) -> str:
    """Return distances as bytes, of which 255 stands for `MAX_ERROR` and beyond."""
    return _base64(np.round(255.0 * np.clip(distances / MAX_ERROR, 0.0, 1.0)).astype(np.uint8))


def _quantize(points: Float[np.ndarray, "points 3"]) -> tuple[list[float], str, float]:
    low = points.min(axis=0)
    size = max(float((points.max(axis=0) - low).max()), 1e-9)
    steps = np.round((points - low) / size * _MAX_STEP).astype("<u2")
    return [round(float(value), 6) for value in low], _base64(steps), round(size, 6)


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def error_colors(distances: Float[np.ndarray, "points"]) -> Float[np.ndarray, "points 3"]:
    """Return the sRGB colours of distances in unit-sphere radii."""
    share = np.clip(distances / MAX_ERROR, 0.0, 1.0)
    places, colors = [place for place, _ in ERROR_COLORS], np.array([color for _, color in ERROR_COLORS])
    return np.stack([np.interp(share, places, colors[:, channel]) for channel in range(3)], axis=1)
