"""Closed meshes from a signed distance field: marching cubes on the cells that the surface can reach.

The field is sampled from coarse to fine. A cell whose centre is farther from the surface than its own half diagonal
cannot hold any of it and is left out; what remains is split down to the target resolution. Learned fields are not
1-Lipschitz, so this bound alone leaves holes; a last step therefore walks from every cell that the surface leaves
through a face to the cell behind that face until nothing is missing. The result is the mesh of the full grid, except
for components that no coarse cell noticed, at a few per cent of its field evaluations.

Source of the case table: Lorensen and Cline 1987, "Marching cubes", as implemented in libigl.
"""

from collections.abc import Callable
from dataclasses import dataclass

import igl
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from shapeprior.errors import CompletionError, ConfigError
from shapeprior.mesh import TriangleMesh

Field = Callable[[Float[np.ndarray, "points 3"]], Float[np.ndarray, "points"]]
"""Signed distance at points of the unit frame, negative inside."""

_CORNERS = np.array(
    [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]], dtype=np.int64
)
"""A cell's corners in the order of libigl's case table."""

_EDGE_MARGIN = 1e-3
"""Vertices keep this share of an edge's length from its ends, so that no triangle can shrink to a point or a line."""


@dataclass(frozen=True, kw_only=True)
class ExtractConfig:
    """Settings of `extract_mesh`."""

    resolution: int = 128
    """Grid cells along each axis of the cube [-1, 1]³; a multiple of `coarse`."""
    coarse: int = 32
    """Cells along each axis of the first grid; details that are smaller than its cells can be missed."""
    margin: float = 1.0
    """Cells are kept up to this many half diagonals from the surface; 1 suits true distances."""
    batch_points: int = 2**16
    """Points in one call of the field."""
    min_area_share: float = 0.01
    """Connected components with less than this share of the total area are dropped; 0 keeps all."""
    largest_only: bool = False
    """Keep only the component with the largest area."""

    def __post_init__(self) -> None:
        if self.coarse < 1 or self.resolution < 2 or self.resolution % self.coarse:
            raise ConfigError(
                f"the extraction resolution must be at least 2 and a multiple of the coarse resolution; got resolution "
                f"{self.resolution} and coarse {self.coarse}"
            )
        if not self.margin > 0:
            raise ConfigError(f"the extraction margin must be positive; got {self.margin}")
        if self.batch_points < 1:
            raise ConfigError(f"the extraction batch must hold at least 1 point; got {self.batch_points}")
        if not 0 <= self.min_area_share < 1:
            raise ConfigError(f"the smallest component's area share must be in [0, 1); got {self.min_area_share}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Extraction:
    """A closed mesh and what it took to find it."""

    mesh: TriangleMesh
    """Watertight and oriented outward, in the unit frame."""
    evaluations: int
    """How many points the field was asked for."""
    dropped_components: int
    """How many connected components were left out as too small."""


def extract_mesh(field: Field, config: ExtractConfig) -> Extraction:
    """The zero level set of `field` inside the cube [-1, 1]³, in the unit frame.

    Space outside the cube counts as outside the object: a surface that leaves the cube is closed along its sides.
    Raises CompletionError if the field has no surface inside the cube or a value that is not a number.
    """
    sampler = _Sampler(field, config.batch_points)
    candidates = _candidate_cells(sampler, config)
    cells, corner_keys, values = _follow_surface(sampler, candidates, config.resolution)
    sampler.require_both_signs()
    corners = np.searchsorted(corner_keys, _corner_keys(cells, config.resolution))
    negative = values[corners] < 0
    crossed = negative.any(axis=1) & ~negative.all(axis=1)
    grid = _grid_points(corner_keys, config.resolution)
    _, faces, edge_vertices = igl.marching_cubes(values, grid, corners[crossed], 0.0)
    mesh, dropped = _keep_components(_place_vertices(values, grid, faces, edge_vertices), config)
    return Extraction(mesh=mesh, evaluations=sampler.evaluations, dropped_components=dropped)


def extract_dense(field: Field, resolution: int, *, batch_points: int = 2**16) -> TriangleMesh:
    """The same mesh from all (resolution + 1)³ grid points: the plain twin of `extract_mesh`, with all components."""
    sampler = _Sampler(field, batch_points)
    side = resolution + 1
    keys = np.arange(side**3).reshape(side, side, side).transpose(2, 1, 0).ravel()  # libigl wants x to vary fastest.
    values = sampler.at_corners(keys, resolution)
    sampler.require_both_signs()
    grid = _grid_points(keys, resolution)
    _, faces, edge_vertices = igl.marching_cubes(values, grid, side, side, side, 0.0)
    return _place_vertices(values, grid, faces, edge_vertices)


class _Sampler:
    """Asks the field in batches; counts the points and keeps the range of the answers."""

    def __init__(self, field: Field, batch_points: int) -> None:
        self._field = field
        self._batch_points = batch_points
        self.evaluations = 0
        self.lowest = np.inf
        self.highest = -np.inf

    def __call__(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
        values = np.zeros(len(points))
        for start in range(0, len(points), self._batch_points):
            batch = points[start : start + self._batch_points]
            values[start : start + len(batch)] = self._field(batch)
        if not np.all(np.isfinite(values)):
            bad = int(np.count_nonzero(~np.isfinite(values)))
            raise CompletionError(
                f"the field is not a finite number at {bad} of {len(points)} points; expected signed distances: the "
                "network's weights or the latent code have diverged, use a smaller learning rate"
            )
        self.evaluations += len(points)
        if len(points):
            self.lowest, self.highest = min(self.lowest, values.min()), max(self.highest, values.max())
        return values

    def at_corners(self, keys: Int[np.ndarray, "corners"], resolution: int) -> Float[np.ndarray, "corners"]:
        """Values at grid corners, never zero, and positive on the sides of the cube."""
        values = self(_grid_points(keys, resolution))
        index = _unravel(keys, resolution + 1)
        on_side = np.any((index == 0) | (index == resolution), axis=1)
        # A value of exactly zero has no sign. The tiny one on the sides puts the closing faces right onto them.
        tiny = 1e-9 / resolution
        return np.where((values == 0) | (on_side & (values < 0)), tiny, values)

    def require_both_signs(self) -> None:
        """Raises CompletionError if no surface can lie between the values seen so far."""
        if self.lowest >= 0 or self.highest < 0:
            sign, place = ("positive", "outside") if self.lowest >= 0 else ("negative", "inside")
            raise CompletionError(
                f"no surface found: the field is {sign} ({place}) everywhere in the cube [-1, 1]^3, from "
                f"{self.lowest:.4g} to {self.highest:.4g} at {self.evaluations} points; expected both signs: check the "
                "observation's scale and frame, or start the completion from another latent code"
            )


def _candidate_cells(sampler: _Sampler, config: ExtractConfig) -> Int[np.ndarray, "cells"]:
    """Sorted keys of the target grid's cells that the surface can reach, judged by the centres of coarser cells."""
    side = config.coarse
    keys = np.arange(side**3)
    for factor in _prime_factors(config.resolution // config.coarse) or [1]:
        index = _unravel(keys, side)
        width = 2.0 / side
        values = sampler((index + 0.5) * width - 1.0)
        keep = np.abs(values) <= config.margin * 0.5 * np.sqrt(3.0) * width
        keep |= _differs_from_neighbour(keys, values < 0, side)
        offsets = np.stack(np.meshgrid(*[np.arange(factor)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
        children = (index[keep, None] * factor + offsets).reshape(-1, 3)
        side *= factor
        keys = np.sort(_ravel(children, side))
    return keys


def _differs_from_neighbour(
    keys: Int[np.ndarray, "cells"], negative: Bool[np.ndarray, "cells"], side: int
) -> Bool[np.ndarray, "cells"]:
    """Which cells have a face neighbour of the other sign among `keys` (sorted); beyond the grid all is positive."""
    index = _unravel(keys, side)
    differs = negative & np.any((index == 0) | (index == side - 1), axis=1)
    for axis in range(3):
        here = np.flatnonzero(index[:, axis] < side - 1)
        there, found = _find(keys, keys[here] + side ** (2 - axis))
        here, there = here[found], there[found]
        change = negative[here] != negative[there]
        differs[here[change]] = True
        differs[there[change]] = True
    return differs


def _follow_surface(
    sampler: _Sampler, cells: Int[np.ndarray, "candidates"], side: int
) -> tuple[Int[np.ndarray, "cells"], Int[np.ndarray, "corners"], Float[np.ndarray, "corners"]]:
    """Add the cells that the surface enters from `cells` until none is missing.

    Returns the sorted keys of all cells, the sorted keys of their corners, and the field's values there.
    """
    corner_keys, values = np.zeros(0, dtype=np.int64), np.zeros(0)
    frontier = cells
    while len(frontier):
        cell_corners = _corner_keys(frontier, side)
        wanted = np.unique(cell_corners)
        fresh = wanted[~_find(corner_keys, wanted)[1]]
        place = np.searchsorted(corner_keys, fresh)
        values = np.insert(values, place, sampler.at_corners(fresh, side))
        corner_keys = np.insert(corner_keys, place, fresh)
        negative = values[np.searchsorted(corner_keys, cell_corners)] < 0

        neighbours = []
        for axis in range(3):
            for end, step in ((0, -1), (1, 1)):
                of_face = negative[:, _CORNERS[:, axis] == end]
                crossed = of_face.any(axis=1) & ~of_face.all(axis=1)
                # Never leaves the grid: on its sides all values are positive.
                neighbours.append(frontier[crossed] + step * side ** (2 - axis))
        reached = np.unique(np.concatenate(neighbours))
        frontier = reached[~_find(cells, reached)[1]]
        cells = np.insert(cells, np.searchsorted(cells, frontier), frontier)
    return cells, corner_keys, values


def _place_vertices(
    values: Float[np.ndarray, "corners"],
    grid: Float[np.ndarray, "corners 3"],
    faces: ArrayLike,
    edge_vertices: dict[int, int],
) -> TriangleMesh:
    """Vertices by linear interpolation along the grid's edges, kept off the ends of the edges."""
    edges = np.fromiter(edge_vertices.keys(), dtype=np.int64, count=len(edge_vertices))
    vertex = np.fromiter(edge_vertices.values(), dtype=np.int64, count=len(edge_vertices))
    first, second = edges & 0xFFFFFFFF, edges >> 32
    along = values[first] / (values[first] - values[second])
    along = np.clip(along, _EDGE_MARGIN, 1.0 - _EDGE_MARGIN)[:, None]
    vertices = np.zeros((len(vertex), 3))
    vertices[vertex] = grid[first] * (1.0 - along) + grid[second] * along
    return TriangleMesh(vertices=vertices, faces=np.asarray(faces, dtype=np.int64))


def _keep_components(mesh: TriangleMesh, config: ExtractConfig) -> tuple[TriangleMesh, int]:
    """Drop small connected components and the vertices that only they use; returns how many were dropped."""
    count = len(mesh.vertices)
    starts, ends = mesh.faces[:, [0, 1]].ravel(), mesh.faces[:, [1, 2]].ravel()
    graph = coo_array((np.ones(len(starts), dtype=np.int8), (starts, ends)), shape=(count, count))
    labels = connected_components(graph, directed=False)[1][mesh.faces[:, 0]]
    areas = np.bincount(labels, weights=mesh.face_areas)
    keep = areas >= config.min_area_share * areas.sum()
    keep[np.argmax(areas)] = True
    if config.largest_only:
        keep = np.arange(len(areas)) == np.argmax(areas)
    used, faces = np.unique(mesh.faces[keep[labels]], return_inverse=True)
    return TriangleMesh(vertices=mesh.vertices[used], faces=faces.reshape(-1, 3)), int(np.count_nonzero(~keep))


def _corner_keys(cells: Int[np.ndarray, "cells"], side: int) -> Int[np.ndarray, "cells 8"]:
    return _ravel(_unravel(cells, side)[:, None] + _CORNERS, side + 1)


def _grid_points(keys: Int[np.ndarray, "corners"], resolution: int) -> Float[np.ndarray, "corners 3"]:
    return _unravel(keys, resolution + 1) * (2.0 / resolution) - 1.0


def _ravel(index: Int[np.ndarray, "*batch 3"], side: int) -> Int[np.ndarray, "*batch"]:
    return (index[..., 0] * side + index[..., 1]) * side + index[..., 2]


def _unravel(keys: Int[np.ndarray, "cells"], side: int) -> Int[np.ndarray, "cells 3"]:
    return np.stack([keys // (side * side), keys // side % side, keys % side], axis=1)


def _find(
    keys: Int[np.ndarray, "keys"], wanted: Int[np.ndarray, "wanted"]
) -> tuple[Int[np.ndarray, "wanted"], Bool[np.ndarray, "wanted"]]:
    """Where each wanted key is in the sorted `keys`, and whether it is there at all."""
    if len(keys) == 0:
        return np.zeros(len(wanted), dtype=np.int64), np.zeros(len(wanted), dtype=np.bool_)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return place, keys[place] == wanted


def _prime_factors(number: int) -> list[int]:
    factors, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1
    return factors
