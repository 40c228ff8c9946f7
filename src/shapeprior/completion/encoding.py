"""Finds the codes of whole shapes: meshes are prepared and sampled as for training, and the decoder is frozen.

The objective is that of DeepSDF (equation 10), with the field known all around.

A shape can then be refined beyond what its code can say. `Decoder.prepare` turns a code into feature planes or biases.
These hold more detail than the code, and moving them until the field fits its targets adds the details of an unseen
shape. The idea of adapting the decoder to one shape after its code was found comes from pivotal tuning (Roich et al.
2022, "Pivotal tuning for latent-based editing of real images"). That moving the prepared tensors is enough, without any
weight, is our own finding. A single view does not tell all of the field. `shapeprior.completion.view_refinement`
follows one.
"""

import io
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from shapeprior.config import check_numbers
from shapeprior.datasets.mesh_source import UpAxis
from shapeprior.datasets.prepare_mesh import PrepareConfig, prepare_mesh, sample_mesh
from shapeprior.errors import CompletionError, ConfigError, OutputError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.files import write_bytes
from shapeprior.models.decoder import Decoder, seeded
from shapeprior.models.latent_space import CodeSpace
from shapeprior.models.objective import banded_l1, clamped_l1, code_prior
from shapeprior.models.optimizers import RowAdam, cosine_decay
from shapeprior.sdf.sampling import SamplingConfig, sample_sdf
from shapeprior.sdf.signed_distance import SignedDistance

ADAM_BETAS = (0.9, 0.98)
"""These are short memories: over so few steps, averages of a thousand steps would never settle."""
ONLY_ROW = np.zeros(1, dtype=np.int64)
"""Row index of a table that holds one tensor."""


@dataclass(frozen=True, kw_only=True)
class RefineConfig:
    """Settings of the refinement of one shape."""

    samples: int = 50_000
    """Number of samples of the field, where all of it is known. Planes of 64² cells fit the 10,000 samples that a code
    is fitted to, and the noise between them, better than the shape (docs/ablation.md)."""
    steps: int = 200
    """Number of Adam steps. 0 leaves the field as the code makes it."""
    points: int = 8192
    """Number of samples in a step, drawn anew each time."""
    rate: float = 0.2
    """Adam's learning rate at the start, as a share of each prepared tensor's standard deviation. It falls to 0 along
    half a cosine."""

    def __post_init__(self) -> None:
        check_numbers(self, at_least_one=("samples", "points"), positive=("rate",), not_negative=("steps",))


@dataclass(frozen=True, eq=False)
class FieldSamples:
    """Targets for the field of one shape, in the unit frame."""

    points: Float[Tensor, "samples 3"]
    values: Float[Tensor, "samples"]
    """Signed distances in unit-sphere radii."""
    side: Float[Tensor, "samples"]
    """0 where the field has this value, 1 where it has this or more, -1 where it has this or less."""

    @classmethod
    def of_sdf(cls, points: Float[Tensor, "samples 3"], sdf: Float[Tensor, "samples"], clamp: float) -> "FieldSamples":
        """Make targets of signed distances. Beyond the clamp, it is only known that the field is beyond it."""
        side = torch.where(sdf.abs() < clamp, 0.0, torch.sign(sdf))
        return cls(points, sdf.clamp(-clamp, clamp), side)

    @classmethod
    def of_shape(
        cls, distance: SignedDistance, count: int, clamp: float, *, rng: np.random.Generator, like: Tensor
    ) -> "FieldSamples":
        """Draw `count` targets from a shape, a sixth of them beside its sharp edges, in type and device of `like`.

        Raises MeshError if the surface has no area.
        """
        edges, uniform = count // 6, count // 25
        sampling = SamplingConfig(near=count - edges - uniform, uniform=uniform, edges=edges, dtype="float32")
        drawn = sample_sdf(distance, sampling, rng=rng)
        points, sdf = (torch.from_numpy(part).to(like) for part in (drawn.points_unit, drawn.sdf))
        return cls.of_sdf(points, sdf, clamp)

    def error(self, field: Float[Tensor, "drawn"], rows: Tensor) -> Float[Tensor, "drawn"]:
        """Return how far field values at some samples are from their targets."""
        lacking = self.values[rows] - field
        side = self.side[rows]
        return torch.where(side == 0.0, lacking.abs(), torch.relu(side * lacking))


def refine_prepared(
    decoder: Decoder, prepared: tuple[Tensor, ...], samples: FieldSamples, *, config: RefineConfig, seed: int
) -> tuple[Tensor, ...]:
    """Change the prepared tensors of one code so that the field fits its targets. Weights and code stay as they are.

    Where nothing is known, samples of the field as it was must be among the targets, or it drifts. This does not touch
    torch's global random generator.
    """
    first = [tensor.detach() for tensor in prepared]
    if config.steps == 0 or len(samples.points) == 0:
        return tuple(first)
    # torch's own Adam would import its compiler first, which takes longer than a completion.
    tables = [RowAdam(torch.zeros_like(tensor).reshape(1, -1), betas=ADAM_BETAS) for tensor in first]
    rates = [config.rate * max(float(tensor.std(correction=0)), 1e-6) for tensor in first]

    def moved(rows: list[Tensor]) -> tuple[Tensor, ...]:
        return tuple(tensor + row.view_as(tensor) for row, tensor in zip(rows, first, strict=True))

    generator = seeded(seed)
    for step in range(config.steps):
        drawn = torch.randint(len(samples.points), (config.points,), generator=generator).to(samples.points.device)
        changes = [table.take(ONLY_ROW) for table in tables]
        with torch.enable_grad():
            field = decoder.query(moved(changes), samples.points[drawn][None])[0]
            gradients = torch.autograd.grad(samples.error(field, drawn).mean(), changes)
        share = cosine_decay(step, config.steps)
        for table, gradient, rate in zip(tables, gradients, rates, strict=True):
            table.step(ONLY_ROW, gradient, rate=rate * share)
    return moved([table.values for table in tables])


@dataclass(frozen=True, kw_only=True)
class EncodeConfig:
    """Settings of the fit of codes to samples."""

    steps: int = 200
    """Number of Adam steps."""
    points: int = 1024
    """Number of samples of each shape in a step, drawn anew each time, or all of them if there are fewer."""
    rate: float = 0.2
    """Adam's learning rate at the start, in whitened code coordinates. It falls to 0 along half a cosine."""
    prior_weight: float = 1e-4
    """Weight of the mean squared whitened coordinate. It is small because the field is known all around."""
    shapes: int = 16
    """Number of shapes that are fitted at once, which bounds the memory."""

    def __post_init__(self) -> None:
        check_numbers(
            self, at_least_one=("steps", "points", "shapes"), positive=("rate",), not_negative=("prior_weight",)
        )


def encode_samples(
    decoder: Decoder,
    space: CodeSpace,
    points_unit: Float[Tensor, "shapes points 3"],
    sdf: Float[Tensor, "shapes points"],
    *,
    clamp: float,
    config: EncodeConfig,
    seed: int,
) -> Float[Tensor, "shapes code"]:
    """Find the code of each shape from samples of its field, as in training. All shapes are fitted side by side.

    `points_unit` are points in the unit frame and `sdf` their signed distances in unit-sphere radii, negative inside.
    `clamp` is that of training (the paper's delta). Each shape starts at the mean training code, and its result does
    not depend on the other shapes beyond rounding. The work is done on the decoder's device and in its type, and the
    codes are returned on the device of `space`. Raises CompletionError if the samples or a fitted code are not all
    finite, ValueError if there are no samples.
    """
    if points_unit.shape[1] == 0:
        raise ValueError("no samples of the shapes; expected at least one each")
    # The loss may hide a NaN, which compares as beyond the clamp.
    if not (torch.isfinite(points_unit).all() and torch.isfinite(sdf).all()):
        raise CompletionError(
            "the samples hold NaN or infinity; expected finite points and distances; prepare them again"
        )
    training = decoder.training
    decoder.eval()
    try:
        codes = [
            _fit_batch(decoder, space, (points, distances), clamp, config, seeded(seed))
            for points, distances in zip(points_unit.split(config.shapes), sdf.split(config.shapes), strict=True)
            if len(points)
        ]
    finally:
        decoder.train(training)
    return torch.cat(codes) if codes else space.mean.new_zeros((0, len(space.mean)))


def _fit_batch(
    decoder: Decoder,
    space: CodeSpace,
    samples: tuple[Tensor, Tensor],
    clamp: float,
    config: EncodeConfig,
    generator: torch.Generator,
) -> Float[Tensor, "shapes code"]:
    """Return the codes of one batch of shapes from their points and distances."""
    weight = next(decoder.parameters())
    mean, axes = space.mean.to(weight), space.axes.to(weight)
    points_unit, sdf = (part.to(weight) for part in samples)
    count, total = min(config.points, points_unit.shape[1]), points_unit.shape[1]
    whitened = mean.new_zeros((len(points_unit), len(mean)), requires_grad=True)
    optimizer = torch.optim.Adam([whitened], lr=config.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    objective = mean.new_zeros(len(points_unit))
    for _ in range(config.steps):
        # All shapes get the same rows, so that a shape's result does not depend on its place in the batch.
        rows = torch.randint(total, (count,), generator=generator) if count < total else torch.arange(total)
        rows = rows.to(weight.device)
        error = banded_l1(decoder(mean + whitened @ axes, points_unit[:, rows]), sdf[:, rows], clamp).mean(dim=1)
        objective = error + config.prior_weight * code_prior(whitened) / whitened.shape[1]
        # Only the codes have gradients. The decoder stays as it is.
        (whitened.grad,) = torch.autograd.grad(objective.sum(), [whitened])
        optimizer.step()
        schedule.step()
    codes = (mean + whitened.detach() @ axes).to(space.mean)
    # NaN weights may leave the codes unchanged, so the objective is checked, too.
    if not (torch.isfinite(codes).all() and torch.isfinite(objective).all()):
        raise CompletionError("the fit of a code ended without finite numbers; expected weights that were trained")
    return codes


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedMesh:
    """The code that fits a mesh best, and where the mesh lies."""

    code: Float[np.ndarray, "code"]
    T_unit_world: Similarity
    """Maps the mesh's own frame to the unit frame."""
    error: float
    """Mean |f − s| at the samples, both clamped as in training (DeepSDF, equation 4), in unit-sphere radii."""
    mesh_unit: TriangleMesh
    """The prepared mesh: cleaned, upright, in the unit frame."""
    refined: tuple[Tensor, ...] | None = None
    """Prepared tensors of the code, refined to the mesh (`refine_prepared`).
    `ShapePrior.extract_prepared` makes a mesh of them. None if the refinement was not asked for."""

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write `code` (code), `T_unit_world` (4, 4) and `error` () as an NPZ file, atomically. Raises OutputError."""
        path = Path(path)
        if path.suffix.lower() != ".npz":
            raise OutputError(f"{path}: suffix '{path.suffix}'; expected .npz; give the file that suffix")
        buffer = io.BytesIO()
        np.savez(buffer, code=self.code, T_unit_world=self.T_unit_world.matrix(), error=np.array(self.error))
        write_bytes(path, buffer.getvalue())
        return path


def encode_mesh(
    decoder: Decoder,
    space: CodeSpace,
    mesh_world: TriangleMesh,
    *,
    name: str,
    up: UpAxis,
    clamp: float,
    config: EncodeConfig,
    prepare: PrepareConfig,
    seed: int,
    refine: RefineConfig | None = None,
) -> EncodedMesh:
    """Prepare a mesh (clean, turn upright, normalise, sign, sample) and find its code. `seed` decides the samples.

    With `refine`, the prepared tensors are also fitted to the mesh, and hold details that no code does. Code and error
    stay the same. Raises MeshError, naming `name`, for a mesh that preparation would refuse.
    """
    prepared = prepare_mesh(mesh_world, name=name, up=up, sheet_half_thickness=prepare.sheet_half_thickness)
    samples, _ = sample_mesh(prepared, prepare, name=name, rng=np.random.default_rng(seed))
    points_unit, sdf = (torch.from_numpy(np.float32(part))[None] for part in (samples.points_unit, samples.sdf))
    code = encode_samples(decoder, space, points_unit, sdf, clamp=clamp, config=config, seed=seed)
    device = next(decoder.parameters()).device
    code, points_unit, sdf = code.to(device), points_unit.to(device), sdf.to(device)
    with torch.no_grad():
        first = decoder.prepare(code)
        predicted = decoder.query(first, points_unit)
    refined = None
    if refine is not None:
        rng = np.random.default_rng([seed, 1])
        targets = FieldSamples.of_shape(prepared.distance, refine.samples, clamp, rng=rng, like=sdf)
        refined = refine_prepared(decoder, first, targets, config=refine, seed=seed)
    return EncodedMesh(
        code=code[0].cpu().double().numpy(),
        T_unit_world=prepared.T_unit_world,
        error=float(clamped_l1(predicted, sdf, clamp).mean()),
        mesh_unit=prepared.mesh_unit,
        refined=refined,
    )


def encoding_preparation(dataset: dict[str, Any], *, samples: int = 10_000) -> PrepareConfig:
    """Return how a mesh is prepared for a prior: with its data set's settings for sheets, and DeepSDF's mix of samples.

    `dataset` is that of a run's config. Settings that are missing or invalid get their defaults.
    """
    settings = dataset.get("settings")
    stated = settings.get("prepare") if isinstance(settings, dict) else None
    defaults = PrepareConfig(sampling=SamplingConfig.deepsdf(samples))

    def number(name: str) -> float:
        value = stated.get(name) if isinstance(stated, dict) else None
        return float(value) if isinstance(value, int | float) else getattr(defaults, name)

    try:
        return replace(
            defaults,
            sheet_half_thickness=number("sheet_half_thickness"),
            min_confidence=number("min_confidence"),
            min_inside_share=number("min_inside_share"),
        )
    except ConfigError:
        return defaults
