"""Measurements of one mesh file for `preparation.py`: whether it is prepared, and how many of its signs are wrong."""

import hashlib
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import igl
import numpy as np
from jaxtyping import Bool, Float

from benchmarks.sdf import sign_reference
from shapeprior.datasets.manifest import RefusedShape
from shapeprior.datasets.mesh_source import MeshSource
from shapeprior.datasets.prepare_mesh import PrepareConfig, PreparedMesh, prepare_mesh
from shapeprior.datasets.prepare_shape import PrepareJob, prepare_shape
from shapeprior.errors import MeshError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.sampling import sample_surface
from shapeprior.io.files import load_numpy
from shapeprior.io.meshes import load_mesh
from shapeprior.io.store import open_store
from shapeprior.sdf.signed_distance import SHEET_HALF_THICKNESS

MIN_DISTANCE = 0.01
"""Signs are compared only farther than this from the surface, since sheets become plates that reach this far."""
METHODS = ("ours", "igl winding", "igl pseudonormal", "pcu, file as it is", "pcu, cleaned")


def prepare_file(path: Path) -> dict[str, Any]:
    """Prepare a file from loading to stored samples; return how long that took, or why it was refused."""
    source = MeshSource(shape_id="shape", path=path, name=path.name)
    with tempfile.TemporaryDirectory() as folder:
        job = PrepareJob(store=open_store(folder), source=source, split="train", config=PrepareConfig(), seed=0)
        start = perf_counter()
        record = prepare_shape(job)
        seconds = perf_counter() - start
    if isinstance(record, RefusedShape):
        return {"refused": record.reason, "seconds": seconds}
    return {"seconds": seconds, "confidence": record.confidence}


def load_prepared(path: Path) -> tuple[TriangleMesh, PreparedMesh]:
    """Return the file's raw faces in the unit frame, and the prepared mesh; raises MeshError."""
    raw = load_mesh(path)
    prepared = prepare_mesh(raw, name=str(path), up="y", sheet_half_thickness=SHEET_HALF_THICKNESS)
    return TriangleMesh(prepared.T_unit_world.apply(raw.vertices), raw.faces), prepared


def query_points(mesh: TriangleMesh, count: int, *, seed: int) -> Float[np.ndarray, "count 3"]:
    """Draw points as DeepSDF's sampler does.

    45 % and 45 % lie near the surface, with deviations 0.05 and 0.0158, and 10 % in the unit ball.
    """
    rng = np.random.default_rng(seed)
    near = round(0.45 * count)
    deviation = np.repeat((0.05, 0.0158), near)[:, None]
    on_surface, _ = sample_surface(mesh, 2 * near, rng=rng)
    direction = rng.standard_normal((count - 2 * near, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    ball = direction * np.cbrt(rng.random((len(direction), 1)))
    return np.concatenate([on_surface + deviation * rng.standard_normal((2 * near, 3)), ball])


def sign_errors(path: Path, count: int, cache: Path | None) -> dict[str, Any]:
    """Count the wrong signs of every method against the reference, farther than `MIN_DISTANCE` from the surface."""
    try:
        raw, prepared = load_prepared(path)
    except MeshError as error:
        return {"refused": str(error)}
    clean = prepared.mesh_unit
    points = query_points(clean, count, seed=0)
    points = points[unsigned_distance(clean, points) > MIN_DISTANCE]
    truth, contested = cached_reference(clean, raw, points, cache)
    wrong = {name: inside != truth for name, inside in signs_of_all(prepared, raw, points).items()}
    return {
        "closed": sign_reference.is_closed(clean),
        "points": len(points),
        "contested": int(contested.sum()),
        "wrong": {name: int(found.sum()) for name, found in wrong.items()},
        "wrong_clear": {name: int((found & ~contested).sum()) for name, found in wrong.items()},
        "confidence": prepared.distance.confidence,
        "accepted": prepared.distance.confidence >= PrepareConfig().min_confidence,
    }


def signs_of_all(
    prepared: PreparedMesh, raw: TriangleMesh, points: Float[np.ndarray, "points 3"]
) -> dict[str, Bool[np.ndarray, "points"]]:
    """Return which points each of `METHODS` takes for inside; all but one get the mesh that we cleaned and oriented."""
    clean = prepared.mesh_unit
    found = {"ours": prepared.distance(points) < 0}
    for name, kind in (
        ("igl winding", igl.SIGNED_DISTANCE_TYPE_FAST_WINDING_NUMBER),
        ("igl pseudonormal", igl.SIGNED_DISTANCE_TYPE_PSEUDONORMAL),
    ):
        distance = igl.signed_distance(points, clean.vertices, clean.faces, sign_type=kind)[0]
        found[name] = np.asarray(distance).reshape(-1) < 0
    for name, mesh in (("pcu, file as it is", raw), ("pcu, cleaned", clean)):
        distance = pcu_distance(mesh, points)
        if distance is not None:
            found[name] = distance < 0
    return found


def pcu_distance(mesh: TriangleMesh, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"] | None:
    """Return the signed distance of point-cloud-utils; None if the package is not installed."""
    try:
        import point_cloud_utils
    except ImportError:
        return None
    distance, *_ = point_cloud_utils.signed_distance_to_mesh(points, mesh.vertices, mesh.faces)
    return np.asarray(distance, dtype=np.float64).reshape(-1)


def unsigned_distance(mesh: TriangleMesh, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
    """Return libigl's exact distance to the faces."""
    tree = igl.AABB()
    tree.init(mesh.vertices, mesh.faces)
    squared, *_ = tree.squared_distance(mesh.vertices, mesh.faces, np.ascontiguousarray(points))
    return np.sqrt(np.asarray(squared).reshape(-1))


def cached_reference(
    clean: TriangleMesh, raw: TriangleMesh, points: Float[np.ndarray, "points 3"], cache: Path | None
) -> tuple[Bool[np.ndarray, "points"], Bool[np.ndarray, "points"]]:
    """Return `sign_reference.reference_inside`, kept in a folder by a hash of everything that it depends on."""
    if cache is None:
        return sign_reference.reference_inside(clean, raw, points)
    digest = hashlib.sha256(Path(sign_reference.__file__).read_bytes())
    for array in (clean.vertices, clean.faces, raw.vertices, raw.faces, points):
        digest.update(np.ascontiguousarray(array).tobytes())
    file = cache / f"{digest.hexdigest()[:32]}.npy"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        np.save(file, np.stack(sign_reference.reference_inside(clean, raw, points)), allow_pickle=False)
    inside, contested = load_numpy(file)
    return inside, contested
