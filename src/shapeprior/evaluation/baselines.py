"""The baselines that a prior is compared with.

- Mean shape: ignores the view. A prior that does not beat it has not used the view.
- Nearest training shape: the training shape that explains the view best. A prior that does not beat it only looks
  shapes up (Tatarchenko et al. 2019, "What Do Single-view 3D Reconstruction Networks Learn?").
- PCA: principal components of signed distance fields, the shape prior before neural ones (Leventon et al. 2000,
  "Statistical shape influence in geodesic active contours"), fitted to views by regularised least squares.
- Screened Poisson reconstruction (Kazhdan and Hoppe 2013): uses the visible points and knows nothing of the category.
- Upper bound: the true field, meshed on the same grid as every completion.

The first three hold the training shapes as signed distances at the nodes of a regular grid.
"""

import importlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import map_coordinates
from scipy.sparse import csr_array

from shapeprior.completion.residuals import observed_samples
from shapeprior.errors import CompletionError, ConfigError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.scans.free_space import free_space_samples
from shapeprior.scans.observation import Observation
from shapeprior.scans.prepared_view import without_outliers
from shapeprior.sdf.isosurface.extract import ExtractConfig, extract_mesh
from shapeprior.sdf.signed_distance import SignedDistance

GRID_CELLS = 48
"""Cells along each axis of the cube [-1, 1]³. The nodes are the centres of the cells
(`shapeprior.geometry.sampling`)."""
GRID_CLAMP = 0.2
"""Signed distances are clamped to this, in unit-sphere radii (about five cells): larger ones do not help to find the
surface."""
MAX_SURFACE_POINTS = 3000
"""Measured points of a view that PCA and the nearest training shape are fitted to, at most."""
MAX_FREE_POINTS = 6000
"""Points in the view's free space that they are fitted to, at most."""
FREE_SPACE_MARGIN = 0.02
"""Free space ends this far before a measured point, in unit-sphere radii, since sensors are not exact."""
MAX_COMPONENTS = 64
"""Principal components, at most: as many numbers as the codes of the presets have. There are never more than shapes
less one."""
COEFFICIENT_WEIGHT = 1e-6
"""Weight of the squared coefficients (in standard deviations) against mean squared distances (in squared radii)."""
MAX_LEAST_SQUARES_ROUNDS = 30
"""Rounds of least squares, at most; they end earlier when no free point changes sides."""
MAX_POISSON_POINTS = 20_000
"""Visible points that screened Poisson reconstruction gets, at most."""
POISSON_DEPTH = 7
"""Octree depth of screened Poisson reconstruction (2^7 = 128 cells per side)."""
POISSON_INSTALL = "pip install 'shapeprior[poisson]'"
"""The command that installs Open3D, which screened Poisson reconstruction needs."""


@dataclass(frozen=True, eq=False)
class GridField:
    """A field interpolated linearly between the nodes of a grid. Outside the grid it has the value of the nearest place
    in it.
    """

    values: Float[np.ndarray, "cells cells cells"]

    def __call__(self, points_unit: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
        """Return the field's values at points of the unit frame."""
        place = (points_unit.T + 1.0) * (0.5 * len(self.values)) - 0.5
        return map_coordinates(self.values, place, order=1, mode="nearest")

    def mesh(self, resolution: int) -> TriangleMesh:
        """Return the zero level set, in the unit frame. Raises CompletionError if there is none."""
        # A mean of fields is less steep than a distance, so more cells can hold the surface.
        return extract_mesh(self, ExtractConfig(resolution=resolution, margin=3.0)).mesh


def interpolation_matrix(points_unit: Float[np.ndarray, "points 3"], cells: int) -> csr_array:
    """Return the matrix (points, cells³) that maps values at the nodes, x slowest, to values at the points."""
    place = np.clip((points_unit + 1.0) * (0.5 * cells) - 0.5, 0.0, cells - 1.0)
    low = np.minimum(place.astype(np.int64), cells - 2)
    share = place - low
    rows, columns, weights = [], [], []
    for corner in np.ndindex(2, 2, 2):
        step = np.array(corner)
        rows.append(np.arange(len(place)))
        columns.append(_flat_index(low + step, cells))
        weights.append(np.where(step == 1, share, 1.0 - share).prod(axis=1))
    entries = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
    return csr_array(entries, shape=(len(place), cells**3))


def _flat_index(nodes: Int[np.ndarray, "points 3"], cells: int) -> Int[np.ndarray, "points"]:
    return (nodes[:, 0] * cells + nodes[:, 1]) * cells + nodes[:, 2]


def stack_grids(grids: Iterable[Float[np.ndarray, "nodes"]]) -> Float[np.ndarray, "shapes nodes"]:
    """Stack clamped fields of shapes as the rows of one array, in half precision (a step of 0.0001 at the clamp)."""
    found = [np.clip(grid, -GRID_CLAMP, GRID_CLAMP).astype(np.float16) for grid in grids]
    return np.stack(found) if found else np.zeros((0, GRID_CELLS**3), dtype=np.float16)


def _require_shapes(grids: Float[np.ndarray, "shapes nodes"]) -> None:
    if len(grids) == 0:
        raise CompletionError("no training shape has a field; expected at least one")


def mean_shape(grids: Float[np.ndarray, "shapes nodes"]) -> GridField:
    """Return the mean of the training shapes' fields, shifted until it holds as much volume as they do on average.

    Without the shift it has no surface where thin walls differ in place: the mean of 60 mugs is positive everywhere,
    and the mesh of the mean code is a crumb. `grids` are made by `stack_grids`. Raises CompletionError if there is no
    shape.
    """
    _require_shapes(grids)
    cells = round(grids.shape[1] ** (1 / 3))
    total, inside = np.zeros(grids.shape[1]), 0.0
    for grid in grids:
        total += grid
        inside += float(np.mean(grid < 0.0)) / len(grids)
    mean = total / len(grids)
    return GridField((mean - np.quantile(mean, inside)).reshape(cells, cells, cells))


@dataclass(frozen=True, eq=False)
class ViewEvidence:
    """Points of a view, in the unit frame, that PCA and the nearest training shape are fitted to."""

    surface: Float[np.ndarray, "points 3"]
    """Measured points, where the field is zero."""
    free: Float[np.ndarray, "free 3"]
    """Points in free space, where the field is positive; may be empty."""

    @classmethod
    def of(cls, view_unit: Observation, *, seed: int) -> "ViewEvidence":
        """Draw at most `MAX_SURFACE_POINTS` measured points and `MAX_FREE_POINTS` points in front of them."""
        rng = np.random.default_rng([seed, 3])
        subsampled = view_unit.subsampled(MAX_SURFACE_POINTS, seed=seed)
        free = free_space_samples(subsampled, per_ray=2, rng=rng, radius=1.0, stop_short=FREE_SPACE_MARGIN)
        if len(free) > MAX_FREE_POINTS:
            free = free[np.sort(rng.choice(len(free), MAX_FREE_POINTS, replace=False))]
        return cls(subsampled.points_world, free)


def nearest_training_shape(grids: Float[np.ndarray, "shapes nodes"], evidence: ViewEvidence) -> int:
    """Return the row of the shape with the smallest mean |f| at measured points plus mean max(0, −f) at free ones.

    `grids` are made by `stack_grids`. Raises CompletionError if there is no shape.
    """
    _require_shapes(grids)
    cells = round(grids.shape[1] ** (1 / 3))
    costs = []
    for grid in grids:
        field = GridField(grid.astype(np.float64).reshape(cells, cells, cells))
        cost = np.abs(field(evidence.surface)).mean()
        if len(evidence.free):
            cost += np.maximum(-field(evidence.free), 0.0).mean()
        costs.append(float(cost))
    return int(np.argmin(costs))


@dataclass(frozen=True, eq=False)
class LinearModel:
    """Mean and principal components of the training shapes' clamped signed distances on a grid (Leventon et al. 2000).

    A shape is mean + coefficients @ basis. A coefficient of 1 is one standard deviation of the training shapes.
    """

    mean: Float[np.ndarray, "nodes"]
    basis: Float[np.ndarray, "components nodes"]

    @classmethod
    def fit(cls, grids: Float[np.ndarray, "shapes nodes"]) -> "LinearModel":
        """Fit the model to fields made by `stack_grids`. Raises CompletionError if there is no shape."""
        _require_shapes(grids)
        centered = np.clip(grids.astype(np.float32), -GRID_CLAMP, GRID_CLAMP)
        mean = centered.mean(axis=0, dtype=np.float64).astype(np.float32)
        centered -= mean
        # There are many nodes and few shapes, so the small Gram matrix is decomposed: it gives the same components.
        values, mixing = np.linalg.eigh(_gram_matrix(centered))
        values, mixing = values[::-1], mixing[:, ::-1]
        num_components = min(
            MAX_COMPONENTS, len(centered) - 1, int(np.count_nonzero(values > 1e-8 * max(values[0], 1e-30)))
        )
        # Rows of mixing.T @ centered are axes times singular values; divided by √shapes, they are one standard
        # deviation long.
        basis = (mixing[:, :num_components].T @ centered) / np.sqrt(len(centered))
        return cls(mean, _with_fixed_signs(basis).astype(np.float32))

    def project(self, grid: Float[np.ndarray, "nodes"]) -> Float[np.ndarray, "components"]:
        """Return the coefficients whose field is nearest to a shape's field, in the mean square over the nodes."""
        difference = np.clip(grid, -GRID_CLAMP, GRID_CLAMP) - self.mean
        return (self.basis @ difference) / np.maximum(np.square(self.basis).sum(axis=1), 1e-30)

    def fit_view(self, evidence: ViewEvidence) -> Float[np.ndarray, "components"]:
        """Return the coefficients that fit a partial view best.

        They minimise the mean square of the field at measured points, the mean square of its negative part at free
        points, and `COEFFICIENT_WEIGHT` times the squared length of the coefficients. Each round solves least squares
        with the free points that are inside the shape of the round before.
        """
        cells = round(len(self.mean) ** (1 / 3))
        parts = [interpolation_matrix(points, cells) for points in (evidence.surface, evidence.free)]
        offsets = [part @ self.mean.astype(np.float64) for part in parts]
        slopes = [part @ self.basis.T.astype(np.float64) for part in parts]
        base = COEFFICIENT_WEIGHT * np.eye(len(self.basis)) + slopes[0].T @ slopes[0] / len(offsets[0])
        target = -slopes[0].T @ offsets[0] / len(offsets[0])
        coefficients = np.linalg.solve(base, target)
        inside = np.zeros(len(offsets[1]), dtype=bool)
        for _ in range(MAX_LEAST_SQUARES_ROUNDS):
            before, inside = inside, offsets[1] + slopes[1] @ coefficients < 0.0
            if np.array_equal(before, inside):
                break
            active = slopes[1][inside]
            weight = 1.0 / len(inside)
            coefficients = np.linalg.solve(
                base + weight * active.T @ active, target - weight * active.T @ offsets[1][inside]
            )
        return coefficients

    def field(self, coefficients: Float[np.ndarray, "components"]) -> GridField:
        """Return the field of some coefficients."""
        values = self.mean + coefficients @ self.basis
        cells = round(len(values) ** (1 / 3))
        return GridField(values.astype(np.float64).reshape(cells, cells, cells))


def _gram_matrix(rows: Float[np.ndarray, "shapes nodes"]) -> Float[np.ndarray, "shapes shapes"]:
    """Return rows @ rows.T in double precision, in pieces, since a copy of all rows would double the memory."""
    total = np.zeros((len(rows), len(rows)))
    for start in range(0, rows.shape[1], 8192):
        part = rows[:, start : start + 8192].astype(np.float64)
        total += part @ part.T
    return total


def _with_fixed_signs(basis: Float[np.ndarray, "components nodes"]) -> Float[np.ndarray, "components nodes"]:
    """Return components whose largest entry is positive, since eigenvectors are only known up to their sign."""
    if len(basis) == 0:
        return basis
    largest = basis[np.arange(len(basis)), np.abs(basis).argmax(axis=1)]
    return basis * np.where(largest < 0.0, -1.0, 1.0)[:, None]


def has_poisson() -> bool:
    """Tell whether Open3D can be loaded."""
    try:
        importlib.import_module("open3d")
    except (ImportError, OSError):  # OSError: the wheel is there, and system libraries that it needs are not.
        return False
    return True


def screened_poisson(view_unit: Observation, *, seed: int) -> TriangleMesh:
    """Return the surface through the points of a view and their normals, which face the sensor, in the view's frame.

    Where no points hold it, the surface runs out of the octree's cube; every such border is closed by triangles to its
    middle. All parts are kept. Raises CompletionError if there is no surface, and ConfigError with the install command
    if Open3D is missing.
    """
    try:
        open3d = importlib.import_module("open3d")
    except (ImportError, OSError) as error:
        raise ConfigError(
            f"screened Poisson needs Open3D, which cannot be loaded ({error}); {POISSON_INSTALL}"
        ) from None
    samples = observed_samples(without_outliers(view_unit.subsampled(MAX_POISSON_POINTS, seed=seed)), seed=seed)
    oriented = np.any(samples.normals != 0.0, axis=1)
    cloud = open3d.geometry.PointCloud()
    cloud.points = open3d.utility.Vector3dVector(samples.surface[oriented])
    cloud.normals = open3d.utility.Vector3dVector(samples.normals[oriented])
    if not oriented.any():
        raise CompletionError(
            "no point of the view has a normal; expected at least four points and the sensor's position"
        )
    # With more than one thread, the same points give different surfaces from run to run.
    solid, _ = open3d.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=POISSON_DEPTH, n_threads=1)
    mesh = TriangleMesh(
        vertices=np.asarray(solid.vertices, dtype=np.float64), faces=np.asarray(solid.triangles, dtype=np.int64)
    )
    if len(mesh.faces) == 0:
        raise CompletionError("screened Poisson gave no surface; expected one through the points")
    return _with_closed_borders(mesh)


def _with_closed_borders(mesh: TriangleMesh) -> TriangleMesh:
    """Return the mesh with a fan of triangles over every border that is a simple loop; other borders stay open."""
    directed = mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    _, edge, count = np.unique(np.sort(directed, axis=1), axis=0, return_inverse=True, return_counts=True)
    border = directed[count[edge.reshape(-1)] == 1]
    following = dict(border.tolist())
    vertices, faces = [mesh.vertices], [mesh.faces]
    num_vertices = len(mesh.vertices)
    while following:
        first, second = following.popitem()
        loop = [first]
        while second != first and second in following:
            loop.append(second)
            second = following.pop(second)
        if second == first and len(loop) > 2:
            ring = np.array(loop)
            vertices.append(mesh.vertices[ring].mean(axis=0, keepdims=True))
            # Against the direction in which the faces at the border run along it.
            faces.append(np.stack([np.roll(ring, -1), ring, np.full(len(ring), num_vertices)], axis=1))
            num_vertices += 1
    return TriangleMesh(vertices=np.concatenate(vertices), faces=np.concatenate(faces).astype(np.int64))


def upper_bound(distance: SignedDistance, *, resolution: int) -> TriangleMesh:
    """Return the mesh of the true signed distance, in the unit frame; its errors are those of the grid."""
    return extract_mesh(distance, ExtractConfig(resolution=resolution)).mesh
