"""Training the encoder of a prior: the decoder is frozen, views are rendered of the training shapes."""

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
from shapeprior.models.latent_space import CodeSpace, codes_between
from shapeprior.models.optimizers import Muon
from shapeprior.sdf.isosurface.extract import ExtractConfig, extract_mesh
from shapeprior.training.encoder_views import Batch, ShapeViews, ViewConfig

TURN_WIDTH = math.radians(6.0)
"""Of the kernel around the true turn: neighbours of the right step are nearly right."""


@dataclass(frozen=True, kw_only=True)
class EncoderTraining:
    """The recipe."""

    steps: int = 2000
    batch: int = 48
    """Views in a step."""
    points: int = 128
    """Points of each of these, or as many as the encoder looks at later, if they are fewer: more steps of half as many points are
    worth more than fewer steps of all (docs/ablation.md)."""
    rate: float = 2e-3
    """Of Adam, at the start; it falls along half a cosine."""
    matrix_rate: float = 1e-2
    """Of Muon, which steps the matrices between the first and the last layer, in the same way; 0: Adam steps all."""
    shapes: int = 800
    """Training shapes of which views are taken, at most."""
    least: int = 400
    """Where there are fewer, shapes of codes between theirs make up for the rest."""
    views_each: int = 24
    """Views of each shape."""
    resolution: int = 64
    """Cells along each axis in the extraction of the shapes that are rendered."""

    def __post_init__(self) -> None:
        check_numbers(
            self,
            at_least_one=("steps", "batch", "points", "shapes", "views_each", "resolution"),
            positive=("rate",),
            not_negative=("matrix_rate", "least"),
        )


@dataclass(frozen=True, kw_only=True)
class EncoderReport:
    """How far training is."""

    stage: str
    """rendering, counted in shapes; or training, counted in steps."""
    done: int
    total: int
    loss: float | None = None
    """Of the last step, while training."""


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
    """Train the encoder of a trained prior and write it beside its checkpoint; returns the file.

    `data` is the data set that the prior was trained on, whose meshes are what views are taken of. Without it, and of shapes that
    it has no mesh of, views are taken of what the decoder makes of their codes; where that lacks thin parts, such as the tips of
    wings, the encoder takes real objects to be larger than they are (docs/ablation.md). Raises CheckpointError if there is no prior
    in `run`, DatasetError if `data` is not what it was trained on or a mesh is missing, CompletionError if none of its codes has a
    surface, ConfigError for a negative seed or a device that cannot be used. `device` is where the network
    is trained; views are rendered on the CPU.
    """
    if seed < 0:
        raise ConfigError(f"seed = {seed}; expected 0 or more")
    recipe, view_config = recipe or EncoderTraining(), view_config or ViewConfig()
    report = progress or (lambda _: None)
    place = usable_device(device)
    run = Path(run)
    run_config = RunConfig.read(run)
    # The encoder that lies beside the checkpoint is not read: it may be of another one.
    checkpoint = read_checkpoint(run, run_config)
    decoder, space = checkpoint.decoder.eval(), CodeSpace.fit(checkpoint.codes)
    rng = np.random.default_rng([seed, 5])
    if data is not None and data.training_sha256 != run_config.dataset.get("samples_sha256"):
        raise DatasetError(
            f"{data.root}: not what {run} was trained on: the samples of its training split differ; expected the same data set; "
            "pass that one, or none"
        )
    whitened = space.whiten(checkpoint.codes)
    drawn = rng.permutation(len(whitened))[: recipe.shapes]
    # Neighbours are sought among the drawn ones, so that memory does not grow with the training set.
    among = whitened[torch.from_numpy(np.sort(drawn))]
    between = codes_between(among, max(recipe.least - len(drawn), 0), rng)
    shown = torch.cat([whitened[torch.from_numpy(drawn)], between])
    parts, kept = [], []
    for row, code in enumerate(shown):
        shape_id = run_config.shape_ids[int(drawn[row])] if row < len(drawn) else None
        mesh = _stored_mesh_unit(data, shape_id)
        if mesh is None:
            mesh = _decoded_mesh_unit(decoder, space.codes(code[None])[0], recipe.resolution)
        if mesh is not None:
            found = ShapeViews.render(mesh, len(kept), count=recipe.views_each, config=view_config, rng=rng)
            if found is not None:
                parts.append(found)
                kept.append(row)
        report(EncoderReport(stage="rendering", done=row + 1, total=len(shown)))
    if not parts:
        raise CompletionError(
            f"none of {len(shown)} shapes has a surface; expected a prior that was trained to its end"
        )
    encoder = fit_encoder(
        ShapeViews.joined(parts),
        shown[torch.tensor(kept)].to(place),
        config=EncoderConfig(code_size=checkpoint.codes.shape[1]),
        recipe=recipe,
        view_config=view_config,
        seed=seed,
        progress=lambda step, loss: report(EncoderReport(stage="training", done=step, total=recipe.steps, loss=loss)),
    )
    return write_encoder(run, encoder, checkpoint.codes)


def _stored_mesh_unit(data: Dataset | None, shape_id: str | None) -> TriangleMesh | None:
    """Return the mesh that the data set holds of a training shape; None if it holds none."""
    if data is None or shape_id is None or data.shape(shape_id).mesh_sha256 is None:
        return None
    return data.mesh_unit(shape_id)


def _decoded_mesh_unit(decoder: Decoder, code: Float[Tensor, "code"], resolution: int) -> TriangleMesh | None:
    """Return the mesh of a code; None for a code that was hardly trained, whose field has no surface."""
    mesh = extract_mesh(DecodedField.of_code(decoder, code), ExtractConfig(resolution=resolution)).mesh
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
    """An encoder of these views; `whitened` are the codes of their shapes, and it is trained where these lie."""
    encoder = ViewEncoder(config).initialise(seed).to(whitened.device)
    rng = np.random.default_rng([seed, 7])
    muon = Muon(encoder.matrix_layers() if recipe.matrix_rate else {}, precision="auto")
    rest = [value for name, value in encoder.named_parameters() if name not in muon.momenta]
    optimizer = torch.optim.AdamW(rest, lr=recipe.rate, weight_decay=1e-2)
    for step in range(recipe.steps):
        fall = 0.5 * (1.0 + math.cos(math.pi * step / recipe.steps))
        optimizer.param_groups[0]["lr"] = recipe.rate * fall
        rows = rng.integers(0, len(views.shapes), recipe.batch)
        batch = views.batch(rows, points=min(recipe.points, config.points), config=view_config, rng=rng)
        with autocast(whitened.device, "auto"):
            loss = batch_loss(encoder, batch, whitened)
        encoder.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        muon.step(rate=recipe.matrix_rate * fall)
        if progress is not None:
            progress(step + 1, float(loss.detach()))
    return encoder.eval()


def batch_loss(encoder: ViewEncoder, batch: Batch, whitened: Float[Tensor, "shapes code"]) -> Float[Tensor, ""]:
    """Negative log-likelihood of codes and placements under the guesses, and cross-entropy of the turns and of being upright."""

    def there(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(whitened.device)

    found: EncoderOutput = encoder(there(batch.points_view), there(batch.sensors_view))
    upright = there(batch.upright)
    code = _gaussian(found.whitened, found.whitened_deviation, whitened[there(batch.shapes)])
    place = _gaussian(found.placement, found.placement_deviation, there(batch.placement))
    steps = torch.arange(found.turns.shape[1], device=whitened.device) * (2.0 * math.pi / found.turns.shape[1])
    near = (torch.cos(there(batch.turns)[:, None] - steps) / TURN_WIDTH**2).softmax(dim=1)
    turn = -(near * found.turns).sum(dim=1)
    stands = nn.functional.binary_cross_entropy_with_logits(found.upright, upright.float())
    # Of fallen views, nothing else is to be said.
    each = (code.mean(dim=1) + place.mean(dim=1) + 0.3 * turn) * upright
    return each.sum() / upright.sum().clamp_min(1) + 0.5 * stands


def _gaussian(mean: Tensor, deviation: Tensor, truth: Tensor) -> Tensor:
    return 0.5 * ((truth - mean) / deviation).square() + deviation.log()
