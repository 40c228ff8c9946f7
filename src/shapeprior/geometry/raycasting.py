"""Ray casting on triangle meshes: the first hit and occlusion, by Embree or, where that is missing, by libigl.

`RayScene` is the entry point. It works in a scaled frame, in which the mesh has radius 1, and refines Embree's single
precision to double.
"""

import importlib
import logging
from typing import Literal, Protocol, cast

import igl
import numpy as np
from jaxtyping import Bool, Float, Int

from shapeprior.geometry.mesh import TriangleMesh

OCCLUSION_EPSILON = 1e-5
"""`RayScene.occluded` ignores hits closer than this, in halves of the bounding box's diagonal: a ray's own face."""

_ENTRY_RADIUS = 1.1
"""Rays start where they enter a sphere of this radius in the scaled frame; it holds the mesh with room for rounding."""

_REFINEMENT_LIMIT = 1e-4
"""Largest correction, in the scaled frame, of a caster's distance by the plane of the face that it hit."""

_RETRY_OFFSET = 1e-6 * np.array([0.57, -0.31, 0.76])
"""Offset of the origins of libigl's missed rays when they are cast once more, in the scaled frame."""


class _Caster(Protocol):
    """A backend that casts rays in the scaled frame."""

    def cast(
        self, origins: Float[np.ndarray, "rays 3"], directions: Float[np.ndarray, "rays 3"]
    ) -> tuple[Float[np.ndarray, "rays"], Int[np.ndarray, "rays"]]:
        """Return distances, good to about 1e-6, and faces; infinity and -1 where nothing is hit."""
        ...

    def blocked(
        self, origins: Float[np.ndarray, "rays 3"], directions: Float[np.ndarray, "rays 3"]
    ) -> Bool[np.ndarray, "rays"]:
        """Tell which rays hit anything."""
        ...


class _EmbreeScene(Protocol):
    """The part of embreex's untyped scene that this module uses."""

    def run(self, origins: np.ndarray, directions: np.ndarray, /, *, query: str, output: bool) -> object: ...


class _EmbreeCaster:
    """Casts rays with Embree, in float32."""

    def __init__(self, mesh_scaled: TriangleMesh) -> None:
        from embreex import mesh_construction, rtcore_scene  # Optional: there is no wheel for Linux on Arm.

        # Without `robust`, Embree leaks: a fifth of the rays aimed at the vertices of a closed sphere passed through.
        scene = rtcore_scene.EmbreeScene(robust=True)  # pyright: ignore[reportAttributeAccessIssue]
        mesh_construction.TriangleMesh(  # pyright: ignore[reportAttributeAccessIssue]
            scene, mesh_scaled.vertices.astype(np.float32), mesh_scaled.faces.astype(np.int32)
        )
        self._scene = cast(_EmbreeScene, scene)

    def cast(
        self, origins: Float[np.ndarray, "rays 3"], directions: Float[np.ndarray, "rays 3"]
    ) -> tuple[Float[np.ndarray, "rays"], Int[np.ndarray, "rays"]]:
        output = self._scene.run(
            np.ascontiguousarray(origins, np.float32),
            np.ascontiguousarray(directions, np.float32),
            query="INTERSECT",
            output=True,
        )
        hits = cast(dict[str, np.ndarray], output)
        face = hits["primID"].astype(np.int64)
        return np.where(face >= 0, hits["tfar"].astype(np.float64), np.inf), face

    def blocked(
        self, origins: Float[np.ndarray, "rays 3"], directions: Float[np.ndarray, "rays 3"]
    ) -> Bool[np.ndarray, "rays"]:
        output = self._scene.run(
            np.ascontiguousarray(origins, np.float32),
            np.ascontiguousarray(directions, np.float32),
            query="OCCLUDED",
            output=False,
        )
        return cast(np.ndarray, output) >= 0


class _LibiglCaster:
    """Casts rays with libigl's tree of bounding boxes; about ten times slower than Embree.

    libigl lets one in twenty of the rays through that meet an edge or a vertex exactly, so every miss is cast once
    more.
    """

    def __init__(self, mesh_scaled: TriangleMesh) -> None:
        self._mesh = mesh_scaled
        self._tree = igl.AABB()
        self._tree.init(mesh_scaled.vertices, mesh_scaled.faces)

    def cast(
        self, origins: Float[np.ndarray, "rays 3"], directions: Float[np.ndarray, "rays 3"]
    ) -> tuple[Float[np.ndarray, "rays"], Int[np.ndarray, "rays"]]:
        face, distance = self._cast_once(origins, directions)
        missed = np.flatnonzero(face < 0)
        face[missed], distance[missed] = self._cast_once(origins[missed] + _RETRY_OFFSET, directions[missed])
        return np.where(face >= 0, distance, np.inf), face

    def blocked(
        self, origins: Float[np.ndarray, "rays 3"], directions: Float[np.ndarray, "rays 3"]
    ) -> Bool[np.ndarray, "rays"]:
        return self.cast(origins, directions)[1] >= 0

    def _cast_once(
        self, origins: Float[np.ndarray, "rays 3"], directions: Float[np.ndarray, "rays 3"]
    ) -> tuple[Int[np.ndarray, "rays"], Float[np.ndarray, "rays"]]:
        mesh = self._mesh
        face, distance, _ = self._tree.intersect_ray_first(mesh.vertices, mesh.faces, origins, directions)
        # libigl returns numpy's longlong, which only astype turns into int64.
        return np.asarray(face).astype(np.int64), np.asarray(distance)


def _has_embree() -> bool:
    try:
        importlib.import_module("embreex.rtcore_scene")
    except ImportError:
        logging.getLogger("shapeprior").debug(
            "embreex cannot be imported; libigl casts the rays, about ten times slower"
        )
        return False
    return True


class RayScene:
    """A mesh prepared for ray queries, in the mesh's own frame and length unit.

    Embree works in float32 and loses digits far from the origin or for far cameras. The mesh is therefore moved to the
    origin and scaled to radius 1, and each ray starts where it enters a sphere around the mesh.

    Args:
        mesh: Any triangles with finite vertices, open or closed, in any orientation: both sides of a face stop a ray.
        backend: ``"embree"`` (ImportError where `embreex` is missing), ``"libigl"``, or ``"auto"`` for the first of
            these that can be imported.
    """

    def __init__(self, mesh: TriangleMesh, *, backend: Literal["auto", "embree", "libigl"] = "auto") -> None:
        if backend == "auto":
            backend = "embree" if _has_embree() else "libigl"
        self.backend: Literal["embree", "libigl"] = backend
        """The library that casts the rays."""
        self.mesh = mesh
        self._center, self._scale = np.zeros(3), 1.0
        self._caster: _Caster | None = None  # A mesh without faces stops no ray.
        if len(mesh.faces) > 0:
            low, high = mesh.bounds
            self._center = 0.5 * (low + high)
            self._scale = 0.5 * float(np.linalg.norm(high - low)) or 1.0
            scaled = TriangleMesh((mesh.vertices - self._center) / self._scale, mesh.faces)
            self._caster = _EmbreeCaster(scaled) if backend == "embree" else _LibiglCaster(scaled)
            self._plane_points, self._plane_normals = scaled.vertices[scaled.faces[:, 0]], scaled.face_normals

    def first_hit(
        self, origins: Float[np.ndarray, "rays 3"], directions: Float[np.ndarray, "rays 3"]
    ) -> tuple[Float[np.ndarray, "rays"], Int[np.ndarray, "rays"]]:
        """Find the first face that each ray meets, from either side.

        Args:
            origins: Starting points of the rays, in the mesh's frame.
            directions: Directions of any length but zero.

        Returns:
            The Euclidean distance from the origin to the hit, in the mesh's length unit (infinity where nothing is
            hit), and the index of the face that was hit, int64 (-1 where nothing is hit).

        Raises:
            ValueError: an origin or a direction is not finite, or a direction is zero.
        """
        distance, face = np.full(len(origins), np.inf), np.full(len(origins), -1, dtype=np.int64)
        near, starts, units, skipped = self._enter_sphere(origins, directions)
        if self._caster is not None and len(starts) > 0:
            travelled, face[near] = self._caster.cast(starts, units)
            distance[near] = (skipped + self._refine_distances(travelled, face[near], starts, units)) * self._scale
        return distance, face

    def occluded(
        self, origins: Float[np.ndarray, "rays 3"], directions: Float[np.ndarray, "rays 3"]
    ) -> Bool[np.ndarray, "rays"]:
        """Tell whether each ray meets any face farther away than `OCCLUSION_EPSILON`.

        This is faster than `first_hit`, as the first face found ends the search. Arguments and errors are the same.
        """
        result = np.zeros(len(origins), dtype=bool)
        near, starts, units, _ = self._enter_sphere(origins, directions)
        if self._caster is not None and len(starts) > 0:
            result[near] = self._caster.blocked(starts + OCCLUSION_EPSILON * units, units)
        return result

    def _refine_distances(
        self,
        distance: Float[np.ndarray, "rays"],
        face: Int[np.ndarray, "rays"],
        origins: Float[np.ndarray, "rays 3"],
        directions: Float[np.ndarray, "rays 3"],
    ) -> Float[np.ndarray, "rays"]:
        """Return the distances to the planes of the faces hit, in float64; the casters give seven digits at most."""
        normals = self._plane_normals[face]  # Face -1 gives some plane, whose finite distance is discarded below.
        slope = np.einsum("ij,ij->i", normals, directions)
        height = np.einsum("ij,ij->i", normals, self._plane_points[face] - origins)
        exact = np.divide(height, slope, out=np.full_like(slope, np.nan), where=np.abs(slope) > 1e-9)
        return np.where(np.abs(exact - distance) <= _REFINEMENT_LIMIT, np.maximum(exact, 0.0), distance)

    def _enter_sphere(
        self, origins: Float[np.ndarray, "rays 3"], directions: Float[np.ndarray, "rays 3"]
    ) -> tuple[
        Int[np.ndarray, "near"] | slice,
        Float[np.ndarray, "near 3"],
        Float[np.ndarray, "near 3"],
        Float[np.ndarray, "near"],
    ]:
        """Move the start of each ray to where it enters the sphere around the mesh.

        Returns the rays that reach the sphere, and their starts, unit directions and skipped lengths, all in the scaled
        frame.
        """
        lengths = np.sqrt(np.einsum("ij,ij->i", directions, directions))
        starts = (origins - self._center) / self._scale
        radius_squared = np.einsum("ij,ij->i", starts, starts)
        if not (np.isfinite(lengths).all() and (lengths > 0).all() and np.isfinite(radius_squared).all()):
            raise ValueError("rays need finite origins and finite directions that are not zero")
        units = directions / lengths[:, None]
        inside = radius_squared <= _ENTRY_RADIUS**2
        if inside.all():  # A shortcut, as visibility tests cast millions of such rays.
            return slice(None), starts, units, np.zeros(len(starts))
        along = np.einsum("ij,ij->i", starts, units)
        # The point of the ray's line nearest to the centre: this stays precise where b² - 4ac would cancel.
        foot = starts - along[:, None] * units
        half_chord_squared = _ENTRY_RADIUS**2 - np.einsum("ij,ij->i", foot, foot)
        near = np.flatnonzero(inside | ((half_chord_squared > 0) & (along < 0)))
        skipped = np.where(inside[near], 0.0, -along[near] - np.sqrt(np.maximum(half_chord_squared[near], 0.0)))
        return near, starts[near] + skipped[:, None] * units[near], units[near], skipped
