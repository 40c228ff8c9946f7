"""Closed meshes from a signed distance field, by marching cubes where the surface can be and nowhere else.

`extract_mesh` is the entry point. It finds the cells near the surface (`adaptive_grid`), the crossed edges and the
faces between them (`marching_cubes`, after Lorensen and Cline 1987), mends walls that the field only just misses
(`wall_mending`), and keeps sharp edges on request (`sharp_features`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from shapeprior.config import check_numbers
from shapeprior.errors import CompletionError, ConfigError
from shapeprior.geometry.mesh import TriangleMesh, keep_components
from shapeprior.sdf.isosurface.adaptive_grid import follow_surface, surface_grid
from shapeprior.sdf.isosurface.marching_cubes import EdgeCrossings
from shapeprior.sdf.isosurface.sharp_features import keep_sharp_edges
from shapeprior.sdf.isosurface.wall_mending import MendedWalls, mend_walls

Field = Callable[[Float[np.ndarray, "points 3"]], Float[np.ndarray, "points"]]
"""A function that returns the signed distance at points of the unit frame, negative inside."""

Edges = Literal["smooth", "sharp"]
"""Treatment of the sharp edges of a field: cut off, or kept."""

MAX_MENDED_VALUE = 0.012
"""Walls are mended up to this value of the field, in unit-sphere radii, on grids however coarse."""
NUM_SHARP_STEPS = 3
"""Steps by which vertices are moved towards the surface if sharp edges are kept."""


@dataclass(frozen=True, kw_only=True)
class ExtractConfig:
    """Settings of `extract_mesh`."""

    resolution: int = 256
    """Cells of the fine grid along each axis of the cube [-1, 1]³."""
    coarse: int = 32
    """Fewest cells of the first grid along each axis: it has those of the fine grid, halved as often as possible.
    Details that are smaller than its cells can be missed."""
    margin: float = 1.0
    """Cells with a corner up to this many half diagonals from the surface are split; 1 suits true distances."""
    batch_points: int = 2**16
    """Points in one call of the field, at most."""
    project: bool = True
    """Evaluate the field once more at vertices on whose edges it is not linear, and move them onto the surface."""
    edges: Edges = "smooth"
    """"sharp" keeps sharp edges, at five times the evaluations around them; "smooth" cuts them off, as marching cubes
    does."""
    mending: float = 0.75
    """Thin walls are mended where the field is nowhere above this many cells, nor above `MAX_MENDED_VALUE`
    (`shapeprior.sdf.isosurface.wall_mending`). 0 leaves them as the field has them."""
    min_area_share: float = 0.01
    """Connected components with less than this share of the total area are dropped; 0 keeps all of them."""
    largest_only: bool = False
    """Keep only the component with the largest area."""

    def __post_init__(self) -> None:
        check_numbers(self, at_least_one=("coarse", "batch_points"), positive=("margin",))
        if self.resolution < 2:
            raise ConfigError(f"resolution = {self.resolution}; expected at least 2 cells")
        if self.edges not in ("smooth", "sharp"):
            raise ConfigError(f"edges = {self.edges!r}; expected 'smooth' or 'sharp'")
        if not 0 <= self.mending <= 1:
            raise ConfigError(f"mending = {self.mending}; expected 0 to 1 cells, or real openings would be closed")
        if not 0 <= self.min_area_share < 1:
            raise ConfigError(f"min_area_share = {self.min_area_share}; expected a share in [0, 1)")


@dataclass(frozen=True, kw_only=True, eq=False)
class Extraction:
    """The mesh that `extract_mesh` found, and counts of how."""

    mesh: TriangleMesh
    """Watertight, manifold and oriented outward, in the unit frame."""
    evaluations: int
    """Number of points at which the field was evaluated."""
    mended: MendedWalls
    """What was done to thin walls that the field only just misses."""
    dropped_components: int
    """Number of connected components that were dropped."""


def extract_mesh(field: Field, config: ExtractConfig) -> Extraction:
    """Extract the zero level set of `field` inside the cube [-1, 1]³, in the unit frame.

    Space outside the cube counts as outside the object, so that a surface which leaves the cube is closed along its
    sides. Raises CompletionError if the field has no surface inside the cube, or a value that is not finite.
    """
    sampler = _Sampler(field, config.batch_points)
    # For a fine grid, each of these takes hundreds of megabytes, so none is kept longer than needed.
    crossings, mended = _crossings(sampler, config)
    mesh = _meshed(crossings, sampler, config)
    del crossings
    mesh, dropped = keep_components(mesh, min_area_share=config.min_area_share, largest_only=config.largest_only)
    return Extraction(mesh=mesh, evaluations=sampler.evaluations, mended=mended, dropped_components=dropped)


def _crossings(sampler: "_Sampler", config: ExtractConfig) -> tuple[EdgeCrossings, MendedWalls]:
    grid = surface_grid(sampler, config.resolution, coarse=config.coarse, margin=config.margin)
    follow_surface(sampler, grid)
    sampler.require_both_signs()
    level = min(config.mending * 2.0 / config.resolution, MAX_MENDED_VALUE)
    mended = mend_walls(sampler, grid, level) if level > 0 else MendedWalls()
    return EdgeCrossings.of(grid), mended


def _meshed(crossings: EdgeCrossings, sampler: "_Sampler", config: ExtractConfig) -> TriangleMesh:
    sharp = config.edges == "sharp"
    # A tangent plane is as precise as the point where it touches, so sharp edges need more steps.
    steps = NUM_SHARP_STEPS if sharp else 1
    vertices = crossings.vertices(sampler if config.project else None, steps=steps)
    mesh = TriangleMesh(vertices=vertices, faces=crossings.faces)
    return keep_sharp_edges(mesh, crossings, sampler) if sharp else mesh


class _Sampler:
    """Evaluates the field in batches, counts the points, and keeps the range of the values."""

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

    def require_both_signs(self) -> None:
        """Raise CompletionError if all values so far have one sign, so that no surface lies between them."""
        if self.lowest >= 0 or self.highest < 0:
            sign, place = ("positive", "outside") if self.lowest >= 0 else ("negative", "inside")
            raise CompletionError(
                f"no surface found: the field is {sign} ({place}) everywhere in the cube [-1, 1]^3, from "
                f"{self.lowest:.4g} to {self.highest:.4g} at {self.evaluations} points; expected both signs: check the "
                "observation's scale and frame, or start the completion from another latent code"
            )
