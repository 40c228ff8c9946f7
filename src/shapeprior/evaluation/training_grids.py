"""What the baselines know of the training shapes: their signed distances on a grid, made once and kept in files."""

import hashlib
import io
import json
import logging
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from shapeprior.completion.prior import ShapePrior
from shapeprior.completion.registry import loaded
from shapeprior.datasets.dataset import Dataset
from shapeprior.datasets.shape_files import read_mesh_unit
from shapeprior.errors import CompletionError, ShapePriorError
from shapeprior.evaluation.baselines import CELLS, CLAMP, COMPONENTS, LinearModel, stacked, upper_bound
from shapeprior.evaluation.config import evenly
from shapeprior.evaluation.ground_truth import load_ground_truth, sheet_half_thickness
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.sampling import cell_centers
from shapeprior.io.files import write_bytes
from shapeprior.models.decoder import QUERY_POINTS
from shapeprior.parallel.worker import JobFailure
from shapeprior.sdf.signed_distance import SignedDistance

Run = Callable[[Callable[[Any], Any], Iterable[Any]], Generator[tuple[Any, Any], None, None]]
"""Does a function over many jobs, as `shapeprior.parallel.pool.run_jobs` does with workers and limits."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingGrids:
    """The training shapes as the baselines see them."""

    folder: Path
    """Where the files are."""
    data: Dataset
    """The data set, without its shapes."""
    prior: ShapePrior | str
    """Whose codes the shapes are of, where the data set has no training shapes."""
    decoded: bool
    """Whether the fields are the prior's, and not the meshes'."""
    count: int
    """How many there are."""
    digest: str
    """Of all that decides them."""

    @property
    def text(self) -> str:
        """Where they come from, in words."""
        if self.decoded:
            return f"{self.count} training shapes as the prior decodes them (the data set has no training shapes)"
        return f"{self.count} shapes of the data set's split train"

    def grids(self) -> Float[np.ndarray, "shapes nodes"]:
        """Clamped signed distances at the nodes, in half precision; out of a memory map that all processes share."""
        return np.load(self.folder / "grids.npy", mmap_mode="r", allow_pickle=False)

    def model(self) -> LinearModel:
        """Their principal components."""
        mean, basis = (np.load(self.folder / f"{name}.npy", allow_pickle=False) for name in ("mean", "basis"))
        return LinearModel(mean, basis)

    def mesh(self, row: int, *, resolution: int) -> TriangleMesh:
        """The closed mesh of a training shape, in the unit frame."""
        shape_id = json.loads((self.folder / "shapes.json").read_text(encoding="utf-8"))[row]
        if self.decoded:
            prior = loaded(self.prior)
            return prior.extract(prior.code(shape_id), resolution=resolution)
        mesh = read_mesh_unit(self.data.store, shape_id)
        distance = SignedDistance(mesh, sheet_half_thickness=sheet_half_thickness(self.data))
        return upper_bound(distance, resolution=resolution)


@dataclass(frozen=True, kw_only=True, eq=False)
class GridJob:
    """One training shape to put on the grid."""

    path: Path
    shape_id: str
    data: Dataset
    """With this shape alone, or none if it is decoded."""
    prior: ShapePrior | str


def training_grids(
    work: Path, data: Dataset, prior: ShapePrior, source: ShapePrior | str, *, digest: str, count: int, run: Run
) -> TrainingGrids:
    """Put at most `count` training shapes on the grid, evenly spread over the data set's split train, by `run`.

    If that has no meshes, the shapes are those of the prior's training codes, decoded. `digest` is of the prior, `source` how the
    work's processes get it. A shape that cannot be put on the grid is left out. Raises CompletionError if none is left.
    """
    records = evenly([shape for shape in data.split("train") if shape.mesh_sha256], count)
    decoded = not records
    bare = replace(data, shapes=(), refused=())
    if decoded:
        ids = evenly(prior.config.shape_ids, count)
        parts = [bare] * len(ids)
        seeds = [f"{digest} {shape_id}" for shape_id in ids]
    else:
        ids = [record.id for record in records]
        parts = [replace(bare, shapes=(record,)) for record in records]
        seeds = [f"{record.mesh_sha256} {sheet_half_thickness(data)} {record.id}" for record in records]
    whole = _digest([str(CELLS), str(CLAMP), str(COMPONENTS), *seeds])
    folder = work / "training" / whole
    if not (folder / "shapes.json").is_file():
        jobs = [
            GridJob(path=folder / f"{_digest([seed])}.npy", shape_id=shape_id, data=part, prior=source)
            for shape_id, part, seed in zip(ids, parts, seeds, strict=True)
        ]
        _make(folder, jobs, run)
    kept = len(json.loads((folder / "shapes.json").read_text(encoding="utf-8")))
    return TrainingGrids(folder=folder, data=bare, prior=source, decoded=decoded, count=kept, digest=whole)


def write_grid(job: GridJob) -> bool:
    """Put a shape on the grid and write it; False if it cannot be."""
    points = cell_centers(CELLS)
    try:
        if job.data.shapes:
            values = load_ground_truth(job.data, job.shape_id).distance(points)
        else:
            values = _decoded(loaded(job.prior), job.shape_id, points)
    except ShapePriorError:
        return False
    _save(job.path, stacked([values])[0])
    return True


def _make(folder: Path, jobs: list[GridJob], run: Run) -> None:
    pending = [job for job in jobs if not job.path.is_file()]
    for _job, outcome in run(write_grid, pending):
        # A shape that costs its process is left out, as one without a field is.
        assert isinstance(outcome, bool | JobFailure)
    made = [job for job in jobs if job.path.is_file()]
    if not made:
        raise CompletionError(
            f"none of {len(jobs)} training shapes has a field; expected at least one, for the baselines"
        )
    if len(made) < len(jobs):
        logging.getLogger("shapeprior").warning(
            "%d of %d training shapes have no field; baselines do without", len(jobs) - len(made), len(jobs)
        )
    grids = np.stack([np.load(job.path, allow_pickle=False) for job in made])
    model = LinearModel.fit(grids)
    _save(folder / "grids.npy", grids)
    _save(folder / "mean.npy", model.mean)
    _save(folder / "basis.npy", model.basis)
    write_bytes(folder / "shapes.json", json.dumps([job.shape_id for job in made]).encode())
    for job in made:
        job.path.unlink()


def _decoded(prior: ShapePrior, shape_id: str, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
    with torch.no_grad():
        prepared = prior.decoder.prepare(prior.code(shape_id)[None])
        chunks = torch.from_numpy(points).float().split(QUERY_POINTS)
        return torch.cat([prior.decoder.query(prepared, chunk[None])[0] for chunk in chunks]).double().numpy()


def _save(path: Path, values: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def _digest(parts: list[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]
