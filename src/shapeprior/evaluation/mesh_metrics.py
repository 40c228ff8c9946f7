"""The metrics of a predicted mesh against a true one: the definitions of docs/conventions.md, section "Metrics".

No score is worse than `Metrics.worst`, and none is left out for a fault of the prediction.

How well normals near sharp edges are kept.

Which part of a surface sensors can see.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import trimesh
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

from shapeprior.errors import MeshError
from shapeprior.evaluation.metrics import (
    COMPLETION_THRESHOLD,
    FSCORE_05_THRESHOLD,
    FSCORE_1_THRESHOLD,
    FSCORE_2_THRESHOLD,
    METRIC_DEFINITIONS,
    WORST_DISTANCE,
    Metrics,
    MetricsConfig,
    Scores,
    SurfaceMetrics,
)
from shapeprior.evaluation.metrics import EDGE_POINTS as POINTS
from shapeprior.evaluation.point_metrics import (
    abs_cos,
    chamfer_l1_of,
    chamfer_l2_x1000_of,
    earth_movers_distance,
    fscore_of,
    intersection_over_union,
)
from shapeprior.geometry.edges import SHARP_EDGE_DEG
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.proximity import FaceTree
from shapeprior.geometry.raycasting import RayScene
from shapeprior.geometry.sampling import sample_surface

REACH = 0.02
"""How near to a sharp edge a point counts, in unit-sphere radii."""


@dataclass(frozen=True, eq=False)
class EdgePoints:
    """Points of a true surface near its sharp edges, with the surface's unit normals there."""

    points: Float[np.ndarray, "near 3"]
    normals: Float[np.ndarray, "near 3"]

    @classmethod
    def of(cls, true: TriangleMesh, *, seed: int, count: int = POINTS) -> "EdgePoints | None":
        """Of `count` points drawn by area, those near sharp edges; None if the surface has no such edge."""
        # trimesh's own normals round differently from ours: where faces bend by exactly 30 degrees (a prism of twelve sides),
        # ours would find other edges, in 31 of 200 procedural shapes.
        mesh = trimesh.Trimesh(true.vertices, true.faces, process=False)
        sharp = mesh.face_adjacency_edges[np.degrees(mesh.face_adjacency_angles) > SHARP_EDGE_DEG]
        if len(sharp) == 0:
            return None
        a, b = true.vertices[sharp[:, 0]], true.vertices[sharp[:, 1]]
        steps = np.maximum(np.ceil(np.linalg.norm(b - a, axis=1) / (REACH / 4)), 1).astype(int)
        owner = np.repeat(np.arange(len(sharp)), steps + 1)
        share = (np.arange(len(owner)) - np.repeat(np.cumsum(steps + 1) - steps - 1, steps + 1)) / steps[owner]
        on_edges = a[owner] + share[:, None] * (b - a)[owner]
        points, faces = sample_surface(true, count, rng=np.random.default_rng(seed))
        near = KDTree(on_edges).query(points, distance_upper_bound=REACH)[0] < np.inf
        return cls(points[near], true.face_normals[faces[near]]) if near.any() else None

    def errors(self, found: TriangleMesh, *, seed: int, count: int = 2 * POINTS) -> Float[np.ndarray, "near"]:
        """Angle in degrees between each point's normal and that of the nearest of `count` points of another surface.

        Raises MeshError if that has no area.
        """
        others, faces = sample_surface(found, count, rng=np.random.default_rng(seed + 1))
        nearest = KDTree(others).query(self.points)[1]
        cosine = np.einsum("ij,ij->i", self.normals, found.face_normals[faces[nearest]])
        return np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))


def edge_normal_error(true: TriangleMesh, found: TriangleMesh, *, seed: int) -> float | None:
    """Mean of `EdgePoints.errors`, in degrees; None if the true surface has no sharp edge."""
    edges = EdgePoints.of(true, seed=seed)
    return None if edges is None else float(edges.errors(found, seed=seed).mean())


ACCURACY_PERCENTILE = 90.0
"""Of the distances that `mesh_accuracy` is taken from (DeepSDF, Park et al. 2019, section 6)."""

Inside = Callable[[Float[np.ndarray, "points 3"]], Bool[np.ndarray, "points"]]
"""Which points of the unit frame are inside a shape."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TruePoints:
    """What a true surface is compared on: drawn once from the seed, whatever is predicted."""

    mesh: TriangleMesh
    points: Float[np.ndarray, "points 3"]
    normals: Float[np.ndarray, "points 3"]
    edges: EdgePoints | None
    seen: Bool[np.ndarray, "points"] | None
    """Which points the sensors see; None if there are no sensors."""
    edges_seen: Bool[np.ndarray, "near"] | None
    """The same of the points near edges."""

    @classmethod
    def draw(
        cls,
        mesh: TriangleMesh,
        *,
        seed: int,
        config: MetricsConfig,
        origins_unit: Float[np.ndarray, "sensors 3"] | None = None,
    ) -> "TruePoints":
        """Draw the points; `origins_unit` are the places of the sensors of a partial view."""
        points, face = sample_surface(mesh, config.surface_points, rng=_streams(seed)[1])
        edges = EdgePoints.of(mesh, seed=seed, count=config.edge_points)
        seen = edges_seen = None
        if origins_unit is not None:
            seen = visible_from(mesh, points, origins_unit)
            edges_seen = None if edges is None else visible_from(mesh, edges.points, origins_unit)
        return cls(
            mesh=mesh, points=points, normals=mesh.face_normals[face], edges=edges, seen=seen, edges_seen=edges_seen
        )

    def worst(self) -> Scores:
        """The scores of a shape that could not be reconstructed: the worst, wherever the true surface has what is measured."""

        def part(seen: bool) -> SurfaceMetrics | None:
            if self.seen is None or not np.any(self.seen == seen):
                return None
            has_edges = self.edges_seen is not None and bool(np.any(self.edges_seen == seen))
            return SurfaceMetrics.worst_surface(edges=has_edges)

        return Scores(whole=Metrics.worst(edges=self.edges is not None), seen=part(True), unseen=part(False))


def compare_meshes(
    predicted: TriangleMesh,
    true: TriangleMesh,
    *,
    inside_predicted: Inside,
    inside_true: Inside,
    seed: int,
    config: MetricsConfig,
    origins_unit: Float[np.ndarray, "sensors 3"] | None = None,
) -> Scores:
    """All metrics of a predicted mesh against the true one, both in the unit frame of the true shape.

    `inside_predicted` and `inside_true` decide the volumes, since a true mesh need not be closed. The sets of points are drawn
    independently from `seed`, so equal meshes do not score a distance of 0: two independent draws of the same surface are about
    half the spacing of the points apart. With the places of a view's sensors, those of the surface that are distances or angles
    are also measured on the true points that they see and on the others; a predicted point belongs to the part of its nearest true
    point, and where none belongs to a part, what is measured from the prediction has its worst value there.

    Raises MeshError if the predicted mesh has no faces, no area or a vertex that is not finite; the caller scores such a
    prediction as `TruePoints.worst`.
    """
    require_surface(predicted)
    truth = TruePoints.draw(true, seed=seed, config=config, origins_unit=origins_unit)
    return compare_with(predicted, truth, inside_predicted, inside_true, seed=seed, config=config)


def require_surface(predicted: TriangleMesh) -> None:
    """Raise MeshError, with the reason, for a prediction that is no surface."""
    if len(predicted.faces) == 0:
        raise MeshError("the predicted mesh is empty: 0 faces; expected a surface")
    used = predicted.vertices[np.unique(predicted.faces)]
    bad = int(np.count_nonzero(~np.isfinite(used).all(axis=1)))
    if bad:
        raise MeshError(f"the predicted mesh has {bad} of {len(used)} vertices that are NaN or infinite; expected none")


def compare_with(
    predicted: TriangleMesh,
    truth: TruePoints,
    inside_predicted: Inside,
    inside_true: Inside,
    *,
    seed: int,
    config: MetricsConfig,
) -> Scores:
    """`compare_meshes` with a true surface whose points are drawn already, by the same seed and config."""
    rng_predicted, _, rng_volume = _streams(seed)
    match = _Match.of(predicted, truth, rng=rng_predicted, seed=seed, config=config)
    corners = np.concatenate([predicted.bounds, truth.mesh.bounds])
    low, high = corners.min(axis=0), corners.max(axis=0)
    volume = low + (high - low) * rng_volume.random((config.volume_points, 3))
    count = min(config.emd_points, config.surface_points)
    whole = Metrics(
        **vars(match.scores(None, truth)),
        iou=intersection_over_union(inside_predicted(volume), inside_true(volume)),
        emd=_bounded("emd", earth_movers_distance(match.points[:count], truth.points[:count])),
    )

    def part(seen: bool) -> SurfaceMetrics | None:
        if truth.seen is None or not np.any(truth.seen == seen):
            return None
        return match.scores(seen, truth)

    return Scores(whole=whole, seen=part(True), unseen=part(False))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Match:
    """Distances and angles between predicted and true points, point by point."""

    points: Float[np.ndarray, "points 3"]
    nearest_true: Int[np.ndarray, "points"]
    forward: Float[np.ndarray, "points"]
    forward_mesh: Float[np.ndarray, "points"]
    forward_cos: Float[np.ndarray, "points"]
    backward: Float[np.ndarray, "true"]
    backward_mesh: Float[np.ndarray, "true"]
    backward_cos: Float[np.ndarray, "true"]
    edge_errors: Float[np.ndarray, "near"]

    @classmethod
    def of(
        cls, predicted: TriangleMesh, truth: TruePoints, *, rng: np.random.Generator, seed: int, config: MetricsConfig
    ) -> "_Match":
        points, face = sample_surface(predicted, config.surface_points, rng=rng)
        normals = predicted.face_normals[face]
        forward, to_true = KDTree(truth.points).query(points)
        backward, to_predicted = KDTree(points).query(truth.points)
        edges = truth.edges
        return cls(
            points=points,
            nearest_true=np.asarray(to_true),
            forward=np.asarray(forward),
            forward_mesh=FaceTree(truth.mesh).distance(points),
            forward_cos=abs_cos(normals, truth.normals[to_true]),
            backward=np.asarray(backward),
            backward_mesh=FaceTree(predicted).distance(truth.points),
            backward_cos=abs_cos(truth.normals, normals[to_predicted]),
            edge_errors=np.zeros(0)
            if edges is None
            else edges.errors(predicted, seed=seed, count=2 * config.edge_points),
        )

    def scores(self, seen: bool | None, truth: TruePoints) -> SurfaceMetrics:
        """The metrics of the surface on the seen part, the unseen one, or the whole (None)."""
        here = np.ones(len(truth.points), dtype=bool) if seen is None or truth.seen is None else truth.seen == seen
        there = here[self.nearest_true]
        # Nothing predicted there is no reason to look only at the other direction.
        nothing = not there.any()
        far, crossed = np.array([WORST_DISTANCE]), np.zeros(1)
        forward, forward_mesh = (far, far) if nothing else (self.forward[there], self.forward_mesh[there])
        forward_cos = crossed if nothing else self.forward_cos[there]
        backward = self.backward[here]
        errors = self.edge_errors
        if seen is not None and truth.edges_seen is not None:
            errors = errors[truth.edges_seen == seen]
        found = {
            "chamfer_l1": chamfer_l1_of(forward, backward),
            "chamfer_l2_x1000": chamfer_l2_x1000_of(forward, backward),
            "fscore_05": fscore_of(forward, backward, FSCORE_05_THRESHOLD),
            "fscore_1": fscore_of(forward, backward, FSCORE_1_THRESHOLD),
            "fscore_2": fscore_of(forward, backward, FSCORE_2_THRESHOLD),
            "normal_consistency": float(0.5 * (forward_cos.mean() + self.backward_cos[here].mean())),
            "mesh_accuracy": float(np.percentile(forward_mesh, ACCURACY_PERCENTILE)),
            "mesh_completion": float((self.backward_mesh[here] <= COMPLETION_THRESHOLD).mean()),
        }
        return SurfaceMetrics(
            **{name: _bounded(name, value) for name, value in found.items()},
            edge_normal_deg=_bounded("edge_normal_deg", float(errors.mean())) if len(errors) else None,
        )


def _bounded(name: str, value: float) -> float:
    return METRIC_DEFINITIONS[name].bounded(value)


def _streams(seed: int) -> list[np.random.Generator]:
    """Sources of chance of the predicted surface, the true one and the volume."""
    return [np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(3)]


SEEN_TOLERANCE = 1e-3
"""How far before a point its ray may be stopped, in the mesh's unit: what lies closer hides nothing."""


def visible_from(
    mesh: TriangleMesh, points: Float[np.ndarray, "points 3"], origins: Float[np.ndarray, "sensors 3"]
) -> Bool[np.ndarray, "points"]:
    """Which points of a mesh's surface at least one sensor sees: no face stops the ray from it to the point.

    This is decided on the true surface alone. What a sensor's noise, holes or pixels make of the view changes nothing, so that
    the parts are the same at every sensor level.
    """
    scene = RayScene(mesh)
    seen = np.zeros(len(points), dtype=bool)
    for origin in origins:
        ways = points - origin
        length = np.linalg.norm(ways, axis=1)
        asked = ~seen & (length > 0.0)
        distance, _ = scene.first_hit(np.broadcast_to(origin, ways.shape)[asked], ways[asked])
        # A ray that slips past the face it was aimed at met nothing before it.
        seen[asked] = distance >= length[asked] - SEEN_TOLERANCE
    return seen
