"""Sampling strategies: where the samples of a shape lie.

Each strategy is a frozen dataclass with a ``draw(distance, count, rng=...)``: near the surface, uniform in the unit
ball, near sharp edges, along the rays of depth sensors, and across thin walls (`shapeprior.sdf.across_walls`).
`OnSurface` draws points of the zero level set with normals instead.

To add a strategy, write its class here, give it a field in `StrategySettings` and a count in
`shapeprior.sdf.sampling.SamplingConfig`. The samples of the others stay the same.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from shapeprior.errors import ConfigError, MeshError
from shapeprior.geometry.edges import SHARP_EDGE_DEG, are_sharp, paired_halfedges
from shapeprior.geometry.mesh import TriangleMesh, face_edges, row_keys
from shapeprior.geometry.proximity import FaceTree
from shapeprior.geometry.raycasting import RayScene
from shapeprior.geometry.sampling import sample_surface
from shapeprior.sdf.across_walls import AcrossWalls
from shapeprior.sdf.signed_distance import SignedDistance

BEND_STEP = 1e-3
"""Distance beyond an edge of a face at which the surface is looked for, in unit-sphere radii (`SharpEdges`)."""
MIN_CANDIDATES = 1_000
"""At least this many places are tried, since a shape has few sharp edges among many sides of faces (`SharpEdges`)."""
NORMAL_STEP = 1e-4
"""Distance from a point at which the field is evaluated on both sides, in unit-sphere radii (`OnSurface`). Thinner
walls get no samples."""
STEP_TOLERANCE = 1e-3
"""Largest difference of those values from the step, as a share of it: normals are off by acos(1 - 0.001) = 2.6° at
most."""
MAX_ROUNDS = 8
"""Rounds of drawing surface points. A shape of which less than about a quarter passes is refused (`OnSurface`)."""


@dataclass(frozen=True, kw_only=True)
class NearSurface:
    """Points near the surface: uniform by area, with Gaussian offsets (Park et al. 2019, "DeepSDF", section 5).

    On a sheet they start from its middle, not from the sides of the plate that `SignedDistance` makes of it.
    """

    variances: tuple[float, ...] = (0.0025, 0.00025)
    """Variances of the offsets along each axis, in squared unit-sphere radii; successive samples take them in turn."""

    def __post_init__(self) -> None:
        if not self.variances or not all(0.0 < variance < np.inf for variance in self.variances):
            raise ConfigError(f"variances = {self.variances}; expected positive numbers")

    def draw(self, distance: SignedDistance, count: int, *, rng: np.random.Generator) -> Float[np.ndarray, "samples 3"]:
        """Return `count` points of the unit frame."""
        on_surface, _ = sample_surface(distance.surface, count, rng=rng)
        deviations = np.sqrt(np.resize(np.asarray(self.variances), count))
        return on_surface + rng.standard_normal((count, 3)) * deviations[:, None]


@dataclass(frozen=True, kw_only=True)
class UniformBall:
    """Points uniform in the unit ball, as in DeepSDF's released sampler; they do not depend on the shape."""

    def draw(self, distance: SignedDistance, count: int, *, rng: np.random.Generator) -> Float[np.ndarray, "samples 3"]:
        """Return `count` points of the unit frame: directions of normal vectors, radii as cube roots."""
        del distance  # All strategies have the same signature.
        directions = rng.standard_normal((count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return directions * np.cbrt(rng.random((count, 1)))


@dataclass(frozen=True, kw_only=True)
class SharpEdges:
    """Points near sharp edges of the learned surface: uniform by length, with Gaussian offsets.

    After the sharp edge sampling of Chen et al. 2024, "Dora: Sampling and benchmarking for 3D shape variational
    auto-encoders". The surface that counts is the one that is left without hidden faces, whatever vertices its faces
    share. A small step beyond the edge of a face tells what happens there. If the surface goes on flat, the step ends
    on it; if the surface ends, as at the rim of a sheet, the step ends far from it; if it bends, the step ends at a
    distance of sin(bend) steps. So parts that only touch or pass through each other have edges, and cracks and unshared
    vertices of a flat wall have none.

    A shape without a sharp edge, such as a finely faceted ball, gets `NearSurface` samples with their default settings.
    """

    min_bend_deg: float = SHARP_EDGE_DEG
    """Edges whose faces bend by more than this are sharp, in degrees; flat is 0. Between 0 and 90."""
    variance: float = 0.0001
    """Variance of the offsets along each axis, in squared unit-sphere radii."""

    def __post_init__(self) -> None:
        if not 0.0 < self.min_bend_deg < 90.0:
            raise ConfigError(f"min_bend_deg = {self.min_bend_deg}; expected more than 0, less than 90 degrees")
        if not 0.0 < self.variance < np.inf:
            raise ConfigError(f"variance = {self.variance}; expected a positive number")

    def draw(self, distance: SignedDistance, count: int, *, rng: np.random.Generator) -> Float[np.ndarray, "samples 3"]:
        """Return `count` points of the unit frame.

        As many places of edges are tried, and the sharp ones among them are drawn from with repetition.
        """
        on_edges = self.places(distance.surface, max(count, MIN_CANDIDATES), rng=rng)
        if len(on_edges) == 0:
            return NearSurface().draw(distance, count, rng=rng)
        chosen = on_edges[rng.integers(len(on_edges), size=count)]
        return chosen + rng.standard_normal((count, 3)) * np.sqrt(self.variance)

    def places(
        self, surface: TriangleMesh, num_candidates: int, *, rng: np.random.Generator
    ) -> Float[np.ndarray, "places 3"]:
        """Draw `num_candidates` points of the surface's edges, uniform by length; returns those on sharp edges."""
        sides, weights = _candidate_sides(surface, self.min_bend_deg)
        total = weights.sum()
        if total == 0.0:
            return np.zeros((0, 3))
        start, end, opposite = sides[rng.choice(len(sides), size=num_candidates, p=weights / total)].transpose(1, 0, 2)
        points = start + rng.random((num_candidates, 1)) * (end - start)
        # The direction beyond the edge, in the plane of the face: away from the face's third corner.
        along = (end - start) / np.linalg.norm(end - start, axis=1, keepdims=True)
        away = start - opposite
        away -= np.einsum("ij,ij->i", away, along)[:, None] * along
        length = np.linalg.norm(away, axis=1, keepdims=True)
        # A face whose third corner lies on the edge has no such direction.
        away = np.divide(away, length, out=np.zeros_like(away), where=length > 0.0)
        found = FaceTree(surface).distance(points + BEND_STEP * away)
        return points[found > BEND_STEP * np.sin(np.deg2rad(self.min_bend_deg))]


def _candidate_sides(
    surface: TriangleMesh, min_bend_deg: float
) -> tuple[Float[np.ndarray, "sides 3 3"], Float[np.ndarray, "sides"]]:
    """Return the sides of faces that may be sharp: all but those of flat edges of two faces, which are most.

    A side is given by its start, its end and the face's third corner. The weights of the sides at one edge add up to
    the edge's length.
    """
    solid = TriangleMesh(vertices=surface.vertices, faces=surface.faces[surface.face_areas > 0.0])
    halfedges = paired_halfedges(solid.faces)
    is_candidate = np.ones(solid.faces.size, dtype=bool)
    is_candidate[halfedges[~are_sharp(solid.face_normals, halfedges, min_bend_deg=min_bend_deg)]] = False
    rows = np.flatnonzero(is_candidate)
    _, edge, num_faces_at = np.unique(row_keys(face_edges(solid.faces)), return_inverse=True, return_counts=True)
    corners = surface.vertices[solid.faces[:, [0, 1, 2, 1, 2, 0, 2, 0, 1]].reshape(-1, 3)[rows]]
    return corners, np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1) / num_faces_at[edge.reshape(-1)[rows]]


@dataclass(frozen=True, kw_only=True)
class DepthRays:
    """Points along the rays of depth sensors: in the free space before the first hit, and just behind it.

    After the samples along depth rays of Ortiz et al. 2022, "iSDF: Real-time neural signed distance fields for robot
    perception", but each ray has a viewpoint of its own and gives one sample. Distances are measured as for all other
    strategies, not taken from the ray. Sheets stop rays at their middle, so that a sample just before one may lie in
    its plate, which is inside.
    """

    viewpoint_distance: float = 2.0
    """Radius of the sphere around the origin on which viewpoints are uniform, in unit-sphere radii; more than 1."""
    free_share: float = 0.5
    """Share of samples before the first hit; they are uniform along the ray from where it enters the unit ball."""
    behind: float = 0.05
    """Depth behind the first hit up to which the other samples are uniform along the ray, in unit-sphere radii."""

    def __post_init__(self) -> None:
        if not 1.0 < self.viewpoint_distance < np.inf:
            raise ConfigError(f"viewpoint_distance = {self.viewpoint_distance}; expected more than 1 radius")
        if not 0.0 <= self.free_share <= 1.0:
            raise ConfigError(f"free_share = {self.free_share}; expected 0 to 1")
        if not 0.0 < self.behind < np.inf:
            raise ConfigError(f"behind = {self.behind}; expected a positive number of radii")

    def draw(self, distance: SignedDistance, count: int, *, rng: np.random.Generator) -> Float[np.ndarray, "samples 3"]:
        """Return `count` points of the unit frame: those before the hit first, then those behind it."""
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
        """Cast rays from random viewpoints to random surface points.

        Returns the origins, the unit directions, and the distances to the first hit.
        """
        targets, _ = sample_surface(distance.surface, count, rng=rng)
        origins = rng.standard_normal((count, 3))
        origins *= self.viewpoint_distance / np.linalg.norm(origins, axis=1, keepdims=True)
        directions = targets - origins
        lengths = np.linalg.norm(directions, axis=1)
        directions /= lengths[:, None]
        first_hit, _ = RayScene(distance.surface).first_hit(origins, directions)
        # The surface is at the target, even where a ray slips between two faces.
        return origins, directions, np.minimum(first_hit, lengths)


def _entry_into_unit_ball(
    origins: Float[np.ndarray, "rays 3"], directions: Float[np.ndarray, "rays 3"]
) -> Float[np.ndarray, "rays"]:
    """Return the distance along each ray to the unit ball; rays that miss the ball give their closest point to it."""
    along = -np.einsum("ij,ij->i", origins, directions)
    half_chord_squared = 1.0 - np.einsum("ij,ij->i", origins, origins) + along * along
    return np.maximum(along - np.sqrt(np.maximum(half_chord_squared, 0.0)), 0.0)


@dataclass(frozen=True, kw_only=True)
class StrategySettings:
    """The strategies whose samples have distances, by name. New ones come last, as files refer to them by their
    index."""

    near: NearSurface = field(default_factory=NearSurface)
    """Near the surface, by area."""
    uniform: UniformBall = field(default_factory=UniformBall)
    """Everywhere in the unit ball."""
    edges: SharpEdges = field(default_factory=SharpEdges)
    """Near sharp edges, by length."""
    rays: DepthRays = field(default_factory=DepthRays)
    """Along the rays of depth sensors."""
    walls: AcrossWalls = field(default_factory=AcrossWalls)
    """Across thin walls, on both sides of each surface."""


@dataclass(frozen=True, kw_only=True)
class OnSurface:
    """Points of the zero level set with the outward unit normal there, for losses on both.

    Such losses are those of Gropp et al. 2020, "Implicit geometric regularization for learning shapes", and Sitzmann et
    al. 2020, "Implicit neural representations with periodic activation functions". The winding of the faces is not
    trusted: the field itself says which side is outside, at a step along the normal on both sides. A sheet has two such
    sides, those of its plate, and both are drawn. A point is only taken if the distance grows along its normal as along
    a gradient. So no point lies within about a step of an edge, inside other parts or plates, or on the round rim of a
    plate.
    """

    def draw(
        self, distance: SignedDistance, count: int, *, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "samples 3"], Float[np.ndarray, "samples 3"]]:
        """Return `count` points of the unit frame, uniform by area of the learned surface, and their normals.

        Raises MeshError if little of the surface has the inside on one side and the outside on the other.
        """
        points, normals, num_tried = np.zeros((0, 3)), np.zeros((0, 3)), 0
        for _ in range(MAX_ROUNDS):
            if len(points) >= count:
                break
            # Some candidates lie on edges, so a few more are drawn than are missing.
            num_candidates = count - len(points) + count // 10 + 1
            more_points, more_normals = _draw_candidates(distance, num_candidates, rng=rng)
            points, normals = np.concatenate([points, more_points]), np.concatenate([normals, more_normals])
            num_tried += num_candidates
        if len(points) < count:
            raise MeshError(
                f"{len(points)} of {num_tried} points of the surface have the outside on one side only and a normal "
                f"there; expected {count}; check the mesh, or draw no surface samples"
            )
        # Pairs of points on both sides of a sheet come in a block, which a plain cut would prefer or leave out.
        chosen = rng.permutation(len(points))[:count]
        return points[chosen], normals[chosen]


def _draw_candidates(
    distance: SignedDistance, count: int, *, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "taken 3"], Float[np.ndarray, "taken 3"]]:
    """Draw points of the learned surface's faces, move them to the zero level, and keep those that pass the test."""
    points, face = sample_surface(distance.surface, count, rng=rng)
    normals = distance.surface.face_normals[face]
    front, behind = distance(points + NORMAL_STEP * normals), distance(points - NORMAL_STEP * normals)
    outward = np.sign(front - behind)[:, None] * normals
    skin = _is_one_step(front, np.sign(front - behind)) & _is_one_step(behind, np.sign(behind - front))

    depth = distance.sheet_half_thickness
    sheet = np.flatnonzero(_is_one_step(front + depth, 1.0) & _is_one_step(behind + depth, 1.0))
    sides = np.concatenate([normals[sheet], -normals[sheet]])
    beside = np.tile(points[sheet], (2, 1)) + depth * sides
    free = _is_one_step(distance(beside + NORMAL_STEP * sides), 1.0) & _is_one_step(
        distance(beside - NORMAL_STEP * sides), -1.0
    )
    return np.concatenate([points[skin], beside[free]]), np.concatenate([outward[skin], sides[free]])


def _is_one_step(
    values: Float[np.ndarray, "points"], sign: Float[np.ndarray, "points"] | float
) -> Bool[np.ndarray, "points"]:
    """Tell which distances are one step, with the given sign."""
    return np.abs(values - NORMAL_STEP * sign) <= STEP_TOLERANCE * NORMAL_STEP
