"""The training shapes as the baselines know them: signed distances on a grid, computed once and kept in files.

The files lie in `work/training/DIGEST` of the report's folder: grids.npy (the fields), mean.npy and basis.npy (the
linear model), and shapes.json (the ids, in the order of the rows).
"""

import hashlib
import io
import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from shapeprior.completion.prior import ShapePrior
from shapeprior.completion.registry import loaded
from shapeprior.datasets.dataset import Dataset
from shapeprior.datasets.shape_files import read_mesh_unit
from shapeprior.errors import CompletionError, ShapePriorError
from shapeprior.evaluation.baselines import (
    GRID_CELLS,
    GRID_CLAMP,
    MAX_COMPONENTS,
    LinearModel,
    stack_grids,
    upper_bound,
)
from shapeprior.evaluation.ground_truth import load_ground_truth, sheet_half_thickness
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.sampling import cell_centers, select_evenly
from shapeprior.io.files import load_numpy, write_bytes
from shapeprior.parallel.runner import JobRunner
from shapeprior.parallel.worker import JobFailure
from shapeprior.sdf.signed_distance import SignedDistance


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingGrids:
    """The training shapes as the baselines know them."""

    folder: Path
    """Folder of the files."""
    data: Dataset
    """The data set, without its list of shapes."""
    prior: ShapePrior | str
    """The prior whose codes are decoded, where the data set has no training shapes."""
    decoded: bool
    """Whether the fields are decoded by the prior instead of computed from meshes."""
    count: int
    """Number of shapes."""
    digest: str
    """Hash of everything that decides the fields."""

    @property
    def text(self) -> str:
        """Where the shapes come from, in words."""
        if self.decoded:
            return f"{self.count} training shapes as the prior decodes them (the data set has no training shapes)"
        return f"{self.count} shapes of the data set's split train"

    def grids(self) -> Float[np.ndarray, "shapes nodes"]:
        """Return the fields as `stack_grids` made them, from a memory map that all processes share."""
        return load_numpy(self.folder / "grids.npy", memory_map=True)

    def model(self) -> LinearModel:
        """Return the mean and the principal components of the fields."""
        mean, basis = (load_numpy(self.folder / f"{name}.npy") for name in ("mean", "basis"))
        return LinearModel(mean, basis)

    def mesh(self, row: int, *, resolution: int) -> TriangleMesh:
        """Return the closed mesh of the training shape in a row of `grids`, in the unit frame."""
        shape_id = json.loads((self.folder / "shapes.json").read_text(encoding="utf-8"))[row]
        if self.decoded:
            prior = loaded(self.prior)
            return prior.extract(prior.code(shape_id), resolution=resolution)
        mesh = read_mesh_unit(self.data.store, shape_id)
        distance = SignedDistance(mesh, sheet_half_thickness=sheet_half_thickness(self.data))
        return upper_bound(distance, resolution=resolution)


@dataclass(frozen=True, kw_only=True, eq=False)
class GridJob:
    """The job to compute the field of one training shape."""

    path: Path
    """File to write."""
    shape_id: str
    data: Dataset
    """The data set with this shape alone, or with no shape if the prior decodes it."""
    prior: ShapePrior | str


def training_grids(
    work: Path,
    data: Dataset,
    prior: ShapePrior,
    source: ShapePrior | str,
    *,
    digest: str,
    count: int,
    runner: JobRunner,
) -> TrainingGrids:
    """Compute the fields of training shapes, unless an earlier run has done so.

    The shapes are taken evenly from the data set's split train. If it has no meshes, the prior decodes its training
    codes instead. Shapes whose field cannot be computed are left out.

    Args:
        work: Folder for the files.
        data: The data set.
        prior: The prior whose training shapes stand in for missing ones.
        source: The prior itself, or the name by which worker processes load it.
        digest: Hash of the prior.
        count: Number of shapes, at most.
        runner: Does the work.

    Raises:
        CompletionError: If no shape has a field.
    """
    records = select_evenly([shape for shape in data.split("train") if shape.mesh_sha256], count)
    decoded = not records
    without_shapes = replace(data, shapes=(), refused=())
    if decoded:
        ids = select_evenly(prior.config.shape_ids, count)
        parts = [without_shapes] * len(ids)
        keys = [f"{digest} {shape_id}" for shape_id in ids]
    else:
        ids = [record.id for record in records]
        parts = [replace(without_shapes, shapes=(record,)) for record in records]
        keys = [f"{record.mesh_sha256} {sheet_half_thickness(data)} {record.id}" for record in records]
    digest_of_all = _digest([str(GRID_CELLS), str(GRID_CLAMP), str(MAX_COMPONENTS), *keys])
    folder = work / "training" / digest_of_all
    if not (folder / "shapes.json").is_file():
        jobs = [
            GridJob(path=folder / f"{_digest([key])}.npy", shape_id=shape_id, data=part, prior=source)
            for shape_id, part, key in zip(ids, parts, keys, strict=True)
        ]
        _compute(folder, jobs, runner)
    num_shapes = len(json.loads((folder / "shapes.json").read_text(encoding="utf-8")))
    return TrainingGrids(
        folder=folder, data=without_shapes, prior=source, decoded=decoded, count=num_shapes, digest=digest_of_all
    )


def write_grid(job: GridJob) -> bool:
    """Compute the field of a shape and write it; returns False if the shape has none."""
    points = cell_centers(GRID_CELLS)
    try:
        if job.data.shapes:
            values = load_ground_truth(job.data, job.shape_id).distance(points)
        else:
            prior = loaded(job.prior)
            values = prior.field(prior.code(job.shape_id))(points)
    except ShapePriorError:
        return False
    _save_array(job.path, stack_grids([values])[0])
    return True


def _compute(folder: Path, jobs: list[GridJob], runner: JobRunner) -> None:
    """Write the files of a folder: the fields that are missing, one by one, then all of them together and their linear
    model.
    """
    pending = [job for job in jobs if not job.path.is_file()]
    with runner.run(write_grid, pending) as outcomes:
        for _job, outcome in outcomes:
            # A shape whose worker process died is left out like one without a field.
            assert isinstance(outcome, bool | JobFailure)
    written = [job for job in jobs if job.path.is_file()]
    if not written:
        raise CompletionError(
            f"none of {len(jobs)} training shapes has a field; expected at least one, for the baselines"
        )
    if len(written) < len(jobs):
        logging.getLogger("shapeprior").warning(
            "%d of %d training shapes have no field; baselines do without them", len(jobs) - len(written), len(jobs)
        )
    grids = np.stack([load_numpy(job.path) for job in written])
    model = LinearModel.fit(grids)
    _save_array(folder / "grids.npy", grids)
    _save_array(folder / "mean.npy", model.mean)
    _save_array(folder / "basis.npy", model.basis)
    write_bytes(folder / "shapes.json", json.dumps([job.shape_id for job in written]).encode())
    for job in written:
        job.path.unlink()


def _save_array(path: Path, values: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def _digest(keys: list[str]) -> str:
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()[:24]
