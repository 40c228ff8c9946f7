"""Meshes as PLY, in double precision where single precision would round them: a scan in map coordinates has its own place."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, UInt8

from shapeprior.geometry.mesh import TriangleMesh

SINGLE_IS_ENOUGH = 1e-6
"""Largest step between neighbouring numbers in single precision, of the mesh's extent, with which vertices are written so."""


def ply_bytes(
    mesh: TriangleMesh,
    *,
    colors: UInt8[np.ndarray, "vertices 3"] | None = None,
    values: Mapping[str, Float[np.ndarray, "vertices"]] | None = None,
) -> bytes:
    """A binary PLY file: ``x y z`` as float or double, colours ``red green blue``, values as float properties, faces of int.

    Written here because trimesh's writer knows positions in single precision only.
    """
    position = "<f4" if single_step(mesh) <= SINGLE_IS_ENOUGH else "<f8"
    kinds = [(axis, position) for axis in "xyz"]
    kinds += [(name, "u1") for name in ("red", "green", "blue")] if colors is not None else []
    kinds += [(name, "<f4") for name in values or {}]
    vertices = np.zeros(len(mesh.vertices), dtype=kinds)
    for at, axis in enumerate("xyz"):
        vertices[axis] = mesh.vertices[:, at]
    if colors is not None:
        for at, name in enumerate(("red", "green", "blue")):
            vertices[name] = colors[:, at]
    for name, value in (values or {}).items():
        vertices[name] = value
    faces = np.zeros(len(mesh.faces), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, mesh.faces
    words = {"<f4": "float", "<f8": "double", "u1": "uchar"}
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"element vertex {len(vertices)}",
        *(f"property {words[kind]} {name}" for name, kind in kinds),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header\n",
    ]
    return "\n".join(header).encode() + vertices.tobytes() + faces.tobytes()


def single_step(mesh: TriangleMesh) -> float:
    """Step between neighbouring numbers in single precision where the mesh lies, as a share of its extent."""
    if len(mesh.vertices) == 0:
        return 0.0
    with np.errstate(over="ignore", invalid="ignore"):  # Beyond single precision's range the step is no number.
        step = float(np.spacing(np.float32(np.abs(mesh.vertices).max())))
    extent = float(np.ptp(mesh.vertices, axis=0).max())
    return step / extent if extent > 0.0 and np.isfinite(step) else np.inf
