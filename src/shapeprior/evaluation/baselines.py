"""What a prior is compared with: methods that know less, or the truth itself. One file each.

Signed distance on a regular grid, read between its nodes: how the baselines hold shapes.

PCA of signed distance fields: the shape prior before neural ones, fitted to views by regularised least squares.

The mean shape: what a prior must beat to have looked at the view at all.

The training shape that explains a view best: what a prior must beat to do more than look up (Tatarchenko et al. 2019).

Screened Poisson reconstruction of the visible points (Kazhdan and Hoppe 2013): what can be had without knowing the category.

The upper bound: the truth itself, through the same grid that every completion comes from.

What a partial view says to the baselines: where the surface is, and where there is none.
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

CELLS = 48
"""Cells along each axis of the cube [-1, 1]³; the nodes are their centres, as in `shapeprior.geometry.sampling`."""
CLAMP = 0.2
"""Distances beyond this, in unit-sphere radii, say nothing of the surface and are cut off: about five cells."""


@dataclass(frozen=True, eq=False)
class GridField:
    """A field that is linear between the nodes along each axis; outside of them it is as at the nearest node."""

    values: Float[np.ndarray, "cells cells cells"]

    def __call__(self, points_unit: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
        """The field at points of the unit frame."""
        place = (points_unit.T + 1.0) * (0.5 * len(self.values)) - 0.5
        return map_coordinates(self.values, place, order=1, mode="nearest")

    def mesh(self, resolution: int) -> TriangleMesh:
        """The zero level set, in the unit frame. Raises CompletionError if there is none."""
        # A mean of fields is less steep than a distance, so that more cells can hold the surface.
        return extract_mesh(self, ExtractConfig(resolution=resolution, margin=3.0)).mesh


def node_weights(points_unit: Float[np.ndarray, "points 3"], cells: int) -> csr_array:
    """The matrix (points, cells³) that takes the values at the nodes, x slowest, to those at the points, as `GridField` does."""
    place = np.clip((points_unit + 1.0) * (0.5 * cells) - 0.5, 0.0, cells - 1.0)
    low = np.minimum(place.astype(np.int64), cells - 2)
    share = place - low
    rows, columns, weights = [], [], []
    for corner in np.ndindex(2, 2, 2):
        step = np.array(corner)
        rows.append(np.arange(len(place)))
        columns.append(_flat(low + step, cells))
        weights.append(np.where(step == 1, share, 1.0 - share).prod(axis=1))
    entries = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
    return csr_array(entries, shape=(len(place), cells**3))


def _flat(nodes: Int[np.ndarray, "points 3"], cells: int) -> Int[np.ndarray, "points"]:
    return (nodes[:, 0] * cells + nodes[:, 1]) * cells + nodes[:, 2]


def mean_shape(grids: Float[np.ndarray, "shapes nodes"]) -> GridField:
    """The mean of training shapes' clamped signed distances, shifted until it holds as much volume as they do in the mean.

    Unshifted, it has no surface where thin walls differ in place: that of 60 mugs is positive everywhere, and the mesh of the mean
    code is a crumb. `grids` are as `linear_model.stacked` makes them. Raises CompletionError if there is none.
    """
    if len(grids) == 0:
        raise CompletionError("no training shape has a field; expected at least one")
    cells = round(grids.shape[1] ** (1 / 3))
    total, inside = np.zeros(grids.shape[1]), 0.0
    for grid in grids:
        total += grid
        inside += float(np.mean(grid < 0.0)) / len(grids)
    mean = total / len(grids)
    return GridField((mean - np.quantile(mean, inside)).reshape(cells, cells, cells))


INSTALL = "pip install 'shapeprior[poisson]'"
"""What makes it available."""
POINTS = 20_000
"""Visible points that it is given, at most."""
DEPTH = 7
"""Of the octree, whose finest cells are then 1/128 of its side."""


def has_poisson() -> bool:
    """Whether the library is there."""
    try:
        importlib.import_module("open3d")
    except (ImportError, OSError):  # A wheel whose system libraries are missing is as good as none.
        return False
    return True


def screened_poisson(view_unit: Observation, *, seed: int) -> TriangleMesh:
    """The surface through the points of a view and their normals, which look to the sensor; in the view's frame.

    It leaves the octree's cube where no point holds it; each such border is closed by triangles to its middle. Of its parts all are
    kept. Raises CompletionError if nothing comes out, ConfigError, naming the install line, if Open3D is missing.
    """
    try:
        open3d = importlib.import_module("open3d")
    except (ImportError, OSError) as error:
        raise ConfigError(f"screened Poisson needs Open3D, which cannot be loaded ({error}); {INSTALL}") from None
    samples = observed_samples(without_outliers(view_unit.subsampled(POINTS, seed=seed)), seed=seed)
    oriented = np.any(samples.normals != 0.0, axis=1)
    cloud = open3d.geometry.PointCloud()
    cloud.points = open3d.utility.Vector3dVector(samples.surface[oriented])
    cloud.normals = open3d.utility.Vector3dVector(samples.normals[oriented])
    if not oriented.any():
        raise CompletionError("no point of the view has a normal; expected at least four points and the sensor's place")
    # One thread: with more, the same points give other surfaces.
    solid, _ = open3d.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=DEPTH, n_threads=1)
    mesh = TriangleMesh(
        vertices=np.asarray(solid.vertices, dtype=np.float64), faces=np.asarray(solid.triangles, dtype=np.int64)
    )
    if len(mesh.faces) == 0:
        raise CompletionError("screened Poisson gave no surface; expected one through the points")
    return _closed(mesh)


def _closed(mesh: TriangleMesh) -> TriangleMesh:
    """The mesh with a fan of triangles over every border that goes round once; others stay open."""
    directed = mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    _, edge, count = np.unique(np.sort(directed, axis=1), axis=0, return_inverse=True, return_counts=True)
    border = directed[count[edge.reshape(-1)] == 1]
    following = dict(border.tolist())
    vertices, faces = [mesh.vertices], [mesh.faces]
    size = len(mesh.vertices)
    while following:
        first, second = following.popitem()
        loop = [first]
        while second != first and second in following:
            loop.append(second)
            second = following.pop(second)
        if second == first and len(loop) > 2:
            ring = np.array(loop)
            vertices.append(mesh.vertices[ring].mean(axis=0, keepdims=True))
            # Against the direction in which the border's faces run along it.
            faces.append(np.stack([np.roll(ring, -1), ring, np.full(len(ring), size)], axis=1))
            size += 1
    return TriangleMesh(vertices=np.concatenate(vertices), faces=np.concatenate(faces).astype(np.int64))


def upper_bound(distance: SignedDistance, *, resolution: int) -> TriangleMesh:
    """The mesh of the true signed distance at a resolution, in the unit frame: what is lost is the grid's and the sampling's."""
    return extract_mesh(distance, ExtractConfig(resolution=resolution)).mesh


SURFACE_POINTS = 3000
FREE_POINTS = 6000
STOP_SHORT = 0.02
"""Free space ends so far before a measured point, in unit-sphere radii: sensors are not exact."""


@dataclass(frozen=True, eq=False)
class ViewEvidence:
    """Some points of a view in the unit frame."""

    surface: Float[np.ndarray, "points 3"]
    """Where the field is zero."""
    free: Float[np.ndarray, "free 3"]
    """Where it is positive; may be empty."""

    @classmethod
    def of(cls, view_unit: Observation, *, seed: int) -> "ViewEvidence":
        """At most `SURFACE_POINTS` measured points and `FREE_POINTS` points that were looked through, drawn from the seed."""
        rng = np.random.default_rng([seed, 3])
        thin = view_unit.subsampled(SURFACE_POINTS, seed=seed)
        free = free_space_samples(thin, per_ray=2, rng=rng, radius=1.0, stop_short=STOP_SHORT)
        if len(free) > FREE_POINTS:
            free = free[np.sort(rng.choice(len(free), FREE_POINTS, replace=False))]
        return cls(thin.points_world, free)


COMPONENTS = 64
"""At most so many, as the codes of the presets have; shapes less one, if there are fewer."""
PRIOR_WEIGHT = 1e-6
"""Weight of the mean squared coefficient (in standard deviations) against mean squared distances, in squared radii."""
MAX_ROUNDS = 30
"""Rounds of least squares until no free point changes sides."""


@dataclass(frozen=True, eq=False)
class LinearModel:
    """Mean and principal components of the clamped signed distances of training shapes on a grid (Leventon et al. 2000).

    A shape is mean + coefficients @ basis; a coefficient of 1 is one standard deviation of the training shapes.
    """

    mean: Float[np.ndarray, "nodes"]
    basis: Float[np.ndarray, "components nodes"]

    @classmethod
    def fit(cls, grids: Float[np.ndarray, "shapes nodes"]) -> "LinearModel":
        """Fit to fields at the nodes. Raises CompletionError if there is no shape."""
        if len(grids) == 0:
            raise CompletionError("no training shape has a field; expected at least one")
        near = np.clip(grids.astype(np.float32), -CLAMP, CLAMP)
        mean = near.mean(axis=0, dtype=np.float64).astype(np.float32)
        near -= mean
        # Of many nodes and few shapes, the products of shapes hold the same components.
        values, mixing = np.linalg.eigh(_products(near))
        values, mixing = values[::-1], mixing[:, ::-1]
        kept = min(COMPONENTS, len(near) - 1, int(np.count_nonzero(values > 1e-8 * max(values[0], 1e-30))))
        # Rows of mixing.T @ near are axes times singular values; over √shapes, they are one standard deviation long.
        basis = (mixing[:, :kept].T @ near) / np.sqrt(len(near))
        return cls(mean, _signed(basis).astype(np.float32))

    def project(self, grid: Float[np.ndarray, "nodes"]) -> Float[np.ndarray, "components"]:
        """The coefficients whose field is nearest to a shape's field, in the mean square over the nodes."""
        left = np.clip(grid, -CLAMP, CLAMP) - self.mean
        return (self.basis @ left) / np.maximum(np.square(self.basis).sum(axis=1), 1e-30)

    def fit_view(self, evidence: ViewEvidence) -> Float[np.ndarray, "components"]:
        """The coefficients of a partial view.

        They minimise the mean square of the field at measured points, the mean square of its negative part at free points, and
        `PRIOR_WEIGHT` times the squared length of the coefficients: least squares again and again with the free points that
        are inside the shape of the round before.
        """
        cells = round(len(self.mean) ** (1 / 3))
        parts = [node_weights(points, cells) for points in (evidence.surface, evidence.free)]
        offsets = [part @ self.mean.astype(np.float64) for part in parts]
        slopes = [part @ self.basis.T.astype(np.float64) for part in parts]
        base = PRIOR_WEIGHT * np.eye(len(self.basis)) + slopes[0].T @ slopes[0] / len(offsets[0])
        target = -slopes[0].T @ offsets[0] / len(offsets[0])
        found = np.linalg.solve(base, target)
        inside = np.zeros(len(offsets[1]), dtype=bool)
        for _ in range(MAX_ROUNDS):
            before, inside = inside, offsets[1] + slopes[1] @ found < 0.0
            if np.array_equal(before, inside):
                break
            active = slopes[1][inside]
            weight = 1.0 / len(inside)
            found = np.linalg.solve(base + weight * active.T @ active, target - weight * active.T @ offsets[1][inside])
        return found

    def field(self, coefficients: Float[np.ndarray, "components"]) -> GridField:
        """The field of some coefficients."""
        values = self.mean + coefficients @ self.basis
        cells = round(len(values) ** (1 / 3))
        return GridField(values.astype(np.float64).reshape(cells, cells, cells))


def stacked(grids: Iterable[Float[np.ndarray, "nodes"]]) -> Float[np.ndarray, "shapes nodes"]:
    """Grids below each other, in half precision: a step of 0.0001 at the clamp."""
    found = [np.clip(grid, -CLAMP, CLAMP).astype(np.float16) for grid in grids]
    return np.stack(found) if found else np.zeros((0, CELLS**3), dtype=np.float16)


def _products(rows: Float[np.ndarray, "shapes nodes"]) -> Float[np.ndarray, "shapes shapes"]:
    """rows @ rows.T in double precision, piece by piece, since a copy of all rows would double the memory."""
    total = np.zeros((len(rows), len(rows)))
    for start in range(0, rows.shape[1], 8192):
        part = rows[:, start : start + 8192].astype(np.float64)
        total += part @ part.T
    return total


def _signed(basis: Float[np.ndarray, "components nodes"]) -> Float[np.ndarray, "components nodes"]:
    """Components whose largest entry is positive: eigenvectors have no sign of their own."""
    if len(basis) == 0:
        return basis
    largest = basis[np.arange(len(basis)), np.abs(basis).argmax(axis=1)]
    return basis * np.where(largest < 0.0, -1.0, 1.0)[:, None]


def nearest_training_shape(grids: Float[np.ndarray, "shapes nodes"], evidence: ViewEvidence) -> int:
    """The row of the shape with the smallest mean |f| at measured points plus mean depth max(0, −f) at free ones.

    `grids` are clamped signed distances at nodes, as `linear_model.stacked` makes them. Raises CompletionError if there is none.
    """
    if len(grids) == 0:
        raise CompletionError("no training shape has a field; expected at least one")
    cells = round(grids.shape[1] ** (1 / 3))
    costs = []
    for grid in grids:
        field = GridField(grid.astype(np.float64).reshape(cells, cells, cells))
        cost = np.abs(field(evidence.surface)).mean()
        if len(evidence.free):
            cost += np.maximum(-field(evidence.free), 0.0).mean()
        costs.append(float(cost))
    return int(np.argmin(costs))
