"""Training of a prior: DeepSDF's auto-decoder, which learns a code for each shape together with the decoder.

One process trains, or several that torchrun starts (`shapeprior.training.distributed`).
"""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

from shapeprior.datasets.dataset import Dataset
from shapeprior.errors import CheckpointError, ConfigError, DatasetError
from shapeprior.models.checkpoint import RunConfig, read_checkpoint, write_checkpoint
from shapeprior.models.model_card import write_model_card
from shapeprior.models.optimizers import cosine_decay
from shapeprior.models.presets import Preset
from shapeprior.training.batches import HELD_BYTES, BatchOrder, TrainingSamples
from shapeprior.training.distributed import ProcessGroup, join_process_group
from shapeprior.training.epoch import steps_of_process, train_epoch
from shapeprior.training.initialization import initial_checkpoint
from shapeprior.training.run import EpochReport, InterruptHandler, TrainLog, begin_or_resume_run
from shapeprior.training.trainer import Trainer, compile_decoder

CHECKPOINT_SECONDS = 30.0
"""Minimum time between two checkpoints."""


def train_prior(
    data: Dataset,
    run: str | os.PathLike[str],
    *,
    preset: Preset,
    seed: int,
    device: str = "cpu",
    progress: Callable[[EpochReport], None] | None = None,
    compiled: bool = False,
    license: str | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    held_bytes: int = HELD_BYTES,
) -> Path:
    """Train a prior on the training split of a data set, or continue an interrupted run, and write the run folder.

    All random numbers follow from the seed, the epoch and the shape. So an interrupted run computes what an
    uninterrupted one would have, and several processes compute what one would have, up to rounding. A checkpoint is
    written at the end of an epoch if the last one is `checkpoint_seconds` old, and at the end of the run. Ctrl-C ends
    training after the epoch if that takes a few seconds, and at once otherwise. Whatever happens, the last checkpoint
    stays whole.

    Args:
        data: The data set.
        run: The run folder: a new one, or that of an interrupted run with the same settings and data.
        preset: Decoder and training recipe.
        seed: Seed of weights, codes and batches, 0 or more.
        device: Device that trains, such as cpu or cuda.
        progress: Called by the first process after each epoch.
        compiled: Whether the decoder is compiled with torch.compile.
        license: Licence of the weights, for the model card (README.md).
        checkpoint_seconds: Minimum time between two checkpoints.
        held_bytes: Samples stay in memory if a process needs at most this many bytes for them.

    Returns:
        The run folder.

    Raises:
        DatasetError: There is nothing to train on, or a file is broken or gone.
        CheckpointError: The folder holds another run, the numbers diverge, or another process has ended.
        ConfigError: The seed is negative, or the device cannot be used.
        OutputError: The folder cannot be written.
    """
    run = Path(run)
    if seed < 0:
        raise ConfigError(f"seed = {seed}; expected 0 or more")
    with join_process_group(device) as group:
        config = _run_config(data, preset, seed)
        order = _batch_order(config, group)
        samples = _training_samples(data, config, order, group, held_bytes)
        trainer, seconds = _begin_or_resume(run, data, config, order, group)
        if compiled and trainer.epoch < preset.train.epochs:
            first_batch = next(samples.batches(steps_of_process(order.epoch(0), group)))
            compile_decoder(trainer.decoder, first_batch, preset.train)
        with InterruptHandler() as interrupt:
            seconds = _train(
                trainer, samples, run, seconds, checkpoint_seconds, progress if group.is_first else None, interrupt
            )
        if group.is_first:
            write_model_card(run, config, seconds=seconds, license=license)
    return run


def _train(
    trainer: Trainer,
    samples: TrainingSamples,
    run: Path,
    seconds: float,
    checkpoint_seconds: float,
    progress: Callable[[EpochReport], None] | None,
    interrupt: InterruptHandler,
) -> float:
    """Train the remaining epochs, after `seconds` of training; return the seconds at the end."""
    log, recipe = TrainLog(run / "log.jsonl"), trainer.config.train
    saved_at = time.monotonic()
    started_at = saved_at - seconds
    while trainer.epoch < recipe.epochs:
        rate_share = cosine_decay(trainer.epoch, recipe.epochs, final=recipe.final_rate_share)
        outcome = train_epoch(
            trainer,
            samples,
            rate_share=rate_share,
            interrupt=interrupt,
            checkpoint_at=saved_at + checkpoint_seconds,
        )
        report = EpochReport(
            epoch=trainer.epoch,
            epochs=recipe.epochs,
            loss=outcome.loss,
            objective=outcome.objective,
            code_length=outcome.code_length,
            rate=rate_share,
            seconds=time.monotonic() - started_at,
        )
        # The log is written first. If training is stopped between the two, resuming drops its last lines and repeats
        # their epochs.
        if trainer.group.is_first:
            log.append(report)
        if outcome.checkpoint_due or outcome.interrupted or trainer.epoch == recipe.epochs:
            checkpoint = trainer.checkpoint()
            if checkpoint is not None:
                write_checkpoint(run, checkpoint)
            saved_at = time.monotonic()
        if progress:
            progress(report)
        if outcome.interrupted and trainer.epoch < recipe.epochs:
            raise KeyboardInterrupt
    return time.monotonic() - started_at


def _run_config(data: Dataset, preset: Preset, seed: int) -> RunConfig:
    shapes = data.split("train")
    if not shapes:
        raise DatasetError(f"{data.root}: no shape in the training split; expected at least one; prepare more meshes")
    return RunConfig(
        decoder=preset.decoder,
        train=preset.train,
        seed=seed,
        shape_ids=tuple(shape.id for shape in shapes),
        dataset={
            "settings": data.settings,
            "categories": sorted({shape.category for shape in shapes} - {""}),
            "samples_sha256": data.training_sha256,
        },
    )


def _batch_order(config: RunConfig, group: ProcessGroup) -> BatchOrder:
    order = BatchOrder(len(config.shape_ids), shapes_per_batch=config.train.shapes_per_batch, seed=config.seed)
    if group.size > order.lanes:
        raise ConfigError(
            f"{group.size} processes for batches of {order.lanes} shapes; expected at most one process a shape; "
            "start fewer, or set a larger shapes_per_batch"
        )
    return order


def _training_samples(
    data: Dataset, config: RunConfig, order: BatchOrder, group: ProcessGroup, held_bytes: int
) -> TrainingSamples:
    return TrainingSamples(
        data,
        data.split("train"),
        order.owned(group.rank, group.size),
        points=config.train.points_per_shape,
        surface_points=config.train.surface_points if config.train.surface_weight else 0,
        device=group.device,
        held_bytes=held_bytes,
    )


def _begin_or_resume(
    run: Path, data: Dataset, config: RunConfig, order: BatchOrder, group: ProcessGroup
) -> tuple[Trainer, float]:
    """Return the state to train from, and the seconds of training behind it."""
    path = run / "checkpoint.safetensors"
    if group.is_first:
        begin_or_resume_run(run, config)
        # One process decides how all begin, because machines may differ in the last digits of a singular value
        # decomposition.
        if not path.exists():
            write_checkpoint(run, initial_checkpoint(data, data.split("train"), config))
    group.wait()
    trainer = Trainer(config, order, group, read_checkpoint(run, config), path)
    epochs = group.all_gather(torch.tensor([trainer.epoch], dtype=torch.float64)).flatten().tolist()
    if len(set(epochs)) > 1:
        raise CheckpointError(
            f"{run}: the processes read checkpoints of epochs {', '.join(f'{epoch:.0f}' for epoch in epochs)}; "
            "expected the same; choose a folder that all machines share"
        )
    if group.is_first and trainer.epoch > 0:
        logging.getLogger("shapeprior").info(
            "%s: goes on after epoch %d of %d", run, trainer.epoch, config.train.epochs
        )
    return trainer, TrainLog(run / "log.jsonl").trim(trainer.epoch) if group.is_first else 0.0
