"""Refines a completed shape beyond what its code can say: its surface follows the points that were observed.

Each observed point tells how far the surface is off along its normal. What neighbouring points agree on, beyond their
noise, becomes a displacement of space (`shapeprior.models.displaced_field`). A wall therefore moves with both of its
sides and never tears. Where a wall of the code is too thin behind a surface that was seen, or has a slit, it is
thickened from behind: behind a surface, there is always something.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree
from torch import Tensor, nn

from shapeprior.config import check_numbers
from shapeprior.geometry.sampling import evenly_spaced
from shapeprior.models.displaced_field import DifferentiableField, DisplacedField, Lattice, smoothed, without_folds
from shapeprior.scans.noise import noise_deviation
from shapeprior.scans.observation import Observation

MIN_NEIGHBOURS, MAX_NEIGHBOURS = 12, 96
"""Fewest and most observed points whose mean offset is taken together. More are taken, the larger the noise is."""
TRUSTED_ERROR = 0.002
"""Standard error of that mean, in radii, at which more neighbours would help no more."""
DISBELIEF = 1.5
"""Mean squares of offsets up to this many squared standard errors are taken for noise altogether."""
STRAY_DISTANCE = 4.0
"""Points whose neighbours are farther than this many times the usual distance are believed less and less."""
MIN_SPACING, MAX_SPACING = 1.0 / 48.0, 0.1
"""Smallest and largest distance of the displacement's nodes. Between them, it is the distance of the observed points'
eighth neighbours, so that a node is told by about eight points."""
SPACING_NEIGHBOURS = 8
SMOOTHING_PASSES = 2
"""Number of times that offsets at nodes are averaged over 3 × 3 × 3 nodes."""
FEW_POINTS = 0.1
"""Nodes with this share of the weight of points that a typical observed place has move half as far."""
MIN_SLOPE = 0.5
"""Smallest length of the field's gradient by which a value is taken for a distance. Within a slit it is 0."""
SEARCH_STEPS = 10
"""Number of steps from a point on a wall's far side to the side that faces the sensor."""
WALL_POINTS, WALL_STEPS = 4096, 12
"""Largest number of rays along which a wall is looked for, and number of steps along each."""
MAX_COORDINATE = 0.985
"""Points beyond this along an axis are ignored: a surface that moved there would leave the cube that is meshed."""
OPEN_DEPTH = 0.002
"""Walls that are nowhere deeper than this, in radii, are open, or would be at the resolution of a mesh."""
EDGE_NEIGHBOURS, EDGE_OFFSET = 24, 0.2
"""Number of neighbours whose middle tells the edge of what was seen, and its distance from a point, as a share of that
of the farthest neighbour. Towards an edge, such as that of a wing, things may become as thin as they like."""


@dataclass(frozen=True, kw_only=True)
class ViewRefinementConfig:
    """Settings of the refinement of a completed shape to its view. Lengths are in unit-sphere radii."""

    steps: int = 3
    """Number of times that the displacement is corrected by what it lacks. 0 leaves the shape as the code makes it."""
    reach: float = 0.05
    """Observed points whose field value, or distance from the surface, is larger are ignored. Either the code is wrong
    there, or they are."""
    wall: float = 0.004
    """Depth that the field gets within open walls. 0 leaves them open."""
    max_open: float = 0.01
    """Places where the field is larger than this all along a ray are no open wall: the code has none there."""

    def __post_init__(self) -> None:
        check_numbers(self, positive=("reach",), not_negative=("steps", "wall", "max_open"))


@dataclass(frozen=True, eq=False)
class SurfaceOffsets:
    """How far observed points lie from the surface of a decoded field."""

    surface: Float[np.ndarray, "points 3"]
    """The place on the surface that each point belongs to, on the side that faces the sensor."""
    normals: Float[np.ndarray, "points 3"]
    """Unit normals of the surface there."""
    offsets: Float[np.ndarray, "points"]
    """Distance of each point from its place along the normal, positive outside."""
    noise: Float[np.ndarray, "points"]
    """Standard deviation of the offsets by the noise of the scan."""

    @classmethod
    def of(cls, field: DifferentiableField, view: Observation, *, reach: float) -> "SurfaceOffsets":
        """Find the surface of a field at the points of a view.

        Points at which the shape faces away from the sensor belong to the near side of a thin wall, if there is one
        within twice the reach towards the sensor. Otherwise they are left out, as are points out of reach.
        """
        points = view.points_world
        values, gradient = field.gradient(points)
        slope = np.maximum(np.linalg.norm(gradient, axis=1), MIN_SLOPE)
        normals, offsets = _unit(gradient), values / slope
        surface = points - offsets[:, None] * normals
        towards = _towards_sensor(view)
        usable = np.ones(len(points), dtype=np.bool_)
        if towards is not None:
            usable = np.einsum("ij,ij->i", normals, towards) >= 0.0
            rows = np.flatnonzero(~usable & (np.abs(values) < reach))
            found, near = _near_side(field, points[rows], towards[rows], reach=2.0 * reach)
            rows = rows[found]
            surface[rows] = near
            normals[rows] = _unit(field.gradient(near)[1])
            offsets[rows] = np.einsum("ij,ij->i", points[rows] - near, normals[rows])
            usable[rows] = np.einsum("ij,ij->i", normals[rows], towards[rows]) >= 0.0
        usable &= np.abs(offsets) < reach
        noise = np.full(len(points), noise_deviation(view))
        if view.origins_world is not None and towards is not None:
            noise *= np.abs(np.einsum("ij,ij->i", normals, towards))
        return cls(surface[usable], normals[usable], offsets[usable], noise[usable])

    def believed(self) -> Float[np.ndarray, "points"]:
        """Return the offsets that are no noise: means over neighbours, less the more they may be chance.

        Neighbours are those on the surface. By distance, a point that is off would find others that are off to the
        same side. Weights fall with the distance as in local regression (Cleveland 1979, "Robust locally weighted
        regression and smoothing scatterplots"). The mean is then shrunk by the share of its mean square that the
        noise explains (James and Stein 1961, "Estimation with quadratic loss"). The variance of the noise is that of
        the scan, or the neighbours' own where they disagree more. Points far from all others are believed less.
        """
        wanted = np.ceil((np.median(self.noise) / TRUSTED_ERROR) ** 2)
        count = int(min(np.clip(wanted, MIN_NEIGHBOURS, MAX_NEIGHBOURS), len(self.surface)))
        distance, rows = KDTree(self.surface).query(self.surface, k=count, workers=-1)
        weights = 1.0 - (distance / np.maximum(1.01 * distance[:, -1:], 1e-9)) ** 2
        weights /= weights.sum(axis=1, keepdims=True)

        def mean(values: Float[np.ndarray, "points"]) -> Float[np.ndarray, "points"]:
            return np.einsum("pn,pn->p", weights, values[rows])

        means = mean(self.offsets)
        variance = np.maximum(self.noise**2, mean(self.offsets**2) - means**2)
        error = variance * np.square(weights).sum(axis=1)
        share = np.maximum(1.0 - DISBELIEF * error / np.maximum(mean(means**2), 1e-12), 0.0)
        farthest = np.maximum(distance[:, -1], 1e-9)
        company = np.minimum(STRAY_DISTANCE * np.median(farthest) / farthest, 1.0) ** 2
        return means * mean(share) * company


def follow_view(
    field: DifferentiableField, view_unit: Observation, *, config: ViewRefinementConfig
) -> DifferentiableField:
    """Close the walls of a field where a view saw them, and move its surface to where the view saw it.

    `view_unit` is the view without outliers, in the unit frame in which the shape was placed. The field is returned
    unchanged if fewer than `MIN_NEIGHBOURS` points of the view belong to its surface. Without sensors or normals, walls
    are not closed, as nobody knows from where they were seen. Nothing here is random.
    """
    if config.steps == 0:
        return field
    # A point that is there twice would agree with itself.
    view = view_unit.without_repeated_points()
    near = np.abs(view.points_world).max(axis=1) < MAX_COORDINATE
    near[near] = np.abs(field(view.points_world[near])) < config.reach
    if np.count_nonzero(near) < MIN_NEIGHBOURS:
        return field
    view = view.select(near)
    spacing = _spacing(view.points_world)
    margin = SMOOTHING_PASSES + 2 + int(np.ceil(2.0 * config.reach / spacing))
    lattice = Lattice.around(view.points_world, spacing=spacing, margin=margin)
    closed = DisplacedField(field, lattice, _lacking_depth(field, lattice, view, config))
    found = SurfaceOffsets.of(closed, view, reach=config.reach)
    if len(found.surface) < MIN_NEIGHBOURS:
        return field
    return replace(closed, displacement=_displacement(lattice, found, found.believed(), steps=config.steps))


def _displacement(
    lattice: Lattice, found: SurfaceOffsets, offsets: Float[np.ndarray, "points"], *, steps: int
) -> Float[Tensor, "1 3 x y z"]:
    """Return a smooth displacement that moves the surface by given offsets along its normals, and falls to 0 away from
    it.

    Each step adds the mean of what is lacking around each node. Along the surface, places are free to move.
    """
    normals = found.normals
    weights = lattice.weights(found.surface + offsets[:, None] * normals)

    def at_nodes(values: Float[np.ndarray, "points channels"]) -> Float[Tensor, "1 channels x y z"]:
        return smoothed(lattice.on_nodes(weights.T @ values), SMOOTHING_PASSES)

    def at_points(values: Float[Tensor, "1 channels x y z"]) -> Float[np.ndarray, "points channels"]:
        return weights @ values.flatten(2)[0].T.double().numpy()

    seen = at_nodes(np.ones((len(offsets), 1)))
    seen += FEW_POINTS * float(np.median(at_points(seen)))
    displacement, lacking = torch.zeros((1, 3, *lattice.shape)), offsets
    for _ in range(steps):
        displacement = displacement + at_nodes(lacking[:, None] * normals) / seen
        lacking = offsets - np.einsum("ij,ij->i", at_points(displacement), normals)
    return without_folds(displacement, lattice.spacing)


def _lacking_depth(
    field: DifferentiableField, lattice: Lattice, view: Observation, config: ViewRefinementConfig
) -> Float[Tensor, "1 1 x y z"]:
    """Return how much deeper the field must be for a wall to be where the view saw one.

    A ray that ended on the object met a wall there, so the field is negative somewhere near its end. Where it has a
    positive minimum instead, a wall was lost.
    """
    rays = _towards_sensor(view)
    lacking = torch.zeros(int(np.prod(lattice.shape)))
    if config.wall > 0.0 and rays is not None:
        rows = evenly_spaced(len(view.points_world), WALL_POINTS)
        along = np.linspace(-config.reach, config.reach, WALL_STEPS + 1)[:, None] * rays[rows][:, None]
        along += view.points_world[rows][:, None]
        values = field(along.reshape(-1, 3)).reshape(len(rows), WALL_STEPS + 1).astype(np.float64)
        deepest = values.argmin(axis=1)
        depth = values[np.arange(len(rows)), deepest]
        # A slanting ray may end before it reaches the shape. Between the ends, it passed something.
        passed = np.minimum(values[:, 0], values[:, -1]) - depth > OPEN_DEPTH
        open_rows = np.flatnonzero(passed & (depth > -OPEN_DEPTH) & (depth < config.max_open))
        open_rows = open_rows[~_is_at_edge(view.points_world, rows[open_rows])]
        nodes = lattice.corners(along[open_rows, deepest[open_rows]])[0]
        amounts = torch.from_numpy(depth[open_rows] + config.wall).float()
        lacking.scatter_reduce_(0, torch.from_numpy(nodes).ravel(), amounts.repeat_interleave(8), "amax")
    most = nn.functional.max_pool3d(lacking.view(1, 1, *lattice.shape), 3, stride=1, padding=1)
    return smoothed(most, 1)


def _is_at_edge(points: Float[np.ndarray, "points 3"], rows: Int[np.ndarray, "asked"]) -> Bool[np.ndarray, "asked"]:
    """Return which of some points have their neighbours on one side."""
    if len(rows) == 0:
        return np.zeros(0, dtype=np.bool_)
    distance, near = KDTree(points).query(points[rows], k=min(EDGE_NEIGHBOURS, len(points)), workers=-1)
    aside = np.linalg.norm(points[near].mean(axis=1) - points[rows], axis=1)
    return aside > EDGE_OFFSET * distance[:, -1]


def _near_side(
    field: DifferentiableField,
    points: Float[np.ndarray, "points 3"],
    towards: Float[np.ndarray, "points 3"],
    *,
    reach: float,
) -> tuple[Bool[np.ndarray, "points"], Float[np.ndarray, "found 3"]]:
    """Return which points have a surface that faces the sensor between it and them, and the nearest such place."""
    steps = np.linspace(0.0, reach, SEARCH_STEPS + 1)
    along = points[:, None] + steps[:, None] * towards[:, None]
    values = field(along.reshape(-1, 3)).reshape(len(points), len(steps)).astype(np.float64)
    leaves = (values[:, :-1] < 0.0) & (values[:, 1:] >= 0.0)
    facing = np.asarray(leaves.any(axis=1))
    found = np.flatnonzero(facing)
    last = leaves[found].argmax(axis=1)
    inside, outside = values[found, last], values[found, last + 1]
    place = steps[last] + steps[1] * inside / (inside - outside)
    return facing, points[found] + place[:, None] * towards[found]


def _towards_sensor(view: Observation) -> Float[np.ndarray, "points 3"] | None:
    """Return unit vectors to the sensor, or else the view's normals; None if neither is known."""
    if view.origins_world is not None:
        return _unit(view.origins_world - view.points_world)
    return None if view.normals_world is None else _unit(view.normals_world)


def _unit(vectors: Float[np.ndarray, "rows 3"]) -> Float[np.ndarray, "rows 3"]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def _spacing(surface: Float[np.ndarray, "points 3"]) -> float:
    """Return the distance of the displacement's nodes for some observed places."""
    few = surface[:: max(len(surface) // 1000, 1)]
    distance = KDTree(surface).query(few, k=min(SPACING_NEIGHBOURS, len(surface)), workers=-1)[0]
    return float(np.clip(np.median(distance[:, -1]), MIN_SPACING, MAX_SPACING))
