"""Where the samples of a shape lie: one object a strategy, each with a ``draw(distance, count, rng=...)``.

To add one, write its file here, give it a field below and a count in `shapeprior.sdf.sampling.SamplingConfig`. What the others
draw does not change.

Samples near the surface, as DeepSDF draws them.

Samples everywhere in the unit ball.

Samples near sharp edges, which samples spread by area mostly miss.

Samples along the rays of depth sensors, as partial views supervise a field.

Points of the zero level set with their normals.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from shapeprior.errors import ConfigError, MeshError
from shapeprior.geometry.mesh import TriangleMesh, row_keys
from shapeprior.geometry.proximity import FaceTree
from shapeprior.geometry.raycasting import RayScene
from shapeprior.geometry.sampling import sample_surface
from shapeprior.sdf.signed_distance import SignedDistance


@dataclass(frozen=True, kw_only=True)
class NearSurface:
    """Surface points, uniform by area, with Gaussian offsets (Park et al. 2019, "DeepSDF", section 5).

    Sheets are drawn from their middle, not from the sides of the plate that `SignedDistance` makes of them.
    """

    variances: tuple[float, ...] = (0.0025, 0.00025)
    """Variances of the offsets along each axis, in squared unit-sphere radii; the samples take them in turn."""

    def __post_init__(self) -> None:
        if not self.variances or not all(0.0 < variance < np.inf for variance in self.variances):
            raise ConfigError(f"variances = {self.variances}; expected positive numbers")

    def draw(self, distance: SignedDistance, count: int, *, rng: np.random.Generator) -> Float[np.ndarray, "samples 3"]:
        """`count` points of the unit frame."""
        on_surface, _ = sample_surface(distance.surface, count, rng=rng)
        deviations = np.sqrt(np.resize(np.asarray(self.variances), count))
        return on_surface + rng.standard_normal((count, 3)) * deviations[:, None]


@dataclass(frozen=True, kw_only=True)
class UniformBall:
    """Points uniform in the unit ball, as in DeepSDF's released sampler; they look at no surface."""

    def draw(self, distance: SignedDistance, count: int, *, rng: np.random.Generator) -> Float[np.ndarray, "samples 3"]:
        """`count` points of the unit frame: directions of normal vectors, radii as cube roots."""
        del distance  # Every strategy is given it.
        directions = rng.standard_normal((count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return directions * np.cbrt(rng.random((count, 1)))


BEND_STEP = 1e-3
"""How far beyond an edge of a face the surface is looked for, in unit-sphere radii."""
MIN_TRIES = 1_000
"""Fewer places than this are not tried, since a shape has few sharp edges among many sides of faces."""


@dataclass(frozen=True, kw_only=True)
class SharpEdges:
    """Points on sharp edges of the learned surface, by length, with Gaussian offsets.

    After the sharp edge sampling of Chen et al. 2024, "Dora: Sampling and benchmarking for 3D shape variational
    auto-encoders". What counts is the surface that is left when hidden faces are gone, whatever its faces share: a face that
    is carried on flat across its edge finds the surface again at a small step, one that ends there (the rim of a sheet) finds
    nothing, and one that bends finds it a distance of sin(bend) steps away. So parts that only touch or pass through each
    other have edges, too, and cracks and unshared vertices of a flat wall have none.

    A shape without a sharp edge, such as a finely faceted ball, gets `NearSurface` samples with their own defaults.
    """

    min_bend_deg: float = 30.0
    """Edges whose faces bend by more than this are sharp; flat is 0. More than 0, less than 90."""
    variance: float = 0.0001
    """Variance of the offsets along each axis, in squared unit-sphere radii."""

    def __post_init__(self) -> None:
        if not 0.0 < self.min_bend_deg < 90.0:
            raise ConfigError(f"min_bend_deg = {self.min_bend_deg}; expected more than 0, less than 90 degrees")
        if not 0.0 < self.variance < np.inf:
            raise ConfigError(f"variance = {self.variance}; expected a positive number")

    def draw(self, distance: SignedDistance, count: int, *, rng: np.random.Generator) -> Float[np.ndarray, "samples 3"]:
        """`count` points of the unit frame. As many places are tried, and the sharp ones drawn from with repetition."""
        on_edges = self.places(distance.surface, max(count, MIN_TRIES), rng=rng)
        if len(on_edges) == 0:
            return NearSurface().draw(distance, count, rng=rng)
        chosen = on_edges[rng.integers(len(on_edges), size=count)]
        return chosen + rng.standard_normal((count, 3)) * np.sqrt(self.variance)

    def places(self, surface: TriangleMesh, tries: int, *, rng: np.random.Generator) -> Float[np.ndarray, "places 3"]:
        """Random points of the surface's edges, by length, as far as the edge is sharp there; at most `tries`."""
        sides, weights = _sides_that_may_be_sharp(surface, cosine=float(np.cos(np.deg2rad(self.min_bend_deg))))
        total = weights.sum()
        if total == 0.0:
            return np.zeros((0, 3))
        start, end, opposite = sides[rng.choice(len(sides), size=tries, p=weights / total)].transpose(1, 0, 2)
        points = start + rng.random((tries, 1)) * (end - start)
        # Across the edge, in the plane of the face: away from the face's third corner.
        along = (end - start) / np.linalg.norm(end - start, axis=1, keepdims=True)
        away = start - opposite
        away -= np.einsum("ij,ij->i", away, along)[:, None] * along
        length = np.linalg.norm(away, axis=1, keepdims=True)
        # A face too thin to have a third corner says nothing.
        away = np.divide(away, length, out=np.zeros_like(away), where=length > 0.0)
        found = FaceTree(surface).distance(points + BEND_STEP * away)
        return points[found > BEND_STEP * np.sin(np.deg2rad(self.min_bend_deg))]


def _sides_that_may_be_sharp(
    surface: TriangleMesh, *, cosine: float
) -> tuple[Float[np.ndarray, "sides 3 3"], Float[np.ndarray, "sides"]]:
    """Sides of faces (start, end and the face's third corner) but those of flat edges of two faces, which are most.

    The weights add up to the edge's length over the faces at an edge.
    """
    corners = surface.faces[surface.face_areas > 0.0]
    normals = np.repeat(surface.face_normals[surface.face_areas > 0.0], 3, axis=0)
    sides = corners[:, [0, 1, 2, 1, 2, 0, 2, 0, 1]].reshape(-1, 3)
    _, edge, faces_there = np.unique(row_keys(np.sort(sides[:, :2], axis=1)), return_inverse=True, return_counts=True)
    edge = edge.reshape(-1)
    # Two unit normals with the angle a between them add up to a squared length of 2 + 2 cos a.
    summed = np.stack([np.bincount(edge, weights=normals[:, axis]) for axis in range(3)], axis=1)
    flat = (faces_there == 2) & (np.einsum("ij,ij->i", summed, summed) >= 2.0 + 2.0 * cosine)
    rows = np.flatnonzero(~flat[edge])
    places = surface.vertices[sides[rows]]
    return places, np.linalg.norm(places[:, 1] - places[:, 0], axis=1) / faces_there[edge[rows]]


@dataclass(frozen=True, kw_only=True)
class DepthRays:
    """Points in the free space before what a depth sensor sees, and just behind it.

    After the samples along depth rays of Ortiz et al. 2022, "iSDF: Real-time neural signed distance fields for robot
    perception", but with a viewpoint of its own and one sample for each ray. Labels are measured like all others, not taken
    from the ray. Sheets stop rays at their middle, so that samples close before one may lie in its plate, inside.
    """

    viewpoint_distance: float = 2.0
    """Viewpoints are uniform on a sphere of this radius around the origin, in unit-sphere radii; more than 1."""
    free_share: float = 0.5
    """Share of samples before the first hit, uniform along the ray from where it enters the unit ball."""
    behind: float = 0.05
    """The other samples are uniform along the ray from the first hit to so far behind it, in unit-sphere radii."""

    def __post_init__(self) -> None:
        if not 1.0 < self.viewpoint_distance < np.inf:
            raise ConfigError(f"viewpoint_distance = {self.viewpoint_distance}; expected more than 1 radius")
        if not 0.0 <= self.free_share <= 1.0:
            raise ConfigError(f"free_share = {self.free_share}; expected 0 to 1")
        if not 0.0 < self.behind < np.inf:
            raise ConfigError(f"behind = {self.behind}; expected a positive number of radii")

    def draw(self, distance: SignedDistance, count: int, *, rng: np.random.Generator) -> Float[np.ndarray, "samples 3"]:
        """`count` points of the unit frame: those before the hit first, then those behind."""
        origins, directions, first_hit = self.cast(distance, count, rng=rng)
        free = round(count * self.free_share)
        enters = np.minimum(_entry_into_unit_ball(origins, directions), first_hit)
        share = rng.random(count)
        reach = np.where(
            np.arange(count) < free, enters + share * (first_hit - enters), first_hit + share * self.behind
        )
        return origins + reach[:, None] * directions

    def cast(
        self, distance: SignedDistance, count: int, *, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "rays 3"], Float[np.ndarray, "rays 3"], Float[np.ndarray, "rays"]]:
        """Rays from random viewpoints to random surface points: origins, unit directions, distances to the first hit."""
        targets, _ = sample_surface(distance.surface, count, rng=rng)
        origins = rng.standard_normal((count, 3))
        origins *= self.viewpoint_distance / np.linalg.norm(origins, axis=1, keepdims=True)
        directions = targets - origins
        lengths = np.linalg.norm(directions, axis=1)
        directions /= lengths[:, None]
        first_hit, _ = RayScene(distance.surface).first_hit(origins, directions)
        # There is something at the target, even where a ray slips between two faces.
        return origins, directions, np.minimum(first_hit, lengths)


def _entry_into_unit_ball(
    origins: Float[np.ndarray, "rays 3"], directions: Float[np.ndarray, "rays 3"]
) -> Float[np.ndarray, "rays"]:
    """Distance along each ray to the unit ball; for rays that pass it by, to where they are closest."""
    along = -np.einsum("ij,ij->i", origins, directions)
    half_chord_squared = 1.0 - np.einsum("ij,ij->i", origins, origins) + along * along
    return np.maximum(along - np.sqrt(np.maximum(half_chord_squared, 0.0)), 0.0)


@dataclass(frozen=True, kw_only=True)
class StrategySettings:
    """The strategies whose samples have distances, by name. New ones come last: the order numbers them in files."""

    near: NearSurface = field(default_factory=NearSurface)
    """Near the surface, by area."""
    uniform: UniformBall = field(default_factory=UniformBall)
    """Everywhere in the unit ball."""
    edges: SharpEdges = field(default_factory=SharpEdges)
    """Near sharp edges, by length."""
    rays: DepthRays = field(default_factory=DepthRays)
    """Along the rays of depth sensors."""


STEP = 1e-4
"""How far on both sides of a point the distance is asked for, in unit-sphere radii; thinner walls get no samples."""
TOLERANCE = 1e-3
"""How far those distances may be from the step, as a share of it: normals are off by acos(1 - 0.001) = 2.6° at most."""
MAX_ROUNDS = 8
"""A shape of which less than about a quarter passes is refused."""


@dataclass(frozen=True, kw_only=True)
class OnSurface:
    """Points where the field is zero, with the outward unit normal there, for losses on both.

    Such as those of Gropp et al. 2020, "Implicit geometric regularization for learning shapes", and Sitzmann et al. 2020,
    "Implicit neural representations with periodic activation functions". The winding of the faces is not believed: the field
    itself says, at a step along the normal on both sides, which one is outside. A sheet has two, the sides of its plate;
    both are drawn. A point is only taken if the distance grows along its normal as it does along a gradient, so that none
    lies within about a step of an edge, inside other parts or plates, or on the round rim of a plate.
    """

    def draw(
        self, distance: SignedDistance, count: int, *, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "samples 3"], Float[np.ndarray, "samples 3"]]:
        """`count` points of the unit frame, uniform by area of what is learned, and their normals.

        Raises MeshError if little of the surface has the inside on one side and the outside on the other.
        """
        points, normals, tried = np.zeros((0, 3)), np.zeros((0, 3)), 0
        for _ in range(MAX_ROUNDS):
            if len(points) >= count:
                break
            # A few more than are missing, since some are on edges.
            tries = count - len(points) + count // 10 + 1
            more_points, more_normals = _try(distance, tries, rng=rng)
            points, normals = np.concatenate([points, more_points]), np.concatenate([normals, more_normals])
            tried += tries
        if len(points) < count:
            raise MeshError(
                f"{len(points)} of {tried} points of the surface have the outside on one side only and a normal there; "
                f"expected {count}; check the mesh, or draw no surface samples"
            )
        # Pairs of points on both sides of a sheet come in a block, and the first round's should not be preferred.
        chosen = rng.permutation(len(points))[:count]
        return points[chosen], normals[chosen]


def _try(
    distance: SignedDistance, count: int, *, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "taken 3"], Float[np.ndarray, "taken 3"]]:
    """Draw points of the learned surface's faces, bring them to the zero level, and keep what passes."""
    points, face = sample_surface(distance.surface, count, rng=rng)
    normals = distance.surface.face_normals[face]
    front, behind = distance(points + STEP * normals), distance(points - STEP * normals)
    outward = np.sign(front - behind)[:, None] * normals
    skin = _steps_to(front, np.sign(front - behind)) & _steps_to(behind, np.sign(behind - front))

    depth = distance.sheet_half_thickness
    sheet = np.flatnonzero(_steps_to(front + depth, 1.0) & _steps_to(behind + depth, 1.0))
    sides = np.concatenate([normals[sheet], -normals[sheet]])
    beside = np.tile(points[sheet], (2, 1)) + depth * sides
    free = _steps_to(distance(beside + STEP * sides), 1.0) & _steps_to(distance(beside - STEP * sides), -1.0)
    return np.concatenate([points[skin], beside[free]]), np.concatenate([outward[skin], sides[free]])


def _steps_to(
    values: Float[np.ndarray, "points"], sign: Float[np.ndarray, "points"] | float
) -> Bool[np.ndarray, "points"]:
    """Whether distances are a step, with that sign."""
    return np.abs(values - STEP * sign) <= TOLERANCE * STEP
