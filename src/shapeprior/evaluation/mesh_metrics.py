"""The metrics of a predicted mesh against a true one, as defined in docs/conventions.md, section "Metrics".

Points are drawn on both surfaces and in the volume around them, and `compare` takes all metrics from these. With
the positions of a view's sensors, the surface metrics are also taken on the part that the sensors see and on the rest.
No score is worse than `Metrics.worst`, and no score is left out for a fault of the prediction.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

from shapeprior.errors import MeshError
from shapeprior.evaluation.metrics import (
    COMPLETION_THRESHOLD,
    EDGE_POINTS,
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
from shapeprior.evaluation.point_metrics import (
    abs_cos,
    chamfer_l1_of,
    chamfer_l2_x1000_of,
    earth_movers_distance,
    fscore_of,
    intersection_over_union,
)
from shapeprior.evaluation.structure.true_structure import TrueStructure
from shapeprior.geometry.edges import SHARP_EDGE_DEG
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.proximity import FaceTree
from shapeprior.geometry.raycasting import RayScene
from shapeprior.geometry.sampling import sample_surface
from shapeprior.sdf.signed_distance import SignedDistance

EDGE_DISTANCE = 0.02
"""Points within this distance of a sharp edge, in unit-sphere radii, count for `edge_normal_deg`."""
ACCURACY_PERCENTILE = 90.0
"""Percentile of the distances that `mesh_accuracy` reports (DeepSDF, Park et al. 2019, section 6)."""
OCCLUSION_TOLERANCE = 1e-3
"""A point counts as seen if its ray is stopped at most this far before it, in the mesh's unit."""


@dataclass(frozen=True, eq=False)
class EdgePoints:
    """Points of a true surface near its sharp edges, with the unit normals there."""

    points: Float[np.ndarray, "near 3"]
    normals: Float[np.ndarray, "near 3"]

    @classmethod
    def of(cls, true: TriangleMesh, *, seed: int, count: int = EDGE_POINTS) -> "EdgePoints | None":
        """Draw `count` points by area and keep those near sharp edges; returns None if the surface has no such edge."""
        # trimesh's own normals round differently from ours: where faces bend by exactly 30 degrees (a prism of twelve
        # sides), ours would find other edges, in 31 of 200 procedural shapes.
        mesh = trimesh.Trimesh(true.vertices, true.faces, process=False)
        sharp = mesh.face_adjacency_edges[np.degrees(mesh.face_adjacency_angles) > SHARP_EDGE_DEG]
        if len(sharp) == 0:
            return None
        a, b = true.vertices[sharp[:, 0]], true.vertices[sharp[:, 1]]
        steps = np.maximum(np.ceil(np.linalg.norm(b - a, axis=1) / (EDGE_DISTANCE / 4)), 1).astype(int)
        owner = np.repeat(np.arange(len(sharp)), steps + 1)
        share = (np.arange(len(owner)) - np.repeat(np.cumsum(steps + 1) - steps - 1, steps + 1)) / steps[owner]
        on_edges = a[owner] + share[:, None] * (b - a)[owner]
        points, faces = sample_surface(true, count, rng=np.random.default_rng(seed))
        near = KDTree(on_edges).query(points, distance_upper_bound=EDGE_DISTANCE)[0] < np.inf
        return cls(points[near], true.face_normals[faces[near]]) if near.any() else None

    def errors(self, found: TriangleMesh, *, seed: int, count: int = 2 * EDGE_POINTS) -> Float[np.ndarray, "near"]:
        """Return the angle, in degrees, between each point's normal and that of the nearest point on another surface.

        The nearest point is one of `count` drawn ones. Raises MeshError if that surface has no area.
        """
        others, faces = sample_surface(found, count, rng=np.random.default_rng(seed + 1))
        nearest = KDTree(others).query(self.points)[1]
        cosine = np.einsum("ij,ij->i", self.normals, found.face_normals[faces[nearest]])
        return np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))


def edge_normal_error(true: TriangleMesh, found: TriangleMesh, *, seed: int) -> float | None:
    """Return the mean of `EdgePoints.errors`, in degrees; None if the true surface has no sharp edge."""
    edges = EdgePoints.of(true, seed=seed)
    return None if edges is None else float(edges.errors(found, seed=seed).mean())


@dataclass(frozen=True, kw_only=True, eq=False)
class TruePoints:
    """The points of a true surface that predictions are compared with. They depend on the seed alone."""

    distance: SignedDistance
    """The true shape."""
    structure: TrueStructure
    points: Float[np.ndarray, "points 3"]
    normals: Float[np.ndarray, "points 3"]
    edges: EdgePoints | None
    seen: Bool[np.ndarray, "points"] | None
    """Mask of the points that the sensors see; None without sensors."""
    edges_seen: Bool[np.ndarray, "near"] | None
    """The same mask for the points near edges."""

    @classmethod
    def draw(
        cls,
        distance: SignedDistance,
        *,
        seed: int,
        config: MetricsConfig,
        origins_unit: Float[np.ndarray, "sensors 3"] | None = None,
    ) -> "TruePoints":
        """Draw the points of a true shape; `origins_unit` are the positions of a partial view's sensors."""
        mesh = distance.surface
        _, rng_true, _ = _generators(seed)
        points, face = sample_surface(mesh, config.surface_points, rng=rng_true)
        edges = EdgePoints.of(mesh, seed=seed, count=config.edge_points)
        seen = edges_seen = None
        if origins_unit is not None:
            seen = visible_from(mesh, points, origins_unit)
            edges_seen = None if edges is None else visible_from(mesh, edges.points, origins_unit)
        return cls(
            distance=distance,
            structure=TrueStructure.of(distance, seed=seed),
            points=points,
            normals=mesh.face_normals[face],
            edges=edges,
            seen=seen,
            edges_seen=edges_seen,
        )

    def worst(self) -> Scores:
        """Return the worst value of every metric that the true shape has: the scores of a failed reconstruction."""

        def worst_on(seen: bool) -> SurfaceMetrics | None:
            if self.seen is None or not np.any(self.seen == seen):
                return None
            has_edges = self.edges_seen is not None and bool(np.any(self.edges_seen == seen))
            return SurfaceMetrics.worst_surface(edges=has_edges)

        whole = Metrics.worst(
            edges=self.edges is not None,
            walls=self.structure.walls is not None,
            smooth=self.structure.discs is not None,
        )
        return Scores(whole=whole, seen=worst_on(True), unseen=worst_on(False))


def require_surface(predicted: TriangleMesh) -> None:
    """Raise MeshError if a predicted mesh has no faces or vertices that are not finite."""
    if len(predicted.faces) == 0:
        raise MeshError("the predicted mesh is empty: 0 faces; expected a surface")
    used = predicted.vertices[np.unique(predicted.faces)]
    bad = int(np.count_nonzero(~np.isfinite(used).all(axis=1)))
    if bad:
        raise MeshError(f"the predicted mesh has {bad} of {len(used)} vertices that are NaN or infinite; expected none")


def compare(predicted: TriangleMesh, truth: TruePoints, *, seed: int, config: MetricsConfig) -> Scores:
    """Return all metrics of a predicted mesh against the true one, both in the unit frame of the true shape.

    The points on the two surfaces are drawn independently, so equal meshes do not score a distance of 0: two draws of
    the same surface are about half the spacing of the points apart. Where sensors are known, the metrics of the surface
    are also taken on the true points that they see, and on the others. A predicted point belongs to the part of its
    nearest true point. If no predicted point belongs to a part, everything measured from the prediction has its worst
    value there.

    Args:
        predicted: The predicted mesh.
        truth: The points of the true shape, drawn with the same seed and config.
        seed: Seed of all points.
        config: How many points are drawn.

    Raises:
        MeshError: If the predicted mesh has no faces, no area or a vertex that is not finite. Callers score such a
            prediction as `TruePoints.worst`.
    """
    require_surface(predicted)
    tree = FaceTree(predicted)
    rng_predicted, _, rng_volume = _generators(seed)
    matches = _NearestMatches.of(predicted, tree, truth, rng=rng_predicted, seed=seed, config=config)
    corners = np.concatenate([predicted.bounds, truth.distance.surface.bounds])
    low, high = corners.min(axis=0), corners.max(axis=0)
    volume = low + (high - low) * rng_volume.random((config.volume_points, 3))
    count = min(config.emd_points, config.surface_points)
    inside = SignedDistance(predicted).inside
    structure: dict[str, Any] = {
        name: None if value is None else _bounded(name, value)
        for name, value in truth.structure.scores(predicted, tree, inside).items()
    }
    whole = Metrics(
        **vars(matches.scores(None, truth)),
        iou=intersection_over_union(inside(volume), truth.distance(volume) < 0.0),
        emd=_bounded("emd", earth_movers_distance(matches.points[:count], truth.points[:count])),
        **structure,
    )

    def scores_on(seen: bool) -> SurfaceMetrics | None:
        if truth.seen is None or not np.any(truth.seen == seen):
            return None
        return matches.scores(seen, truth)

    return Scores(whole=whole, seen=scores_on(True), unseen=scores_on(False))


@dataclass(frozen=True, kw_only=True, eq=False)
class _NearestMatches:
    """The nearest neighbours between predicted and true points.

    "forward" goes from each predicted point to the truth, "backward" from each true point to the prediction. The
    distances are to the nearest point of the other set, those with `_mesh` to the other mesh itself, and `_cos` is the
    absolute cosine between the normals of nearest points.
    """

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
        cls,
        predicted: TriangleMesh,
        tree: FaceTree,
        truth: TruePoints,
        *,
        rng: np.random.Generator,
        seed: int,
        config: MetricsConfig,
    ) -> "_NearestMatches":
        points, face = sample_surface(predicted, config.surface_points, rng=rng)
        normals = predicted.face_normals[face]
        forward, to_true = KDTree(truth.points).query(points)
        backward, to_predicted = KDTree(points).query(truth.points)
        edges = truth.edges
        return cls(
            points=points,
            nearest_true=np.asarray(to_true),
            forward=np.asarray(forward),
            forward_mesh=FaceTree(truth.distance.surface).distance(points),
            forward_cos=abs_cos(normals, truth.normals[to_true]),
            backward=np.asarray(backward),
            backward_mesh=tree.distance(truth.points),
            backward_cos=abs_cos(truth.normals, normals[to_predicted]),
            edge_errors=np.zeros(0)
            if edges is None
            else edges.errors(predicted, seed=seed, count=2 * config.edge_points),
        )

    def scores(self, seen: bool | None, truth: TruePoints) -> SurfaceMetrics:
        """Return the surface metrics on the seen part (True), the unseen part (False) or the whole surface (None)."""
        true_in_part = (
            np.ones(len(truth.points), dtype=bool) if seen is None or truth.seen is None else truth.seen == seen
        )
        predicted_in_part = true_in_part[self.nearest_true]
        if predicted_in_part.any():
            forward, forward_mesh = self.forward[predicted_in_part], self.forward_mesh[predicted_in_part]
            forward_cos = self.forward_cos[predicted_in_part]
        else:
            # A prediction that leaves the part out must not profit from it: the direction from the prediction scores
            # worst.
            forward = forward_mesh = np.array([WORST_DISTANCE])
            forward_cos = np.zeros(1)
        backward = self.backward[true_in_part]
        edge_errors = self.edge_errors
        if seen is not None and truth.edges_seen is not None:
            edge_errors = edge_errors[truth.edges_seen == seen]
        found = {
            "chamfer_l1": chamfer_l1_of(forward, backward),
            "chamfer_l2_x1000": chamfer_l2_x1000_of(forward, backward),
            "fscore_05": fscore_of(forward, backward, FSCORE_05_THRESHOLD),
            "fscore_1": fscore_of(forward, backward, FSCORE_1_THRESHOLD),
            "fscore_2": fscore_of(forward, backward, FSCORE_2_THRESHOLD),
            "normal_consistency": float(0.5 * (forward_cos.mean() + self.backward_cos[true_in_part].mean())),
            "mesh_accuracy": float(np.percentile(forward_mesh, ACCURACY_PERCENTILE)),
            "mesh_completion": float((self.backward_mesh[true_in_part] <= COMPLETION_THRESHOLD).mean()),
        }
        return SurfaceMetrics(
            **{name: _bounded(name, value) for name, value in found.items()},
            edge_normal_deg=_bounded("edge_normal_deg", float(edge_errors.mean())) if len(edge_errors) else None,
        )


def _bounded(name: str, value: float) -> float:
    return METRIC_DEFINITIONS[name].bounded(value)


def _generators(seed: int) -> list[np.random.Generator]:
    """Return independent generators for the points of the predicted surface, the true surface and the volume."""
    return [np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(3)]


def visible_from(
    mesh: TriangleMesh, points: Float[np.ndarray, "points 3"], origins: Float[np.ndarray, "sensors 3"]
) -> Bool[np.ndarray, "points"]:
    """Return the mask of the points on a mesh's surface that at least one sensor sees, with no face in between.

    Only the true surface decides this. A sensor's noise, holes and pixels change nothing, so the parts are the same at
    every level of the sensor model.
    """
    scene = RayScene(mesh)
    seen = np.zeros(len(points), dtype=bool)
    for origin in origins:
        rays = points - origin
        length = np.linalg.norm(rays, axis=1)
        asked = ~seen & (length > 0.0)
        distance, _ = scene.first_hit(np.broadcast_to(origin, rays.shape)[asked], rays[asked])
        # A ray that slips past the face it was aimed at has an infinite distance: nothing stopped it before.
        seen[asked] = distance >= length[asked] - OCCLUSION_TOLERANCE
    return seen
