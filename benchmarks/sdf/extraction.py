"""Compare extraction with the field at every corner of the grid, and measure its time and memory.

    # 40 training codes of each bundled prior; this takes hours:
    python -m benchmarks.sdf.extraction --parts dense --shapes 40 --cache FOLDER
    # On a quiet machine; this takes two minutes:
    python -m benchmarks.sdf.extraction --parts time memory

The cache holds the signs at all corners, in one file for each shape. A run that was stopped continues where it was, and
after a change of the method only the extractions are computed again.
"""

import argparse
import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from scipy.spatial import KDTree

from benchmarks.common.isolated import Isolated
from benchmarks.common.tables import print_machine, print_table
from shapeprior.completion.prior import ShapePrior
from shapeprior.completion.registry import bundled_priors, load
from shapeprior.geometry.mesh import TriangleMesh, keep_components
from shapeprior.io.files import load_numpy
from shapeprior.models.decoder import DecodedField
from shapeprior.sdf.isosurface.adaptive_grid import follow_surface, surface_grid
from shapeprior.sdf.isosurface.extract import ExtractConfig, Extraction, extract_mesh
from shapeprior.sdf.isosurface.marching_cubes import EdgeCrossings

MAX_ROUNDING_ERROR = 2e-6
"""Values nearer to zero than this, in unit-sphere radii, have a sign that depends on which points are evaluated
together."""


@dataclass(frozen=True, eq=False)
class DenseSigns:
    """The signs of a field at all corners of a grid."""

    inside: Bool[np.ndarray, "x y z"]
    """True where the field is negative."""
    undecided: Bool[np.ndarray, "x y z"]
    """True where rounding decides the sign."""

    @classmethod
    def of(cls, prior: ShapePrior, row: int, cells: int, cache: Path) -> "DenseSigns":
        """Read the signs of a training shape from the cache, or evaluate the field at all corners."""
        name = prior.config.shape_ids[row].replace("/", "_")
        path = cache / f"{name}_{cells}.npz"
        shape = (cells + 1,) * 3
        if path.exists():
            with load_numpy(path) as kept:
                count = (cells + 1) ** 3
                inside = np.unpackbits(kept["inside"], count=count).reshape(shape).view(np.bool_)
                undecided = np.zeros(count, dtype=np.bool_)
                undecided[kept["undecided"]] = True
            return cls(inside, undecided.reshape(shape))
        field = prior.field(prior.codes[row])
        axis = np.arange(cells + 1) * (2.0 / cells) - 1.0
        plane = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
        inside, undecided = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_)
        for x in range(cells + 1):
            values = field(np.column_stack([np.full(len(plane), axis[x]), plane])).reshape(shape[1:])
            inside[x], undecided[x] = values < 0, np.abs(values) < MAX_ROUNDING_ERROR
        for side in (np.s_[[0, -1]], np.s_[:, [0, -1]], np.s_[:, :, [0, -1]]):
            inside[side] = undecided[side] = False
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.npz")
        np.savez_compressed(part, inside=np.packbits(inside), undecided=np.flatnonzero(undecided))
        part.replace(path)
        return cls(inside, undecided)

    def crossings(self) -> Int[np.ndarray, "crossings"]:
        """Return the edges whose ends have different signs, beyond rounding, as 3 × corner + axis, ascending."""
        found = []
        for axis in range(3):
            low = tuple(slice(0, -1) if a == axis else slice(None) for a in range(3))
            high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
            differ = (self.inside[low] != self.inside[high]) & ~(self.undecided[low] | self.undecided[high])
            corner = np.ravel_multi_index(np.nonzero(differ), self.inside.shape)
            found.append(3 * corner + axis)
        return np.sort(np.concatenate(found))

    def decided(self, edges: Int[np.ndarray, "edges"]) -> Int[np.ndarray, "edges"]:
        """Return those of the given edges whose ends have signs that rounding does not decide."""
        corner, axis = edges // 3, edges % 3
        side = len(self.inside)
        other = corner + np.array([side * side, side, 1])[axis]
        undecided = self.undecided.reshape(-1)
        return edges[~(undecided[corner] | undecided[other])]

    def components(self, edges: Int[np.ndarray, "edges"]) -> Int[np.ndarray, "edges"]:
        """Label the part of the surface that each crossed edge belongs to, by the parts of inside and outside at its
        ends."""
        # On a face with two inside corners across from each other, the inside is two parts, as in the case table.
        inner = ndimage.label(self.inside, output=np.int32)[0]
        outer, parts = ndimage.label(~self.inside, structure=ndimage.generate_binary_structure(3, 2), output=np.int32)
        both = np.where(self.inside, inner, -outer).reshape(-1).astype(np.int64)
        side = len(self.inside)
        first = both[edges // 3]
        last = both[edges // 3 + np.array([side * side, side, 1])[edges % 3]]
        return np.maximum(first, last) * (parts + 1) - np.minimum(first, last)


def crossed_edges(extraction: Extraction, cells: int) -> Int[np.ndarray, "vertices"]:
    """Return the edges on which an extraction's vertices lie, as `DenseSigns.crossings`; no vertex is at an edge's
    end."""
    places = (extraction.mesh.vertices + 1.0) * (cells / 2.0)
    axis = np.argmax(np.abs(places - places.round()), axis=1)
    corner = places.round().astype(np.int64)
    rows = np.arange(len(places))
    corner[rows, axis] = np.floor(places[rows, axis]).astype(np.int64)
    return np.sort(3 * np.ravel_multi_index(tuple(corner.T), (cells + 1,) * 3) + axis)


def middles(edges: Int[np.ndarray, "edges"], cells: int) -> Float[np.ndarray, "edges 3"]:
    """Return the midpoints of edges, in cells."""
    places = np.stack(np.unravel_index(edges // 3, (cells + 1,) * 3), axis=1).astype(np.float64)
    places[np.arange(len(edges)), edges % 3] += 0.5
    return places


def compared(prior: ShapePrior, row: int, cells: int, cache: Path) -> dict[str, float]:
    """Compare one shape's extraction with all corners.

    Returns counts, and the largest distance of a missed crossing from a found one, in cells.
    """
    config = ExtractConfig(resolution=cells, min_area_share=0.0, project=False)
    extraction = extract_mesh(prior.field(prior.codes[row]), config)
    evaluations = extract_mesh(prior.field(prior.codes[row]), ExtractConfig(resolution=cells)).evaluations
    signs = DenseSigns.of(prior, row, cells, cache)
    dense = signs.crossings()
    found = crossed_edges(extraction, cells)
    missed = np.setdiff1d(dense, found, assume_unique=True)
    added = np.setdiff1d(signs.decided(found), dense, assume_unique=True)
    lost, large, off = 0, 0, 0.0
    if len(missed):
        labels = signs.components(dense)
        kept = np.isin(dense, found, assume_unique=True)
        parts, sizes = np.unique(labels[~np.isin(labels, labels[kept])], return_counts=True)
        # Smaller parts would be dropped anyway (`ExtractConfig.min_area_share`).
        lost, large = len(parts), int(np.count_nonzero(sizes >= 0.01 * len(dense)))
        off = float(KDTree(middles(found, cells)).query(middles(missed, cells))[0].max())
    return {
        "crossings": len(dense),
        "missed": len(missed),
        "added": len(added),
        "components": lost,
        "large": large,
        "off": off,
        "share": evaluations / (cells + 1) ** 3,
        "closed": float(extraction.mesh.is_watertight),
    }


def print_dense(arguments: argparse.Namespace) -> None:
    """Print the comparison with all corners, for training shapes of every bundled prior."""
    results: dict[str, list[dict[str, float]]] = {name: [] for name in bundled_priors()}
    priors = {name: load(name) for name in results}
    for turn in range(arguments.shapes):
        for name, prior in priors.items():
            row = round(turn * (len(prior.codes) - 1) / max(arguments.shapes - 1, 1))
            found = compared(prior, row, arguments.resolution, arguments.cache / name)
            results[name].append(found)
            print(name, prior.config.shape_ids[row], *(f"{k} {v:.5g}" for k, v in found.items()), file=sys.stderr)
    rows = []
    for name, found in [*results.items(), ("all", [row for rows in results.values() for row in rows])]:
        share = [100.0 * row["share"] for row in found]
        total = {key: sum(row[key] for row in found) for key in ("crossings", "missed", "added", "components", "large")}
        rows.append(
            [
                name,
                str(len(found)),
                f"{np.mean(share):.2f}",
                f"{max(share):.2f}",
                f"{total['crossings']:.0f}",
                f"{total['missed']:.0f}",
                f"{total['added']:.0f}",
                f"{max(row['off'] for row in found):.2f}",
                f"{total['components']:.0f}",
                f"{total['large']:.0f}",
                f"{sum(1 - row['closed'] for row in found):.0f}",
            ]
        )
    print_table(
        f"extraction at {arguments.resolution}³ against all corners",
        [
            "prior",
            "shapes",
            "evaluated, %",
            "most",
            "crossings",
            "missed",
            "added",
            "farthest",
            "parts missed",
            "large ones",
            "open",
        ],
        rows,
    )


def print_memory(_arguments: argparse.Namespace) -> None:
    """Print the peak memory of processes that extract one mug at three resolutions."""
    rows = []
    for cells in (256, 512, 1024):
        worker = Isolated()
        found = worker(extracted_alone, "mug", 3, cells)
        worker.close()
        if "failure" in found:
            rows.append([str(cells), found["failure"], "", "", ""])
        else:
            rows.append(
                [
                    str(cells),
                    f"{found['loaded']:.2f}",
                    f"{found['peak']:.2f}",
                    f"{found['faces']}",
                    f"{100.0 * found['evaluations'] / (cells + 1) ** 3:.2f}",
                ]
            )
    print_table(
        "memory of a process that extracts one mug",
        ["cells", "prior loaded, GB", "peak, GB", "faces", "evaluated, %"],
        rows,
    )


def extracted_alone(name: str, row: int, cells: int) -> dict[str, Any]:
    """Extract one shape in a process of its own, and return that process's peak memory."""
    prior = load(name)
    field = prior.field(prior.codes[row])
    field(np.zeros((1, 3)))
    loaded = _peak_gb()
    extraction = extract_mesh(field, ExtractConfig(resolution=cells))
    return {
        "loaded": loaded,
        "peak": _peak_gb(),
        "faces": len(extraction.mesh.faces),
        "evaluations": extraction.evaluations,
    }


def _peak_gb() -> float:
    # macOS reports bytes, Linux kilobytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1.0 if sys.platform == "darwin" else 1024.0) / 1e9


def print_seconds(arguments: argparse.Namespace) -> None:
    """Print the wall time of extracting one shape of each prior: in all, in the field alone, and of each stage."""
    rows = []
    for name in bundled_priors():
        prior = load(name)
        field = prior.field(prior.codes[3])
        runs, faces = [], 0
        for _ in range(arguments.repeats + 1):
            clock = _Clock(field)
            started = time.perf_counter()
            grid = surface_grid(clock, arguments.resolution, coarse=32, margin=1.0)
            clock.lap("grid")
            follow_surface(clock, grid)
            clock.lap("follow")
            crossings = EdgeCrossings.of(grid)
            clock.lap("crossings")
            mesh = TriangleMesh(vertices=crossings.vertices(clock), faces=crossings.faces)
            clock.lap("vertices")
            faces = len(keep_components(mesh, min_area_share=0.01, largest_only=False)[0].faces)
            clock.lap("components")
            total = time.perf_counter() - started
            started = time.perf_counter()
            prior.extract(prior.codes[3], resolution=arguments.resolution, edges="sharp")
            runs.append(
                {"all": total, "field": clock.field_seconds, **clock.laps, "sharp": time.perf_counter() - started}
            )
        # The first run warms up.
        medians = {key: float(np.median([run[key] for run in runs[1:]])) for key in runs[0]}
        rows.append([name, f"{faces}", *(f"{1000.0 * value:.0f}" for value in medians.values())])
    print(f"{torch.get_num_threads()} threads")
    print_table(
        f"milliseconds of an extraction at {arguments.resolution}³, medians of {arguments.repeats}",
        [
            "prior",
            "faces",
            "all",
            "in the field",
            "grid",
            "follow",
            "crossings",
            "vertices",
            "components",
            "all, sharp",
        ],
        rows,
    )


class _Clock:
    """A field that measures the time spent in it, and the time of each lap of everything around it."""

    def __init__(self, field: DecodedField) -> None:
        self._field = field
        self._last = time.perf_counter()
        self.field_seconds = 0.0
        self.laps: dict[str, float] = {}

    def __call__(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
        started = time.perf_counter()
        values = self._field(points).astype(np.float64)
        self.field_seconds += time.perf_counter() - started
        return values

    def lap(self, name: str) -> None:
        self.laps[name] = time.perf_counter() - self._last
        self._last = time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=["time", "memory"], choices=["dense", "time", "memory"])
    parser.add_argument("--shapes", type=int, default=40, help="training codes of each prior (dense)")
    parser.add_argument("--resolution", type=int, default=256, help="cells along each axis (dense, time)")
    parser.add_argument(
        "--cache", type=Path, default=Path("dense_signs"), help="folder for the signs at all corners (dense)"
    )
    parser.add_argument("--repeats", type=int, default=7, help="runs of each shape (time)")
    arguments = parser.parse_args()
    print_machine()
    for part in arguments.parts:
        {"dense": print_dense, "memory": print_memory, "time": print_seconds}[part](arguments)


if __name__ == "__main__":
    main()
