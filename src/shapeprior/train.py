"""Training: the auto-decoder of DeepSDF, one code a shape, learnt together with the decoder."""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from shapeprior.checkpoint import Checkpoint, RunConfig, read_checkpoint, write_checkpoint
from shapeprior.dataset import Dataset
from shapeprior.decoder import seeded
from shapeprior.errors import CheckpointError, ConfigError, DatasetError, OutputError
from shapeprior.losses import banded_l1, clamped_l1, code_prior
from shapeprior.mesh_io import write_bytes
from shapeprior.presets import Preset, build_decoder
from shapeprior.train_config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """One line of log.jsonl."""

    epoch: int
    """Epochs finished."""
    epochs: int
    """Epochs in all."""
    loss: float
    """Mean of the configured loss over the epoch's samples, without the prior on codes, in unit-sphere radii."""
    code_length: float
    """Mean length of the codes."""
    rate: float
    """Share of the start's learning rate."""
    seconds: float
    """Seconds of training so far, those before an interruption included."""


def train_prior(
    data: Dataset,
    run: str | os.PathLike[str],
    *,
    preset: Preset,
    seed: int,
    device: str = "cpu",
    progress: Callable[[EpochReport], None] | None = None,
) -> Path:
    """Train a prior on the training split and write the run folder; an interrupted run goes on where it stopped.

    Random numbers of an epoch depend on the seed and the epoch alone, so an interrupted run computes what an uninterrupted one
    would have. Raises DatasetError if there is nothing to train on, CheckpointError if the folder holds another run or the
    numbers diverge, ConfigError if there is no such device, OutputError if the folder cannot be written.
    """
    run = Path(run)
    _require_device(device)
    samples, config = _load_training_data(data, preset, seed)
    state, optimizers, seconds = _start_or_resume(run, config, device)
    samples = samples.to(device)
    started = time.monotonic() - seconds
    while state.epoch < config.train.epochs:
        share = _rate_share(state.epoch, config.train)
        loss = _train_epoch(state, optimizers, samples, config, share)
        state.epoch += 1
        state.optimizer = _optimizer_state(optimizers, state)
        report = EpochReport(
            epoch=state.epoch,
            epochs=config.train.epochs,
            loss=loss,
            code_length=float(torch.linalg.vector_norm(state.codes.detach(), dim=1).mean()),
            rate=share,
            seconds=time.monotonic() - started,
        )
        # The last step of an epoch may break weights that its loss has not seen.
        if not (math.isfinite(loss) and all(torch.isfinite(value).all() for _, value in _named_parameters(state))):
            raise CheckpointError(
                f"{run}: loss {loss} and weights in epoch {state.epoch} are not all finite; expected finite numbers; "
                "lower decoder_rate and code_rate; a checkpoint, if there is one, holds the epoch before"
            )
        # The log goes first: if training is stopped between the two, resuming drops the line and repeats the epoch.
        _append_log(run / "log.jsonl", report)
        write_checkpoint(run, state)
        if progress:
            progress(report)
    return run


def _load_training_data(
    data: Dataset, preset: Preset, seed: int
) -> tuple[Float[Tensor, "shapes samples 4"], RunConfig]:
    shapes = data.split("train")
    if not shapes:
        raise DatasetError(f"{data.root}: no shape in the training split; expected at least one; prepare more meshes")
    rows, digest = [], hashlib.sha256()
    for shape in shapes:
        stored = data.samples(shape.id)
        row = np.column_stack([stored.points_unit, stored.sdf]).astype(np.float32)
        if not np.isfinite(row).all():
            raise DatasetError(
                f"{data.root}: samples of shape {shape.id} hold NaN or infinity; expected finite numbers; prepare it again"
            )
        if rows and len(row) != len(rows[0]):
            raise DatasetError(
                f"{data.root}: shape {shape.id} has {len(row)} samples, {shapes[0].id} has {len(rows[0])}; "
                "expected as many of each shape; prepare the data set again"
            )
        if len(row) == 0:
            raise DatasetError(f"{data.root}: shape {shape.id} has no samples; expected at least 1; prepare it again")
        rows.append(row)
        digest.update(shape.samples_sha256.encode())
    config = RunConfig(
        decoder=preset.decoder,
        train=preset.train,
        seed=seed,
        shape_ids=tuple(shape.id for shape in shapes),
        dataset={"settings": data.settings, "samples_sha256": digest.hexdigest()},
    )
    return torch.from_numpy(np.stack(rows)), config


def _start_or_resume(
    run: Path, config: RunConfig, device: str
) -> tuple[Checkpoint, tuple[torch.optim.Adam, torch.optim.SparseAdam], float]:
    if (run / "config.json").exists():
        if RunConfig.read(run).to_json() != config.to_json():
            raise CheckpointError(
                f"{run}: holds a run with other settings or other data; expected the same to go on; "
                "choose another folder or delete it"
            )
    # What a killed first write left behind starts with a dot, and does not count.
    elif run.exists() and (not run.is_dir() or any(not entry.name.startswith(".") for entry in run.iterdir())):
        raise CheckpointError(f"{run}: is not empty and not a run; expected a new folder; choose another one")
    else:
        write_bytes(run / "config.json", (json.dumps(config.to_json(), indent=1) + "\n").encode())
    if (run / "checkpoint.safetensors").exists():
        state = read_checkpoint(run, config)
    else:
        shape = (len(config.shape_ids), config.decoder.code_size)
        codes = torch.randn(shape, generator=seeded(config.seed + 1)) * config.train.code_init_deviation
        state = Checkpoint(epoch=0, decoder=build_decoder(config.decoder, seed=config.seed), codes=codes, optimizer={})
    seconds = _trim_log(run / "log.jsonl", state.epoch)
    state.decoder.to(device)
    state.codes = nn.Parameter(state.codes.to(device))
    optimizers = (
        torch.optim.Adam(state.decoder.parameters(), lr=config.train.decoder_rate),
        # Rows without a gradient stay where they are: a code moves only when its shape was seen.
        torch.optim.SparseAdam([state.codes], lr=config.train.code_rate),
    )
    _restore_optimizer(optimizers, state, run / "checkpoint.safetensors")
    return state, optimizers, seconds


def _train_epoch(
    state: Checkpoint,
    optimizers: tuple[torch.optim.Adam, torch.optim.SparseAdam],
    samples: Float[Tensor, "shapes samples 4"],
    config: RunConfig,
    rate_share: float,
) -> float:
    settings = config.train
    rng = np.random.default_rng([config.seed, state.epoch])
    order = rng.permutation(len(samples))
    count = min(settings.points_per_shape, samples.shape[1])
    measure = clamped_l1 if settings.loss == "clamped" else banded_l1
    for optimizer, rate in zip(optimizers, (settings.decoder_rate, settings.code_rate), strict=True):
        optimizer.param_groups[0]["lr"] = rate * rate_share
    total = 0.0
    state.decoder.train()
    for start in range(0, len(order), settings.shapes_per_batch):
        rows = torch.from_numpy(order[start : start + settings.shapes_per_batch]).to(samples.device)
        # Samples are shuffled on disk, so a block with a random start is a random subset.
        offsets = rng.integers(0, samples.shape[1], size=len(rows))
        columns = (offsets[:, None] + np.arange(count)) % samples.shape[1]
        block = samples[rows[:, None], torch.from_numpy(columns).to(samples.device)]
        codes = nn.functional.embedding(rows, state.codes, sparse=True)
        error = measure(state.decoder(codes, block[..., :3]), block[..., 3], settings.clamp)
        loss = error.mean() + settings.code_prior * code_prior(codes).mean()
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        total += float(error.detach().mean()) * len(rows)
    return total / len(order)


def _rate_share(epoch: int, settings: TrainConfig) -> float:
    """Half a cosine from 1 to `final_rate_share`."""
    fall = 0.5 * (1.0 + math.cos(math.pi * epoch / settings.epochs))
    return settings.final_rate_share + (1.0 - settings.final_rate_share) * fall


def _named_parameters(state: Checkpoint) -> list[tuple[str, Tensor]]:
    return [*state.decoder.named_parameters(), ("codes", state.codes)]


def _optimizer_state(optimizers: tuple[torch.optim.Optimizer, ...], state: Checkpoint) -> dict[str, Tensor]:
    """Adam's moments and steps as flat, named tensors."""
    flat: dict[str, Tensor] = {}
    for name, parameter in _named_parameters(state):
        for optimizer in optimizers:
            for key, value in optimizer.state.get(parameter, {}).items():
                flat[f"{name}.{key}"] = torch.as_tensor(value, dtype=torch.float32).clone()
    return flat


def _restore_optimizer(
    optimizers: tuple[torch.optim.Adam, torch.optim.SparseAdam], state: Checkpoint, path: Path
) -> None:
    if state.epoch == 0:
        return
    for name, parameter in _named_parameters(state):
        sparse = name == "codes"
        shapes = {"exp_avg": parameter.shape, "exp_avg_sq": parameter.shape, "step": torch.Size()}
        for key, shape in shapes.items():
            found = state.optimizer.get(f"{name}.{key}")
            if found is None or found.shape != shape or not torch.isfinite(found).all():
                raise CheckpointError(
                    f"{path}: no usable optimizer.{name}.{key} beside the weights of epoch {state.epoch}; expected the "
                    "optimiser's state, without which training cannot go on; these weights are for completion only"
                )
        entry = {key: state.optimizer[f"{name}.{key}"].to(parameter.device) for key in ("exp_avg", "exp_avg_sq")}
        step = state.optimizer[f"{name}.step"]
        optimizers[1 if sparse else 0].state[parameter] = {**entry, "step": int(step) if sparse else step}


def _require_device(device: str) -> None:
    try:
        torch.zeros(1, device=device)
    # torch raises an AssertionError for a kind of device that it was built without.
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise ConfigError(f"device '{device}' cannot be used ({reason}); expected one such as cpu, cuda, mps") from None


def _append_log(path: Path, report: EpochReport) -> None:
    try:
        with open(path, "a", encoding="utf-8") as log:
            log.write(json.dumps(report.__dict__) + "\n")
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}; expected a file that can be written; free the disk") from None


def _trim_log(path: Path, epoch: int) -> float:
    """Drop log lines of epochs that the checkpoint does not hold; returns the seconds spent so far."""
    if not path.exists():
        return 0.0
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    kept = [line for line in lines if json.loads(line)["epoch"] <= epoch]
    write_bytes(path, "".join(line + "\n" for line in kept).encode())
    return float(json.loads(kept[-1])["seconds"]) if kept else 0.0
