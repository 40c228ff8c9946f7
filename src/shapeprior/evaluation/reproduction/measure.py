"""Measures the bundled priors as the re-implemented work measured itself: seconds for each object, and Chamfer
distances.

The objects are generated shapes that no prior was trained on.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shapeprior.completion.prior import Code, ShapePrior
from shapeprior.completion.registry import bundled_prior_path, load
from shapeprior.config import check_numbers
from shapeprior.datasets.prepare_mesh import prepare_mesh
from shapeprior.datasets.procedural import synthesize
from shapeprior.errors import CheckpointError, CompletionError, ConfigError
from shapeprior.evaluation.point_metrics import chamfer_l1
from shapeprior.evaluation.reproduction.published import CATEGORIES
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.sampling import sample_surface, shape_rng
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.files import FileSpec
from shapeprior.scans.observation import Observation
from shapeprior.scans.simulation import camera_around, render_depth, sample_view
from shapeprior.sdf.sampling import SamplingConfig, sample_sdf
from shapeprior.sdf.signed_distance import SHEET_HALF_THICKNESS

NUM_SAMPLES = 10_000
"""SDF samples of each object, as published."""
NUM_CHAMFER_POINTS = 10_000
"""Points on each surface for the Chamfer distance, as published."""
WORST_CHAMFER_X1000 = 2000.0
"""The score of a shape without a completion: 1000 times the diameter of the unit sphere."""
PUBLISHED_RESOLUTION = 512
"""Cells along each axis in the published times."""
_VIEW_PIXELS = 256
"""Pixels along each side of the depth image that a shape is completed from."""
_MADE_BY_FILE = FileSpec(
    error=CheckpointError,
    expected="the record of a bundled prior",
    advice="check the name, or install the package again",
)


@dataclass(frozen=True, kw_only=True)
class ReproductionConfig:
    """What is measured."""

    categories: tuple[str, ...] = CATEGORIES
    """Names of bundled priors, which are those of the families that they were trained on."""
    count: int = 3
    """Unseen shapes of each category."""
    seed: int = 1
    """Seed of the shapes and their views."""
    resolutions: tuple[int, ...] = (256, PUBLISHED_RESOLUTION)
    """Cells along each axis at which codes are meshed. Completions of partial views use the first."""

    def __post_init__(self) -> None:
        check_numbers(self, at_least_one=("count",), not_negative=("seed",))
        if not self.categories or not self.resolutions or min(self.resolutions) < 2:
            raise ConfigError(
                f"categories {self.categories}, resolutions {self.resolutions}; expected at least one of "
                "each, and 2 cells"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredShape:
    """The measurements of one unseen shape."""

    id: str
    truth_unit: TriangleMesh
    view_unit: Observation
    completion_unit: TriangleMesh | None
    """None if the completion failed."""
    failure: str | None
    """Why the completion failed; None if it did not."""
    sampling_seconds: float
    """Time from the mesh to `NUM_SAMPLES` samples with signed distances."""
    completion_seconds: float | None
    """Time from the partial view to the mesh."""
    decoding_seconds: dict[tuple[str, int], float]
    """Time from the code to the mesh, by device and resolution."""
    chamfer_x1000: float
    """Chamfer distance of the completion, by the published definition; `WORST_CHAMFER_X1000` if it failed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredPrior:
    """A bundled prior and its unseen shapes."""

    category: str
    prior: ShapePrior
    made_by: dict[str, Any]
    """The record of its training: commands, seconds, threads."""
    shapes: tuple[MeasuredShape, ...]

    def median(self, value: Callable[[MeasuredShape], float | None]) -> float | None:
        """Return the median of a figure over the shapes that have it; None if no shape has it."""
        found = [number for shape in self.shapes if (number := value(shape)) is not None]
        return float(np.median(found)) if found else None


def devices() -> list[str]:
    """Return the devices that decoding is measured on: the CPU, and the first GPU if PyTorch can use one."""
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def measure_prior(
    category: str, config: ReproductionConfig, *, progress: Callable[[str], None] | None = None
) -> MeasuredPrior:
    """Complete new shapes of a family by its bundled prior, each from one depth view, and measure times and distances.

    Raises ConfigError for a seed that the training shapes were generated from, and CheckpointError if there is no such
    prior.
    """
    made_by = read_made_by(category)
    if config.seed in training_seeds(made_by):
        raise ConfigError(
            f"seed {config.seed}: the prior {category} was trained on its shapes; expected another; say --seed"
        )
    prior = load(category)
    _ = prior.solver  # Built before the first shape, so that it is not part of that shape's time.
    shapes = []
    for index in range(config.count):
        shapes.append(_measure_shape(prior, category, index, config))
        if progress:
            progress(shapes[-1].id)
    return MeasuredPrior(category=category, prior=prior, made_by=made_by, shapes=tuple(shapes))


def read_made_by(category: str) -> dict[str, Any]:
    """Read a bundled prior's made_by.json. Raises CheckpointError if there is no such prior or file."""
    path = (bundled_prior_path(category) or Path(category)) / "made_by.json"
    return _MADE_BY_FILE.read_json(path, dict)


def training_seeds(made_by: dict[str, Any]) -> set[int]:
    """Return the seeds that the training shapes of a bundled prior were generated from."""
    commands = [command for command in made_by.get("commands", ()) if command.startswith("shapeprior synthesize")]
    return {int(seed) for command in commands for seed in re.findall(r"--seed (\d+)", command)}


def _measure_shape(prior: ShapePrior, category: str, index: int, config: ReproductionConfig) -> MeasuredShape:
    seed, shape_id = config.seed, f"{category}_{index:05d}"
    mesh_world = synthesize(category, seed=seed, index=index)
    rng = shape_rng(seed, shape_id)
    started = time.perf_counter()
    prepared = prepare_mesh(mesh_world, name=shape_id, up="y", sheet_half_thickness=SHEET_HALF_THICKNESS)
    sample_sdf(prepared.distance, SamplingConfig.deepsdf(NUM_SAMPLES), rng=rng)
    sampling_seconds = time.perf_counter() - started
    truth = prepared.distance.surface
    azimuth, elevation = sample_view(rng)
    camera, T_unit_camera = camera_around(azimuth_deg=azimuth, elevation_deg=elevation, resolution=_VIEW_PIXELS)
    depth = render_depth(truth, camera, T_unit_camera)
    view = Observation.from_depth(depth, camera, T_unit_camera, background_is_free=True)
    mesh, failure, seconds, code = None, None, None, prior.codes.mean(dim=0)
    try:
        completion = prior.complete(
            view, T_unit_world=Similarity.identity(), seed=seed, resolution=config.resolutions[0]
        )
        mesh, seconds, code = completion.mesh_unit, completion.seconds, completion.code
    except CompletionError as error:
        failure = str(error)
    return MeasuredShape(
        id=shape_id,
        truth_unit=truth,
        view_unit=view,
        completion_unit=mesh,
        failure=failure,
        sampling_seconds=sampling_seconds,
        completion_seconds=seconds,
        decoding_seconds={} if failure else _decoding_seconds(prior, code, config.resolutions),
        chamfer_x1000=WORST_CHAMFER_X1000 if mesh is None else _chamfer_x1000(mesh, truth, seed=seed),
    )


def _decoding_seconds(prior: ShapePrior, code: Code, resolutions: Sequence[int]) -> dict[tuple[str, int], float]:
    found = {}
    for device in devices():
        prior_there = prior.to(device)
        if device != "cpu":
            # The first call loads kernels and is not timed.
            prior_there.extract(code, resolution=32)
        for resolution in resolutions:
            started = time.perf_counter()
            prior_there.extract(code, resolution=resolution)
            found[device, resolution] = time.perf_counter() - started
    return found


def _chamfer_x1000(a: TriangleMesh, b: TriangleMesh, *, seed: int) -> float:
    first, second = (np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(2))
    return 1000.0 * chamfer_l1(
        sample_surface(a, NUM_CHAMFER_POINTS, rng=first)[0], sample_surface(b, NUM_CHAMFER_POINTS, rng=second)[0]
    )
