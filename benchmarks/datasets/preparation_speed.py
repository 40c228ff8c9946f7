"""Measurements of distances for `preparation.py`: exactness, throughput, scaling over processes, and memory."""

import resource
import shutil
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import igl
import numpy as np
from jaxtyping import Float

from benchmarks.datasets import preparation_signs as signs
from shapeprior.datasets.prepare_mesh import PrepareConfig
from shapeprior.errors import MeshError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.io.meshes import save_mesh
from shapeprior.sdf.signed_distance import SignedDistance


def distance_errors(path: Path, count: int) -> dict[str, Any]:
    """Return the largest difference of each method's distance from one computed face by face.

    Ours is compared with the surface that it found to be the border of the inside, the libraries with the cleaned mesh
    that they were given. Shapes with sheets are skipped, since the distance to their plates is not one to faces.
    """
    try:
        _, prepared = signs.load_prepared(path)
    except MeshError as error:
        return {"refused": str(error)}
    clean, ours = prepared.mesh_unit, prepared.distance
    if ours.report.sheet_share > 0:
        return {"skipped": f"{ours.report.sheet_share:.0%} sheets"}
    points = signs.query_points(clean, count, seed=1)
    truth = plain_distance(clean, points)
    learned = truth if ours.report.hidden_share == 0 else plain_distance(ours.surface, points)
    fast = igl.SIGNED_DISTANCE_TYPE_FAST_WINDING_NUMBER
    winding = np.asarray(igl.signed_distance(points, clean.vertices, clean.faces, sign_type=fast)[0]).reshape(-1)
    pcu = signs.pcu_distance(clean, points)
    return {
        "faces": len(clean.faces),
        "hidden": ours.report.hidden_share,
        "ours": float(np.abs(np.abs(ours(points)) - learned).max()),
        "igl winding": float(np.abs(np.abs(winding) - truth).max()),
        "pcu, cleaned": float("nan") if pcu is None else float(np.abs(np.abs(pcu) - truth).max()),
    }


def plain_distance(
    mesh: TriangleMesh, points: Float[np.ndarray, "points 3"], *, batch: int = 2_000_000
) -> Float[np.ndarray, "points"]:
    """Return the distance to the nearest face in float64, without a tree.

    It is computed for every face whose bounding ball may be the nearest.
    """
    centers = mesh.corners.mean(axis=1)
    radii = np.linalg.norm(mesh.corners - centers[:, None], axis=2).max(axis=1)
    squares = np.einsum("fi,fi->f", centers, centers)
    result = np.zeros(len(points))
    rows = max(batch // len(centers), 1)
    for start in range(0, len(points), rows):
        block = points[start : start + rows]
        gap = np.einsum("pi,pi->p", block, block)[:, None] + squares - 2.0 * block @ centers.T
        gap = np.sqrt(np.maximum(gap, 0.0))
        # 1e-6 is more than the rounding error of `gap`, which is a difference of large numbers.
        reach = (gap + radii).min(axis=1, keepdims=True) + 1e-6
        point, face = np.nonzero(gap - radii <= reach)
        distance = _point_triangle(block[point], mesh.corners[face])
        first = np.searchsorted(point, np.arange(len(block)))
        result[start : start + rows] = np.minimum.reduceat(distance, first)
    return result


def _point_triangle(points: Float[np.ndarray, "pairs 3"], corners: Float[np.ndarray, "pairs 3 3"]) -> np.ndarray:
    """Return the distance of each point to its own triangle: to the plane above the inside, else to an edge."""
    a, edge_b, edge_c = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normal = np.cross(edge_b, edge_c)
    area = np.einsum("ij,ij->i", normal, normal)
    offset = points - a
    weight_c = np.einsum("ij,ij->i", np.cross(edge_b, offset), normal)
    weight_b = np.einsum("ij,ij->i", np.cross(offset, edge_c), normal)
    above = (weight_b >= 0) & (weight_c >= 0) & (weight_b + weight_c <= area) & (area > 0)
    height = np.abs(np.einsum("ij,ij->i", offset, normal)) / np.sqrt(np.maximum(area, 1e-300))
    edge = np.full(len(points), np.inf)
    for k in range(3):
        start, along = corners[:, k], corners[:, (k + 1) % 3] - corners[:, k]
        length = np.maximum(np.einsum("ij,ij->i", along, along), 1e-300)
        share = np.clip(np.einsum("ij,ij->i", points - start, along) / length, 0.0, 1.0)
        edge = np.minimum(edge, np.linalg.norm(points - start - share[:, None] * along, axis=1))
    return np.where(above, height, edge)


def throughput(path: Path, count: int, rounds: int, cache: Path | None) -> dict[str, Any]:
    """Return the seconds of ours and of point-cloud-utils on the same points, in turns, and the wrong signs of both."""
    raw, prepared = signs.load_prepared(path)
    clean = prepared.mesh_unit
    points = signs.query_points(clean, count, seed=2)
    build, ours, pcu = [], [], []
    for _ in range(rounds):
        start = perf_counter()
        distance = SignedDistance(clean)
        build.append(perf_counter() - start)
        start = perf_counter()
        distance(points)
        ours.append(perf_counter() - start)
        start = perf_counter()
        missing = signs.pcu_distance(clean, points) is None
        pcu.append(float("nan") if missing else perf_counter() - start)
    some = points[np.random.default_rng(3).permutation(count)[:5_000]]
    some = some[signs.unsigned_distance(clean, some) > signs.MIN_DISTANCE]
    truth, _ = signs.cached_reference(clean, raw, some, cache)
    found = signs.signs_of_all(prepared, raw, some)
    return {
        "faces": len(clean.faces),
        "build": float(np.median(build)),
        "ours": float(np.median(ours)),
        "pcu": float(np.median(pcu)),
        "wrong": {name: float(np.mean(inside != truth)) for name, inside in found.items()},
    }


def scaling(folders: list[Path], rounds: int) -> dict[int, list[float]]:
    """Return the wall seconds of preparing the same folders with one process and with two, in turns."""
    from shapeprior.datasets.prepare import prepare_dataset

    seconds: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as scratch:
        for folder in folders:
            shutil.copytree(folder, Path(scratch) / "meshes" / folder.name)
        for number in range(rounds):
            for workers in (1, 2):
                out = Path(scratch) / f"data-{workers}-{number}"
                start = perf_counter()
                prepare_dataset(Path(scratch) / "meshes", out, config=PrepareConfig(), seed=0, workers=workers)
                seconds[workers].append(perf_counter() - start)
    return seconds


def write_torus(path: Path, around: int, across: int, *, soup: bool) -> dict[str, Any]:
    """Write a bumpy torus of 2 · around · across faces.

    In a soup no two faces share a vertex, each face is there twice, in both windings, and a patch is missing.
    """
    u, v = np.meshgrid(np.arange(around), np.arange(across), indexing="ij")
    long, short = 2 * np.pi * u / around, 2 * np.pi * v / across
    thick = 0.3 + 0.01 * np.sin(40 * long) * np.sin(15 * short)
    ring = 0.7 + thick * np.cos(short)
    vertices = np.stack([ring * np.cos(long), thick * np.sin(short), ring * np.sin(long)], axis=-1).reshape(-1, 3)
    index = (np.stack([u, u + 1, u + 1, u]) % around) * across + np.stack([v, v, v + 1, v + 1]) % across
    a, b, c, d = index.reshape(4, -1)
    faces = np.concatenate([np.stack([a, c, b], axis=1), np.stack([a, d, c], axis=1)])
    if soup:
        center = vertices[faces].mean(axis=1)
        faces = faces[np.linalg.norm(center - vertices[0], axis=1) > 0.15]
        faces = np.concatenate([faces, faces[:, ::-1]])
        vertices, faces = vertices[faces.reshape(-1)], np.arange(faces.size).reshape(-1, 3)
    save_mesh(path, TriangleMesh(vertices, faces.astype(np.int64)))
    return {"faces": len(faces)}


def memory(path: Path) -> dict[str, Any]:
    """Return the peak memory of this process in MiB before and after it prepares a file; call it in a fresh process."""
    before = _peak_mib()
    return {**signs.prepare_file(path), "before": before, "peak": _peak_mib()}


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
