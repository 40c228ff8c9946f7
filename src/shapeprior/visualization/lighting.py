"""Light on a mesh: a bright sky, which the mesh covers from itself (ambient occlusion), and one soft lamp.

Normals for shading that keep sharp edges sharp.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.raycasting import RayScene
from shapeprior.geometry.sampling import fibonacci_directions

SKY_DIRECTIONS = 96
"""How many directions of the sky's light are looked at, over the whole sphere."""

GROUND_DIRECTIONS = 32
"""How many directions of the sky's light the ground looks at, over the upper half."""

LAMP_DIRECTIONS = 8
"""How many directions inside the cone of the lamp are looked at."""

_OFFSET = 2e-3
"""Shadow rays start this far above the surface, in unit-sphere radii."""


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
    """Linear light that leaves points of a mesh towards the eye.

    Args:
        mesh: In the unit frame, +y up.
        scene: The same mesh, prepared for rays.
        points: Places on the mesh.
        faces: The face that each of them lies on.
        part: Which of the `parts` equal parts of the light's directions each point looks at: neighbours that are
            averaged afterwards share the work.
        parts: Number of parts.
        eye: Where the viewer is.
        lamp: Unit vector towards the lamp.
        color: Linear red, green, blue of the mesh, or of each place.
    """
    towards = _unit(eye - points)
    flat = mesh.face_normals[faces]
    # Open meshes show their backs, too: normals are turned to the viewer's side of the face.
    side = np.where(np.einsum("ij,ij->i", flat, towards) < 0.0, -1.0, 1.0)[:, None]
    weights = _barycentric(mesh.vertices[mesh.faces[faces]], points)
    smooth = _unit(np.einsum("pc,pcx->px", weights, crease_normals(mesh)[faces]) * side)

    origins = points + _OFFSET * side * flat
    sky, cone = fibonacci_directions(SKY_DIRECTIONS), _lamp_cone(lamp)
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
    """Share of the light, 0 to 1, that a scene keeps from places of the ground under it.

    Every point turns the light's directions about the vertical by an angle of its own (the same in every run): what
    would be stripes turns into fine grain, which the caller smooths away.
    """
    origins = points + np.array([0.0, _OFFSET, 0.0])
    turn = np.random.default_rng(0).uniform(0.0, 2.0 * np.pi, len(points))
    cosine, sine = np.cos(turn), np.sin(turn)
    up = fibonacci_directions(2 * GROUND_DIRECTIONS)[:GROUND_DIRECTIONS]
    covered = np.zeros(len(points))
    for x, y, z in up:
        turned = np.stack([cosine * x + sine * z, np.full(len(points), y), cosine * z - sine * x], axis=1)
        covered += y * scene.occluded(origins, turned)
    dark = np.zeros(len(points))
    for direction in _lamp_cone(lamp):
        dark += scene.occluded(origins, np.tile(direction, (len(points), 1)))
    return 0.55 * covered / up[:, 1].sum() + 0.25 * dark / LAMP_DIRECTIONS


def _sky_light(
    scene: RayScene,
    origins: Float[np.ndarray, "points 3"],
    normals: Float[np.ndarray, "points 3"],
    directions: Float[np.ndarray, "directions 3"],
) -> Float[np.ndarray, "points"]:
    """Mean brightness over each point's hemisphere; hidden directions still reflect a part of the sky's."""
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
    """Mean cosine to the directions of the lamp that are not hidden."""
    received = np.zeros(len(origins))
    for direction in directions:
        cosine = normals @ direction
        facing = np.flatnonzero(cosine > 0.0)
        free = ~scene.occluded(origins[facing], np.tile(direction, (len(facing), 1)))
        received[facing] += cosine[facing] * free
    return received / len(directions)


def _lamp_cone(lamp: Float[np.ndarray, "3"]) -> Float[np.ndarray, "directions 3"]:
    return _unit(lamp + 0.16 * fibonacci_directions(LAMP_DIRECTIONS))


def _unit(vectors: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
    """Vectors of length 1; zero stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _barycentric(
    corners: Float[np.ndarray, "points 3 3"], points: Float[np.ndarray, "points 3"]
) -> Float[np.ndarray, "points 3"]:
    """Weights of a triangle's corners by the areas opposite to them; finite for slivers, too."""
    spokes = corners - points[:, None]
    areas = np.linalg.norm(np.cross(spokes[:, [1, 2, 0]], spokes[:, [2, 0, 1]]), axis=2) + 1e-30
    return areas / areas.sum(axis=1, keepdims=True)


def crease_normals(mesh: TriangleMesh, *, crease_deg: float = 40.0) -> Float[np.ndarray, "faces 3 3"]:
    """Unit normals at the corners of each face: smooth over edges that bend less than `crease_deg`, sharp elsewhere.

    The faces around a vertex fall into groups that are joined by smooth edges; a corner's normal is the area-weighted
    mean of its group's. Edges of one face, or of more than two, are sharp. Zero for a corner without area around it.
    """
    corner = np.arange(3 * len(mesh.faces)).reshape(-1, 3)
    # Each row is one side of a face: its two vertices, lower first, then the face's corners there.
    sides = np.stack([mesh.faces, np.roll(mesh.faces, -1, 1), corner, np.roll(corner, -1, 1)], axis=-1).reshape(-1, 4)
    sides = np.where(sides[:, :1] > sides[:, 1:2], sides[:, [1, 0, 3, 2]], sides)
    sides = sides[np.lexsort((sides[:, 1], sides[:, 0]))]
    _, starts, counts = np.unique(sides[:, 0] * len(mesh.vertices) + sides[:, 1], return_index=True, return_counts=True)
    first, second = sides[starts[counts == 2]], sides[starts[counts == 2] + 1]
    cosine = np.einsum("ij,ij->i", mesh.face_normals[first[:, 2] // 3], mesh.face_normals[second[:, 2] // 3])
    smooth = cosine > np.cos(np.deg2rad(crease_deg))

    rows, columns = first[smooth, 2:].ravel(), second[smooth, 2:].ravel()
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(corner.size, corner.size))
    group = connected_components(graph, directed=False)[1]
    weights = np.repeat(mesh.face_area_vectors, 3, axis=0)
    total = np.stack([np.bincount(group, weights=weights[:, axis]) for axis in range(3)], axis=1)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    normals = np.divide(total, length, out=np.zeros(total.shape), where=length > 0)
    return normals[group].reshape(-1, 3, 3)
