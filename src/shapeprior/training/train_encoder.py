"""Training of a prior's view encoder: the decoder stays as it is, and views of the training shapes are rendered.

The shapes are those of the data set if it is there, or else the decoder's meshes of the training codes.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from shapeprior.config import check_numbers
from shapeprior.datasets.dataset import Dataset
from shapeprior.errors import CompletionError, ConfigError, DatasetError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.models.checkpoint import RunConfig, read_checkpoint
from shapeprior.models.decoder import DecodedField, Decoder
from shapeprior.models.device import autocast, usable_device
from shapeprior.models.encoder import EncoderConfig, EncoderOutput, ViewEncoder, write_encoder
from shapeprior.models.latent_space import CodeSpace, codes_between_neighbours
from shapeprior.models.optimizers import Muon, cosine_decay
from shapeprior.sdf.isosurface.extract import ExtractConfig, extract_mesh
from shapeprior.training.encoder_views import EncoderBatch, ShapeViews, ViewConfig

TURN_KERNEL_WIDTH = math.radians(6.0)
"""Width of the kernel around the true turn, in radians: the neighbours of the right step are nearly right."""


@dataclass(frozen=True, kw_only=True)
class EncoderTraining:
    """The training recipe of an encoder."""

    steps: int = 2000
    """Steps of training."""
    views_per_batch: int = 48
    """Views in a step."""
    points_per_view: int = 128
    """Points of each view in a step, or as many as the encoder takes later, if they are fewer. More steps with half of
    the points are worth more than fewer steps with all of them (docs/ablation.md)."""
    rate: float = 2e-3
    """Adam's learning rate at the start; it falls to 0 along half a cosine."""
    matrix_rate: float = 1e-2
    """Muon's learning rate at the start, for the matrices between the first and the last layer; it falls in the same
    way. At 0, Adam steps all weights."""
    max_shapes: int = 800
    """Number of training shapes of which views are taken, at most."""
    min_shapes: int = 400
    """If there are fewer training shapes, decoded shapes of codes between theirs make up for the rest, though not more
    than views are drawn in all steps."""
    views_per_shape: int = 24
    """Views of each shape."""
    resolution: int = 64
    """Cells along each axis when decoded shapes are meshed."""

    def __post_init__(self) -> None:
        check_numbers(
            self,
            at_least_one=("steps", "views_per_batch", "points_per_view", "max_shapes", "views_per_shape", "resolution"),
            positive=("rate",),
            not_negative=("matrix_rate", "min_shapes"),
        )


@dataclass(frozen=True, kw_only=True)
class EncoderReport:
    """Progress of an encoder's training."""

    stage: str
    """"rendering", counted in shapes, or "training", counted in steps."""
    done: int
    total: int
    loss: float | None = None
    """Loss of the last step; None while rendering."""


def train_encoder(
    run: str | os.PathLike[str],
    *,
    data: Dataset | None = None,
    recipe: EncoderTraining | None = None,
    view_config: ViewConfig | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[EncoderReport], None] | None = None,
) -> Path:
    """Train the encoder of a trained prior and write it beside the prior's checkpoint.

    Args:
        run: The run folder of the prior.
        data: The data set that the prior was trained on; views are taken of its meshes. Without it, and of shapes for
            which it has no mesh, views are taken of the decoder's meshes. Where those lack thin parts, such as the tips
            of wings, the encoder takes real objects to be larger than they are (docs/ablation.md).
        recipe: The training recipe.
        view_config: How views are taken and spoilt.
        seed: Seed of weights, views and batches, 0 or more.
        device: Device that trains the network; views are rendered on the CPU.
        progress: Called after each rendered shape and after each step.

    Returns:
        The file, encoder.safetensors.

    Raises:
        CheckpointError: There is no prior in `run`.
        DatasetError: `data` is not what the prior was trained on, or a mesh is missing.
        CompletionError: None of the shapes has a surface.
        ConfigError: The seed is negative, or the device cannot be used.
        OutputError: The file cannot be written.
    """
    if seed < 0:
        raise ConfigError(f"seed = {seed}; expected 0 or more")
    recipe, view_config = recipe or EncoderTraining(), view_config or ViewConfig()
    report = progress or (lambda _: None)
    training_device = usable_device(device)
    run = Path(run)
    run_config = RunConfig.read(run)
    # An encoder beside the checkpoint is not read: it may belong to another one.
    checkpoint = read_checkpoint(run, run_config)
    decoder, space = checkpoint.decoder.eval(), CodeSpace.fit(checkpoint.codes)
    rng = np.random.default_rng([seed, 5])
    if data is not None and data.training_sha256 != run_config.dataset.get("samples_sha256"):
        raise DatasetError(
            f"{data.root}: not what {run} was trained on: the samples of its training split differ; expected the same "
            "data set; pass that one, or none"
        )
    whitened = space.whiten(checkpoint.codes)
    drawn = rng.permutation(len(whitened))[: recipe.max_shapes]
    # Neighbours are searched among the drawn codes, so that memory does not grow with the training set.
    candidates = whitened[torch.from_numpy(np.sort(drawn))]
    # More shapes than views in all steps would be rendered in vain.
    wanted = min(recipe.min_shapes, recipe.steps * recipe.views_per_batch)
    between = codes_between_neighbours(candidates, max(wanted - len(drawn), 0), rng)
    codes = torch.cat([whitened[torch.from_numpy(drawn)], between])
    parts, rendered = [], []
    for row, code in enumerate(codes):
        shape_id = run_config.shape_ids[int(drawn[row])] if row < len(drawn) else None
        mesh = _stored_mesh_unit(data, shape_id)
        if mesh is None:
            mesh = _decoded_mesh_unit(decoder, space.codes(code[None])[0], recipe.resolution)
        if mesh is not None:
            views = ShapeViews.render(mesh, len(rendered), count=recipe.views_per_shape, config=view_config, rng=rng)
            if views is not None:
                parts.append(views)
                rendered.append(row)
        report(EncoderReport(stage="rendering", done=row + 1, total=len(codes)))
    if not parts:
        raise CompletionError(
            f"none of {len(codes)} shapes has a surface; expected a prior that was trained to its end"
        )
    encoder = fit_encoder(
        ShapeViews.concatenated(parts),
        codes[torch.tensor(rendered)].to(training_device),
        config=EncoderConfig(code_size=checkpoint.codes.shape[1]),
        recipe=recipe,
        view_config=view_config,
        seed=seed,
        progress=lambda step, loss: report(EncoderReport(stage="training", done=step, total=recipe.steps, loss=loss)),
    )
    return write_encoder(run, encoder, checkpoint.codes)


def _stored_mesh_unit(data: Dataset | None, shape_id: str | None) -> TriangleMesh | None:
    """Return the data set's mesh of a training shape; None if it has none."""
    if data is None or shape_id is None or data.shape(shape_id).mesh_sha256 is None:
        return None
    return data.mesh_unit(shape_id)


def _decoded_mesh_unit(decoder: Decoder, code: Float[Tensor, "code"], resolution: int) -> TriangleMesh | None:
    """Return the decoder's mesh of a code; None if its field has no surface, as that of a hardly trained code."""
    try:
        mesh = extract_mesh(DecodedField.of_code(decoder, code), ExtractConfig(resolution=resolution)).mesh
    except CompletionError:
        return None
    return mesh if len(mesh.faces) else None


def fit_encoder(
    views: ShapeViews,
    whitened: Float[Tensor, "shapes code"],
    *,
    config: EncoderConfig,
    recipe: EncoderTraining,
    view_config: ViewConfig,
    seed: int,
    progress: Callable[[int, float], None] | None = None,
) -> ViewEncoder:
    """Train an encoder on views. `whitened` are the whitened codes of their shapes; it is trained on their device."""
    encoder = ViewEncoder(config).initialise(seed).to(whitened.device)
    rng = np.random.default_rng([seed, 7])
    muon = Muon(encoder.matrix_layers() if recipe.matrix_rate else {}, precision="auto")
    rest = [value for name, value in encoder.named_parameters() if name not in muon.momenta]
    optimizer = torch.optim.AdamW(rest, lr=recipe.rate, weight_decay=1e-2)
    for step in range(recipe.steps):
        rate_share = cosine_decay(step, recipe.steps)
        optimizer.param_groups[0]["lr"] = recipe.rate * rate_share
        rows = rng.integers(0, len(views.shapes), recipe.views_per_batch)
        batch = views.batch(rows, points=min(recipe.points_per_view, config.points), config=view_config, rng=rng)
        with autocast(whitened.device, "auto"):
            loss = batch_loss(encoder, batch, whitened)
        encoder.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        muon.step(rate=recipe.matrix_rate * rate_share)
        if progress is not None:
            progress(step + 1, float(loss.detach()))
    return encoder.eval()


def batch_loss(encoder: ViewEncoder, batch: EncoderBatch, whitened: Float[Tensor, "shapes code"]) -> Float[Tensor, ""]:
    """Return the loss of a batch.

    It is the negative log-likelihood of codes and placements under the network's Gaussians, plus the cross-entropies of
    the turns and of being upright.
    """

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(whitened.device)

    found: EncoderOutput = encoder(tensor(batch.points_view), tensor(batch.sensors_view))
    upright = tensor(batch.upright)
    code = _gaussian(found.whitened, found.whitened_deviation, whitened[tensor(batch.shapes)])
    placement = _gaussian(found.placement, found.placement_deviation, tensor(batch.placement))
    steps = torch.arange(found.turns.shape[1], device=whitened.device) * (2.0 * math.pi / found.turns.shape[1])
    near = (torch.cos(tensor(batch.turns)[:, None] - steps) / TURN_KERNEL_WIDTH**2).softmax(dim=1)
    turn = -(near * found.turns).sum(dim=1)
    is_upright = nn.functional.binary_cross_entropy_with_logits(found.upright, upright.float())
    # For fallen views, nothing but that is asked of the network.
    by_view = (code.mean(dim=1) + placement.mean(dim=1) + 0.3 * turn) * upright
    return by_view.sum() / upright.sum().clamp_min(1) + 0.5 * is_upright


def _gaussian(mean: Tensor, deviation: Tensor, truth: Tensor) -> Tensor:
    """Return the negative log-likelihood of `truth` under a Gaussian, without the constant."""
    return 0.5 * ((truth - mean) / deviation).square() + deviation.log()
