"""The code of a full mesh: prepared and sampled as for training, then fitted with the decoder frozen."""

import io
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from shapeprior.datasets.mesh_source import UpAxis
from shapeprior.datasets.prepare_mesh import PrepareConfig, prepare_mesh, sample_mesh
from shapeprior.encode_samples import EncodeConfig, encode_samples
from shapeprior.errors import ConfigError, OutputError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.files import write_bytes
from shapeprior.models.decoder import Decoder
from shapeprior.models.latent_space import CodeSpace
from shapeprior.models.objective import clamped_l1
from shapeprior.refine import FieldSamples, RefineConfig, refine_prepared
from shapeprior.sdf.sampling import SamplingConfig


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedMesh:
    """The code that fits a mesh best, and where the mesh lies."""

    code: Float[np.ndarray, "code"]
    T_unit_world: Similarity
    """Maps the mesh's own frame to the unit frame."""
    error: float
    """Mean |f − s| at the samples, both clamped as in training (DeepSDF, equation 4), in unit-sphere radii."""
    mesh_unit: TriangleMesh
    """The mesh as it was prepared: cleaned, upright, in the unit frame."""
    refined: tuple[Tensor, ...] | None = None
    """What the decoder prepared of the code, refined to the mesh (`shapeprior.refine`), for `ShapePrior.extract_prepared`; None
    if that was not asked for."""

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write `code` (code), `T_unit_world` (4, 4) and `error` () as an NPZ file, atomically. Raises OutputError."""
        path = Path(path)
        if path.suffix.lower() != ".npz":
            raise OutputError(f"{path}: suffix '{path.suffix}'; expected .npz; name the code so")
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
    """Clean, turn upright, normalise, sign, sample and fit a mesh; `seed` decides the samples and their order.

    With `refine`, the prepared decoder is fitted as well, to more samples, which holds details that no code does; code and error
    stay.

    Raises MeshError, naming `name`, for what preparation would refuse.
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
        known = FieldSamples.of_shape(prepared.distance, refine.samples, clamp, rng=rng, like=sdf)
        refined = refine_prepared(decoder, first, known, config=refine, seed=seed)
    return EncodedMesh(
        code=code[0].cpu().double().numpy(),
        T_unit_world=prepared.T_unit_world,
        error=float(clamped_l1(predicted, sdf, clamp).mean()),
        mesh_unit=prepared.mesh_unit,
        refined=refined,
    )


def encoding_preparation(dataset: dict[str, Any], *, samples: int = 10_000) -> PrepareConfig:
    """How a mesh is prepared for a prior: what its data set's settings say of sheets, with DeepSDF's mix of samples.

    `dataset` is that of a run's config. What it does not say, or says wrongly, is as in preparation by default.
    """
    settings = dataset.get("settings")
    stated = settings.get("prepare") if isinstance(settings, dict) else None
    usual = PrepareConfig(sampling=SamplingConfig.deepsdf(samples))

    def number(name: str) -> float:
        value = stated.get(name) if isinstance(stated, dict) else None
        return float(value) if isinstance(value, int | float) else getattr(usual, name)

    try:
        return replace(
            usual,
            sheet_half_thickness=number("sheet_half_thickness"),
            min_confidence=number("min_confidence"),
            min_inside_share=number("min_inside_share"),
        )
    except ConfigError:
        return usual
