"""Lighting of a mesh: a bright sky with ambient occlusion by the mesh itself, and one soft lamp.

`shade` lights the mesh, `ground_shade` its shadow on the ground. `crease_normals` are normals for shading that keep
sharp edges sharp.
"""

import numpy as np
from jaxtyping import Float, Int

from shapeprior.geometry.edges import paired_halfedges
from shapeprior.geometry.mesh import TriangleMesh, connected_labels, sum_by_label
from shapeprior.geometry.raycasting import RayScene
from shapeprior.geometry.sampling import fibonacci_directions

NUM_SKY_DIRECTIONS = 96
"""Directions from which the sky's light reaches the mesh, over the whole sphere."""
NUM_GROUND_DIRECTIONS = 32
"""Directions from which the sky's light reaches the ground, over the upper half of the sphere."""
NUM_LAMP_DIRECTIONS = 8
"""Directions inside the cone of the lamp."""
CREASE_DEG = 40.0
"""Normals are smooth over edges that bend less than this, in degrees. The limit is higher than that of sharp edges
(`shapeprior.geometry.edges.SHARP_EDGE_DEG`), so that coarsely faceted round parts look round."""

_SHADOW_OFFSET = 2e-3
"""Height above the surface at which shadow rays start, in unit-sphere radii."""


def shade(
    mesh: TriangleMesh,
    scene: RayScene,
    points: Float[np.ndarray, "points 3"],
    faces: Int[np.ndarray, "points"],
    part: Int[np.ndarray, "points"],
    *,
    parts: int,
    eye: Float[np.ndarray, "3"],
    lamp: Float[np.ndarray, "3"],
    color: Float[np.ndarray, "3"] | Float[np.ndarray, "points 3"],
) -> Float[np.ndarray, "points 3"]:
    """Return the linear light that leaves points of a mesh towards the eye.

    Args:
        mesh: The mesh, in the unit frame with +y up.
        scene: The same mesh, prepared for rays.
        points: Points of the mesh.
        faces: The face that each point lies on.
        part: The part of the light's directions, from 0, that each point samples. Neighbours whose colours are averaged
            afterwards share the work.
        parts: Number of equal parts that the light's directions are divided into.
        eye: Position of the viewer.
        lamp: Unit vector towards the lamp.
        color: Linear red, green and blue of the mesh, or of each point.
    """
    towards = _unit(eye - points)
    flat = mesh.face_normals[faces]
    # Open meshes show the backs of faces, too, so normals are turned to the viewer's side.
    side = np.where(np.einsum("ij,ij->i", flat, towards) < 0.0, -1.0, 1.0)[:, None]
    weights = _barycentric(mesh.vertices[mesh.faces[faces]], points)
    smooth = _unit(np.einsum("pc,pcx->px", weights, crease_normals(mesh)[faces]) * side)

    origins = points + _SHADOW_OFFSET * side * flat
    sky, cone = fibonacci_directions(NUM_SKY_DIRECTIONS), _lamp_cone(lamp)
    ambient, lit = np.zeros(len(points)), np.zeros(len(points))
    for index in range(parts):
        mine = np.flatnonzero(part == index)
        ambient[mine] = _sky_light(scene, origins[mine], smooth[mine], sky[index::parts])
        lit[mine] = _lamp_light(scene, origins[mine], smooth[mine], cone[index % len(cone) :: parts])

    half = _unit(towards + lamp)
    gloss = 0.10 * np.maximum(np.einsum("ij,ij->i", smooth, half), 0.0) ** 40 * lit
    rim = 0.08 * (1.0 - np.clip(np.einsum("ij,ij->i", smooth, towards), 0.0, 1.0)) ** 3 * ambient
    return color * (0.68 * ambient + 0.72 * lit)[:, None] + (gloss + rim)[:, None]


def ground_shade(
    scene: RayScene, points: Float[np.ndarray, "points 3"], *, lamp: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "points"]:
    """Return the share of the light, 0 to 1, that a scene keeps from points of the ground under it.

    Every point turns the light's directions about the vertical by an angle of its own, the same in every run. Stripes
    become fine grain this way, which the caller smooths.
    """
    origins = points + np.array([0.0, _SHADOW_OFFSET, 0.0])
    turn = np.random.default_rng(0).uniform(0.0, 2.0 * np.pi, len(points))
    cosine, sine = np.cos(turn), np.sin(turn)
    up = fibonacci_directions(2 * NUM_GROUND_DIRECTIONS)[:NUM_GROUND_DIRECTIONS]
    covered = np.zeros(len(points))
    for x, y, z in up:
        turned = np.stack([cosine * x + sine * z, np.full(len(points), y), cosine * z - sine * x], axis=1)
        covered += y * scene.occluded(origins, turned)
    dark = np.zeros(len(points))
    for direction in _lamp_cone(lamp):
        dark += scene.occluded(origins, np.tile(direction, (len(points), 1)))
    return 0.55 * covered / up[:, 1].sum() + 0.25 * dark / NUM_LAMP_DIRECTIONS


def _sky_light(
    scene: RayScene,
    origins: Float[np.ndarray, "points 3"],
    normals: Float[np.ndarray, "points 3"],
    directions: Float[np.ndarray, "directions 3"],
) -> Float[np.ndarray, "points"]:
    """Return the mean brightness over each point's hemisphere; what hides the sky still reflects a part of its
    light."""
    received, weight = np.zeros(len(origins)), np.full(len(origins), 1e-9)
    for direction in directions:
        cosine = normals @ direction
        above = np.flatnonzero(cosine > 0.0)
        hidden = scene.occluded(origins[above], np.tile(direction, (len(above), 1)))
        brightness = 0.75 + 0.45 * direction[1]  # From 0.3 underfoot to 1.2 overhead.
        received[above] += cosine[above] * brightness * np.where(hidden, 0.25, 1.0)
        weight[above] += cosine[above]
    return received / weight


def _lamp_light(
    scene: RayScene,
    origins: Float[np.ndarray, "points 3"],
    normals: Float[np.ndarray, "points 3"],
    directions: Float[np.ndarray, "directions 3"],
) -> Float[np.ndarray, "points"]:
    """Return the mean cosine to the directions of the lamp; hidden directions count as zero."""
    received = np.zeros(len(origins))
    for direction in directions:
        cosine = normals @ direction
        facing = np.flatnonzero(cosine > 0.0)
        free = ~scene.occluded(origins[facing], np.tile(direction, (len(facing), 1)))
        received[facing] += cosine[facing] * free
    return received / len(directions)


def _lamp_cone(lamp: Float[np.ndarray, "3"]) -> Float[np.ndarray, "directions 3"]:
    """Return directions spread over the cone of the lamp."""
    return _unit(lamp + 0.16 * fibonacci_directions(NUM_LAMP_DIRECTIONS))


def _unit(vectors: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
    """Scale vectors to length 1; zero stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _barycentric(
    corners: Float[np.ndarray, "points 3 3"], points: Float[np.ndarray, "points 3"]
) -> Float[np.ndarray, "points 3"]:
    """Return barycentric weights by the areas opposite to a triangle's corners; they are finite for slivers, too."""
    spokes = corners - points[:, None]
    areas = np.linalg.norm(np.cross(spokes[:, [1, 2, 0]], spokes[:, [2, 0, 1]]), axis=2) + 1e-30
    return areas / areas.sum(axis=1, keepdims=True)


def crease_normals(mesh: TriangleMesh, *, crease_deg: float = CREASE_DEG) -> Float[np.ndarray, "faces 3 3"]:
    """Return unit normals at the corners of each face: smooth over edges that bend less than `crease_deg`, else sharp.

    The faces around a vertex form groups that are joined by smooth edges. A corner's normal is the area-weighted mean
    of its group's normals, and zero if the group has no area. Edges of one face, or of more than two, are sharp.
    """
    halfedges = paired_halfedges(mesh.faces)
    first, second = (mesh.face_normals[side // 3] for side in halfedges.T)
    halfedges = halfedges[np.einsum("ij,ij->i", first, second) > np.cos(np.deg2rad(crease_deg))]
    # Corner number 3 * face + k is where half-edge number 3 * face + k starts; it ends at the face's next corner.
    starts, ends = halfedges, halfedges // 3 * 3 + (halfedges + 1) % 3
    vertex = mesh.faces.reshape(-1)
    opposite = vertex[starts[:, :1]] != vertex[starts[:, 1:]]
    links = np.concatenate(
        [
            np.column_stack([starts[:, :1], np.where(opposite, ends[:, 1:], starts[:, 1:])]),
            np.column_stack([ends[:, :1], np.where(opposite, starts[:, 1:], ends[:, 1:])]),
        ]
    )
    group = connected_labels(links, mesh.faces.size)
    total = sum_by_label(np.repeat(mesh.face_area_vectors, 3, axis=0), group)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    normals = np.divide(total, length, out=np.zeros(total.shape), where=length > 0)
    return normals[group].reshape(-1, 3, 3)
